package once

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/pace"
)

// lease is how long a claim lasts. The last attempt of generation 1 comes 35 s after the
// first: by then, the claim of a dead process must be over, with room for slow answers.
// Within the lease, a function may overrun the 10 s of an attempt without running beside
// a retry.
const lease = 20 * time.Second

const (
	settleTimeout  = 3 * time.Second // each attempt at Commit or Release
	settleAttempts = 2
)

var errExited = errors.New("once: the function panicked or ended its goroutine")

// Func returns a function that calls f once for each event, as far as s and the lease
// of 20 s allow: at least once, with duplicates suppressed. Nil opts are all defaults.
//
// The function returns nil if the event is done. If the event is in progress elsewhere
// or s fails, the error wraps [diffhook.ErrUnavailable], and DiffHook retries. An error
// of f is returned unchanged. After an error or a panic of f, Func releases the claim,
// and the retry is handled.
//
// The context of f ends [diffhook.DeliveryTimeout] after the call. Commit and Release of
// s can outlive the request. If Commit fails after f returned nil, the result is nil,
// since a retry would do the work again.
//
// Func panics if s or f is nil.
func Func(s Store, f diffhook.EventFunc, opts *Options) diffhook.EventFunc {
	if s == nil || f == nil {
		panic("once: Func of a nil Store or function")
	}
	w := &wrapper{store: s, handle: f}
	if opts != nil {
		w.opts = *opts
	}
	w.opts.Keep = KeepOf(w.opts.Keep)
	w.memory, _ = s.(*memory)
	return w.call
}

// KeepOf returns the time for which a done event is kept if the option is keep:
// DefaultKeep for 0, and at least MinKeep.
func KeepOf(keep time.Duration) time.Duration {
	if keep == 0 {
		return DefaultKeep
	}
	return max(keep, MinKeep)
}

type wrapper struct {
	store  Store
	memory *memory // the store, if NewMemory made it
	handle diffhook.EventFunc
	opts   Options
}

func (w *wrapper) call(ctx context.Context, e *diffhook.Event) error {
	start := time.Now()
	k, token := KeyOf(w.opts.Consumer, e), rand.Text()
	outcome, err := w.claim(ctx, k, token)
	if outcome == "" {
		outcome, err = w.run(ctx, e, k, token, start)
	}
	w.observe(ctx, k, outcome, err, start)
	if outcome == CommitFailed {
		return nil
	}
	return err
}

// claim returns no outcome if token claims k now.
func (w *wrapper) claim(ctx context.Context, k Key, token string) (Outcome, error) {
	err := w.callClaim(ctx, k, token)
	switch {
	case err == nil:
		return "", nil
	case errors.Is(err, ErrDone):
		return Duplicate, nil
	case errors.Is(err, ErrInProgress):
		return InProgress, err
	}
	// The claim may exist, if only the answer was lost. After Release, the retry need not
	// wait for the end of the lease.
	_ = w.settle(ctx, func(ctx context.Context) error { return w.store.Release(ctx, k, token) })
	return StoreFailed, fmt.Errorf("once: claim: %w: %w", diffhook.ErrUnavailable, err)
}

// callClaim calls Claim of the store. If the memory store forgets an event for the
// claim, callClaim observes the event.
func (w *wrapper) callClaim(ctx context.Context, k Key, token string) error {
	if w.memory == nil {
		return w.store.Claim(ctx, k, token, pace.Of(lease))
	}
	forgotten, forgot, err := w.memory.claim(k, token, pace.Of(lease))
	w.observeForgotten(ctx, forgotten, forgot)
	return err
}

// callCommit calls Commit of the store, and observes an event forgotten for the record.
func (w *wrapper) callCommit(ctx context.Context, k Key, token string) error {
	if w.memory == nil {
		return w.store.Commit(ctx, k, token, w.opts.Keep)
	}
	forgotten, forgot, err := w.memory.commit(k, token, w.opts.Keep)
	w.observeForgotten(ctx, forgotten, forgot)
	return err
}

func (w *wrapper) observeForgotten(ctx context.Context, k Key, forgot bool) {
	if forgot {
		w.observe(ctx, k, Forgotten, nil, time.Now())
	}
}

// run calls the function and settles the claim of token.
func (w *wrapper) run(ctx context.Context, e *diffhook.Event, k Key, token string, start time.Time) (Outcome, error) {
	release := func(ctx context.Context) error { return w.store.Release(ctx, k, token) }
	returned := false
	defer func() {
		if !returned { // a panic, or runtime.Goexit
			err := errors.Join(errExited, w.settle(ctx, release))
			w.observe(ctx, k, Failed, err, start)
		}
	}()
	limited, cancel := context.WithTimeout(ctx, pace.Of(diffhook.DeliveryTimeout))
	defer cancel()
	err := w.handle(limited, e)
	cancel()
	returned = true

	if err != nil {
		_ = w.settle(ctx, release) // else the lease ends by itself
		return Failed, err
	}
	commit := func(ctx context.Context) error { return w.callCommit(ctx, k, token) }
	if err := w.settle(ctx, commit); err != nil {
		return CommitFailed, fmt.Errorf("once: commit after the work succeeded: %w", err)
	}
	return Handled, nil
}

// settle calls f until f succeeds, at most settleAttempts times, with contexts that
// outlive the request. If only the answer to the first attempt was lost, the second
// changes nothing.
func (w *wrapper) settle(ctx context.Context, f func(context.Context) error) (err error) {
	for range settleAttempts {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), pace.Of(settleTimeout))
		err = f(limited)
		cancel()
		if err == nil || errors.Is(err, ErrDone) || errors.Is(err, ErrInProgress) {
			return err
		}
	}
	return err
}

func (w *wrapper) observe(ctx context.Context, k Key, outcome Outcome, err error, start time.Time) {
	if w.opts.Observe != nil {
		w.opts.Observe(ctx, Observation{Key: k, Outcome: outcome, Err: err, Duration: time.Since(start)})
	}
}
