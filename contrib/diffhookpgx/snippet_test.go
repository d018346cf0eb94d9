package diffhookpgx_test

import (
	"context"
	"net/http"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookpgx"
)

// The snippet of the README and of docs/once.md is here, letter for letter, to compile.

var _ = inTransaction

func inTransaction(ctx context.Context, pool *pgxpool.Pool, v *diffhook.Verifier) error {
	events, err := diffhookpgx.New(ctx, pool, nil)
	if err != nil {
		return err // no table, or a table of another version
	}
	h := v.EventHandler(events.InTx(func(ctx context.Context, tx pgx.Tx, e *diffhook.Event) error {
		_, err := tx.Exec(ctx, "INSERT INTO changes (url) VALUES ($1)", e.URL)
		return err
	}))
	http.Handle("POST /hook", h)
	return nil
}
