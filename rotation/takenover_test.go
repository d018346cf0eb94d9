package rotation_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

// A revocation was finished without a server. When the server is up again, another run
// does not return nil while a source names the leaked secret.
func TestRevokeSecretLooksAtServersAfterTheEnd(t *testing.T) {
	for name, stale := range map[string]func(w *world) diffhook.Secrets{
		"current": func(w *world) diffhook.Secrets { return diffhook.Secrets{Current: w.first} },
		"previous": func(w *world) diffhook.Secrets {
			return diffhook.Secrets{Current: w.team.Secrets().Current, Previous: w.first}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, true, 0, 0)
				_, err := w.revokeOnce(w.first.Fingerprint(), 0, func(o *rotation.RevokeOptions) { delete(o.Receivers, "web-2") })
				require.NoError(t, err)
				s := w.servers["web-2"]
				document := s.source
				s.source = stale(w)
				require.NoError(t, s.restart())
				asked := len(w.person.questions)
				_, err = w.revokeOnce(w.first.Fingerprint(), 0, nil)
				require.ErrorContains(t, err, "web-2")
				s.source = document
				require.NoError(t, s.restart())
				require.NoError(t, w.revoke(w.first.Fingerprint()))
				require.Equal(t, asked, len(w.person.questions), "nobody is asked again")
				w.requireRejected(w.first)
			})
		})
	}
}

// A click in the app after the answer of the API, and before the revocation.
func TestRevokeSecretFindsAClickAfterTheRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, false, 0)
		_, err := w.revokeOnce(w.first.Fingerprint(), 0, func(o *rotation.RevokeOptions) {
			o.Publish = func(context.Context, diffhook.Secrets) error {
				if w.rotations == 1 {
					w.team.Rotate()
				}
				return nil
			}
		})
		require.ErrorIs(t, err, rotation.ErrMismatch)
		require.Zero(t, w.revocations)
	})
}

// A read straight after the rotation that still shows the old secret is no mismatch.
func TestRevokeSecretGoesOnAfterALateRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, false, 0)
		o := w.options()
		p := lateRead{rotation.API(w.team.Client(nil)), w.team.Secrets()}
		require.NoError(t, rotation.RevokeSecret(t.Context(), w.first.Fingerprint(), p, w.store, &rotation.RevokeOptions{Receivers: o.Receivers}))
		w.requireCurrent()
	})
}

// lateRead shows the secrets of before the rotation.
type lateRead struct {
	rotation.SecretPlatform
	before diffhook.Secrets
}

func (p lateRead) Signing(context.Context, diffhook.Secret) (diffhook.Secrets, error) {
	return p.before, nil
}
