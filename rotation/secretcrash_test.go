package rotation_test

import (
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A crash at any save, question or request, before or after the effect: the next run
// continues, and no delivery is lost.
func TestSecretContinuesAfterACrashAtEveryPoint(t *testing.T) {
	for name, byHand := range platforms {
		for _, pause := range []time.Duration{5 * time.Second, 15 * time.Minute} {
			t.Run(fmt.Sprint(name, ", run again after ", pause), func(t *testing.T) {
				eachPoint(t, func(t *testing.T, at int) (gone bool) {
					w := newWorld(t, byHand, 0, 70*time.Second)
					var f *fuse
					sent, lost := w.traffic(1, at%2 == 0, func() {
						var err error
						if f, err = w.run(w.first.Fingerprint(), at, nil); err == nil {
							return
						}
						time.Sleep(pause)
						assert.NoError(t, w.finish(w.first.Fingerprint()), f.label)
					})
					w.requireRotated()
					require.Zero(t, lost, "of %d; crash %s", sent, f.label)
					require.Positive(t, sent)
					return f.dead.Load()
				})
			})
		}
	}
}

// isExhaustive reports whether tests take all cases, and not some in a fixed order.
func isExhaustive() bool { return os.Getenv("DIFFHOOK_TEST_PATHS") == "all" }

// eachPoint calls crash for each fifth point of a process, or for each point if
// isExhaustive, until the process ends before the point.
func eachPoint(t *testing.T, crash func(t *testing.T, at int) (gone bool)) {
	t.Helper()
	step := 5
	if isExhaustive() {
		step = 1
	}
	at := 1
	for gone := true; gone; at += step {
		synctest.Test(t, func(t *testing.T) { gone = crash(t, at) })
	}
	require.Greater(t, at, 10)
	t.Log((at-1)/step-1, "points")
}
