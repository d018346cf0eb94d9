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

var _ = []any{postgres, mysql, sqlite, createTable, inTransaction, inOwnTransaction, withLease, sweepRecords, watchOutcomes}

const (
	// sql.Open("pgx", postgres), with github.com/jackc/pgx/v5/stdlib
	postgres = "postgres://app@localhost/app?client_connection_check_interval=5s" +
		"&idle_in_transaction_session_timeout=15s"
	// sql.Open("mysql", mysql), with github.com/go-sql-driver/mysql, also for MariaDB
	mysql = "app@tcp(localhost)/app?innodb_lock_wait_timeout=5&interpolateParams=true" +
		"&timeout=5s&readTimeout=9s&writeTimeout=9s"
	// sql.Open("sqlite", sqlite), with modernc.org/sqlite; then db.SetMaxOpenConns(1)
	sqlite = "file:events.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_txlock=immediate"
)

func createTable(ctx context.Context, db *sql.DB) error {
	schema, err := oncesql.Schema(oncesql.Postgres, "") // or oncesql.MySQL, oncesql.SQLite
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, schema)
	return err
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
	store, err := oncesql.New(ctx, db, oncesql.Postgres, nil) // or once.NewMemory(0), in a single process
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
