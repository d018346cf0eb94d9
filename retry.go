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
	var before outcome // of the attempt before
	maybeDone := false // an earlier attempt may have been carried out
	for n := 1; ; n++ {
		call.attempts = n
		o := attempt(ctx, call)
		if o.err == nil {
			return nil
		}
		if !o.sent && before.err != nil && errors.Is(o.err, context.DeadlineExceeded) {
			return before.err // there is no time for another attempt: this says more
		}
		before = o
		if call.method == http.MethodDelete && maybeDone && o.status == http.StatusNotFound && o.documented {
			return nil // it is gone: by that earlier attempt
		}
		maybeDone = maybeDone || o.maybeDone
		if !o.retry || n >= c.opts.MaxAttempts || ctx.Err() != nil {
			return o.err
		}
		wait := o.retryAfter
		if wait == 0 && !o.atOnce {
			wait = backoff(n)
		}
		if o.retryAfter > c.opts.MaxRetryWait {
			return o.err
		}
		if c.opts.Logger != nil {
			c.opts.Logger.LogAttrs(ctx, slog.LevelWarn, "diffhook: retrying",
				slog.String("method", call.method), slog.String("route", call.route),
				slog.Int("attempt", n), slog.Duration("wait", wait), slog.Any("error", o.err))
		}
		if sleep(ctx, wait) != nil {
			return o.err
		}
	}
}

// backoff returns the wait after the n-th attempt.
func backoff(n int) time.Duration {
	longest := min(firstBackoff<<min(n-1, 16), mostBackoff)
	return rand.N(longest)
}
