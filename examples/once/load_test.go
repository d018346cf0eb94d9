package main

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookpgx"
	"github.com/diffhook/diffhook-go/internal/loadtest"
	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncesql"
)

// The benchmarks print a table. This command runs all:
//
//	../../contrib/servers run -- go test -run '^$' -bench . -benchtime 1x -timeout 60m
//
// DIFFHOOK_TEST_ROUNDS is the number of rounds of each way (25), DIFFHOOK_TEST_KEPT the
// larger number of records of BenchmarkKept (100000).

// way is a function for events, in a comparison.
type way = loadtest.Way[*diffhook.Event]

var lastEvent atomic.Int64

func newEvent() *diffhook.Event { return numbered(int(lastEvent.Add(1))) }

// BenchmarkInTx compares InTx to the same insert in a transaction, and Func to the same
// insert alone.
func BenchmarkInTx(b *testing.B) {
	for _, d := range databases {
		for _, concurrency := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("%s/%d", d.name, concurrency), func(b *testing.B) {
				r := newRig(b, d)
				db := d.open(b, r.dsn)
				db.SetMaxOpenConns(d.connections(concurrency))
				db.SetMaxIdleConns(concurrency)
				s := r.storeOf(b, db, nil)
				work := func(ctx context.Context, e *diffhook.Event) error { return r.handle(ctx, db, e) }
				loadtest.Compare(b, d.name, concurrency, newEvent,
					&way{Name: "own tx", Handle: func(ctx context.Context, e *diffhook.Event) error { return ownTx(ctx, db, r, e) }},
					&way{Name: "InTx", Handle: s.InTx(r.inTx)})
				loadtest.Compare(b, d.name, concurrency, newEvent,
					&way{Name: "own insert", Handle: work}, &way{Name: "Func", Handle: once.Func(s, work, nil)})
			})
		}
	}
}

// connections returns the number of connections for so many deliveries at a time. Several
// connections to SQLite would wait for each other without an order.
func (d database) connections(concurrency int) int {
	if d.dialect == oncesql.SQLite {
		return 1
	}
	return concurrency
}

func ownTx(ctx context.Context, db *sql.DB, r *rig, e *diffhook.Event) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := r.handle(ctx, tx, e); err != nil {
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}

// BenchmarkInTxPgx is BenchmarkInTx of diffhookpgx.
func BenchmarkInTxPgx(b *testing.B) {
	d := databases[0]
	for _, concurrency := range []int{1, 8, 64} {
		b.Run(strconv.Itoa(concurrency), func(b *testing.B) {
			r := newRig(b, d)
			config, err := pgxpool.ParseConfig(r.dsn)
			require.NoError(b, err)
			config.MaxConns = int32(concurrency)
			pool, err := pgxpool.NewWithConfig(b.Context(), config)
			require.NoError(b, err)
			b.Cleanup(pool.Close)
			s, err := diffhookpgx.New(b.Context(), pool, &r.opts)
			require.NoError(b, err)
			work := func(ctx context.Context, tx pgx.Tx, e *diffhook.Event) error {
				return writeEffectPgx(ctx, tx, r.effects, e)
			}
			loadtest.Compare(b, "pgx", concurrency, newEvent,
				&way{Name: "own tx", Handle: func(ctx context.Context, e *diffhook.Event) error {
					return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return work(ctx, tx, e) })
				}},
				&way{Name: "InTx", Handle: s.InTx(work)})
		})
	}
}

// BenchmarkKept compares InTx in PostgreSQL with few and with many records.
func BenchmarkKept(b *testing.B) {
	d := databases[0]
	var ways []*way
	for _, kept := range []int{1_000, loadtest.Number("DIFFHOOK_TEST_KEPT", 100_000)} {
		r := newRig(b, d)
		execute(b, r.db, fmt.Sprintf(`INSERT INTO %s (id, token, done, expires_at)
			SELECT sha256(int8send(i)), 'tx', TRUE, now() + i * interval '1 second' FROM generate_series(1, %d) AS i`, r.opts.Table, kept))
		execute(b, r.db, "VACUUM ANALYZE "+r.opts.Table)
		ways = append(ways, &way{Name: fmt.Sprint(kept, " kept"), Handle: r.store(b, nil).InTx(r.inTx)})
	}
	loadtest.Compare(b, d.name, 8, newEvent, ways...)
}
