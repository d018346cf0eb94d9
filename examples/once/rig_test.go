package main

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncesql"
)

// rig is a store in a database, with a table of effects: a row for each time an event is
// handled.
type rig struct {
	database
	dsn     string
	db      *sql.DB
	opts    oncesql.Options
	effects string
}

func newRig(t testing.TB, d database) *rig {
	t.Helper()
	r := &rig{database: d, dsn: d.dsn(t)}
	r.db = d.open(t, r.dsn)
	r.opts.Table = d.table(t, r.db)
	r.effects = r.opts.Table + "_effects"
	execute(t, r.db, "CREATE TABLE "+r.effects+" (event VARCHAR(100) NOT NULL)")
	t.Cleanup(func() { _, _ = r.db.ExecContext(context.Background(), "DROP TABLE "+r.effects) })
	return r
}

// store opens the store as another process would, with changes to its options.
func (r *rig) store(t testing.TB, change func(*oncesql.Options)) *oncesql.Store {
	t.Helper()
	return r.storeOf(t, r.open(t, r.dsn), change)
}

func (r *rig) storeOf(t testing.TB, db *sql.DB, change func(*oncesql.Options)) *oncesql.Store {
	t.Helper()
	opts := r.opts
	if change != nil {
		change(&opts)
	}
	s, err := oncesql.New(t.Context(), db, r.dialect, &opts)
	require.NoError(t, err)
	return s
}

// executor is a *sql.DB or a *sql.Tx.
type executor interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// handle writes an effect of e.
func (r *rig) handle(ctx context.Context, q executor, e *diffhook.Event) error {
	return writeEffect(ctx, q, r.effects, e)
}

// writeEffect writes an effect of e, without arguments of the statement: their marks differ
// between dialects.
func writeEffect(ctx context.Context, q executor, table string, e *diffhook.Event) error {
	_, err := q.ExecContext(ctx, fmt.Sprintf("INSERT INTO %s (event) VALUES ('%s')", table, once.KeyOf("", e)))
	return err
}

// inTx is the function that the tests of InTx wrap.
func (r *rig) inTx(ctx context.Context, tx *sql.Tx, e *diffhook.Event) error {
	return r.handle(ctx, tx, e)
}

// count returns how often e was handled.
func (r *rig) count(t testing.TB, e *diffhook.Event) (n int) {
	t.Helper()
	query := fmt.Sprintf("SELECT COUNT(*) FROM %s WHERE event = '%s'", r.effects, once.KeyOf("", e))
	require.NoError(t, r.db.QueryRow(query).Scan(&n))
	return n
}

// numbered returns an event for each number.
func numbered(i int) *diffhook.Event {
	return &diffhook.Event{Type: "page.changed", MonitorID: fmt.Sprint("mon_", i), TriggeredAt: time.Unix(1_773_670_920, 0).UTC()}
}
