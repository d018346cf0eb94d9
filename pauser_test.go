package diffhook_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// sharedPause is a Pauser without a rate.
type sharedPause struct {
	mu     sync.Mutex
	until  time.Time
	pauses []time.Duration
	ctxErr error
}

func (p *sharedPause) Wait(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if rest := time.Until(p.until); rest > 0 {
		return &diffhook.PauseError{Wait: rest}
	}
	return nil
}

func (p *sharedPause) Pause(ctx context.Context, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until, p.pauses, p.ctxErr = time.Now().Add(d), append(p.pauses, d), ctx.Err()
}

// TestPauserSharesA429: a client stops for the 429 of another client. If the pause
// is longer than MaxRetryWait, the client fails at once.
func TestPauserSharesA429(t *testing.T) {
	for _, test := range []struct {
		name         string
		named, pause time.Duration
		maxRetryWait time.Duration
		refused      bool
	}{
		{"named", 40 * time.Second, 40 * time.Second, 0, false},
		{"unnamed", 0, 5 * time.Second, 0, false},
		{"longer than MaxRetryWait", 40 * time.Second, 40 * time.Second, 30 * time.Second, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newBubbleServer(t)
				shared := &sharedPause{}
				opts := diffhook.ClientOptions{Limiter: shared, MaxAttempts: 1, MaxRetryWait: test.maxRetryWait}
				first, second := s.Client(&opts), s.Client(&opts)
				s.Fail(diffhooktest.Fault{Status: http.StatusTooManyRequests, RetryAfter: test.named})
				require.ErrorIs(t, listKeys(t.Context(), first), diffhook.ErrRateLimited)
				began := time.Now()

				err := listKeys(t.Context(), second)
				if test.refused {
					var api *diffhook.APIError
					require.ErrorAs(t, err, &api)
					assert.Equal(t, test.pause, api.RetryAfter)
					assert.Zero(t, time.Since(began))
				} else {
					require.NoError(t, err)
					assert.Equal(t, test.pause, time.Since(began))
				}
				assert.Equal(t, []time.Duration{test.pause}, shared.pauses)
			})
		})
	}
}

// TestPauserLearnsOfACancelledCall: other processes must stop, even if the call with
// the 429 was cancelled.
func TestPauserLearnsOfACancelledCall(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	shared := &sharedPause{}
	client := newTransportClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		cancel()
		response := httptest.NewRecorder()
		response.Header().Set("Retry-After", "30")
		response.WriteHeader(http.StatusTooManyRequests)
		return response.Result(), nil
	}), &diffhook.ClientOptions{Limiter: shared})
	require.Error(t, listKeys(ctx, client))
	assert.Equal(t, []time.Duration{30 * time.Second}, shared.pauses)
	assert.NoError(t, shared.ctxErr)
}

// TestPauserIsNotCalledDuringAPause: a 429 to a request that was sent before the pause
// names no time, so that the pause of the other processes stays as it is.
func TestPauserIsNotCalledDuringAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := &sharedPause{}
		both := make(chan struct{}, 2)
		client := newTransportClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
			both <- struct{}{}
			time.Sleep(time.Second) // both requests are on the way
			response := httptest.NewRecorder()
			response.WriteHeader(http.StatusTooManyRequests)
			return response.Result(), nil
		}), &diffhook.ClientOptions{Limiter: shared, MaxAttempts: 1})
		var calls sync.WaitGroup
		for range 2 {
			calls.Go(func() { assert.ErrorIs(t, listKeys(t.Context(), client), diffhook.ErrRateLimited) })
		}
		calls.Wait()
		assert.Len(t, both, 2)
		assert.Equal(t, []time.Duration{5 * time.Second}, shared.pauses)
	})
}

// TestPauseErrorIsBounded: an error of another system stops a client for 10 minutes at
// most, and an error without a wait is an error of the limiter.
func TestPauseErrorIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBubbleServer(t)
		answers := []error{&diffhook.PauseError{Wait: 24 * time.Hour}}
		client := s.Client(&diffhook.ClientOptions{MaxAttempts: 1, Limiter: limiterFunc(func(context.Context) (err error) {
			if len(answers) > 0 {
				err, answers = answers[0], answers[1:]
			}
			return err
		})})
		require.ErrorIs(t, listKeys(t.Context(), client), diffhook.ErrRateLimited)
		time.Sleep(10 * time.Minute)
		require.NoError(t, listKeys(t.Context(), client))

		var paused *diffhook.PauseError
		for _, wait := range []time.Duration{0, -time.Second} {
			answers = []error{&diffhook.PauseError{Wait: wait}}
			began := time.Now()
			require.ErrorAs(t, listKeys(t.Context(), client), &paused)
			assert.Zero(t, time.Since(began))
		}
	})
}
