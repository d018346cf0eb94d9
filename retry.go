package diffhook

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"
)

// Bounds of the wait before a retry that the API named no time for: the
// longest wait doubles from the first to the second, and the wait is chosen
// evenly between none and the longest ("full jitter").
const (
	firstBackoff = 500 * time.Millisecond
	mostBackoff  = 8 * time.Second
)

// repeat makes attempts at a call until one settles it.
func (c *core) repeat(ctx context.Context, call *call, attempt func(context.Context, *call) outcome) error {
	var before error   // of the attempt before
	maybeDone := false // an earlier attempt may have been carried out
	for n := 1; ; n++ {
		call.attempts = n
		o := attempt(ctx, call)
		if o.err == nil || call.method == http.MethodDelete && maybeDone && o.gone() {
			return nil // perhaps by the earlier attempt
		}
		if !o.sent && before != nil && matchesContext(o.err) {
			return call.interruptedBy(o.err, before) // what the API said says more
		}
		before, maybeDone = o.err, maybeDone || o.maybeDone
		if !o.retry || n >= c.opts.MaxAttempts || o.retryAfter > c.opts.MaxRetryWait {
			return o.err
		}
		wait := o.wait(n)
		if ctx.Err() == nil {
			c.logRetry(ctx, call, wait, o.err)
		}
		if err := sleep(ctx, wait); err != nil {
			return call.interruptedBy(err, o.err)
		}
	}
}

// wait returns how long to wait after the outcome of the n-th attempt.
func (o *outcome) wait(n int) time.Duration {
	if o.retryAfter == 0 && !o.atOnce {
		return backoff(n)
	}
	return o.retryAfter
}

// gone reports whether the API says that there is no such resource.
func (o *outcome) gone() bool {
	return o.documented && (o.status == http.StatusNotFound || o.status == http.StatusGone)
}

func matchesContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func (c *core) logRetry(ctx context.Context, call *call, wait time.Duration, err error) {
	if c.opts.Logger != nil {
		c.opts.Logger.LogAttrs(ctx, slog.LevelWarn, "diffhook: retrying",
			slog.String("method", call.method), slog.String("route", call.route),
			slog.Int("attempt", call.attempts), slog.Duration("wait", wait), slog.Any("error", err))
	}
}

// backoff returns the wait after the n-th attempt.
func backoff(n int) time.Duration {
	longest := min(firstBackoff<<min(n-1, 16), mostBackoff)
	return rand.N(longest)
}
