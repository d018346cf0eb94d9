// Package diffhookpgx handles each event of DiffHook once with PostgreSQL through pgx.
//
// [Store.InTx] and [Store.First] record an event in the transaction of the work: the
// effects of the work in this database happen exactly once. Table, options and errors
// are those of package oncesql, and programs with either package can share a table.
package diffhookpgx

import (
	"cmp"
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/oncetable"
	"github.com/diffhook/diffhook-go/internal/pace"
	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncesql"
)

// Options are the options of [New].
type Options = oncesql.Options

// Store records events in a table. It is safe for concurrent use. For leases in the same
// table, with [once.Func], pass the result of [stdlib.OpenDBFromPool] to [oncesql.New].
type Store struct {
	pool *pgxpool.Pool
	sql  oncetable.Statements
	opts Options
}

// New returns a store in the database of pool. Nil opts are all defaults. The error wraps
// [oncesql.ErrSetup] if the table is missing, differs from [Schema] or cannot be written,
// and [diffhook.ErrInvalidOptions] if an option is out of range.
func New(ctx context.Context, pool *pgxpool.Pool, opts *Options) (*Store, error) {
	if pool == nil {
		return nil, fmt.Errorf("%w: pool is nil; pass the result of pgxpool.New", diffhook.ErrInvalidOptions)
	}
	if err := check(ctx, pool, opts); err != nil {
		return nil, err
	}
	s := &Store{pool: pool}
	if opts != nil {
		s.opts = *opts
	}
	s.opts.Table = cmp.Or(s.opts.Table, oncesql.DefaultTable)
	s.opts.MaxTx = pace.Of(cmp.Or(s.opts.MaxTx, oncesql.DefaultMaxTx))
	s.opts.Keep = once.KeepOf(s.opts.Keep)
	var err error
	s.sql, err = oncetable.NewStatements(oncetable.Postgres, s.opts.Table)
	return s, err
}

// check lets package oncesql check the options and the table.
func check(ctx context.Context, pool *pgxpool.Pool, opts *Options) error {
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close() // not the pool
	_, err := oncesql.New(ctx, db, oncesql.Postgres, opts)
	return err
}

// Sweep deletes ended records and returns their number. Call Sweep once a day, from any
// process. Until then, ended records take room only.
func (s *Store) Sweep(ctx context.Context) (deleted int64, err error) {
	for {
		tag, err := s.pool.Exec(ctx, s.sql.Sweep)
		deleted += tag.RowsAffected()
		if tag.RowsAffected() == 0 || err != nil {
			return deleted, problem("sweep", err)
		}
	}
}

// Schema returns the statements that create the table if missing. An empty name
// means [oncesql.DefaultTable].
func Schema(table string) (string, error) { return oncesql.Schema(oncesql.Postgres, table) }
