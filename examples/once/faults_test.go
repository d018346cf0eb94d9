package main

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookpgx"
	"github.com/diffhook/diffhook-go/internal/faultproxy"
	"github.com/diffhook/diffhook-go/internal/pace"
	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncesql"
)

// servers are the databases behind a network.
func servers() []database { return databases[:2] }

// atPace scales the durations of this process for a test.
func atPace(t *testing.T) {
	pace.Divisor = scale
	t.Cleanup(func() { pace.Divisor = 1 })
}

// A wrapper handles events once through a database. It writes the effect, and then calls
// work.
type wrapper func(t *testing.T, r *rig, dsn string, work func()) diffhook.EventFunc

// wrappers returns the wrappers for a database. With Func, the effect is written over
// another connection.
func (d database) wrappers() map[string]wrapper {
	all := map[string]wrapper{
		"InTx": func(t *testing.T, r *rig, dsn string, work func()) diffhook.EventFunc {
			return r.storeOf(t, d.openOne(t, dsn), nil).InTx(func(ctx context.Context, tx *sql.Tx, e *diffhook.Event) error {
				defer work()
				return r.handle(ctx, tx, e)
			})
		},
		"Func": func(t *testing.T, r *rig, dsn string, work func()) diffhook.EventFunc {
			return once.Func(r.storeOf(t, d.openOne(t, dsn), nil), func(ctx context.Context, e *diffhook.Event) error {
				defer work()
				return r.handle(ctx, r.db, e)
			}, nil)
		},
	}
	if d.dialect == oncesql.Postgres {
		all["pgx"] = func(t *testing.T, r *rig, dsn string, work func()) diffhook.EventFunc {
			pool, err := pgxpool.New(t.Context(), dsn)
			require.NoError(t, err)
			t.Cleanup(pool.Close)
			s, err := diffhookpgx.New(t.Context(), pool, &r.opts)
			require.NoError(t, err)
			return s.InTx(func(ctx context.Context, tx pgx.Tx, e *diffhook.Event) error {
				defer work()
				return writeEffectPgx(ctx, tx, r.effects, e)
			})
		}
	}
	return all
}

// openOne opens a database with a single connection, so that answers come in order.
func (d database) openOne(t *testing.T, dsn string) *sql.DB {
	db := d.open(t, dsn)
	db.SetMaxOpenConns(1)
	return db
}

// deliverUntil calls f until it succeeds, as retries do, and returns the number of calls.
func deliverUntil(t *testing.T, f diffhook.EventFunc, e *diffhook.Event) (calls int) {
	t.Helper()
	for calls = 1; calls <= 300; calls++ {
		if err := f(t.Context(), e); err == nil {
			return calls
		}
		time.Sleep(100 * time.Millisecond)
	}
	require.Fail(t, "no delivery succeeded")
	return calls
}

// eachWrapper runs a test of each wrapper for each server, through a proxy.
func eachWrapper(t *testing.T, test func(t *testing.T, r *rig, name string, wrap wrapper, p *faultproxy.Proxy)) {
	for _, d := range servers() {
		for name, wrap := range d.wrappers() {
			t.Run(d.name+"/"+name, func(t *testing.T) {
				r := newRig(t, d)
				test(t, r, name, wrap, faultproxy.Start(t, r.dsn))
			})
		}
	}
}

// TestLostAnswers breaks the connection at every statement and at every answer in turn. The
// event is handled once, also if Func meets its own token after a lost answer, and if the
// answer to the commit is lost after the work succeeded.
func TestLostAnswers(t *testing.T) {
	atPace(t)
	eachWrapper(t, func(t *testing.T, r *rig, _ string, wrap wrapper, p *faultproxy.Proxy) {
		f := wrap(t, r, p.Target, func() {})
		for i := 0; ; i++ {
			require.Less(t, i, 50)
			e := numbered(i)
			p.Cut(i, 1)
			deliverUntil(t, f, e)
			lost := p.Met()
			p.Release()
			require.Equal(t, 1, r.count(t, e), "piece %d lost", i)
			deliverUntil(t, f, e)
			require.Equal(t, 1, r.count(t, e), "piece %d lost, then a duplicate", i)
			if !lost {
				require.GreaterOrEqual(t, i, 4, "the proxy saw no statements")
				return
			}
		}
	})
}

// TestStalledDatabase: if a database stops answering, at the start and in the work,
// deliveries fail in time. Then the event is handled once.
func TestStalledDatabase(t *testing.T) {
	atPace(t)
	eachWrapper(t, func(t *testing.T, r *rig, name string, wrap wrapper, p *faultproxy.Proxy) {
		dsn := p.Target
		if r.dialect == oncesql.MySQL {
			dsn += "&readTimeout=900ms" // else a commit waits for ever
		}
		stallInWork := false
		f := wrap(t, r, dsn, func() {
			if stallInWork {
				p.Hold(0)
			}
		})
		p.Hold(0)
		ctx, cancel := context.WithTimeout(t.Context(), diffhook.DeliveryTimeout/scale)
		defer cancel()
		require.ErrorIs(t, f(ctx, numbered(1)), diffhook.ErrUnavailable)
		p.Release()
		deliverUntil(t, f, numbered(1))
		require.Equal(t, 1, r.count(t, numbered(1)))

		stallInWork = true
		err := f(t.Context(), numbered(2))
		stallInWork = false
		p.Release()
		// With a lease, the commit fails after the work succeeded, and the answer is
		// success. In a transaction, the work is undone.
		if name == "Func" {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, diffhook.ErrUnavailable)
			deliverUntil(t, f, numbered(2))
		}
		require.Equal(t, 1, r.count(t, numbered(2)))
	})
}
