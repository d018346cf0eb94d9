package oncetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/diffhook/diffhook-go/once"
)

func checkClaim(ctx context.Context, s subject) error {
	s.key[len(s.key)-1] = 'k'
	other, upper := newKey(), s.key
	upper[len(upper)-1] = 'K'
	return all(
		want("Claim", s.a.Claim(ctx, s.key, "one", long), nil),
		want("Claim of another token", s.b.Claim(ctx, s.key, "two", long), once.ErrInProgress),
		want("Claim of another key", s.b.Claim(ctx, other, "two", long), nil),
		want("Claim of a key with another last byte", s.b.Claim(ctx, upper, "two", long), nil),
	)
}

func checkDone(ctx context.Context, s subject) error {
	return all(
		want("Claim", s.a.Claim(ctx, s.key, "one", long), nil),
		want("Commit", s.a.Commit(ctx, s.key, "one", long), nil),
		want("Claim of another token after Commit", s.b.Claim(ctx, s.key, "two", long), once.ErrDone),
		want("Claim of the same token after Commit", s.a.Claim(ctx, s.key, "one", long), once.ErrDone),
		want("Release after Commit", s.a.Release(ctx, s.key, "one"), nil),
		want("Claim after Commit and Release", s.b.Claim(ctx, s.key, "two", long), once.ErrDone),
	)
}

func checkRelease(ctx context.Context, s subject) error {
	return all(
		want("Release without a claim", s.a.Release(ctx, s.key, "one"), nil),
		want("Claim", s.a.Claim(ctx, s.key, "one", long), nil),
		want("Release", s.a.Release(ctx, s.key, "one"), nil),
		want("Claim of another token after Release", s.b.Claim(ctx, s.key, "two", long), nil),
	)
}

func checkLeaseEnd(ctx context.Context, s subject) error {
	return all(
		want("Claim", s.a.Claim(ctx, s.key, "one", short), nil),
		eventually(ctx, "Claim of another token after the lease", once.ErrInProgress, func() error {
			return s.b.Claim(ctx, s.key, "two", long)
		}),
		want("Commit after another token has claimed", s.a.Commit(ctx, s.key, "one", long), once.ErrInProgress),
		want("Release after another token has claimed", s.a.Release(ctx, s.key, "one"), nil),
		want("Claim of a third token", s.a.Claim(ctx, s.key, "three", long), once.ErrInProgress),
		want("Commit of the claimant", s.b.Commit(ctx, s.key, "two", long), nil),
		want("Commit after another token has committed", s.a.Commit(ctx, s.key, "one", long), once.ErrDone),
	)
}

func checkRepeatedClaim(ctx context.Context, s subject) error {
	if err := all(
		want("Claim", s.a.Claim(ctx, s.key, "one", short), nil),
		want("Claim again, for longer", s.a.Claim(ctx, s.key, "one", long), nil),
	); err != nil {
		return err
	}
	time.Sleep(4 * short)
	return want("Claim of another token after the first lease", s.b.Claim(ctx, s.key, "two", long), once.ErrInProgress)
}

func checkLateCommit(ctx context.Context, s subject) error {
	if err := want("Claim", s.a.Claim(ctx, s.key, "one", short), nil); err != nil {
		return err
	}
	time.Sleep(4 * short)
	return all(
		want("Commit after the lease", s.a.Commit(ctx, s.key, "one", long), nil),
		want("Claim after the late Commit", s.b.Claim(ctx, s.key, "two", long), once.ErrDone),
	)
}

func checkKeepEnd(ctx context.Context, s subject) error {
	return all(
		want("Claim", s.a.Claim(ctx, s.key, "one", long), nil),
		want("Commit", s.a.Commit(ctx, s.key, "one", short), nil),
		eventually(ctx, "Claim after the time to keep the event", once.ErrDone, func() error {
			return s.b.Claim(ctx, s.key, "two", long)
		}),
	)
}

func checkForeignToken(ctx context.Context, s subject) error {
	return all(
		want("Claim", s.a.Claim(ctx, s.key, "one", long), nil),
		want("Commit of another token", s.b.Commit(ctx, s.key, "two", long), once.ErrInProgress),
		want("Release of another token", s.b.Release(ctx, s.key, "two"), nil),
		want("Claim of a third token", s.b.Claim(ctx, s.key, "three", long), once.ErrInProgress),
		want("Commit", s.a.Commit(ctx, s.key, "one", long), nil),
		want("Commit of another token after Commit", s.b.Commit(ctx, s.key, "two", long), once.ErrDone),
	)
}

// checkLostAnswers calls each method twice, as if the first answer were lost. Another token
// claims between two calls of Release.
func checkLostAnswers(ctx context.Context, s subject) error {
	return all(
		want("Claim", s.a.Claim(ctx, s.key, "one", long), nil),
		want("Claim again", s.a.Claim(ctx, s.key, "one", long), nil),
		want("Release", s.a.Release(ctx, s.key, "one"), nil),
		want("Release again", s.a.Release(ctx, s.key, "one"), nil),
		want("Claim of another token", s.b.Claim(ctx, s.key, "two", long), nil),
		want("Release once more", s.a.Release(ctx, s.key, "one"), nil),
		want("Claim of a third token", s.a.Claim(ctx, s.key, "three", long), once.ErrInProgress),
		want("Commit", s.b.Commit(ctx, s.key, "two", long), nil),
		want("Commit again", s.b.Commit(ctx, s.key, "two", long), nil),
		want("Claim after Commit", s.a.Claim(ctx, s.key, "three", long), once.ErrDone),
	)
}

// checkSimultaneous claims an event from many goroutines, before and after the commit.
func checkSimultaneous(ctx context.Context, s subject) error {
	const claims = 16
	claimAll := func() (errs [claims]error) {
		var group sync.WaitGroup
		for i := range errs {
			group.Go(func() {
				store := s.a
				if i%2 == 1 {
					store = s.b
				}
				errs[i] = store.Claim(ctx, s.key, fmt.Sprint("token ", i), long)
			})
		}
		group.Wait()
		return errs
	}
	winner := -1
	for i, err := range claimAll() {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			return fmt.Errorf("two of %d simultaneous claims succeeded", claims)
		case !errors.Is(err, once.ErrInProgress):
			return want("simultaneous Claim", err, once.ErrInProgress)
		}
	}
	if winner < 0 {
		return fmt.Errorf("none of %d simultaneous claims succeeded", claims)
	}
	errs := []error{want("Commit", s.a.Commit(ctx, s.key, fmt.Sprint("token ", winner), long), nil)}
	for _, err := range claimAll() {
		errs = append(errs, want("simultaneous Claim after Commit", err, once.ErrDone))
	}
	return all(errs...)
}

// checkClock claims an event, and claims the event again from a process with a clock that
// is two hours fast. The lease runs by the clock of the store, and is not over.
func checkClock(t *testing.T, open func(*testing.T) once.Store) error {
	a, key := open(t), newKey()
	if b := open(t); isSame(a, b) {
		return nil // a store in this process, with the clock of this process
	}
	if err := want("Claim", a.Claim(t.Context(), key, "one", long), nil); err != nil {
		return err
	}
	fast := time.Now().Add(2 * time.Hour)
	var err error
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(fast)) // the clock of a bubble starts in 2000, and jumps
		err = want("Claim of another token by a process with a fast clock, within the lease",
			open(t).Claim(t.Context(), key, "two", long), once.ErrInProgress)
	})
	return err
}

// isSame reports whether a and b are the same pointer.
func isSame(a, b once.Store) bool {
	v := reflect.ValueOf(a)
	return v.Kind() == reflect.Pointer && a == b
}
