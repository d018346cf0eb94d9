package oncesql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/once"
)

// check finds out whether the database can be used.
func (s *Store) check(ctx context.Context) error {
	if err := s.db.PingContext(ctx); err != nil {
		return fmt.Errorf("oncesql: connect: %w: %w", diffhook.ErrUnavailable, err)
	}
	var version string
	if err := s.db.QueryRowContext(ctx, s.sql.Version).Scan(&version); err != nil {
		return fmt.Errorf("%w: it does not speak the dialect %s; pass the dialect of its driver: %w", ErrSetup, s.dialect, err)
	}
	if err := s.checkSession(ctx); err != nil {
		return err
	}
	if _, err := s.db.ExecContext(ctx, "SELECT 1 FROM "+s.opts.Table+" WHERE 1 = 0"); err != nil {
		return fmt.Errorf("%w: there is no table %s, or no right to read it; run the statements of oncesql.Schema: %w", ErrSetup, s.opts.Table, err)
	}
	return s.checkTable(ctx)
}

// checkSession finds out whether a statement commits by itself, and waits for another
// transaction, but not for longer than DiffHook waits for the answer.
func (s *Store) checkSession(ctx context.Context) error {
	switch s.dialect {
	case MySQL:
		var seconds int64
		var commits bool
		if err := s.db.QueryRowContext(ctx, "SELECT @@innodb_lock_wait_timeout, @@autocommit").Scan(&seconds, &commits); err != nil {
			return fmt.Errorf("%w: innodb_lock_wait_timeout cannot be read: %w", ErrSetup, err)
		}
		if !commits {
			return fmt.Errorf("%w: autocommit is off, and a claim would never be committed; remove autocommit from the data source name", ErrSetup)
		}
		if seconds >= int64(diffhook.DeliveryTimeout/time.Second) {
			return fmt.Errorf("%w: innodb_lock_wait_timeout is %d s, and DiffHook waits for 10 s; add innodb_lock_wait_timeout=5 to the data source name", ErrSetup, seconds)
		}
	case SQLite:
		var milliseconds int64
		if err := s.db.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&milliseconds); err != nil {
			return fmt.Errorf("%w: busy_timeout cannot be read: %w", ErrSetup, err)
		}
		if milliseconds <= 0 {
			return fmt.Errorf("%w: SQLite does not wait for a lock; add busy_timeout(5000) to the data source name, and let transactions begin immediate", ErrSetup)
		}
	}
	return nil
}

// checkTable uses the table in a transaction, and rolls back.
func (s *Store) checkTable(ctx context.Context) error {
	wrong := func(text string, err error) error {
		text = fmt.Sprintf("the table %s %s; create it anew by the statements of oncesql.Schema", s.opts.Table, text)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrSetup, text, err)
		}
		return fmt.Errorf("%w: %s", ErrSetup, text)
	}
	var k once.Key
	_, _ = rand.Read(k[:])
	record := func(q querier) error { return s.record(ctx, q, k, rand.Text(), true, time.Minute) }
	err := s.rolledBack(ctx, func(tx *sql.Tx) error {
		if err := record(tx); errors.Is(err, once.ErrInProgress) {
			return err // a lock
		} else if err != nil {
			return wrong("is not of this version", err)
		}
		switch err := record(tx); {
		case err == nil:
			return wrong("has no primary key", nil)
		case !errors.Is(err, once.ErrDone):
			return wrong("does not keep its records", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.rolledBack(ctx, func(tx *sql.Tx) error {
		if err := record(tx); err != nil {
			return wrong("is not transactional: it keeps a record that was rolled back", err)
		}
		return nil
	})
}

func (s *Store) rolledBack(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return problem("begin a transaction", err)
	}
	defer func() { _ = tx.Rollback() }()
	return f(tx)
}
