package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookpgx"
	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncesql"
)

// The benchmarks print a table. This command runs all:
//
//	../../contrib/servers run -- go test -run '^$' -bench . -benchtime 1x -timeout 60m
//
// DIFFHOOK_TEST_ROUNDS is the number of rounds of each way (25), DIFFHOOK_TEST_KEPT the
// larger number of records of BenchmarkKept (100000).

// A way is a function for events, with the rounds of a benchmark.
type way struct {
	name   string
	handle diffhook.EventFunc
	rounds []round
}

// A round is a run of a way.
type round struct {
	rate     float64 // events in a second
	p50, p99 time.Duration
}

func number(name string, def int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return def
}

var lastEvent atomic.Int64

// run handles new events from as many goroutines for a tenth of a second.
func (w *way) run(b *testing.B, concurrency int) {
	var mu sync.Mutex
	var latencies []time.Duration
	var group sync.WaitGroup
	began := time.Now()
	for range concurrency {
		group.Go(func() {
			var own []time.Duration
			for time.Since(began) < 100*time.Millisecond {
				e := numbered(int(lastEvent.Add(1)))
				start := time.Now()
				if err := w.handle(b.Context(), e); err != nil {
					b.Error(err)
					return
				}
				own = append(own, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, own...)
		})
	}
	group.Wait()
	took := time.Since(began)
	if len(latencies) == 0 {
		b.Fatal("no event was handled")
	}
	slices.Sort(latencies)
	n := len(latencies)
	w.rounds = append(w.rounds, round{float64(n) / took.Seconds(), latencies[n/2], latencies[n*99/100]})
}

// median returns the median of a figure over the rounds.
func median[T float64 | time.Duration](w *way, figure func(i int, r round) T) T {
	var all []T
	for i, r := range w.rounds {
		all = append(all, figure(i, r))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// compare runs the ways in turn and prints the medians. The ratio of a round is the time for
// an event, divided by the time of the first way: both are measured close together.
func compare(b *testing.B, title string, concurrency int, ways ...*way) {
	for _, w := range ways {
		w.run(b, concurrency) // opens connections and prepares statements
		w.rounds = nil
	}
	for range number("DIFFHOOK_TEST_ROUNDS", 25) {
		for _, w := range ways {
			w.run(b, concurrency)
		}
	}
	for _, w := range ways {
		b.Logf("%-9s %2d at a time  %-12s %7.0f events/s  p50 %8v  p99 %8v  ratio %.2f",
			title, concurrency, w.name,
			median(w, func(_ int, r round) float64 { return r.rate }),
			median(w, func(_ int, r round) time.Duration { return r.p50 }).Round(10*time.Microsecond),
			median(w, func(_ int, r round) time.Duration { return r.p99 }).Round(10*time.Microsecond),
			median(w, func(i int, r round) float64 { return ways[0].rounds[i].rate / r.rate }))
	}
}

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
				compare(b, d.name, concurrency,
					&way{name: "own tx", handle: func(ctx context.Context, e *diffhook.Event) error { return ownTx(ctx, db, r, e) }},
					&way{name: "InTx", handle: s.InTx(r.inTx)})
				compare(b, d.name, concurrency,
					&way{name: "own insert", handle: work}, &way{name: "Func", handle: once.Func(s, work, nil)})
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
			compare(b, "pgx", concurrency,
				&way{name: "own tx", handle: func(ctx context.Context, e *diffhook.Event) error {
					return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return work(ctx, tx, e) })
				}},
				&way{name: "InTx", handle: s.InTx(work)})
		})
	}
}

// BenchmarkKept compares InTx in PostgreSQL with few and with many records.
func BenchmarkKept(b *testing.B) {
	d := databases[0]
	var ways []*way
	for _, kept := range []int{1_000, number("DIFFHOOK_TEST_KEPT", 100_000)} {
		r := newRig(b, d)
		execute(b, r.db, fmt.Sprintf(`INSERT INTO %s (id, token, done, expires_at)
			SELECT sha256(int8send(i)), 'tx', TRUE, now() + i * interval '1 second' FROM generate_series(1, %d) AS i`, r.opts.Table, kept))
		execute(b, r.db, "VACUUM ANALYZE "+r.opts.Table)
		ways = append(ways, &way{name: fmt.Sprint(kept, " kept"), handle: r.store(b, nil).InTx(r.inTx)})
	}
	compare(b, d.name, 8, ways...)
}
