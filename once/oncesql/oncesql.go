// Package oncesql handles each event once with a table of a database: PostgreSQL,
// MySQL, MariaDB or SQLite, through database/sql and any driver.
//
// [Store.InTx] and [Store.First] record an event in the transaction of the work: the
// effects of the work in this database happen exactly once. [Store] is also a
// [once.Store], for work outside of the database: at least once, with duplicates
// suppressed.
//
// [Schema] returns the statements for the table. Call [Store.Sweep] once a day.
// docs/once.md in the repository shows the data source names to use.
package oncesql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"time"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/oncetable"
	"github.com/diffhook/diffhook-go/internal/pace"
	"github.com/diffhook/diffhook-go/once"
)

// Dialect is the SQL of a database.
type Dialect string

const (
	// Postgres is the dialect of PostgreSQL. The driver github.com/lib/pq waits for an
	// answer even if the context ends, and hangs if the network dies silently: take
	// github.com/jackc/pgx/v5/stdlib.
	Postgres Dialect = oncetable.Postgres

	SQLite Dialect = oncetable.SQLite

	// MySQL is the dialect of MariaDB too. The driver github.com/go-sql-driver/mysql
	// waits for the answer to COMMIT for ever, even if the context ends: add timeout,
	// readTimeout and writeTimeout of 9 s to the data source name, and
	// innodb_lock_wait_timeout=5.
	MySQL Dialect = oncetable.MySQL
)

const (
	// DefaultTable is the name of the table by default.
	DefaultTable = "diffhook_once"

	// DefaultMaxTx is MaxTx by default: a second of the 10 s remains for the answer.
	DefaultMaxTx = diffhook.DeliveryTimeout - time.Second
)

// ErrSetup is wrapped by the error of [New] for a database that is not ready. The error
// names the remedy.
var ErrSetup = errors.New("oncesql: the database is not set up")

// Options are the options of [New].
type Options struct {
	// Table is the name of the table, also with a schema and a dot in front. By
	// default, DefaultTable.
	Table string

	// Consumer separates functions if each must handle every event, for InTx and
	// First. By default, Consumer is empty.
	Consumer string

	// Keep is how long InTx and First keep a done event: see Options of package once.
	// By default, once.DefaultKeep.
	Keep time.Duration

	// MaxTx bounds a transaction of InTx, with the wait for another delivery of the
	// event. DiffHook waits 10 s for the answer. By default, DefaultMaxTx.
	MaxTx time.Duration

	// Observe is called when InTx returns. By default, nothing is observed.
	Observe func(context.Context, once.Observation)
}

// Store is a [once.Store] in a table, safe for concurrent use.
type Store struct {
	db      *sql.DB
	dialect Dialect
	sql     oncetable.Statements
	opts    Options
}

var _ once.Store = (*Store)(nil)

// New returns a store in db. Nil opts are all defaults. New tries the table in a
// transaction, and rolls back. The error wraps [ErrSetup] if
//   - the dialect is of another database;
//   - the table is missing, differs from [Schema], or cannot be written;
//   - MySQL or MariaDB waits for a lock as long as DiffHook for an answer, or longer,
//     or does not commit each statement;
//   - SQLite does not wait for a lock.
//
// The error wraps [diffhook.ErrInvalidOptions] if an option is out of range.
func New(ctx context.Context, db *sql.DB, dialect Dialect, opts *Options) (*Store, error) {
	if db == nil {
		return nil, fmt.Errorf("%w: db is nil; pass the result of sql.Open", diffhook.ErrInvalidOptions)
	}
	s := &Store{db: db, dialect: dialect}
	if opts != nil {
		s.opts = *opts
	}
	var err error
	if s.opts.Table, err = tableName(s.opts.Table); err != nil {
		return nil, err
	}
	if s.sql, err = oncetable.NewStatements(string(dialect), s.opts.Table); err != nil {
		return nil, invalid(err)
	}
	if s.opts.MaxTx < 0 {
		return nil, fmt.Errorf("%w: MaxTx is negative; set 0 for %v", diffhook.ErrInvalidOptions, DefaultMaxTx)
	}
	if s.opts.MaxTx == 0 {
		s.opts.MaxTx = DefaultMaxTx
	}
	s.opts.MaxTx = pace.Of(s.opts.MaxTx)
	s.opts.Keep = once.KeepOf(s.opts.Keep)
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

var tablePattern = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]{0,47}\.)?[A-Za-z_][A-Za-z0-9_]{0,47}$`)

// tableName returns the name of the table, or an error: the name becomes part of
// statements.
func tableName(name string) (string, error) {
	if name == "" {
		return DefaultTable, nil
	}
	if !tablePattern.MatchString(name) {
		return "", fmt.Errorf("%w: Table %q is not a plain name; set letters, digits and underscores, at most 48, also with a schema and a dot in front", diffhook.ErrInvalidOptions, name)
	}
	return name, nil
}

// Schema returns the statements that create the table of a dialect if missing. An empty
// name means [DefaultTable]. Put the statements among the migrations of the program.
func Schema(dialect Dialect, table string) (string, error) {
	table, err := tableName(table)
	if err != nil {
		return "", err
	}
	schema, err := oncetable.Schema(string(dialect), table)
	return schema, invalid(err)
}

func invalid(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", diffhook.ErrInvalidOptions, err)
}
