package oncesql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/oncetable"
	"github.com/diffhook/diffhook-go/internal/wait"
	"github.com/diffhook/diffhook-go/once"
)

// maxToken is the length of the column token in bytes.
const maxToken = 64

// querier is a *sql.DB or a *sql.Tx.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Claim implements [once.Store].
func (s *Store) Claim(ctx context.Context, k once.Key, token string, lease time.Duration) error {
	return repeat(ctx, func() error {
		return claimProblem(s.record(ctx, s.db, k, token, false, lease))
	})
}

// Commit implements [once.Store].
func (s *Store) Commit(ctx context.Context, k once.Key, token string, keep time.Duration) error {
	return repeat(ctx, func() error { return s.commit(ctx, k, token, keep) })
}

func (s *Store) commit(ctx context.Context, k once.Key, token string, keep time.Duration) error {
	n, err := s.exec(ctx, s.db, s.sql.Commit, keep.Microseconds(), k[:], token)
	if n > 0 || err != nil {
		return problem("commit", err)
	}
	// The lease ended and the record was deleted, or another token claims or committed k.
	return claimProblem(s.record(ctx, s.db, k, token, true, keep))
}

// Release implements [once.Store].
func (s *Store) Release(ctx context.Context, k once.Key, token string) error {
	return repeat(ctx, func() error {
		_, err := s.exec(ctx, s.db, s.sql.Release, k[:], token)
		return problem("release", err)
	})
}

// repeat calls f, and again after a serialization failure. In a session with the default
// isolation serializable, statements for different events stop each other.
func repeat(ctx context.Context, f func() error) error {
	const most, longest = 30, 20 * time.Millisecond
	for range most {
		err := f()
		if !oncetable.IsSerializationFailure(err) || wait.For(ctx, rand.N(longest)) != nil {
			return err
		}
	}
	return f()
}

// record writes the record of k for a time, also over a claim of token. If another record
// is in force, the error is [once.ErrDone] or [once.ErrInProgress]. Any other error is
// the error of the driver.
func (s *Store) record(ctx context.Context, q querier, k once.Key, token string, done bool, d time.Duration) error {
	if len(token) > maxToken {
		return fmt.Errorf("%w: the token is longer than %d bytes; pass a shorter token", diffhook.ErrInvalidOptions, maxToken)
	}
	n, err := s.exec(ctx, q, s.sql.Insert, k[:], token, done, d.Microseconds())
	if n > 0 {
		return nil
	}
	if err != nil && !oncetable.IsDuplicateKey(err) {
		return err
	}
	var isDone, ended bool
	err = q.QueryRowContext(ctx, s.sql.Look, k[:]).Scan(&isDone, &ended)
	switch {
	case errors.Is(err, sql.ErrNoRows): // released since
		return once.ErrInProgress
	case err != nil:
		return err
	case isDone && !ended:
		return once.ErrDone
	}
	n, err = s.exec(ctx, q, s.sql.Take, token, done, d.Microseconds(), k[:], token)
	if n == 0 && err == nil { // another token claims k
		return once.ErrInProgress
	}
	return err
}

// exec returns the number of changed rows.
func (s *Store) exec(ctx context.Context, q querier, query string, args ...any) (int64, error) {
	result, err := q.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// Sweep deletes ended records and returns their number. Call Sweep once a day, from any
// process. Until then, ended records take room only.
func (s *Store) Sweep(ctx context.Context) (deleted int64, err error) {
	for {
		n, err := s.exec(ctx, s.db, s.sql.Sweep)
		deleted += n
		if n == 0 || err != nil {
			return deleted, problem("sweep", err)
		}
	}
}

// problem returns the error of an operation that failed with err, nil if err is nil.
func problem(operation string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("oncesql: %s: %w: %w", operation, diffhook.ErrUnavailable, err)
}

// claimProblem returns the error of a claim that record ended with err.
func claimProblem(err error) error {
	switch {
	case err == nil, errors.Is(err, once.ErrDone), errors.Is(err, once.ErrInProgress), errors.Is(err, diffhook.ErrInvalidOptions):
		return err
	case oncetable.IsBusy(err):
		return fmt.Errorf("%w: %w", once.ErrInProgress, err)
	}
	return problem("claim", err)
}
