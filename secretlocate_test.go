package diffhook_test

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// wholeRotations are what can be done with a secret by its name.
var wholeRotations = map[string]func(*diffhook.SigningSecretService, context.Context, string, diffhook.SecretStore, *diffhook.SecretRotationOptions) error{
	"Replace": (*diffhook.SigningSecretService).Replace,
	"Revoke":  (*diffhook.SigningSecretService).Revoke,
}

// TestSecretRotationOfAnotherTeam: the API key is of another team than the store
// and the receivers, as where the environment is staging's. That nothing is known
// of the secret there must not pass for its having been revoked: production's
// secret would be refused, and staging's accepted.
func TestSecretRotationOfAnotherTeam(t *testing.T) {
	for name, rotate := range wholeRotations {
		for _, held := range []bool{true, false} {
			t.Run(map[bool]string{true: name + ", with a store", false: name + ", receivers at the API"}[held], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newChangeover(t, 1)
					var store diffhook.SecretStore
					var source diffhook.SecretSource = c.client.SigningSecret
					if held {
						store, source = c.store, c.store
					}
					web := c.add("web-1", source)
					c.options.RevokeNow = atOnce // the operator is in a hurry too
					staging := c.server.NewTeam(diffhooktest.Plan{RequestsPerMinute: 1000})
					err := rotate(teamClient(staging, 1, nil).SigningSecret, t.Context(), c.old.Fingerprint(), store, &c.options)
					require.ErrorIs(t, err, diffhook.ErrStoreMismatch)
					assert.ErrorContains(t, err, "this team's API key? If so, run it again with Force")
					assert.Len(t, c.store.saved, 1)
					assert.True(t, c.server.Secrets().Current.Equal(c.old))
					assert.Zero(t, c.server.Count("POST"))
					require.Error(t, web.deliver(staging.Secrets().Current), "another team's delivery")
					if name == "Replace" {
						require.NoError(t, web.deliver(c.old))
					}
				})
			})
		}
	}
}

// TestSecretReplaceBehindReplica: what answers for the platform is a rotation
// behind. The secret that it signs with now would be taken for a revoked one, and
// the revoked one be saved.
func TestSecretReplaceBehindReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		revoked := c.old
		c.store.held = diffhook.Secrets{Current: c.server.Rotate().Current, NoPrevious: true}
		c.server.RevokePrevious()
		c.old = c.server.Secrets().Current
		require.NoError(t, c.web["web-1"].Refresh(t.Context()))
		c.edited(1, func(string) string { return `{"data":{"secret":"` + revoked.Reveal() + `","previous":null}}` })
		require.ErrorIs(t, c.replace(), diffhook.ErrStoreMismatch)
		assert.Len(t, c.store.saved, 1)
		require.NoError(t, c.web["web-1"].deliver(c.old))
	})
}

// withoutPrevious has the API say nothing of a previous secret, neither that
// there is one nor that there is none.
func (c *changeover) withoutPrevious() {
	previous := regexp.MustCompile(`,"previous":(null|\{[^}]*\})`)
	c.edited(1, func(body string) string { return previous.ReplaceAllString(body, "") })
}

// TestSecretReplaceAtSilentAPI: an API that says nothing of a previous secret does
// not say that there is none. The old one is drained, and revoked, all the same.
func TestSecretReplaceAtSilentAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		c.withoutPrevious()
		c.fails("save", errDown)
		require.ErrorIs(t, c.replace(), errDown)
		c.store.before = nil
		began := time.Now()
		require.NoError(t, c.replace())
		assert.GreaterOrEqual(t, time.Since(began), 2*time.Minute)
		c.requireReplaced()
	})
}

// TestSecretReplaceOpenByStore: where only the store says that an earlier rotation
// is not finished, that one still needs its secret.
func TestSecretReplaceOpenByStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		c.withoutPrevious()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		require.ErrorIs(t, c.client.SigningSecret.Replace(ctx, c.old.Fingerprint(), c.store, &c.options), context.DeadlineExceeded)
		second := c.server.Secrets().Current.Fingerprint()
		require.ErrorIs(t, c.client.SigningSecret.Replace(t.Context(), second, c.store, &c.options), diffhook.ErrRotationOpen)
		assert.Equal(t, 1, c.server.Count("POST"))
		require.NoError(t, c.web["web-1"].deliver(c.old), "a delivery in flight")

		c.store.held.PreviousExpires = time.Now() // it has ended by itself
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, c.client.SigningSecret.Replace(ctx, second, c.store, &c.options), context.DeadlineExceeded)
		assert.Equal(t, 2, c.server.Count("POST /api/signing-secret/rotate"))
	})
}

// TestSecretReplaceNotInForceIsCertain: a receiver that cannot be asked may still
// accept it, and a run that is interrupted knows nothing.
func TestSecretReplaceNotInForceIsCertain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1", "web-2")
		down := false
		c.options.Observe = func(_ context.Context, step diffhook.RotationStep) { down = down || step.Name == "removed" }
		c.web["web-2"].fails = func(ctx context.Context) error {
			if down {
				return errDown
			}
			return ctx.Err()
		}
		for range 2 {
			err := c.replace()
			require.ErrorContains(t, err, "receivers that may still accept "+c.old.Fingerprint()+": web-2 does not answer (connection refused)")
			require.NotErrorIs(t, err, diffhook.ErrNotInForce)
		}
		require.NoError(t, c.web["web-2"].deliver(c.old))

		down = false
		ctx, cancel := context.WithCancel(t.Context())
		c.web["web-1"].fails = func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() }
		c.web["web-2"].fails = c.web["web-1"].fails
		err := c.client.SigningSecret.Replace(ctx, c.old.Fingerprint(), c.store, &c.options)
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, diffhook.ErrNotInForce)

		c.web["web-1"].fails, c.web["web-2"].fails = nil, nil
		require.NoError(t, c.replace())
		c.requireReplaced()
		require.ErrorIs(t, c.replace(), diffhook.ErrNotInForce)
	})
}

// TestSecretRotationWithoutEndpoints: the endpoints are assumed. An API that has
// none of them, or a proxy that says so, does not say that anything is done.
func TestSecretRotationWithoutEndpoints(t *testing.T) {
	for name, rotate := range wholeRotations {
		for _, route := range []string{"GET", "POST", "DELETE"} {
			for _, html := range []bool{false, true} {
				t.Run(strings.Join([]string{name, route, map[bool]string{false: "JSON", true: "HTML"}[html]}, ", "), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						c := newChangeover(t, 1, "web-1")
						c.server.Fail(diffhooktest.Fault{Route: route, Status: http.StatusNotFound, HTML: html, Times: -1})
						err := rotate(c.client.SigningSecret, t.Context(), c.old.Fingerprint(), c.store, &c.options)
						require.ErrorIs(t, err, diffhook.ErrNotFound)
						require.NotErrorIs(t, err, diffhook.ErrNotInForce)
						assert.False(t, c.server.Secrets().NoPrevious && !c.server.Secrets().Current.Equal(c.old), "at the platform")
					})
				})
			}
		}
	}
}

// TestSecretRotationShowsNoSecret, neither in errors nor in steps, also where the
// store or the platform does, and before anything else has shown it.
func TestSecretRotationShowsNoSecret(t *testing.T) {
	for name, rotate := range wholeRotations {
		for what, set := range map[string]func(*changeover){
			"the store, at once": func(c *changeover) {
				c.store.before = func(string) error { return &leakyError{c.server.Secrets()} }
			},
			"the platform, of the old one and the new one": func(c *changeover) {
				transport := diffhooktest.Transport(c.server)
				c.client = teamClient(c.server.DefaultTeam(), 1, &diffhook.ClientOptions{MaxAttempts: 1, HTTPClient: &http.Client{
					Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
						if r.Method != http.MethodDelete {
							return transport.RoundTrip(r)
						}
						body := `{"error":{"code":"SERVER_ERROR","message":"constraint: ` + c.old.Reveal() + ` ` + c.server.Secrets().Current.Reveal() + `"}}`
						return diffhooktest.Transport(answeringJSON(http.StatusInternalServerError, body)).RoundTrip(r)
					}),
				}})
			},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newChangeover(t, 1, "web-1")
					set(c)
					err := rotate(c.client.SigningSecret, t.Context(), c.old.Fingerprint(), c.store, &c.options)
					require.Error(t, err)
					detector := secretDetector(c.old, c.server.Secrets().Current)
					assertNoLeak(t, detector, err)
					assert.Empty(t, detector.find(strings.Join(c.steps, "\n")))
				})
			})
		}
	}
}
