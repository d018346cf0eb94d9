package diffhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// assertSecrets compares sets of secrets with Equal.
func assertSecrets(t *testing.T, want, got diffhook.Secrets) {
	t.Helper()
	assert.Equal(t, want.Current.Fingerprint(), got.Current.Fingerprint(), "current")
	assert.Equal(t, want.Previous.Fingerprint(), got.Previous.Fingerprint(), "previous")
	assert.True(t, want.PreviousExpires.Equal(got.PreviousExpires), "previous expires %v, want %v", got.PreviousExpires, want.PreviousExpires)
	assert.Equal(t, time.UTC, got.PreviousExpires.Location())
	assert.Equal(t, want.NoPrevious, got.NoPrevious, "no previous")
}

func TestSigningSecret(t *testing.T) {
	inBothGenerations(t, func(t *testing.T, _ int, s *diffhooktest.Server, c *diffhook.Client) {
		first, err := c.SigningSecret.Load(t.Context())
		require.NoError(t, err)
		requireLastRequest(t, s, "GET /api/signing-secret", "")
		assertSecrets(t, s.Secrets(), first)
		assert.True(t, first.NoPrevious)

		rotated, err := c.SigningSecret.Rotate(t.Context())
		require.NoError(t, err)
		requireLastRequest(t, s, "POST /api/signing-secret/rotate", "{}")
		assertSecrets(t, s.Secrets(), rotated)
		assert.True(t, rotated.Previous.Equal(first.Current))
		assert.False(t, rotated.NoPrevious)
		loaded, err := c.SigningSecret.Load(t.Context())
		require.NoError(t, err)
		assertSecrets(t, rotated, loaded)

		for range 2 { // safe to repeat
			require.NoError(t, c.SigningSecret.RevokePrevious(t.Context()))
			requireLastRequest(t, s, "DELETE /api/signing-secret/previous", "")
		}
		loaded, err = c.SigningSecret.Load(t.Context())
		require.NoError(t, err)
		assertSecrets(t, diffhook.Secrets{Current: rotated.Current, NoPrevious: true}, loaded)
	})
}

// TestSigningSecretRotateIsNotRepeated: a second rotation would drop the secret of
// deliveries in flight.
func TestSigningSecretRotateIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBubbleServer(t)
		before := s.Secrets().Current
		s.Fail(diffhooktest.Fault{Reset: diffhooktest.AfterHandling})
		c := s.Client(nil)
		rotated, err := c.SigningSecret.Rotate(t.Context())
		require.ErrorIs(t, err, diffhook.ErrOutcomeUnknown)
		assert.Zero(t, rotated.Current.Fingerprint())
		assert.Equal(t, 1, s.Count(""))

		loaded, err := c.SigningSecret.Load(t.Context())
		require.NoError(t, err)
		assert.True(t, loaded.Previous.Equal(before), "Load shows the rotation")
	})
}

func TestSigningSecretDecoding(t *testing.T) {
	const (
		currentText  = "violet-walrus-plays-the-quartz-0001"
		previousText = "amber-pelican-rides-a-tricycle-0001"
		current      = `"secret":"` + currentText + `"`
		previous     = `"secret":"` + previousText + `"`
	)
	now, old := mustSecret(t, currentText), mustSecret(t, previousText)
	detector := newLeakDetector(currentText, previousText, longKeyText[8:], "short-walrus")
	expires := time.Date(2026, 3, 17, 14, 22, 0, 0, time.UTC)
	for _, c := range []struct {
		name, data string
		want       diffhook.Secrets
		err        error
	}{
		{"previous is null", `{` + current + `,"previous":null}`, diffhook.Secrets{Current: now, NoPrevious: true}, nil},
		{"previous is null, with spaces", `{` + current + `, "previous" :  null  }`, diffhook.Secrets{Current: now, NoPrevious: true}, nil},
		// Unknown differs from none.
		{"previous is absent", `{` + current + `,"createdAt":"2026-03-16T14:22:00Z"}`, diffhook.Secrets{Current: now}, nil},
		{"previous is not shown", `{` + current + `,"previous":{"rotatedAt":"2026-03-16T14:22:00Z"}}`, diffhook.Secrets{Current: now}, nil},
		{"previous is shown as null", `{` + current + `,"previous":{"secret":null,"expiresAt":"2026-03-17T14:22:00Z"}}`, diffhook.Secrets{Current: now}, nil},
		{"previous", `{` + current + `,"previous":{` + previous + `,"rotatedAt":"2026-03-16T14:22:00Z"}}`, diffhook.Secrets{Current: now, Previous: old}, nil},
		{"previous with an end", `{` + current + `,"previous":{` + previous + `,"expiresAt":"2026-03-17T14:22:00Z"}}`, diffhook.Secrets{Current: now, Previous: old, PreviousExpires: expires}, nil},
		{"snake_case", `{` + current + `,"created_at":"2026-03-16T14:22:00Z","previous":{` + previous + `,"rotated_at":"2026-03-16T14:22:00Z","expires_at":"2026-03-17T16:22:00+02:00"}}`, diffhook.Secrets{Current: now, Previous: old, PreviousExpires: expires}, nil},
		{"both", `{` + current + `,"previous":{` + previous + `,"expiresAt":null,"expires_at":"2026-03-17T14:22:00Z"}}`, diffhook.Secrets{Current: now, Previous: old, PreviousExpires: expires}, nil},
		{"extra fields", `{` + current + `,"algorithm":"sha256","previous":{` + previous + `,"by":{"id":1}}}`, diffhook.Secrets{Current: now, Previous: old}, nil},

		{"times in other forms", `{` + current + `,"createdAt":7,"previous":{` + previous + `,"rotatedAt":"yesterday","expiresAt":"2026-03-17 14:22"}}`, diffhook.Secrets{Current: now, Previous: old, PreviousExpires: expires}, nil},
		{"previous is shown as an empty text", `{` + current + `,"previous":{"secret":"","expiresAt":"soon"}}`, diffhook.Secrets{Current: now}, nil},

		{"no secret", `{"previous":null}`, diffhook.Secrets{}, diffhook.ErrUnexpectedResponse},
		{"secret is null", `{"secret":null,"previous":null}`, diffhook.Secrets{}, diffhook.ErrUnexpectedResponse},
		{"secret is empty", `{"secret":""}`, diffhook.Secrets{}, diffhook.ErrUnexpectedResponse},
		{"secret is too short", `{"secret":"short-walrus"}`, diffhook.Secrets{}, diffhook.ErrUnexpectedResponse},
		{"secret is hidden", `{"secret":"[REDACTED SIGNING SECRET]"}`, diffhook.Secrets{}, diffhook.ErrUnexpectedResponse},
		{"secret is an API key", `{"secret":"` + longKeyText + `"}`, diffhook.Secrets{}, diffhook.ErrUnexpectedResponse},
		{"secret is an object", `{"secret":{"text":"` + currentText + `"}}`, diffhook.Secrets{}, diffhook.ErrUnexpectedResponse},
		{"previous is a text", `{` + current + `,"previous":"` + previousText + `"}`, diffhook.Secrets{Current: now}, nil},
		{"previous is too short", `{` + current + `,"previous":{"secret":"short-walrus"}}`, diffhook.Secrets{Current: now}, nil},
		{"secret is a number", `{"secret":12345678901234567890}`, diffhook.Secrets{}, diffhook.ErrUnexpectedResponse},
		{"secret is not UTF-8", `{"secret":"` + currentText + "\xff" + `"}`, diffhook.Secrets{}, diffhook.ErrUnexpectedResponse},
		{"secret has half of a surrogate pair", `{"secret":"` + currentText + `\ud800"}`, diffhook.Secrets{}, diffhook.ErrUnexpectedResponse},
		{"previous is a number", `{` + current + `,"previous":{"secret":12345678901234567890}}`, diffhook.Secrets{Current: now}, nil},
		{"previous is a list", `{` + current + `,"previous":[]}`, diffhook.Secrets{Current: now}, nil},
		{"previous is false", `{` + current + `,"previous":false}`, diffhook.Secrets{Current: now}, nil},
		// An unreadable end is not "never".
		{"the end of previous is empty", `{` + current + `,"previous":{` + previous + `,"expiresAt":""}}`, diffhook.Secrets{Current: now}, nil},
		{"the end of previous is a number", `{` + current + `,"previous":{` + previous + `,"expires_at":1773757320}}`, diffhook.Secrets{Current: now}, nil},
		{"the end of previous is the zero time", `{` + current + `,"previous":{` + previous + `,"expires_at":"0001-01-01T00:00:00Z"}}`, diffhook.Secrets{Current: now}, nil},
		{"the end of previous is no time", `{` + current + `,"previous":{` + previous + `,"expiresAt":"` + previousText + `"}}`, diffhook.Secrets{Current: now}, nil},
		{"null", `null`, diffhook.Secrets{}, diffhook.ErrUnexpectedResponse},
		{"a list", `[{` + current + `}]`, diffhook.Secrets{}, diffhook.ErrUnexpectedResponse},
		{"a text", `"` + currentText + `"`, diffhook.Secrets{}, diffhook.ErrUnexpectedResponse},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, _ := answerWith(t, func() *http.Response { return replyJSON(http.StatusOK, `{"data":`+c.data+`}`) })
			for name, call := range map[string]func(context.Context) (diffhook.Secrets, error){
				"Load": client.SigningSecret.Load, "Rotate": client.SigningSecret.Rotate,
			} {
				got, err := call(t.Context())
				require.ErrorIs(t, err, c.err, name)
				assertSecrets(t, c.want, got)
				if err != nil {
					assert.Equal(t, name == "Rotate", errors.Is(err, diffhook.ErrOutcomeUnknown), name)
					assert.Empty(t, detector.find(fmt.Sprintf("%v %+v %#v", err, err, err)))
					assert.NotContains(t, err.Error(), "triggered_at", "a field of events")
				}
			}
		})
	}
}

// TestSigningSecretIsASource: a verifier learns of a rotation by the first miss, and
// loses no delivery.
func TestSigningSecretIsASource(t *testing.T) {
	inBothGenerations(t, func(t *testing.T, generation int, s *diffhooktest.Server, c *diffhook.Client) {
		v := newVerifier(t, c.SigningSecret, &diffhook.VerifierOptions{MinRefreshInterval: -1})
		var down bool
		var events []string
		endpoint := v.EventHandler(func(_ context.Context, e *diffhook.Event) error {
			if down {
				return errors.New("down")
			}
			events = append(events, e.MonitorID)
			return nil
		})
		s.Configure(diffhooktest.Settings{OnExchange: recorder(t), SignOnce: true, Deliver: diffhooktest.Transport(endpoint)})
		m := s.DefaultTeam().NewMonitor(diffhooktest.Monitor{Generation: generation, WebhookURL: "https://hooks.example.org/d"})
		loads := func() int { return s.Count("GET /api/signing-secret") }
		change := func() diffhooktest.Delivery {
			t.Helper()
			d, err := s.Change(m.ID, nil)
			require.NoError(t, err)
			return d
		}

		require.True(t, change().Delivered)
		assert.Equal(t, 1, loads())

		// A delivery signed by the old secret is in flight at the rotation.
		down = true
		require.False(t, change().Delivered)
		down = false
		old := s.Secrets().Current
		s.Rotate()
		d := change()
		require.True(t, d.Delivered, "at the first attempt")
		assert.Equal(t, s.Secrets().Current.Fingerprint(), d.Attempts[0].SignedWith)
		assert.Equal(t, 2, loads(), "the miss read the secret again")
		s.Advance(3 * time.Minute)
		inFlight := s.Deliveries()[1]
		require.True(t, inFlight.Delivered, "the old signature is accepted")
		assert.Equal(t, old.Fingerprint(), inFlight.Attempts[1].SignedWith)
		assert.Equal(t, []string{m.ID, m.ID, m.ID}, events)
		assert.NotZero(t, v.Status().Previous.Uses)

		// After a revocation and a refresh, the verifier rejects the secret.
		require.NoError(t, c.SigningSecret.RevokePrevious(t.Context()))
		require.NoError(t, v.Refresh(t.Context()))
		body := []byte(`{"event":"page.changed"}`)
		require.ErrorIs(t, v.Verify(t.Context(), body, old.Sign(body)), diffhook.ErrSignatureMismatch)
		require.True(t, change().Delivered)
	})
}

// TestSigningSecretSourceFails: a verifier whose key was revoked keeps the secrets.
func TestSigningSecretSourceFails(t *testing.T) {
	inBothGenerations(t, func(t *testing.T, _ int, s *diffhooktest.Server, c *diffhook.Client) {
		v := newVerifier(t, c.SigningSecret, &diffhook.VerifierOptions{MinRefreshInterval: -1})
		team := s.DefaultTeam()
		id, _ := team.ClientCredentials()
		team.RevokeKey(team.Keys()[0].ID)
		team.RevokeClientCredentials(id)
		body := []byte("a body")
		require.NoError(t, v.Verify(t.Context(), body, s.Secrets().Current.Sign(body)))
		err := v.Refresh(t.Context())
		require.ErrorIs(t, err, diffhook.ErrUnauthorized)
		require.ErrorIs(t, v.Verify(t.Context(), body, s.Rotate().Current.Sign(body)), diffhook.ErrSecretsUnavailable)
		require.NoError(t, v.Verify(t.Context(), body, s.Secrets().Previous.Sign(body)))
	})
}

// TestSigningSecretIsWatched: a verifier with secrets from the API learns of a rotation
// and of a revocation, also without a delivery.
func TestSigningSecretIsWatched(t *testing.T) {
	for generation := 1; generation <= 2; generation++ {
		synctest.Test(t, func(t *testing.T) {
			s := newBubbleServer(t)
			old := s.Secrets().Current
			v := newVerifier(t, teamClient(s.DefaultTeam(), generation, nil).SigningSecret, nil)
			ctx, cancel := context.WithCancel(t.Context())
			var watching sync.WaitGroup
			watching.Go(func() { v.Watch(ctx, time.Minute) })
			s.Rotate()
			<-time.After(2 * time.Minute)
			status := v.Status()
			assert.Equal(t, s.Secrets().Current.Fingerprint(), status.Current.Fingerprint)
			assert.Equal(t, old.Fingerprint(), status.Previous.Fingerprint)
			s.RevokePrevious()
			<-time.After(2 * time.Minute)
			assert.Zero(t, v.Status().Previous)
			cancel()
			watching.Wait()
		})
	}
}
