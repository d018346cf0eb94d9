package diffhookriver_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookriver"
	"github.com/diffhook/diffhook-go/internal/loadtest"
	"github.com/diffhook/diffhook-go/internal/testservers"
)

// BenchmarkLoad compares Enqueue in the receiver to an insert in a transaction in
// PostgreSQL. Then BenchmarkLoad shows how many enqueued events a second 16 workers handle
// exactly once:
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
			b.Logf("work %.0f events/s", workAll(b, db))
		})
	}
}

// workAll handles all enqueued events, and returns the number of events a second.
func workAll(b *testing.B, db *database[pgx.Tx]) float64 {
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
	n, began := db.unfinished(b), time.Now()
	require.NoError(b, client.Start(context.Background()))
	testservers.Eventually(b, "every job is completed", func() bool { return db.unfinished(b) == 0 })
	rate := float64(n) / time.Since(began).Seconds()
	require.NoError(b, client.Stop(context.Background()))
	return rate
}
