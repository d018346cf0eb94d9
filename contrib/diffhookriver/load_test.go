package diffhookriver_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookriver"
)

// way is a way to handle events under load.
type way struct {
	name   string
	handle diffhook.EventFunc
	rounds []round
}

// round is the result of a run.
type round struct {
	rate     float64 // events a second
	p50, p99 time.Duration
}

// run handles n new events, with concurrency events at a time.
func (w *way) run(b *testing.B, concurrency, n int) {
	latencies := make([]time.Duration, n)
	var next atomic.Int64
	var running sync.WaitGroup
	began := time.Now()
	for range concurrency {
		running.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				e := newEvent(b, "")
				start := time.Now()
				if err := w.handle(b.Context(), e); err != nil {
					b.Error(err)
				}
				latencies[i] = time.Since(start)
			}
		})
	}
	running.Wait()
	rate := float64(n) / time.Since(began).Seconds()
	slices.Sort(latencies)
	w.rounds = append(w.rounds, round{rate, latencies[n/2], latencies[n*99/100]})
}

func median[T float64 | time.Duration](rounds []round, of func(round) T) T {
	var values []T
	for _, r := range rounds {
		values = append(values, of(r))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// BenchmarkLoad compares Enqueue in the receiver to an insert in a transaction in
// PostgreSQL. Then BenchmarkLoad shows how many enqueued events a second 16 workers handle
// exactly once. The ways take turns, and the figures are medians of the rounds:
//
//	contrib/servers run -- go test -run '^$' -bench Load -benchtime 1x
func BenchmarkLoad(b *testing.B) {
	const rounds, n = 5, 500
	for _, concurrency := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("concurrency=%d", concurrency), func(b *testing.B) {
			_, db := newPostgres(b)
			inserter, err := river.NewClient(db.driver, &river.Config{})
			require.NoError(b, err)
			ways := []*way{
				{name: "without", handle: func(ctx context.Context, e *diffhook.Event) error {
					return db.inTx(ctx, func(tx pgx.Tx) error { return db.effect(ctx, tx, e) })
				}},
				{name: "enqueue", handle: diffhookriver.Enqueue(inserter)},
			}
			var worked []float64
			for range rounds {
				for _, w := range ways {
					w.run(b, concurrency, n)
				}
				worked = append(worked, workAll(b, db, n))
			}
			var table strings.Builder
			base := median(ways[0].rounds, func(r round) float64 { return r.rate })
			for _, w := range ways {
				rate := median(w.rounds, func(r round) float64 { return r.rate })
				fmt.Fprintf(&table, "\n%-8s %8.0f events/s (%.2f x)  p50 %7v  p99 %7v", w.name, rate, base/rate,
					median(w.rounds, func(r round) time.Duration { return r.p50 }).Round(time.Microsecond),
					median(w.rounds, func(r round) time.Duration { return r.p99 }).Round(time.Microsecond))
			}
			slices.Sort(worked)
			fmt.Fprintf(&table, "\n%-8s %8.0f events/s", "work", worked[len(worked)/2])
			b.Log(table.String())
		})
	}
}

// workAll handles all n enqueued events, and returns the number of events a second.
func workAll(b *testing.B, db *database[pgx.Tx], n int) float64 {
	workers := river.NewWorkers()
	diffhookriver.AddWorker(workers, db.once, nil)
	client, err := river.NewClient(db.driver, &river.Config{
		Workers:       workers,
		Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 16}},
		FetchCooldown: 10 * time.Millisecond,
		Logger:        slog.New(slog.DiscardHandler),
		TestOnly:      true,
	})
	require.NoError(b, err)
	began := time.Now()
	require.NoError(b, client.Start(context.Background()))
	eventually(b, "every job is completed", func() bool { return db.unfinished(b) == 0 })
	rate := float64(n) / time.Since(began).Seconds()
	require.NoError(b, client.Stop(context.Background()))
	return rate
}
