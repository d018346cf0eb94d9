// Package diffhookpgx handles each event of DiffHook once with PostgreSQL through pgx.
//
// [Store.InTx] and [Store.First] record an event in the transaction of the work: the
// effects of the work in that database happen exactly once. The table, its options and
// its errors are those of package oncesql, and programs with either can share it.
package diffhookpgx

import (
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

// Store keeps events in a table. InTx and First are those of pgx. The other methods
// are those of [oncesql.Store] on the same pool: Sweep, and the methods of
// [once.Store]. It is safe for concurrent use.
type Store struct {
	leases
	pool *pgxpool.Pool
	sql  oncetable.Statements
	opts Options
}

// leases hides the name of the embedded field.
type leases = *oncesql.Store

var _ once.Store = (*Store)(nil)

// New returns a store in the database of pool. Nil opts are all defaults. It returns an
// error that wraps [oncesql.ErrSetup] if the table is missing or is not that of
// [Schema]. Options out of their range are an error that wraps
// [diffhook.ErrInvalidOptions].
func New(ctx context.Context, pool *pgxpool.Pool, opts *Options) (*Store, error) {
	if pool == nil {
		return nil, fmt.Errorf("%w: New of a nil pool", diffhook.ErrInvalidOptions)
	}
	s := &Store{pool: pool}
	if opts != nil {
		s.opts = *opts
	}
	var err error
	if s.leases, err = oncesql.New(ctx, stdlib.OpenDBFromPool(pool), oncesql.Postgres, opts); err != nil {
		return nil, err
	}
	if s.opts.Table == "" {
		s.opts.Table = oncesql.DefaultTable
	}
	if s.opts.MaxTx == 0 {
		s.opts.MaxTx = oncesql.DefaultMaxTx
	}
	s.opts.MaxTx = pace.Of(s.opts.MaxTx)
	s.opts.Keep = once.KeepOf(s.opts.Keep)
	s.sql, err = oncetable.NewStatements(oncetable.Postgres, s.opts.Table)
	return s, err
}

// Schema returns the statements that create the table if it is missing. An empty name
// means [oncesql.DefaultTable].
func Schema(table string) (string, error) { return oncesql.Schema(oncesql.Postgres, table) }
