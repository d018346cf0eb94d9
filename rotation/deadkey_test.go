package rotation_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

// The new key is deleted in phase promoted: the old key stays, and the error says how to
// go on, also with DeleteNow.
func TestKeyKeepsTheOldKeyWithoutTheNewKey(t *testing.T) {
	for name, byHand := range map[string]bool{"during the wait, by the API": false, "in place of a key to discard, by hand": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newKeyWorld(t, byHand, 1)
				w.interruptCreate()
				deleted := false
				remove := func(s rotation.Step) {
					if s.Name == rotation.StepDelete && byHand || s.Name == rotation.StepDrain && !byHand {
						for _, k := range w.team.Keys() {
							if k.Key.Reveal() == w.current().Key && w.current().Key != w.first.Key {
								w.team.RevokeKey(k.ID)
								deleted = true
							}
						}
					}
				}
				_, err := w.run(0, func(o *rotation.KeyOptions) { o.Observe = remove })
				require.True(t, deleted)
				require.ErrorIs(t, err, rotation.ErrMismatch)
				require.ErrorContains(t, err, "the field previous")
				_, err = w.run(0, func(o *rotation.KeyOptions) { o.DeleteNow = true })
				require.ErrorIs(t, err, rotation.ErrMismatch)
				require.ErrorContains(t, err, "the field previous")
				c, err := diffhook.NewClient(mustCredentials(t, w.first), w.clientOptions())
				require.NoError(t, err)
				_, err = c.Monitors.List(t.Context(), nil)
				require.NoError(t, err, "the old key works")
			})
		})
	}
}

// A new key that does not work everywhere yet is not called dead before the deletion, and
// after a short failure of the API, the wait does not begin anew.
func TestKeyTriesTheNewKeyForAWhileBeforeTheDeletion(t *testing.T) {
	for _, failure := range []error{diffhook.ErrUnauthorized, errors.New("connection refused")} {
		synctest.Test(t, func(t *testing.T) {
			w := newKeyWorld(t, false, 1)
			spreading := &spreadingKeys{KeyPlatform: rotation.API(w.platf.Client(nil)), old: w.first, failure: failure}
			require.NoError(t, rotation.Key(t.Context(), w.first.ID, spreading, w.store, &rotation.KeyOptions{Label: "web", DeleteNow: true}))
			require.Equal(t, 5, spreading.n)
			w.requireReplaced()
		})
	}
}

// A document from a rotation by hand has the label as the id. The API neither takes the
// key for deleted nor waits: the error says how to go on.
func TestKeyByTheAPIStopsAtALabel(t *testing.T) {
	for name, at := range map[string]string{"idle": "before check", "promoted": "before unused"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newKeyWorld(t, true, 1)
				w.interrupt(at, func(at int) *fuse { f, _ := w.run(at, nil); return f })
				for _, now := range []bool{false, true} {
					w.byHand = false
					_, err := w.run(0, func(o *rotation.KeyOptions) { o.DeleteNow = now })
					require.ErrorIs(t, err, rotation.ErrMismatch)
					require.ErrorContains(t, err, "rotate this key by hand")
				}
				w.byHand = true
				require.NoError(t, w.finish())
			})
		})
	}
}

// spreadingKeys fails from the second to the fourth request with a new key.
type spreadingKeys struct {
	rotation.KeyPlatform
	old     rotation.Pair
	failure error
	n       int
}

func (s *spreadingKeys) Monitors(ctx context.Context, p rotation.Pair) ([]string, error) {
	if p != s.old {
		if s.n++; 2 <= s.n && s.n <= 4 {
			return nil, s.failure
		}
	}
	return s.KeyPlatform.Monitors(ctx, p)
}
