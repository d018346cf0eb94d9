package diffhookpgx_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookpgx"
	"github.com/diffhook/diffhook-go/internal/testservers"
	"github.com/diffhook/diffhook-go/once"
)

// rig is a table in a real database, with a table of effects: a row for each time an event
// is handled.
type rig struct {
	pool    *pgxpool.Pool
	table   string
	effects string
}

func newRig(t testing.TB) *rig {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), testservers.Address(t, "POSTGRES"))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	r := &rig{pool: pool, table: "once_" + strings.ToLower(rand.Text()[:12])}
	r.effects = r.table + "_effects"
	schema, err := diffhookpgx.Schema(r.table)
	require.NoError(t, err)
	r.exec(t, schema+"CREATE TABLE "+r.effects+" (event TEXT NOT NULL)")
	t.Cleanup(func() { _, _ = pool.Exec(context.Background(), "DROP TABLE "+r.table+", "+r.effects) })
	return r
}

func (r *rig) exec(t testing.TB, sql string) {
	t.Helper()
	_, err := r.pool.Exec(t.Context(), sql)
	require.NoError(t, err)
}

// store opens the store with changes to its options.
func (r *rig) store(t testing.TB, change func(*diffhookpgx.Options)) *diffhookpgx.Store {
	t.Helper()
	opts := &diffhookpgx.Options{Table: r.table}
	if change != nil {
		change(opts)
	}
	s, err := diffhookpgx.New(t.Context(), r.pool, opts)
	require.NoError(t, err)
	return s
}

// executor is a pool or a pgx.Tx.
type executor interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// handle writes an effect of e.
func (r *rig) handle(ctx context.Context, q executor, e *diffhook.Event) error {
	_, err := q.Exec(ctx, "INSERT INTO "+r.effects+" (event) VALUES ($1)", once.KeyOf("", e).String())
	return err
}

func (r *rig) inTx(ctx context.Context, tx pgx.Tx, e *diffhook.Event) error {
	return r.handle(ctx, tx, e)
}

// count returns how often e was handled.
func (r *rig) count(t testing.TB, e *diffhook.Event) (n int) {
	t.Helper()
	row := r.pool.QueryRow(t.Context(), "SELECT COUNT(*) FROM "+r.effects+" WHERE event = $1", once.KeyOf("", e).String())
	require.NoError(t, row.Scan(&n))
	return n
}

// numbered returns an event for each number.
func numbered(i int) *diffhook.Event {
	return &diffhook.Event{Type: "page.changed", MonitorID: fmt.Sprint("mon_", i), TriggeredAt: time.Unix(1_773_670_920, 0).UTC()}
}

func openPool(t testing.TB, config *pgxpool.Config) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// tracer counts statements and batches. Each is a round trip if the statements are
// prepared. It calls before, if not nil, at the start of each.
type tracer struct {
	n      int
	before func()
}

func (c *tracer) start() {
	c.n++
	if c.before != nil {
		c.before()
	}
}

func (c *tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.start()
	return ctx
}

func (c *tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (c *tracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	c.start()
	return ctx
}

func (c *tracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (c *tracer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}
