package diffhook_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// The flood: for two minutes, 300 forgeries a second try to keep a rotation
// from being learned, while 300 events signed with the new secret arrive with
// generation 1's three attempts in 35 s. All events get in, the source is read
// as rarely as promised, and no delivery waits for longer than 8 s.
func TestFloodDuringRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{delay: 500 * time.Millisecond}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "A")})
		h := v.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()

		var wg sync.WaitGroup
		var forgeries, most atomic.Int64
		forger := diffhooktest.NewSender(letter(t, "D"), &diffhooktest.SenderOptions{Retries: []time.Duration{}})
		wg.Go(func() {
			for ctx.Err() == nil {
				for range 30 {
					wg.Go(func() {
						result := forger.SendTo(ctx, h, []byte(`{"forged":true}`))
						assert.False(t, result.Delivered)
						forgeries.Add(1)
					})
				}
				<-time.After(100 * time.Millisecond)
				most.Store(max(most.Load(), int64(runtime.NumGoroutine())))
			}
		})

		<-time.After(12345 * time.Millisecond)
		source.set(diffhook.Secrets{Current: letter(t, "B")}, nil)
		sender := diffhooktest.NewSender(letter(t, "B"), nil)
		for range 300 {
			wg.Go(func() {
				result := sender.SendTo(t.Context(), h, diffhooktest.PageChanged())
				assert.True(t, result.Delivered, "%+v", result)
			})
			<-time.After(50 * time.Millisecond)
		}
		wg.Wait()
		<-time.After(time.Second) // the last read ends
		assert.Greater(t, forgeries.Load(), int64(30_000))
		assert.LessOrEqual(t, source.count()-1, 3+12, "three, and once in 10 s up to 120 s")
		assert.EqualValues(t, 1, source.most.Load())
		assert.Less(t, most.Load(), int64(8000), "goroutines, three for each forgery of 8 s at most, those of the test included")
	})
}

// 64 goroutines verify while the secret is rotated, refreshed and rejected. A
// secret is published as valid after the step that makes it so, and withdrawn
// before the step that ends it: what lies between must be accepted, and what
// has been ended must be refused.
func TestRotationUnderLoad(t *testing.T) {
	const rotations = 100
	secrets := make([]diffhook.Secret, rotations+2)
	for i := range secrets {
		secrets[i] = diffhooktest.NewSecret()
	}
	source := &settableSource{answer: diffhook.Secrets{Current: secrets[0]}}
	v := newVerifier(t, source, &diffhook.VerifierOptions{MinRefreshInterval: 1<<63 - 1})

	var oldest, newest, dead atomic.Int64 // valid: oldest…newest; refused: below dead
	var done atomic.Bool
	var accepted, refused atomic.Int64
	var wg sync.WaitGroup
	for worker := range 64 {
		wg.Go(func() {
			body := []byte(fmt.Sprintf(`{"worker":%d}`, worker))
			for n := 0; !done.Load(); n++ {
				first, last, ended := oldest.Load(), newest.Load(), dead.Load()
				i := max(0, last-int64(n%4)) // the current one, and those before it
				err := v.Verify(t.Context(), body, secrets[i].Sign(body))
				switch {
				case err == nil:
					accepted.Add(1)
					assert.GreaterOrEqual(t, i, ended, "a secret that had been refused was accepted")
				case i >= first && i >= oldest.Load():
					t.Errorf("valid all the time, and refused: %v", err)
				default:
					refused.Add(1)
					assert.ErrorIs(t, err, diffhook.ErrSignatureMismatch)
				}
				err = v.Verify(t.Context(), body, secrets[rotations+1].Sign(body))
				assert.ErrorIs(t, err, diffhook.ErrSignatureMismatch, "a forgery")
			}
		})
	}
	for i := int64(1); i <= rotations; i++ {
		oldest.Store(i - 1) // the one before the replaced one is dropped
		if i%2 == 0 {
			require.NoError(t, v.Rotate(secrets[i], time.Hour))
		} else {
			source.set(diffhook.Secrets{Current: secrets[i], Previous: secrets[i-1]}, nil)
			require.NoError(t, v.Refresh(t.Context()))
		}
		dead.Store(i - 1)
		newest.Store(i)
		runtime.Gosched()
		if i%3 == 0 {
			oldest.Store(i)
			require.NoError(t, v.Reject(secrets[i-1].Fingerprint()))
			dead.Store(i)
		}
		for before := accepted.Load(); accepted.Load() < before+50; {
			runtime.Gosched()
		}
	}
	done.Store(true)
	wg.Wait()
	assert.Positive(t, refused.Load())
}
