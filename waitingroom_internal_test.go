package diffhook

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Under 2,000 forgeries a second, the memory in which they wait stays within the
// bound, and the timers that end their waits are few. All of it is given back.
func TestFloodWaitsInBoundedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := Secrets{Current: testSecret(t, "A")}
		v, err := NewVerifier(t.Context(), SecretSourceFunc(func(context.Context) (Secrets, error) { return answer, nil }), nil)
		require.NoError(t, err)
		state := v.live()
		body := make([]byte, 1<<10)
		forged := testSecret(t, "Z").Sign(body)
		genuine := answer.Current.Sign(body)
		limits := map[*waitLimit]bool{}
		var most int64
		var wg sync.WaitGroup
		const seconds = 20
		for range seconds * 100 {
			for range 20 {
				wg.Go(func() { assert.Error(t, v.Verify(t.Context(), body, forged)) })
			}
			synctest.Wait()
			require.NoError(t, v.Verify(t.Context(), body, genuine))
			state.mu.Lock()
			most = max(most, state.read.waiting)
			limits[state.read.limit] = true
			state.mu.Unlock()
			<-time.After(10 * time.Millisecond)
		}
		wg.Wait()
		assert.LessOrEqual(t, most, int64(maxWaitingBytes))
		assert.Greater(t, most, int64(maxWaitingBytes*9/10), "it is a flood")
		assert.LessOrEqual(t, len(limits), 2*seconds+1, "timers")
		assert.Zero(t, state.read.waiting)
	})
}
