package diffhook

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Limiter delays requests so that they stay within the API's rate limit. Wait
// returns when the next may start, or an error when ctx ends before.
// [*rate.Limiter] is one.
type Limiter interface {
	Wait(ctx context.Context) error
}

// Requests a minute that DiffHook's plans allow, per API key and per IP
// address.
const (
	FreePlan = 60
	PaidPlan = 200
)

// PlanLimiter returns a limiter that lets at most requestsPerMinute start in
// any 60 s: a burst of a twentieth of them, and 90 % of them evenly. The rest
// is room for requests that arrive closer together than they were sent. It
// limits what passes it in this process: where several share a key or an
// address, give each its part. The exchange of client credentials, once in 24 h,
// does not pass it. Zero and less mean [FreePlan].
func PlanLimiter(requestsPerMinute int) Limiter {
	if requestsPerMinute <= 0 {
		requestsPerMinute = FreePlan
	}
	n := float64(requestsPerMinute)
	burst := max(1, requestsPerMinute/20)
	perMinute := max(min(0.9*n, n-float64(burst)), 0.98)
	return rate.NewLimiter(rate.Limit(perMinute/60), burst)
}

// gate is what each attempt passes before it starts: the pause that a 429 has
// asked for, for all, and a limiter.
type gate struct {
	until atomic.Int64 // Unix nanoseconds
}

// pause stops all attempts that start before t.
func (g *gate) pause(t time.Time) {
	for {
		until := g.until.Load()
		if t.UnixNano() <= until || g.until.CompareAndSwap(until, t.UnixNano()) {
			return
		}
	}
}

// paused returns how long the pause still lasts.
func (g *gate) paused() time.Duration {
	until := g.until.Load()
	if until == 0 {
		return 0
	}
	return max(0, time.Until(time.Unix(0, until)))
}

// wait returns when an attempt may start. It returns an error when ctx ends
// before, and the rest of the pause at once where that is longer than longest.
// A turn that comes up during a pause is given up: taken afterwards, all those
// turns would make one burst.
func (g *gate) wait(ctx context.Context, limiter Limiter, longest time.Duration) (pause time.Duration, err error) {
	for {
		for pause = g.paused(); pause > 0; pause = g.paused() {
			if pause > longest {
				return pause, nil
			}
			if err := sleep(ctx, pause); err != nil {
				return 0, err
			}
		}
		if err := limiter.Wait(ctx); err != nil {
			return 0, limiterError(ctx, limiter, err)
		}
		if g.paused() == 0 {
			return 0, nil
		}
	}
}

// limiterError makes an error of a limiter match the context's, also where a
// rate.Limiter knew beforehand that the turn would come after the deadline.
func limiterError(ctx context.Context, limiter Limiter, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_, ok := limiter.(*rate.Limiter)
	if _, hasDeadline := ctx.Deadline(); ok && hasDeadline {
		return fmt.Errorf("%w: the next turn comes later (%w)", context.DeadlineExceeded, err)
	}
	return err
}

// sleep waits for d, or returns an error at once where ctx ends before that.
func sleep(ctx context.Context, d time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return context.DeadlineExceeded
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
