package diffhookpgx

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/oncetable"
	"github.com/diffhook/diffhook-go/internal/pace"
	"github.com/diffhook/diffhook-go/once"
)

// txToken is the token of the records of transactions, as in package oncesql.
const txToken = "tx"

// rollbackTimeout bounds a rollback. Without an answer, the pool closes the connection.
const rollbackTimeout = time.Second

var errExited = errors.New("diffhookpgx: the function panicked or ended its goroutine")

// InTx returns a function that calls f for each event in a transaction, which also
// records the event: the writes of f with tx happen exactly once, within Keep. BEGIN and
// the record take a single round trip. f must not commit or roll back tx.
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
func (s *Store) InTx(f func(ctx context.Context, tx pgx.Tx, e *diffhook.Event) error) diffhook.EventFunc {
	if f == nil {
		panic("diffhookpgx: InTx of a nil function")
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
		outcome, err = s.inTx(ctx, k, func(ctx context.Context, tx pgx.Tx) error { return f(ctx, tx, e) })
		return err
	}
}

// inTx calls work in a transaction with the record of k.
func (s *Store) inTx(ctx context.Context, k once.Key, work func(context.Context, pgx.Tx) error) (once.Outcome, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.MaxTx)
	defer cancel()
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return once.StoreFailed, problem("connect", err)
	}
	defer conn.Release()
	tx, err := s.beginWith(ctx, conn, k)
	if tx != nil {
		defer rollback(ctx, tx) // also after a panic; nothing after the commit
	}
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
	if err := tx.Commit(ctx); err != nil {
		return once.CommitFailed, problem("commit", err)
	}
	return once.Handled, nil
}

// beginWith begins a transaction and records k in one batch. The transaction is nil if
// BEGIN failed.
func (s *Store) beginWith(ctx context.Context, conn *pgxpool.Conn, k once.Key) (pgx.Tx, error) {
	var batch pgx.Batch
	var inserted int64
	batch.BeginTx(pgx.TxOptions{})
	batch.Queue(s.sql.Insert, s.insertArgs(k)...).Exec(func(tag pgconn.CommandTag) error {
		inserted = tag.RowsAffected()
		return nil
	})
	results := conn.SendBatch(ctx, &batch)
	if err := results.Close(); err != nil {
		return results.Tx(), claimProblem(err)
	}
	return results.Tx(), s.settle(ctx, results.Tx(), k, inserted)
}

// rollback ends tx within rollbackTimeout, even if ctx ended. After a commit, rollback
// changes nothing.
func rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pace.Of(rollbackTimeout))
	defer cancel()
	_ = tx.Rollback(ctx)
}

// First records e in tx and reports whether e is new. If First returns true, do the
// work with tx and commit: the work happens exactly once, within Keep. If First returns
// false, e is done: answer success.
//
// If another transaction is handling e, First waits for the end of that transaction.
// Errors wrap [diffhook.ErrUnavailable]. After an error, roll back and return the error:
// DiffHook retries. Return an error of the commit too.
func (s *Store) First(ctx context.Context, tx pgx.Tx, e *diffhook.Event) (bool, error) {
	k := once.KeyOf(s.opts.Consumer, e)
	tag, err := tx.Exec(ctx, s.sql.Insert, s.insertArgs(k)...)
	if err != nil {
		return false, claimProblem(err)
	}
	err = s.settle(ctx, tx, k, tag.RowsAffected())
	if errors.Is(err, once.ErrDone) {
		return false, nil
	}
	return err == nil, err
}

func (s *Store) insertArgs(k once.Key) []any {
	return []any{k[:], txToken, true, s.opts.Keep.Microseconds()}
}

// settle returns nil if tx records k: by the INSERT, if inserted rows are not 0, or in
// place of an ended record.
func (s *Store) settle(ctx context.Context, tx pgx.Tx, k once.Key, inserted int64) error {
	if inserted > 0 {
		return nil
	}
	var isDone, ended bool
	err := tx.QueryRow(ctx, s.sql.Look, k[:]).Scan(&isDone, &ended)
	switch {
	case errors.Is(err, pgx.ErrNoRows): // released since
		return once.ErrInProgress
	case err != nil:
		return claimProblem(err)
	case isDone && !ended:
		return once.ErrDone
	}
	tag, err := tx.Exec(ctx, s.sql.Take, txToken, true, s.opts.Keep.Microseconds(), k[:], txToken)
	if tag.RowsAffected() == 0 && err == nil { // another token claims k
		return once.ErrInProgress
	}
	return claimProblem(err)
}

// problem returns the error of an operation that failed with err, nil if err is nil.
func problem(operation string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("diffhookpgx: %s: %w: %w", operation, diffhook.ErrUnavailable, err)
}

// claimProblem is problem for the statements of a claim: a wait for another delivery, also
// until the deadline, ends in [once.ErrInProgress].
func claimProblem(err error) error {
	if err != nil && (errors.Is(err, context.DeadlineExceeded) || oncetable.IsBusy(err)) {
		return fmt.Errorf("%w: %w", once.ErrInProgress, err)
	}
	return problem("claim", err)
}
