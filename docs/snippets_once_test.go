package docs_test

import (
	"context"
	"database/sql"
	"expvar"
	"net/http"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncesql"
)

// The snippets of once.md are here, letter for letter, so that they compile.

var _ = []any{openSQLite, inTransaction, inOwnTransaction, withLease, sweepRecords, watchOutcomes}

func openSQLite() (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:/var/lib/app/app.db?_pragma=busy_timeout(5000)&_txlock=immediate")
	return db, err
}

func inTransaction(ctx context.Context, db *sql.DB, v *diffhook.Verifier, mux *http.ServeMux) error {
	events, err := oncesql.New(ctx, db, oncesql.Postgres, nil)
	if err != nil {
		return err // no table, or a table of another version
	}
	mux.Handle("POST /hook", v.EventHandler(events.InTx(
		func(ctx context.Context, tx *sql.Tx, e *diffhook.Event) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO changes (url) VALUES ($1)", e.URL)
			return err
		},
	)))
	return nil
}

func inOwnTransaction(ctx context.Context, events *oncesql.Store, tx *sql.Tx, e *diffhook.Event) error {
	first, err := events.First(ctx, tx, e)
	if err != nil || !first {
		return err // false: the event is done
	}
	return tx.Commit()
}

func withLease(ctx context.Context, db *sql.DB, v *diffhook.Verifier, mux *http.ServeMux) error {
	store, err := oncesql.New(ctx, db, oncesql.Postgres, nil) // or store := once.NewMemory(0), in a single process
	if err != nil {
		return err
	}
	mux.Handle("POST /hook", v.EventHandler(once.Func(store, handle, nil)))
	return nil
}

func sweepRecords(ctx context.Context, events *oncesql.Store) (int64, error) {
	deleted, err := events.Sweep(ctx)
	return deleted, err
}

func watchOutcomes(outcomes *expvar.Map) *oncesql.Options {
	opts := &oncesql.Options{Observe: func(ctx context.Context, o once.Observation) {
		outcomes.Add(string(o.Outcome), 1) // an expvar.Map, or a counter with a label
	}}
	return opts
}
