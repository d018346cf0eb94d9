package oncesql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/once"
)

// txToken is the token of the records of transactions, which are done at once.
const txToken = "tx"

var errExited = errors.New("oncesql: the function panicked or ended its goroutine")

// InTx returns a function that calls f for each event in a transaction, which also
// records the event: the writes of f with tx happen exactly once, within Keep. f must
// not commit or roll back.
//
// If another transaction is handling the event, the function waits for the end of that
// transaction, and holds a connection. Then the function returns nil if the event is
// done, and else calls f.
//
// An error of f rolls back and is returned unchanged. Other errors wrap
// [diffhook.ErrUnavailable], and DiffHook retries. A retry is safe, even if the answer to
// the commit was lost.
//
// The context of f carries the values of the request, and ends MaxTx after the call, not
// with the request.
func (s *Store) InTx(f func(ctx context.Context, tx *sql.Tx, e *diffhook.Event) error) diffhook.EventFunc {
	if f == nil {
		panic("oncesql: InTx of a nil function")
	}
	return func(ctx context.Context, e *diffhook.Event) error {
		start := time.Now()
		k := once.KeyOf(s.opts.Consumer, e)
		outcome, err := once.Failed, errExited
		defer func() {
			if s.opts.Observe != nil {
				s.opts.Observe(ctx, once.Observation{Key: k, Outcome: outcome, Err: err, Duration: time.Since(start)})
			}
		}()
		outcome, err = s.inTx(ctx, k, func(ctx context.Context, tx *sql.Tx) error { return f(ctx, tx, e) })
		return err
	}
}

// inTx calls work in a transaction with the record of k.
func (s *Store) inTx(ctx context.Context, k once.Key, work func(context.Context, *sql.Tx) error) (once.Outcome, error) {
	// database/sql rolls back when the context of BeginTx ends.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.MaxTx)
	defer cancel()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return once.StoreFailed, problem("begin a transaction", err)
	}
	defer func() { _ = tx.Rollback() }() // also after a panic; nothing after the commit
	err = s.recordTx(ctx, tx, k)
	switch {
	case err == nil:
	case errors.Is(err, once.ErrDone):
		return once.Duplicate, nil
	case errors.Is(err, once.ErrInProgress):
		return once.InProgress, err
	default:
		return once.StoreFailed, err
	}
	if err := work(ctx, tx); err != nil {
		return once.Failed, err
	}
	if err := tx.Commit(); err != nil {
		return once.CommitFailed, problem("commit", err)
	}
	return once.Handled, nil
}

// First records e in tx and reports whether e is new. If First returns true, do the
// work with tx and commit: the work happens exactly once, within Keep. If First returns
// false, e is done: answer success.
//
// If another transaction is handling e, First waits for the end of that transaction.
// Errors wrap [diffhook.ErrUnavailable]. After an error, roll back and return the error:
// DiffHook retries. Return an error of the commit too.
func (s *Store) First(ctx context.Context, tx *sql.Tx, e *diffhook.Event) (bool, error) {
	err := s.recordTx(ctx, tx, once.KeyOf(s.opts.Consumer, e))
	if errors.Is(err, once.ErrDone) {
		return false, nil
	}
	return err == nil, err
}

// recordTx records k as done in tx. If another transaction records k, recordTx waits for
// the end. A wait until the deadline ends in [once.ErrInProgress].
func (s *Store) recordTx(ctx context.Context, tx *sql.Tx, k once.Key) error {
	err := claimProblem(s.record(ctx, tx, k, txToken, true, s.opts.Keep))
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", once.ErrInProgress, err)
	}
	return err
}
