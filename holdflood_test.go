//go:build !race

package diffhook_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// Not under the race detector, which needs memory of its own.

// memoryHeld returns the memory in use: the heap, and the stacks of goroutines.
func memoryHeld() int64 {
	runtime.GC()
	runtime.GC()
	runtime.GC() // what pools and other tests have left
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// Threat: forgeries during a hold, of any size. They fill the hold and no more than
// that, and genuine deliveries that known secrets signed are accepted all the while.
// What is pending, with the goroutines, takes no more either.
func TestFloodFillsAHoldAndNoMore(t *testing.T) {
	const bound = 16 << 20
	for _, size := range []int{100, 4<<10 + 1, 40<<10 + 1, 1300 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			release := make(chan struct{})
			v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, &diffhook.VerifierOptions{
				MaxHeldBytes: bound,
				HandleHeld:   func(context.Context, *diffhook.Delivery) error { <-release; return nil },
			})
			require.NoError(t, v.Hold(time.Hour))
			body := make([]byte, size)
			forged, genuine := letter(t, "B").Sign(body), letter(t, "A").Sign(body)
			before := memoryHeld()
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 2 * bound / (size + 4<<10) / 4 {
						_, err := v.VerifyRequest(signedRequest(body, forged))
						assert.Contains(t, []int{http.StatusAccepted, http.StatusServiceUnavailable}, diffhook.HTTPStatus(err))
						_, err = v.VerifyRequest(signedRequest(body, genuine))
						assert.NoError(t, err)
					}
				})
			}
			wg.Wait()
			held := memoryHeld() - before
			status := v.Status().Hold
			t.Logf("%d forgeries of %d bytes held in %.1f MiB, %d refused", status.Held, size, float64(held)/(1<<20), status.Full)
			require.NotZero(t, status.Full, "it is a flood")
			require.Less(t, held, int64(bound))

			require.NoError(t, v.Rotate(letter(t, "B"), 0)) // now they are genuine
			pending := memoryHeld() - before
			t.Logf("pending they take %.1f MiB", float64(pending)/(1<<20))
			require.Less(t, pending, int64(bound)+2<<20, "2 MiB for stacks that other tests have left in use")
			close(release)
			require.NoError(t, v.Drain(t.Context()))
			require.NoError(t, v.Hold(0))
			require.EqualValues(t, status.Held, v.Status().Hold.Handled)
		})
	}
}
