package rotation_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A process that is gone at any save, question or request, before or after it is
// handled: the next run continues, and no delivery is lost.
func TestSecretContinuesAfterACrashAtEveryPoint(t *testing.T) {
	for name, byHand := range platforms {
		for _, pause := range []time.Duration{5 * time.Second, 15 * time.Minute} {
			t.Run(fmt.Sprint(name, ", run again after ", pause), func(t *testing.T) {
				points := 0
				for at := 1; ; at++ {
					gone := true
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t, byHand, 0, 70*time.Second)
						var f *fuse
						sent, lost := w.traffic(1, at%2 == 0, func() {
							var err error
							if f, err = w.run(w.first.Fingerprint(), at, nil); err == nil {
								gone = f.dead.Load()
								return
							}
							time.Sleep(pause)
							assert.NoError(t, w.finish(w.first.Fingerprint()), f.label)
						})
						w.requireRotated()
						require.Zero(t, lost, "of %d; crash %s", sent, f.label)
						require.Positive(t, sent)
					})
					if !gone {
						break
					}
					points++
				}
				require.Greater(t, points, 20)
				t.Log(points, "points")
			})
		}
	}
}
