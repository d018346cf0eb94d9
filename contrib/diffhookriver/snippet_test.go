package diffhookriver_test

import (
	"context"
	"net/http"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookriver"
)

// The snippets of the README are here, letter for letter, to compile.

var _ = []any{enqueueing, handle}

var pool *pgxpool.Pool

func enqueueing(ctx context.Context, verifier *diffhook.Verifier) error {
	config := &river.Config{
		Workers: river.NewWorkers(),
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}},
	}
	diffhookriver.AddWorker(config.Workers, handle, nil)
	if err := diffhookriver.Check(config); err != nil {
		return err // the error names the setting to change
	}
	client, err := river.NewClient(riverpgxv5.New(pool), config)
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	http.Handle("POST /hook", verifier.EventHandler(diffhookriver.Enqueue(client)))
	return nil
}

func handle(ctx context.Context, e *diffhook.Event) error {
	tx, err := pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, "INSERT INTO changes (url) VALUES ($1)", e.URL); err != nil {
		return err
	}
	if err := diffhookriver.CompleteTx(ctx, tx); err != nil {
		return err // roll back: another attempt runs the job
	}
	return tx.Commit(ctx)
}
