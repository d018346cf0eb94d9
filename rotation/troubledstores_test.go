package rotation_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/rotation"
)

// Stores with lags, conflicts, lost responses, failures or another form of the document.
func TestSecretWithTroubledStores(t *testing.T) {
	broken := errors.New("the store is down")
	for name, trouble := range map[string]func(m *memory){
		"reformats":      func(m *memory) { m.reformat = true },
		"lags":           func(m *memory) { m.lag = 3 * time.Second },
		"loses answers":  func(m *memory) { m.swap = func(_ int, do func() error) error { return errors.Join(do(), broken) } },
		"fails at times": func(m *memory) { m.swap = func(n int, do func() error) error { return sometimes(n, broken, do) } },
		"conflicts after the save": func(m *memory) {
			m.swap = func(_ int, do func() error) error { return errors.Join(do(), rotation.ErrConflict) }
		},
		"cannot be read at times": func(m *memory) {
			n := 0
			m.get = func() error { n++; return sometimes(n, broken, func() error { return nil }) }
		},
	} {
		for platform, byHand := range platforms {
			t.Run(name+", "+platform, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, byHand, 0, 20*time.Second)
					trouble(w.store)
					sent, lost := w.traffic(1, false, func() { require.NoError(t, w.finish(w.first.Fingerprint())) })
					time.Sleep(time.Minute)
					w.store.lag, w.store.get = 0, nil
					w.requireRotated()
					require.Zero(t, lost, "of %d", sent)
				})
			})
		}
	}
}

func sometimes(n int, err error, do func() error) error {
	if n%3 == 0 {
		return err
	}
	return do()
}

// The store fails after the click: the error says so, without the secret, and the next
// run finds the new secret at DiffHook.
func TestSecretFindsTheNewSecretThatWasNotSaved(t *testing.T) {
	for name, byHand := range platforms {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, byHand, 0)
				w.store.swap = func(_ int, do func() error) error {
					if w.rotations > 0 {
						return fmt.Errorf("refused to write %s after %s", w.team.Secrets().Current.Reveal(), w.first.Reveal())
					}
					return do()
				}
				_, err := w.run(w.first.Fingerprint(), 0, nil)
				require.ErrorContains(t, err, "refused to write")
				require.NotContains(t, err.Error(), w.team.Secrets().Current.Reveal())
				require.NotContains(t, err.Error(), w.first.Reveal())
				w.store.swap = nil
				require.NoError(t, w.finish(w.first.Fingerprint()))
				w.requireRotated()
			})
		})
	}
}
