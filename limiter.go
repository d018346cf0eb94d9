package diffhook

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/diffhook/diffhook-go/internal/wait"
)

// Limiter delays requests so that they stay within the API's rate limit. Wait returns
// when the next request may start, or an error if ctx ends first. A [*rate.Limiter]
// is a Limiter: it returns at once if the turn comes after the deadline of ctx, and
// the error of the call then matches [context.DeadlineExceeded].
//
// A client calls Wait for one call at a time, and the next calls queue behind it. So
// Wait must not wait for anything else, such as the needs of a single call.
type Limiter interface {
	Wait(ctx context.Context) error
}

// Pauser is a [Limiter] of several processes. After a 429 to a client, the client
// calls Pause with the time for which no process may start a request. ctx outlives
// the call of the API: bound the wait for other systems. The client itself waits in
// any case. Wait returns a *[PauseError] to the other processes.
type Pauser interface {
	Limiter
	Pause(ctx context.Context, d time.Duration)
}

// PauseError is returned by Wait of a [Limiter] to say that a 429 pauses all requests.
// The client waits as after its own 429, at most 10 minutes, and calls Wait again. If
// the pause is longer than MaxRetryWait, the call of the API fails at once.
type PauseError struct {
	Wait time.Duration // the rest of the pause; more than 0
}

func (e *PauseError) Error() string {
	return fmt.Sprintf("diffhook: a 429 to another client pauses all requests for %v", e.Wait)
}

// Requests a minute in DiffHook's plans, per API key and per IP address.
const (
	FreePlan = 60
	PaidPlan = 200
)

// PlanLimiter returns a limiter that lets at most requestsPerMinute start in any 60 s.
// A twentieth may start in a burst, and 90 % start evenly. The rest is a reserve:
// requests may arrive closer together than they were sent. The exchange of client
// credentials bypasses the limiter, at most once a minute, and uses the reserve. Up to
// 10 requests a minute leave no reserve, and an exchange may draw a 429.
//
// The limit covers this process: if several processes share a key or an address,
// divide the limit among them. Zero and less mean [FreePlan].
func PlanLimiter(requestsPerMinute int) Limiter {
	if requestsPerMinute <= 0 {
		requestsPerMinute = FreePlan
	}
	burst := max(1, requestsPerMinute/20)
	perMinute := 0.9 * float64(requestsPerMinute)
	return &planLimiter{rate.NewLimiter(rate.Limit(perMinute/60), burst), make(slot, 1)}
}

// planLimiter is a rate.Limiter with a queue in front. A rate.Limiter assigns turns in
// advance. If a waiter gives up, the turns behind it do not move up: many such waiters
// would leave the limiter idle for minutes. So only the first of the queue waits for a
// turn. Each client also has a queue. This queue is for clients with a common limiter.
type planLimiter struct {
	*rate.Limiter
	first slot
}

func (l *planLimiter) Wait(ctx context.Context) error {
	if err := l.first.take(ctx); err != nil {
		return err
	}
	defer l.first.leave()
	return l.Limiter.Wait(ctx)
}

// slot is a semaphore: its capacity is the number of holders. Waiters are served in
// the order of arrival.
type slot chan struct{}

func (s slot) take(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s slot) leave() { <-s }

// gate delays each attempt: by the pause after a 429, which holds for all calls, and
// by a limiter. The call at the front waits at the limiter. All calls but urgent
// calls queue in line before the front, so at most one other call is before an urgent
// call.
type gate struct {
	start       time.Time    // monotonic: a new clock time changes nothing
	until       atomic.Int64 // end of the pause, in nanoseconds since start
	line, front slot

	mu      sync.Mutex   // serializes rateLimited
	unnamed atomic.Int32 // number of 429s in a row without a credible wait
}

func newGate() *gate {
	return &gate{start: time.Now(), line: make(slot, 1), front: make(slot, 1)}
}

const (
	// longestPause bounds the pause of all calls by a response. DiffHook counts limits
	// per minute: a longer pause comes from a proxy, means another unit or is wrong.
	longestPause = 10 * time.Minute

	// firstPause is the pause after a 429 without a credible wait. Each further such
	// 429 in a row doubles it, up to mostPause.
	firstPause = 5 * time.Second
	mostPause  = time.Minute
)

// rateLimited pauses all calls after a 429, for the wait in the response or, if that is
// 0 or not credible, for a growing default. It returns the length of the pause, or 0 if
// an earlier pause continues.
func (g *gate) rateLimited(asked time.Duration) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if asked <= 0 || asked > longestPause {
		if g.paused() > 0 {
			return 0 // the request was sent before the pause began
		}
		asked = min(firstPause<<min(g.unnamed.Add(1)-1, 10), mostPause)
	}
	g.pause(asked)
	return asked
}

// pass notes a response other than 429 to a request sent at began. After a pause, the
// response shows that the pause was long enough.
func (g *gate) pass(began time.Time) {
	if g.unnamed.Load() > 0 && int64(began.Sub(g.start)) >= g.until.Load() {
		g.unnamed.Store(0)
	}
}

// pause stops all attempts that would start within d.
func (g *gate) pause(d time.Duration) {
	t := int64(time.Since(g.start) + d)
	for {
		until := g.until.Load()
		if t <= until || g.until.CompareAndSwap(until, t) {
			return
		}
	}
}

// paused returns the rest of the pause.
func (g *gate) paused() time.Duration {
	until := g.until.Load()
	if until == 0 {
		return 0
	}
	return max(0, time.Duration(until)-time.Since(g.start))
}

// wait waits until an attempt may start. It returns an error if ctx ends first, and
// the rest of the pause at once if that is longer than longest. A turn during a pause
// is given up: taken afterwards, all such turns would make a burst.
func (g *gate) wait(ctx context.Context, limiter Limiter, urgent bool, longest time.Duration) (pause time.Duration, err error) {
	for {
		for pause = g.paused(); pause > 0; pause = g.paused() {
			if pause > longest {
				return pause, nil
			}
			if err := sleep(ctx, pause); err != nil {
				until := time.Now().Add(pause).UTC().Format(time.RFC3339)
				return 0, fmt.Errorf("%w: a 429 pauses all requests until %s", err, until)
			}
		}
		taken, err := g.turn(ctx, limiter, urgent)
		if elsewhere := (*PauseError)(nil); errors.As(err, &elsewhere) && elsewhere.Wait > 0 {
			g.pause(min(elsewhere.Wait, longestPause))
			continue
		}
		if err != nil {
			return 0, limiterError(ctx, limiter, err)
		}
		if taken && g.paused() == 0 {
			return 0, nil
		}
	}
}

// turn waits at the limiter, once the call is at the front. It reports false if a pause
// began meanwhile. No slot is held during a pause: the calls behind see the pause, and
// fail at once if they lack the time.
func (g *gate) turn(ctx context.Context, limiter Limiter, urgent bool) (taken bool, err error) {
	if limiter == (noLimit{}) {
		return true, nil
	}
	if !urgent {
		if err := g.line.take(ctx); err != nil {
			return false, err
		}
		defer g.line.leave()
	}
	if err := g.front.take(ctx); err != nil {
		return false, err
	}
	defer g.front.leave()
	if g.paused() > 0 {
		return false, nil
	}
	return true, limiter.Wait(ctx)
}

// limiterError makes the error of a limiter match the error of the context. A
// rate.Limiter may see in advance that the turn comes after the deadline.
func limiterError(ctx context.Context, limiter Limiter, err error) error {
	if ctx.Err() != nil {
		return contextError(ctx)
	}
	deadline, _ := ctx.Deadline()
	switch limiter.(type) {
	case *rate.Limiter, *planLimiter:
	default:
		deadline = time.Time{}
	}
	if !deadline.IsZero() {
		return fmt.Errorf("%w: the next turn comes later (%w)", context.DeadlineExceeded, err)
	}
	return err
}

// sleep waits for d. It returns an error at once if ctx ends before that.
func sleep(ctx context.Context, d time.Duration) error { return wait.For(ctx, d) }

// contextError returns the error of the ended ctx, and the cause.
func contextError(ctx context.Context) error { return wait.Ended(ctx) }

// withContextError returns err, which also matches contextError if ctx has ended.
func withContextError(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	ended := contextError(ctx)
	switch {
	case errors.Is(ended, err):
		return ended
	case errors.Is(err, ctx.Err()) && errors.Is(err, context.Cause(ctx)):
		return err
	}
	return fmt.Errorf("%w: %w", ended, err)
}
