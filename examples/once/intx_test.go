package main

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncesql"
)

var errWork = errors.New("the work failed")

func TestInTx(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		r := newRig(t, d)
		var outcomes []once.Outcome
		var lastErr error
		db := d.open(t, r.dsn)
		s := r.storeOf(t, db, func(o *oncesql.Options) {
			o.Observe = func(_ context.Context, o once.Observation) {
				require.Zero(t, db.Stats().InUse, "the transaction has ended")
				outcomes, lastErr = append(outcomes, o.Outcome), o.Err
			}
		})
		t.Run("handled, then a duplicate", func(t *testing.T) {
			outcomes = nil
			f, e := s.InTx(r.inTx), numbered(1)
			require.NoError(t, f(t.Context(), e))
			require.NoError(t, f(t.Context(), e))
			require.Equal(t, 1, r.count(t, e))
			require.Equal(t, []once.Outcome{once.Handled, once.Duplicate}, outcomes)
		})
		t.Run("a failure is rolled back, and the retry handled", func(t *testing.T) {
			outcomes = nil
			e, result := numbered(2), errWork
			f := s.InTx(func(ctx context.Context, tx *sql.Tx, e *diffhook.Event) error {
				return errors.Join(r.handle(ctx, tx, e), result)
			})
			require.ErrorIs(t, f(t.Context(), e), errWork)
			require.Zero(t, r.count(t, e))
			result = nil
			require.NoError(t, f(t.Context(), e))
			require.Equal(t, 1, r.count(t, e))
			require.Equal(t, []once.Outcome{once.Failed, once.Handled}, outcomes)
		})
		t.Run("a panic is rolled back, and goes on", func(t *testing.T) {
			outcomes = nil
			e := numbered(3)
			require.PanicsWithValue(t, "the work", func() {
				_ = s.InTx(func(ctx context.Context, tx *sql.Tx, e *diffhook.Event) error {
					require.NoError(t, r.handle(ctx, tx, e))
					panic("the work")
				})(t.Context(), e)
			})
			require.Error(t, lastErr, "the observation says why")
			require.NoError(t, s.InTx(r.inTx)(t.Context(), e))
			require.Equal(t, 1, r.count(t, e))
			require.Equal(t, []once.Outcome{once.Failed, once.Handled}, outcomes)
		})
		t.Run("the request ends before the work", func(t *testing.T) {
			e := numbered(4)
			ctx, cancel := context.WithCancel(t.Context())
			require.NoError(t, s.InTx(func(ctx context.Context, tx *sql.Tx, e *diffhook.Event) error {
				cancel()
				return r.handle(ctx, tx, e)
			})(ctx, e))
			require.Equal(t, 1, r.count(t, e))
		})
		t.Run("a function that ends the transaction is an error, and no duplicate", func(t *testing.T) {
			outcomes = nil
			e := numbered(5)
			f := s.InTx(func(_ context.Context, tx *sql.Tx, _ *diffhook.Event) error { return tx.Rollback() })
			require.ErrorIs(t, f(t.Context(), e), diffhook.ErrUnavailable)
			require.Equal(t, []once.Outcome{once.CommitFailed}, outcomes)
			require.NoError(t, s.InTx(r.inTx)(t.Context(), e))
			require.Equal(t, 1, r.count(t, e))
		})
		t.Run("another consumer", func(t *testing.T) {
			e := numbered(6)
			mail := r.store(t, func(o *oncesql.Options) { o.Consumer = "mail" })
			require.NoError(t, s.InTx(r.inTx)(t.Context(), e))
			require.NoError(t, mail.InTx(r.inTx)(t.Context(), e))
			require.Equal(t, 2, r.count(t, e))
		})
		t.Run("claimed through Func of package once", func(t *testing.T) {
			e := numbered(7)
			require.NoError(t, s.Claim(t.Context(), once.KeyOf("", e), "token", time.Minute))
			require.ErrorIs(t, s.InTx(r.inTx)(t.Context(), e), once.ErrInProgress)
			require.NoError(t, s.Release(t.Context(), once.KeyOf("", e), "token"))
			require.NoError(t, s.InTx(r.inTx)(t.Context(), e))
		})
		t.Run("after the time to keep the event", func(t *testing.T) {
			e := numbered(8)
			require.NoError(t, s.Commit(t.Context(), once.KeyOf("", e), "token", time.Minute))
			require.NoError(t, s.InTx(r.inTx)(t.Context(), e))
			require.Zero(t, r.count(t, e))
			require.NoError(t, s.Commit(t.Context(), once.KeyOf("", e), "token", time.Microsecond))
			require.NoError(t, s.InTx(r.inTx)(t.Context(), e))
			require.Equal(t, 1, r.count(t, e))
		})
	})
}

// TestCommitFailsAfterWork: the transaction is canceled between the work and the
// commit. The answer asks for a retry, which does the work.
func TestCommitFailsAfterWork(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		r, e := newRig(t, d), numbered(1)
		var last once.Observation
		s := r.store(t, func(o *oncesql.Options) {
			o.MaxTx = 300 * time.Millisecond
			o.Observe = func(_ context.Context, o once.Observation) { last = o }
		})
		err := s.InTx(func(ctx context.Context, tx *sql.Tx, e *diffhook.Event) error {
			err := r.handle(ctx, tx, e)
			<-ctx.Done()
			for canceled := error(nil); canceled == nil; { // the transaction ends a little later
				_, canceled = tx.ExecContext(context.Background(), "SELECT 1")
			}
			return err
		})(t.Context(), e)
		require.ErrorIs(t, err, diffhook.ErrUnavailable)
		require.Equal(t, once.CommitFailed, last.Outcome)
		require.Zero(t, r.count(t, e))
		require.NoError(t, s.InTx(r.inTx)(t.Context(), e))
		require.Equal(t, 1, r.count(t, e))
	})
}

// TestSimultaneousDuplicatesOfADoneEvent: all duplicates succeed at once.
func TestSimultaneousDuplicatesOfADoneEvent(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		r, e := newRig(t, d), numbered(1)
		f := r.store(t, nil).InTx(r.inTx)
		require.NoError(t, f(t.Context(), e))
		for _, err := range together(t, 50, f, e) {
			require.NoError(t, err)
		}
		require.Equal(t, 1, r.count(t, e))
	})
}

// TestSimultaneousDeliveries: of the deliveries of a new event, the first is handled, and
// the others wait and succeed.
func TestSimultaneousDeliveries(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		r := newRig(t, d)
		f := r.store(t, nil).InTx(r.inTx)
		for i := range 20 {
			for _, err := range together(t, 8, f, numbered(i)) {
				require.NoError(t, err)
			}
			require.Equal(t, 1, r.count(t, numbered(i)))
		}
	})
}

// TestWaiterTakesOver: a delivery that waited for a failing delivery handles the event. In
// MariaDB, a deadlock may end some of several waiting deliveries.
func TestWaiterTakesOver(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		r, e := newRig(t, d), numbered(1)
		s := r.store(t, nil)
		running, finish := make(chan struct{}), make(chan struct{})
		first := make(chan error, 1)
		go func() {
			first <- s.InTx(func(context.Context, *sql.Tx, *diffhook.Event) error {
				close(running)
				<-finish
				return errWork
			})(t.Context(), e)
		}()
		<-running
		time.AfterFunc(200*time.Millisecond, func() { close(finish) }) // while the others wait
		handled := 0
		for _, err := range together(t, 4, s.InTx(r.inTx), e) {
			if err == nil {
				handled++
			} else {
				require.ErrorIs(t, err, once.ErrInProgress)
			}
		}
		require.ErrorIs(t, <-first, errWork)
		require.Positive(t, handled)
		require.Equal(t, 1, r.count(t, e))
	})
}

// TestWaiterGivesUp: after MaxTx, a delivery stops waiting for another delivery.
func TestWaiterGivesUp(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		r, e := newRig(t, d), numbered(1)
		patient := r.store(t, nil)
		s := r.store(t, func(o *oncesql.Options) { o.MaxTx = 200 * time.Millisecond })
		running, finish := make(chan struct{}), make(chan struct{})
		first := make(chan error, 1)
		go func() {
			first <- patient.InTx(func(ctx context.Context, tx *sql.Tx, e *diffhook.Event) error {
				close(running)
				<-finish
				return r.handle(ctx, tx, e)
			})(t.Context(), e)
		}()
		<-running
		err := s.InTx(r.inTx)(t.Context(), e)
		if d.dialect == oncesql.SQLite { // the delivery waited for the file, not for the event
			require.ErrorIs(t, err, diffhook.ErrUnavailable)
		} else {
			require.ErrorIs(t, err, once.ErrInProgress)
		}
		close(finish)
		require.NoError(t, <-first)
		require.NoError(t, s.InTx(r.inTx)(t.Context(), e))
		require.Equal(t, 1, r.count(t, e))
	})
}

// together delivers e from several goroutines at the same instant.
func together(t *testing.T, n int, f diffhook.EventFunc, e *diffhook.Event) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			<-start
			errs[i] = f(t.Context(), e)
		})
	}
	close(start)
	group.Wait()
	return errs
}
