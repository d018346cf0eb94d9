package diffhook_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// demand has goroutines make a call again and again for d, and until the last
// one has returned. It returns how many calls failed, and one of their errors;
// a goroutine ends with its first.
func demand(goroutines int, d time.Duration, call func() error) (failed int, example error) {
	var mu sync.Mutex
	var callers sync.WaitGroup
	end := time.Now().Add(d)
	for range goroutines {
		callers.Go(func() {
			for time.Now().Before(end) {
				if err := call(); err != nil {
					mu.Lock()
					failed, example = failed+1, err
					mu.Unlock()
					return
				}
			}
		})
	}
	callers.Wait()
	return failed, example
}

// refusals returns when the emulator answered 429.
func refusals(s *diffhooktest.Server) (at []time.Time) {
	for _, r := range s.Requests() {
		if r.Status == http.StatusTooManyRequests {
			at = append(at, r.Time)
		}
	}
	return at
}

// startLog is when requests started.
type startLog struct {
	mu sync.Mutex
	at []time.Time
}

func (l *startLog) add() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = append(l.at, time.Now())
}

// requireAtMost fails where more than n began in any 60 s.
func (l *startLog) requireAtMost(t *testing.T, n int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.SortFunc(l.at, time.Time.Compare)
	for i := n; i < len(l.at); i++ {
		if took := l.at[i].Sub(l.at[i-n]); took < time.Minute {
			require.Failf(t, "too many", "%d began within %v, from %v on", n+1, took, l.at[i-n].Sub(l.at[0]))
		}
	}
}

// during returns how many began in the first d.
func (l *startLog) during(d time.Duration) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range l.at {
		if at.Sub(l.at[0]) < d {
			n++
		}
	}
	return n
}

// TestPlanLimiter: whatever the plan, no 60 s see more starts than it allows,
// wherever they begin, and little of it is left unused.
func TestPlanLimiter(t *testing.T) {
	for _, c := range []struct{ given, allowed int }{
		{1, 1}, {2, 2}, {5, 5}, {10, 10}, {20, 20}, {59, 59}, {60, 60}, {200, 200}, {1000, 1000},
		{0, diffhook.FreePlan}, {-1, diffhook.FreePlan},
	} {
		t.Run(strconv.Itoa(c.given), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const long = 30 * time.Minute
				limiter := diffhook.PlanLimiter(c.given)
				var starts startLog
				wait := func() error {
					err := limiter.Wait(t.Context())
					if err == nil {
						starts.add()
					}
					return err
				}
				failed, err := demand(50, long, wait)
				require.Zero(t, failed, err)
				starts.requireAtMost(t, c.allowed)
				if c.allowed >= 10 {
					assert.GreaterOrEqual(t, float64(starts.during(long)), 0.9*float64(c.allowed)*long.Minutes())
				} else {
					assert.GreaterOrEqual(t, starts.during(long), int(long.Minutes())*max(1, c.allowed-1)*9/10)
				}

				// What was saved up in a quiet time is no licence for more.
				for _, quiet := range []time.Duration{time.Second, 30 * time.Second, time.Minute, time.Hour} {
					pause(quiet)
					failed, err = demand(50, 2*time.Minute, wait)
					require.Zero(t, failed, err)
				}
				starts.requireAtMost(t, c.allowed)
			})
		})
	}
}

// delayed is a transport behind a network that takes its time.
type delayed struct {
	to    http.RoundTripper
	delay func() time.Duration
}

func (d delayed) RoundTrip(r *http.Request) (*http.Response, error) {
	pause(d.delay())
	return d.to.RoundTrip(r)
}

// TestClientDrawsNo429: 500 goroutines on one client with the default limiter
// use the plan's requests, and not one more, also where a network changes the
// distances between them.
func TestClientDrawsNo429(t *testing.T) {
	for _, c := range []struct {
		name       string
		generation int
		delay      func() time.Duration
	}{
		{"at once", 1, func() time.Duration { return 0 }},
		{"at once, generation 2", 2, func() time.Duration { return 0 }},
		{"each after the same time", 1, func() time.Duration { return 300 * time.Millisecond }},
		{"after up to a second", 1, func() time.Duration { return rand.N(time.Second) }},
		{"after nothing or a second", 1, func() time.Duration { return time.Duration(rand.IntN(2)) * time.Second }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const long = 11 * time.Minute
				s := diffhooktest.New()
				t.Cleanup(s.Close)
				connect := s.Client
				if c.generation == 2 {
					connect = s.ClientGen2
				}
				client := connect(&diffhook.ClientOptions{Limiter: diffhook.PlanLimiter(diffhook.FreePlan), HTTPClient: &http.Client{Transport: delayed{diffhooktest.Transport(s), c.delay}}})
				began := s.Now()
				failed, err := demand(500, long, func() error { return listKeys(t.Context(), client) })
				require.Zero(t, failed, err)
				assert.Empty(t, refusals(s))
				used := 0
				for _, r := range s.Requests() {
					if r.Time.Sub(began) < long {
						used++
					}
				}
				assert.GreaterOrEqual(t, float64(used), 0.9*diffhook.FreePlan*long.Minutes())
			})
		})
	}
}

// TestRefusalStopsAll: where something else uses up the allowance, the first
// 429 is the last: nothing starts until the time it names, and what goes on
// then does not draw another.
func TestRefusalStopsAll(t *testing.T) {
	for _, generation := range []int{1, 2} {
		for _, late := range []time.Duration{0, 10 * time.Second, 25500 * time.Millisecond} {
			t.Run("generation "+strconv.Itoa(generation)+", "+late.String()+" later", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := diffhooktest.New()
					t.Cleanup(s.Close)
					client := s.Client(&diffhook.ClientOptions{Limiter: diffhook.PlanLimiter(diffhook.FreePlan)})
					if generation == 2 {
						client = s.ClientGen2(&diffhook.ClientOptions{Limiter: diffhook.PlanLimiter(diffhook.FreePlan)})
						require.NoError(t, listKeys(t.Context(), client))
						pause(2 * time.Minute) // its request counts no more
					}
					other := s.Client(&diffhook.ClientOptions{Limiter: unlimited(), MaxAttempts: 1})
					for range diffhook.FreePlan { // at once, so that all of it comes back at once
						require.NoError(t, listKeys(t.Context(), other))
					}
					usedUp := s.Now()
					pause(late)

					failed, err := demand(50, 5*time.Minute, func() error { return listKeys(t.Context(), client) })
					require.Zero(t, failed, err)
					refused := refusals(s)
					require.NotEmpty(t, refused)
					// Those that start together learn of it together.
					assert.LessOrEqual(t, len(refused), diffhook.FreePlan/20)
					assert.Equal(t, usedUp.Add(late), refused[len(refused)-1])
					for _, r := range s.Requests() {
						since := r.Time.Sub(usedUp)
						assert.False(t, since > late && since < time.Minute, "one started %v after", since)
					}
				})
			})
		}
	}
}

// TestRefusalReachesThoseInLine: goroutines that already wait for their turn
// at the limiter stop too, and do not start in a burst once the pause is over.
func TestRefusalReachesThoseInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := diffhooktest.New()
		t.Cleanup(s.Close)
		client := s.Client(&diffhook.ClientOptions{Limiter: diffhook.PlanLimiter(diffhook.FreePlan)})
		time.AfterFunc(20500*time.Millisecond, func() {
			s.Fail(diffhooktest.Fault{Status: http.StatusTooManyRequests, RetryAfter: 45 * time.Second})
		})
		failed, err := demand(50, 5*time.Minute, func() error { return listKeys(t.Context(), client) })
		require.Zero(t, failed, err)
		refused := refusals(s)
		require.Len(t, refused, 1)
		var starts startLog
		for _, r := range s.Requests() {
			starts.at = append(starts.at, r.Time)
			since := r.Time.Sub(refused[0])
			assert.False(t, since > 0 && since < 45*time.Second, "one started %v after", since)
		}
		starts.requireAtMost(t, diffhook.FreePlan)
	})
}

// TestLongestRefusalCounts: one that names a shorter time, and comes later, as
// with several limits at once, does not end the pause.
func TestLongestRefusalCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBubbleServer(t)
		client := s.Client(&diffhook.ClientOptions{Limiter: unlimited()})
		began := s.Now()
		s.Fail(diffhooktest.Fault{Status: http.StatusTooManyRequests, RetryAfter: 40 * time.Second})
		s.Fail(diffhooktest.Fault{Status: http.StatusTooManyRequests, RetryAfter: 5 * time.Second, Delay: time.Second})
		var callers sync.WaitGroup
		for range 2 {
			callers.Go(func() { assert.NoError(t, listKeys(t.Context(), client)) })
		}
		callers.Wait()
		requests := s.Requests()
		require.Len(t, requests, 4)
		for _, r := range requests[2:] {
			assert.GreaterOrEqual(t, r.Time.Sub(began), 40*time.Second)
		}
	})
}

// TestRefusalForTooLong: a pause that is longer than a caller is ready to wait
// is the error, at once, of this call and of those that come while it lasts.
func TestRefusalForTooLong(t *testing.T) {
	for _, generation := range []int{1, 2} {
		t.Run(strconv.Itoa(generation), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newBubbleServer(t)
				opts := &diffhook.ClientOptions{Limiter: unlimited(), MaxRetryWait: 20 * time.Second}
				client := s.Client(opts)
				if generation == 2 {
					client = s.ClientGen2(opts)
					require.NoError(t, listKeys(t.Context(), client))
				}
				before := s.Count("")
				s.Fail(diffhooktest.Fault{Status: http.StatusTooManyRequests, RetryAfter: 10 * time.Minute})
				began := time.Now()
				requireRateLimited := func(retryAfter time.Duration) {
					t.Helper()
					_, _, err := client.Keys.Create(t.Context(), "label")
					require.ErrorIs(t, err, diffhook.ErrRateLimited)
					assert.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown)
					var api *diffhook.APIError
					require.ErrorAs(t, err, &api)
					assert.Equal(t, retryAfter, api.RetryAfter)
					assert.Equal(t, http.StatusTooManyRequests, api.StatusCode)
					assert.ErrorContains(t, err, retryAfter.String())
				}
				requireRateLimited(10 * time.Minute)
				requireRateLimited(10 * time.Minute)
				assert.Zero(t, time.Since(began))
				pause(4 * time.Minute)
				requireRateLimited(6 * time.Minute)
				assert.Equal(t, before+1, s.Count(""), "nothing was sent in the meantime")

				pause(5*time.Minute + 45*time.Second)
				require.NoError(t, listKeys(t.Context(), client), "the last 15 s are waited for")
				assert.Equal(t, 10*time.Minute, time.Since(began))
			})
		})
	}
}

// TestDeadlineBeforeTheTurn: what cannot be done in time fails at once, while
// there is time for something else.
func TestDeadlineBeforeTheTurn(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*testing.T, *diffhooktest.Server, *diffhook.Client)
	}{
		{"at the limiter", func(t *testing.T, _ *diffhooktest.Server, c *diffhook.Client) {
			for range 3 {
				require.NoError(t, listKeys(t.Context(), c))
			}
		}},
		{"in a pause", func(t *testing.T, s *diffhooktest.Server, c *diffhook.Client) {
			s.Fail(diffhooktest.Fault{Status: http.StatusTooManyRequests, RetryAfter: 30 * time.Second})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			require.ErrorIs(t, listKeys(ctx, c), diffhook.ErrRateLimited)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newBubbleServer(t)
				client := s.Client(&diffhook.ClientOptions{Limiter: diffhook.PlanLimiter(diffhook.FreePlan)})
				c.prepare(t, s, client)
				before, began := s.Count(""), time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				_, _, err := client.Keys.Create(ctx, "label")
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assert.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown)
				assert.Zero(t, time.Since(began))
				assert.Equal(t, before, s.Count(""))

				errMoved := errors.New("moved on")
				cause, leave := context.WithCancelCause(t.Context())
				time.AfterFunc(10*time.Millisecond, func() { leave(errMoved) })
				require.ErrorIs(t, listKeys(cause, client), errMoved)
				assert.Equal(t, 10*time.Millisecond, time.Since(began))
			})
		})
	}
}

// limiterFunc is a Limiter of one function.
type limiterFunc func(context.Context) error

func (f limiterFunc) Wait(ctx context.Context) error { return f(ctx) }

// TestRateLimiterIsALimiter, and every attempt takes a turn: the retries too.
func TestRateLimiterIsALimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBubbleServer(t)
		client := s.Client(&diffhook.ClientOptions{Limiter: rate.NewLimiter(rate.Every(20*time.Second), 1)})
		began := s.Now()
		s.Fail(diffhooktest.Fault{Status: http.StatusServiceUnavailable, Times: 2})
		require.NoError(t, listKeys(t.Context(), client))
		require.NoError(t, listKeys(t.Context(), client))
		var at []time.Duration
		for _, r := range s.Requests() {
			at = append(at, r.Time.Sub(began).Round(time.Microsecond))
		}
		assert.Equal(t, []time.Duration{0, 20 * time.Second, 40 * time.Second, time.Minute}, at)
	})
}

// TestLimiterErrors: what a limiter says goes to the caller, and nothing is
// sent.
func TestLimiterErrors(t *testing.T) {
	errBudget := errors.New("the budget is spent")
	for _, c := range []struct {
		name    string
		timeout time.Duration
		limiter diffhook.Limiter
		want    error
	}{
		{"of one's own", 0, limiterFunc(func(context.Context) error { return errBudget }), errBudget},
		{"of one's own, with time left", time.Hour, limiterFunc(func(context.Context) error { return errBudget }), errBudget},
		{"the context's", time.Hour, limiterFunc(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }), context.DeadlineExceeded},
		{"the next turn comes too late", time.Second, spent(rate.NewLimiter(rate.Every(time.Minute), 1)), context.DeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newBubbleServer(t)
				client := s.Client(&diffhook.ClientOptions{Limiter: c.limiter})
				ctx := t.Context()
				if c.timeout > 0 {
					limited, cancel := context.WithTimeout(ctx, c.timeout)
					defer cancel()
					ctx = limited
				}
				_, _, err := client.Keys.Create(ctx, "label")
				require.ErrorIs(t, err, c.want)
				if errors.Is(c.want, errBudget) {
					assert.NotErrorIs(t, err, context.DeadlineExceeded, "there is time left")
				}
				assert.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown)
				assert.Zero(t, s.Count(""))
			})
		})
	}
}

// spent returns a limiter whose turn has been taken.
func spent(l *rate.Limiter) *rate.Limiter {
	l.Allow()
	return l
}

// TestLimiterIsAskedOncePerAttempt: each turn that is taken is used.
func TestLimiterIsAskedOncePerAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBubbleServer(t)
		var turns atomic.Int64
		client := s.Client(&diffhook.ClientOptions{Limiter: limiterFunc(func(context.Context) error { turns.Add(1); return nil })})
		s.Fail(diffhooktest.Fault{Status: http.StatusServiceUnavailable, Times: 3})
		require.NoError(t, listKeys(t.Context(), client))
		assert.EqualValues(t, 4, turns.Load())
		assert.Equal(t, 4, s.Count(""))
	})
}

// waitNumber is the key of a context's value: which call it belongs to.
type waitNumber struct{}

// TestOneCallAtTheLimiter: the calls of a client come to its limiter one at a
// time, in their order. Urgent ones go first, but let one of the others pass
// between them, so that none waits for ever.
func TestOneCallAtTheLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBubbleServer(t)
		var order []any
		var waiting atomic.Int32
		client := s.Client(&diffhook.ClientOptions{Limiter: limiterFunc(func(ctx context.Context) error {
			assert.EqualValues(t, 1, waiting.Add(1))
			defer waiting.Add(-1)
			order = append(order, ctx.Value(waitNumber{}))
			pause(time.Second)
			return nil
		})})
		var calls sync.WaitGroup
		start := func(name string, call func(context.Context) error) {
			calls.Go(func() { assert.NoError(t, call(context.WithValue(t.Context(), waitNumber{}, name))) })
			synctest.Wait()
		}
		list := func(ctx context.Context) error { return listKeys(ctx, client) }
		load := func(ctx context.Context) error { _, err := client.SigningSecret.Load(ctx); return err }
		for _, name := range []string{"1", "2", "3"} {
			start(name, list)
		}
		start("urgent 1", load)
		start("urgent 2", load)
		pause(1500 * time.Millisecond) // urgent 1 is at the limiter; urgent 2 and then 2 wait at the front
		start("urgent 3", load)
		calls.Wait()
		assert.Equal(t, []any{"1", "urgent 1", "urgent 2", "2", "urgent 3", "3"}, order)
	})
}

// TestClientOfManyBubbles: a client that was made outside can be used in one
// bubble after the other, as tests with a client for all of them do.
func TestClientOfManyBubbles(t *testing.T) {
	client := newHandlerClient(t, answeringJSON(http.StatusOK, `{"data":[]}`), nil)
	for range 2 {
		synctest.Test(t, func(t *testing.T) { require.NoError(t, listKeys(t.Context(), client)) })
	}
}

// TestLineSurvivesItsLimiter: a limiter that fails one call, in whatever way,
// has failed that one only.
func TestLineSurvivesItsLimiter(t *testing.T) {
	errBudget := errors.New("the budget is spent")
	for name, fails := range map[string]func(context.Context) error{
		"an error":          func(context.Context) error { return errBudget },
		"panics":            func(context.Context) error { panic("broken limiter") },
		"ends":              func(context.Context) error { runtime.Goexit(); return nil },
		"blocks its caller": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newBubbleServer(t)
				var turns atomic.Int32
				client := s.Client(&diffhook.ClientOptions{Limiter: limiterFunc(func(ctx context.Context) error {
					if turns.Add(1) == 1 {
						pause(time.Second)
						return fails(ctx)
					}
					return nil
				})})
				var calls sync.WaitGroup
				calls.Go(func() {
					defer func() { _ = recover() }()
					ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
					defer cancel()
					assert.Error(t, listKeys(ctx, client))
				})
				synctest.Wait()
				for range 10 {
					calls.Go(func() { assert.NoError(t, listKeys(t.Context(), client)) })
					calls.Go(func() {
						_, err := client.SigningSecret.Load(t.Context())
						assert.NoError(t, err)
					})
				}
				calls.Wait()
				assert.EqualValues(t, 21, turns.Load())
			})
		})
	}
}

// TestPauseReachesTheEndOfTheLine: those far behind learn of a pause when it
// begins, and not when it is their turn.
func TestPauseReachesTheEndOfTheLine(t *testing.T) {
	for name, limiter := range limiters {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newBubbleServer(t)
				client := s.Client(&diffhook.ClientOptions{Limiter: limiter()})
				for range 3 {
					require.NoError(t, listKeys(t.Context(), client))
				}
				s.Fail(diffhooktest.Fault{Status: http.StatusTooManyRequests, RetryAfter: time.Minute})
				began := time.Now()
				var calls sync.WaitGroup
				for range 20 {
					calls.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
						defer cancel()
						assert.Error(t, listKeys(ctx, client))
						assert.LessOrEqual(t, time.Since(began), twoTurns)
					})
				}
				calls.Wait()
				assert.Equal(t, 4, s.Count(""))
			})
		})
	}
}

// TestLeavingTheLineOfAClient: those who leave it, wherever they are in it, take
// neither turns nor the place with them, whatever the limiter.
func TestLeavingTheLineOfAClient(t *testing.T) {
	for name, limiter := range limiters {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newBubbleServer(t)
				client := s.Client(&diffhook.ClientOptions{Limiter: limiter()})
				var calls sync.WaitGroup
				for i := range 500 {
					calls.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), rand.N(10*time.Second))
						defer cancel()
						if i%10 == 0 {
							_, _ = client.SigningSecret.Load(ctx)
							return
						}
						_ = listKeys(ctx, client)
					})
				}
				calls.Wait()
				began := time.Now()
				require.NoError(t, listKeys(t.Context(), client))
				assert.LessOrEqual(t, time.Since(began), twoTurns)
			})
		})
	}
}
