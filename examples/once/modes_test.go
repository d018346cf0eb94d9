package main

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookpgx"
	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncesql"
)

// modes are the ways to handle an event once, in a worker process. Each statement is a
// step before and a step after.
var modes = map[string]func(t *testing.T, o order) diffhook.EventFunc{
	"InTx": func(t *testing.T, o order) diffhook.EventFunc {
		s, _ := openStore(t, o)
		return s.InTx(func(ctx context.Context, tx *sql.Tx, e *diffhook.Event) error {
			return writeEffect(ctx, tx, o.Effects, e)
		})
	},
	"First": func(t *testing.T, o order) diffhook.EventFunc {
		s, db := openStore(t, o)
		return func(ctx context.Context, e *diffhook.Event) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			if first, err := s.First(ctx, tx, e); err != nil || !first {
				return err
			}
			if err := writeEffect(ctx, tx, o.Effects, e); err != nil {
				return err
			}
			return tx.Commit()
		}
	},
	"Func": func(t *testing.T, o order) diffhook.EventFunc {
		s, db := openStore(t, o)
		return once.Func(s, func(ctx context.Context, e *diffhook.Event) error {
			return writeEffect(ctx, db, o.Effects, e)
		}, &once.Options{Observe: o.Observe})
	},
	"pgx InTx": func(t *testing.T, o order) diffhook.EventFunc {
		s, _ := openPgx(t, o)
		return s.InTx(func(ctx context.Context, tx pgx.Tx, e *diffhook.Event) error {
			return writeEffectPgx(ctx, tx, o.Effects, e)
		})
	},
	"pgx First": func(t *testing.T, o order) diffhook.EventFunc {
		s, pool := openPgx(t, o)
		return func(ctx context.Context, e *diffhook.Event) error {
			return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				if first, err := s.First(ctx, tx, e); err != nil || !first {
					return err
				}
				return writeEffectPgx(ctx, tx, o.Effects, e)
			})
		}
	},
}

// steps is how many steps a delivery of a new event has in each mode.
var steps = map[string]int{
	"InTx":      10, // the request; begin, record, effect, commit; the answer
	"First":     10,
	"Func":      8, // the request; claim, effect, commit; the answer
	"pgx InTx":  8, // the request; begin with the record, effect, commit; the answer
	"pgx First": 10,
}

// sample lists the steps after each statement.
var sample = map[string][]int{
	"InTx": {4, 6, 8}, "First": {4, 6, 8}, "Func": {2, 4, 6}, "pgx InTx": {2, 4, 6}, "pgx First": {4, 6, 8},
}

// In mode Func, an event is handled again if the process dies between these steps.
const afterEffect, afterCommit = 4, 6

func (d database) modes() []string {
	modes := []string{"InTx", "First", "Func"}
	if d.dialect == oncesql.Postgres {
		modes = append(modes, "pgx InTx", "pgx First")
	}
	return modes
}

func openStore(t *testing.T, o order) (*oncesql.Store, *sql.DB) {
	db := openWithSteps(t, o.Driver, o.DSN)
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(4)
	s, err := oncesql.New(t.Context(), db, o.Dialect, &oncesql.Options{Table: o.Table})
	for i := 0; errors.Is(err, diffhook.ErrUnavailable) && i < 20; i++ { // many processes write to the same file
		s, err = oncesql.New(t.Context(), db, o.Dialect, &oncesql.Options{Table: o.Table})
	}
	require.NoError(t, err)
	return s, db
}

func openPgx(t *testing.T, o order) (*diffhookpgx.Store, *pgxpool.Pool) {
	config, err := pgxpool.ParseConfig(o.DSN)
	require.NoError(t, err)
	config.MaxConns = 4
	config.ConnConfig.Tracer = stepTracer{}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	s, err := diffhookpgx.New(t.Context(), pool, &diffhookpgx.Options{Table: o.Table})
	require.NoError(t, err)
	return s, pool
}

func writeEffectPgx(ctx context.Context, tx pgx.Tx, table string, e *diffhook.Event) error {
	_, err := tx.Exec(ctx, "INSERT INTO "+table+" (event) VALUES ($1)", once.KeyOf("", e).String())
	return err
}

// stepTracer makes a step before and after each statement and batch of pgx.
type stepTracer struct{}

func (stepTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	step(ctx)
	return ctx
}

func (stepTracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) { step(ctx) }

func (stepTracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	step(ctx)
	return ctx
}

func (stepTracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData)     {}
func (stepTracer) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchEndData) { step(ctx) }
