package diffhook_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// hazard is a receiver that does what no receiver should.
type hazard struct {
	diffhook.Receiver
	revoke func() error
}

func (h hazard) Revoke(context.Context, string) error { return h.revoke() }

// newHazards returns a platform, a store and a verifier that reads it.
func newHazards(t *testing.T) (*diffhooktest.Server, *memoryStore[diffhook.Secrets], *diffhook.Verifier, string) {
	server := diffhooktest.New()
	t.Cleanup(server.Close)
	store := newMemoryStore(diffhook.Secrets{Current: server.Secrets().Current})
	return server, store, newVerifier(t, store, nil), server.Secrets().Current.Fingerprint()
}

// A receiver that does not carry an order out is not one that refuses, though its
// status may look like it; one that panics does not end the process.
func TestRevokeTellsOfDisobedience(t *testing.T) {
	for name, test := range map[string]struct {
		revoke func() error
		want   string
	}{
		"an error": {func() error { return errors.New("405") }, "web-1 does not obey (405)"},
		"a panic":  {func() error { panic("no") }, "web-1 does not obey (the receiver panicked: no)"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, store, v, old := newHazards(t)
				err := server.Client(nil).SigningSecret.Revoke(t.Context(), old, store, &diffhook.SecretRotationOptions{
					Receivers: map[string]diffhook.Receiver{"web-1": hazard{diffhook.LocalReceiver(v), test.revoke}},
				})
				require.ErrorContains(t, err, test.want)
				assert.True(t, server.Secrets().NoPrevious, "the platform has done its part")
			})
		})
	}
}

func TestReplaceWithNilReceivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store, _, old := newHazards(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := server.Client(nil).SigningSecret.Replace(ctx, old, store, &diffhook.SecretRotationOptions{
			Receivers: map[string]diffhook.Receiver{"local": diffhook.LocalReceiver(nil), "remote": (*diffhook.RemoteReceiver)(nil)},
		})
		require.ErrorContains(t, err, "the Verifier of LocalReceiver is nil")
		require.ErrorContains(t, err, "the RemoteReceiver is nil")
	})
}

// A store that hangs keeps the emergency from neither the platform nor the
// receivers.
func TestRevokeGoesOnWithoutTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store, v, old := newHazards(t)
		leaked := server.Secrets().Current
		hang := make(chan struct{})
		store.before = func(string) error { <-hang; return errors.New("too late") }
		defer close(hang)
		err := server.Client(nil).SigningSecret.Revoke(t.Context(), old, store, &diffhook.SecretRotationOptions{
			Receivers: map[string]diffhook.Receiver{"web-1": diffhook.LocalReceiver(v)},
		})
		require.ErrorContains(t, err, "the store failed to load the signing secret")
		assert.False(t, server.Secrets().Current.Equal(leaked))
		assert.True(t, server.Secrets().NoPrevious)
		require.ErrorIs(t, v.Verify(t.Context(), []byte("{}"), leaked.Sign([]byte("{}"))), diffhook.ErrSecretsUnavailable)
	})
}

// An API that says nothing of a previous secret does not say that there is none:
// the old one is drained, and revoked, all the same.
func TestReplaceWhereTheAPIDoesNotSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store, v, old := newHazards(t)
		previous := regexp.MustCompile(`,"previous":(null|\{[^}]*\})`)
		client := server.Client(&diffhook.ClientOptions{HTTPClient: &http.Client{Transport: silent{server, previous}}})
		replace := func() error {
			return client.SigningSecret.Replace(t.Context(), old, store, &diffhook.SecretRotationOptions{
				Receivers: map[string]diffhook.Receiver{"web-1": diffhook.LocalReceiver(v)},
			})
		}
		down := errors.New("down")
		store.before = func(operation string) error {
			if operation == "save" {
				return down
			}
			return nil
		}
		require.ErrorIs(t, replace(), down)
		store.before = nil
		began := time.Now()
		require.NoError(t, replace())
		assert.GreaterOrEqual(t, time.Since(began), 2*time.Minute)
		assert.True(t, server.Secrets().NoPrevious)
		assert.Equal(t, 1, server.Count("POST /api/signing-secret/rotate"))
	})
}

// silent takes a part out of all answers.
type silent struct {
	server *diffhooktest.Server
	part   *regexp.Regexp
}

func (s silent) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := diffhooktest.Transport(s.server).RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	body = s.part.ReplaceAll(body, nil)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Del("Content-Length")
	return resp, nil
}
