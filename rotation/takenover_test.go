package rotation_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

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

// takeOver begins a rotation, and ends the new secret by RevokeSecret after some time. It
// returns when the rotation has ended too.
func (w *world) takeOver(after time.Duration, change func(*rotation.SecretOptions), leaked func() diffhook.Secret) {
	w.t.Helper()
	ended := make(chan error, 1)
	go func() {
		_, err := w.run(w.first.Fingerprint(), 0, change)
		ended <- err
	}()
	time.Sleep(after)
	require.NoError(w.t, w.revoke(leaked().Fingerprint()))
	require.Error(w.t, <-ended, "the rotation lost the document")
}

// A rotation that lost the document to RevokeSecret does not know it for some seconds:
// nothing of that rotation comes after the end of the revocation.
func TestSecretDoesNothingAfterRevokeSecretTookOver(t *testing.T) {
	newest := func(w *world) func() diffhook.Secret {
		return func() diffhook.Secret { return w.team.Secrets().Current }
	}
	synctest.Test(t, func(t *testing.T) { // no renewal of the hold
		w := newWorld(t, false, 0)
		w.takeOver(30*time.Second, nil, func() diffhook.Secret { return w.first })
		v, _ := w.servers["web-1"].now()
		require.Zero(t, v.Status().Hold.Until)
	})
	synctest.Test(t, func(t *testing.T) { // no click
		w := newWorld(t, false, 0)
		w.takeOver(5*time.Second, func(o *rotation.SecretOptions) {
			o.Receivers["web-1"] = slowHold{o.Receivers["web-1"]}
		}, newest(w))
		require.Equal(t, 1, w.rotations)
		w.requireCurrent()
	})
	synctest.Test(t, func(t *testing.T) { // no Publish
		w := newWorld(t, false, 0)
		var over bool
		w.takeOver(22*time.Second, func(o *rotation.SecretOptions) {
			o.Publish = func(context.Context, diffhook.Secrets) error {
				if w.rotations == 2 {
					over = true
				}
				return errors.New("down")
			}
		}, newest(w))
		require.False(t, over, "the leaked secret was published again")
	})
}

type slowHold struct{ rotation.Receiver }

func (r slowHold) Hold(ctx context.Context, d time.Duration) error {
	time.Sleep(9 * time.Second)
	return r.Receiver.Hold(ctx, d)
}
