package diffhookriver_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookriver"
	"github.com/diffhook/diffhook-go/internal/loadtest"
)

// BenchmarkLoad compares Enqueue in the receiver to an insert in a transaction in
// PostgreSQL. Then BenchmarkLoad shows how many enqueued events a second 16 workers handle
// exactly once, and how long a worker takes:
//
//	contrib/servers run -- go test -run '^$' -bench Load -benchtime 1x
func BenchmarkLoad(b *testing.B) {
	type way = loadtest.Way[*diffhook.Event]
	for _, concurrency := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("concurrency=%d", concurrency), func(b *testing.B) {
			_, db := newPostgres(b)
			inserter, err := newInserter(db)
			require.NoError(b, err)
			loadtest.Compare(b, "River", concurrency, func() *diffhook.Event { return newEvent(b, "") },
				&way{Name: "own insert", Handle: func(ctx context.Context, e *diffhook.Event) error {
					return db.inTx(ctx, func(tx pgx.Tx) error { return db.effect(ctx, tx, e) })
				}},
				&way{Name: "enqueue", Handle: diffhookriver.Enqueue(inserter)})
			workAll(b, db)
		})
	}
}

// workAll handles all enqueued events, and logs the figures of the workers.
func workAll(b *testing.B, db *database[pgx.Tx]) {
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
	n := db.unfinished(b)
	completed, cancel := client.SubscribeConfig(&river.SubscribeConfig{
		ChanSize: n,
		Kinds:    []river.EventKind{river.EventKindJobCompleted},
	})
	defer cancel()
	began := time.Now()
	require.NoError(b, client.Start(context.Background()))
	var took []time.Duration
	for range n {
		took = append(took, (<-completed).JobStats.RunDuration)
	}
	rate := float64(n) / time.Since(began).Seconds()
	require.NoError(b, client.Stop(context.Background()))
	require.Zero(b, db.unfinished(b))
	slices.Sort(took)
	b.Logf("work %.0f events/s  p50 %v  p99 %v", rate, took[n/2].Round(time.Microsecond), took[n*99/100].Round(time.Microsecond))
}
