// Package oncetest tests implementations of [once.Store].
package oncetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/diffhook/diffhook-go/once"
)

const (
	long  = time.Minute           // longer than a check
	short = 50 * time.Millisecond // the wait of a check
	limit = 5 * time.Second       // the longest wait for the end of short
)

// TestStore fails t for each broken promise of [once.Store]. Each call of open returns a
// store on the same data, as in another process. For a store in memory, open can return
// the same store each time. Keys are random: the data need not be empty.
//
// TestStore calls open also inside a bubble of testing/synctest, with a clock that is two
// hours fast. There, open must make new connections, and close them by t.Cleanup.
//
// TestStore takes about a second. It also loses the answers of all three methods in turn,
// and repeats the call.
func TestStore(t *testing.T, open func(t *testing.T) once.Store) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(t, open); err != nil {
				t.Error(err)
			}
		})
	}
}

// A check returns an error if a promise of Store is broken.
type check struct {
	name string
	run  func(t *testing.T, open func(t *testing.T) once.Store) error
}

var checks = []check{
	{"claim", with(checkClaim)},
	{"done", with(checkDone)},
	{"release", with(checkRelease)},
	{"end of a lease", with(checkLeaseEnd)},
	{"repeated claim", with(checkRepeatedClaim)},
	{"commit after the lease", with(checkLateCommit)},
	{"end of the time kept", with(checkKeepEnd)},
	{"foreign token", with(checkForeignToken)},
	{"lost answers", with(checkLostAnswers)},
	{"lost answers to Func", with(checkFunc)},
	{"simultaneous claims", with(checkSimultaneous)},
	{"clock", checkClock},
}

// subject is an event in the stores of two processes.
type subject struct {
	a, b once.Store
	key  once.Key
}

// with returns the run of a check that calls f with a new subject.
func with(f func(ctx context.Context, s subject) error) func(*testing.T, func(*testing.T) once.Store) error {
	return func(t *testing.T, open func(*testing.T) once.Store) error {
		return f(t.Context(), subject{open(t), open(t), newKey()})
	}
}

func newKey() (k once.Key) {
	_, _ = rand.Read(k[:])
	return k
}

// want returns an error if got does not match. A nil want is success.
func want(step string, got, want error) error {
	switch {
	case want == nil && got == nil, want != nil && errors.Is(got, want):
		return nil
	case want == nil:
		return fmt.Errorf("%s: want success, got error: %w", step, got)
	}
	return fmt.Errorf("%s: want error %q, got: %v", step, want, got)
}

// all returns the first error.
func all(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// eventually repeats claim while the error is during.
func eventually(ctx context.Context, step string, during error, claim func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := claim()
		if err == nil {
			return nil
		}
		if !errors.Is(err, during) {
			return fmt.Errorf("%s: want success, or error %q before, got: %w", step, during, err)
		}
		select {
		case <-time.After(short / 5):
		case <-ctx.Done():
			return fmt.Errorf("%s: want success after %v, got an error after %v: %w", step, short, limit, err)
		}
	}
}
