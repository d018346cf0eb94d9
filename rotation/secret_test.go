package rotation_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/rotation"
)

// platforms are both ways to change a secret, by hand or not.
var platforms = map[string]bool{"by hand": true, "by the API": false}

func TestSecretRotates(t *testing.T) {
	for name, byHand := range platforms {
		for _, lag := range []time.Duration{0, 100 * time.Second} {
			t.Run(fmt.Sprint(name, ", servers ", lag, " late"), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, byHand, 0, lag)
					_, err := w.run(w.first.Fingerprint(), 0, nil)
					require.NoError(t, err)
					w.requireRotated()
					state, err := rotation.State(t.Context(), w.store)
					require.NoError(t, err)
					require.Zero(t, state.RunUntil, "the lease is given back")
					_, err = w.run(w.first.Fingerprint(), 0, nil)
					require.NoError(t, err, "a second run has nothing to do")
					w.requireRotated()
				})
			})
		}
	}
}
