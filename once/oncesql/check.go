package oncesql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/oncetable"
	"github.com/diffhook/diffhook-go/once"
)

// check returns an error if the database cannot be used.
func (s *Store) check(ctx context.Context) error {
	if err := s.db.PingContext(ctx); err != nil {
		return problem("connect", err)
	}
	for _, f := range []func(context.Context) error{s.checkDialect, s.checkSession, s.checkColumns, s.checkRecords} {
		err := f(ctx)
		if err != nil && ctx.Err() != nil { // a statement that ctx stopped shows nothing of the database
			return problem("check the database", ctx.Err())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func notSetUp(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrSetup, fmt.Errorf(format, args...))
}

func (s *Store) checkDialect(ctx context.Context) error {
	var version string
	if err := s.db.QueryRowContext(ctx, s.sql.Version).Scan(&version); err != nil {
		return notSetUp("a statement of the dialect %s fails: %w; pass the dialect of the database, oncesql.Postgres, MySQL or SQLite", s.dialect, err)
	}
	return nil
}

// checkSession returns an error unless a statement commits by itself and waits for
// another transaction, for less time than DiffHook waits for the response.
func (s *Store) checkSession(ctx context.Context) error {
	switch s.dialect {
	case MySQL:
		var seconds int64
		var commits bool
		if err := s.db.QueryRowContext(ctx, "SELECT @@innodb_lock_wait_timeout, @@autocommit").Scan(&seconds, &commits); err != nil {
			return notSetUp("the settings of the session cannot be read: %w", err)
		}
		if !commits {
			return notSetUp("autocommit is off, and a claim would never be committed; remove autocommit from the data source name")
		}
		if seconds >= int64(diffhook.DeliveryTimeout/time.Second) {
			return notSetUp("innodb_lock_wait_timeout is %d s, and DiffHook waits for 10 s; add innodb_lock_wait_timeout=5 to the data source name", seconds)
		}
	case SQLite:
		var milliseconds int64
		if err := s.db.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&milliseconds); err != nil {
			return notSetUp("busy_timeout cannot be read: %w", err)
		}
		if milliseconds <= 0 {
			return notSetUp("SQLite does not wait for a lock; add _pragma=busy_timeout(5000)&_txlock=immediate to the data source name, or for mattn/go-sqlite3 _busy_timeout=5000&_txlock=immediate")
		}
	}
	return nil
}

// recreate is the remedy for a wrong table: the statements of Schema leave a table as it is.
const recreate = "rename or drop the table, and run the statements of oncesql.Schema"

func (s *Store) checkColumns(ctx context.Context) error {
	read := func(columns string) error {
		_, err := s.db.ExecContext(ctx, "SELECT "+columns+" FROM "+s.opts.Table+" WHERE 1 = 0")
		return err
	}
	if err := read("1"); err != nil {
		return notSetUp("the table %s is missing or cannot be read: %w; run the statements of oncesql.Schema in this database, or grant SELECT", s.opts.Table, err)
	}
	if err := read("id, token, done, expires_at"); err != nil {
		return notSetUp("the table %s is of another version: %w; %s", s.opts.Table, err, recreate)
	}
	return nil
}

// checkRecords writes a record twice in a transaction, changes and deletes records with
// no token, rolls back, and writes the record again.
func (s *Store) checkRecords(ctx context.Context) error {
	var k once.Key
	_, _ = rand.Read(k[:])
	record := func(tx *sql.Tx) error { return s.record(ctx, tx, k, rand.Text(), true, time.Minute) }
	err := s.rolledBack(ctx, func(tx *sql.Tx) error {
		if err := record(tx); err != nil {
			return s.writeProblem(err)
		}
		switch err := record(tx); {
		case err == nil:
			return notSetUp("the table %s has no primary key; %s", s.opts.Table, recreate)
		case errors.Is(err, once.ErrInProgress):
			return notSetUp("the table %s cuts keys; %s", s.opts.Table, recreate)
		case !errors.Is(err, once.ErrDone):
			return s.writeProblem(err)
		}
		_, err := s.exec(ctx, tx, s.sql.Commit, 0, k[:], "")
		if err == nil {
			_, err = s.exec(ctx, tx, s.sql.Release, k[:], "")
		}
		if err != nil {
			return s.writeProblem(err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.rolledBack(ctx, func(tx *sql.Tx) error {
		switch err := record(tx); {
		case errors.Is(err, once.ErrDone):
			return notSetUp("the table %s keeps a record after a rollback: the engine has no transactions; %s", s.opts.Table, recreate)
		case err != nil:
			return s.writeProblem(err)
		}
		return nil
	})
}

// writeProblem returns the error of a record that was not written because of err.
func (s *Store) writeProblem(err error) error {
	if oncetable.IsBusy(err) {
		return problem("check the table "+s.opts.Table, err)
	}
	return notSetUp("the table %s rejects a record: %w; grant SELECT, INSERT, UPDATE and DELETE, or %s", s.opts.Table, err, recreate)
}

func (s *Store) rolledBack(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return problem("begin a transaction", err)
	}
	defer func() { _ = tx.Rollback() }()
	return f(tx)
}
