// Package wait waits, and returns the reason for an early end.
package wait

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// For waits for d. It returns an error when ctx ends, or at once if the deadline of
// ctx is too early.
func For(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return Ended(ctx)
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return context.DeadlineExceeded
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return Ended(ctx)
	case <-timer.C:
		return nil
	}
}

// Ended returns the reason for the end of ctx: an error that matches ctx.Err and
// the cause.
func Ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return cmp.Or(cause, err)
	}
	return fmt.Errorf("%w: %w", err, cause)
}
