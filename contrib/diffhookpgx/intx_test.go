package diffhookpgx_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookpgx"
	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncesql"
)

var errWork = errors.New("the work failed")

func TestNewRefuses(t *testing.T) {
	r := newRig(t)
	_, err := diffhookpgx.New(t.Context(), nil, nil)
	require.ErrorIs(t, err, diffhook.ErrInvalidOptions)
	for _, tc := range []struct {
		name string
		opts diffhookpgx.Options
		err  error
	}{
		{"no table", diffhookpgx.Options{Table: "once_that_is_missing"}, oncesql.ErrSetup},
		{"a schema of another version", diffhookpgx.Options{Table: r.effects}, oncesql.ErrSetup},
		{"a name with a statement", diffhookpgx.Options{Table: "once; DROP TABLE users"}, diffhook.ErrInvalidOptions},
		{"MaxTx", diffhookpgx.Options{MaxTx: -1}, diffhook.ErrInvalidOptions},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := diffhookpgx.New(t.Context(), r.pool, &tc.opts)
			require.ErrorIs(t, err, tc.err)
		})
	}
}

func TestInTx(t *testing.T) {
	r := newRig(t)
	var outcomes []once.Outcome
	s := r.store(t, func(o *diffhookpgx.Options) {
		o.Observe = func(_ context.Context, o once.Observation) {
			outcomes = append(outcomes, o.Outcome)
			failed := o.Outcome == once.Failed || o.Outcome == once.CommitFailed
			require.Equal(t, failed, o.Err != nil, "the error of %s, also after a panic", o.Outcome)
		}
	})
	failing := func(result func() error) diffhook.EventFunc {
		return s.InTx(func(ctx context.Context, tx pgx.Tx, e *diffhook.Event) error {
			return errors.Join(r.handle(ctx, tx, e), result())
		})
	}
	for i, tc := range []struct {
		name     string
		f        diffhook.EventFunc // before r.inTx
		err      error
		panics   bool
		outcomes []once.Outcome // of f, r.inTx, and r.inTx
	}{
		{"handled, then duplicates", s.InTx(r.inTx), nil, false, []once.Outcome{once.Handled, once.Duplicate, once.Duplicate}},
		{"a failure is rolled back", failing(func() error { return errWork }), errWork, false, []once.Outcome{once.Failed, once.Handled, once.Duplicate}},
		{"a panic is rolled back", failing(func() error { panic("the work") }), nil, true, []once.Outcome{once.Failed, once.Handled, once.Duplicate}},
		{"a statement that failed, and the function hides it", s.InTx(func(ctx context.Context, tx pgx.Tx, e *diffhook.Event) error {
			_, _ = tx.Exec(ctx, "SELECT 1/0")
			return nil
		}), diffhook.ErrUnavailable, false, []once.Outcome{once.CommitFailed, once.Handled, once.Duplicate}},
		{"the function ends the transaction", s.InTx(func(ctx context.Context, tx pgx.Tx, e *diffhook.Event) error {
			return errors.Join(r.handle(ctx, tx, e), tx.Rollback(ctx))
		}), diffhook.ErrUnavailable, false, []once.Outcome{once.CommitFailed, once.Handled, once.Duplicate}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			outcomes = nil
			e := numbered(i)
			if tc.panics {
				require.PanicsWithValue(t, "the work", func() { _ = tc.f(t.Context(), e) })
			} else {
				require.ErrorIs(t, tc.f(t.Context(), e), tc.err)
			}
			require.NoError(t, s.InTx(r.inTx)(t.Context(), e))
			require.NoError(t, s.InTx(r.inTx)(t.Context(), e))
			require.Equal(t, 1, r.count(t, e))
			require.Equal(t, tc.outcomes, outcomes)
		})
	}
	require.Zero(t, r.pool.Stat().AcquiredConns())
	require.EqualValues(t, 1, r.pool.Stat().NewConnsCount(), "a rollback keeps the connection")
}

func TestInTxContexts(t *testing.T) {
	r := newRig(t)
	t.Run("the request ends before the work", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		require.NoError(t, r.store(t, nil).InTx(func(ctx context.Context, tx pgx.Tx, e *diffhook.Event) error {
			cancel()
			return r.handle(ctx, tx, e)
		})(ctx, numbered(1)))
		require.Equal(t, 1, r.count(t, numbered(1)))
	})
	t.Run("a commit that fails after the work succeeded", func(t *testing.T) {
		s := r.store(t, func(o *diffhookpgx.Options) { o.MaxTx = 300 * time.Millisecond })
		err := s.InTx(func(ctx context.Context, tx pgx.Tx, e *diffhook.Event) error {
			err := r.handle(ctx, tx, e)
			<-ctx.Done()
			return err
		})(t.Context(), numbered(2))
		require.ErrorIs(t, err, diffhook.ErrUnavailable)
		require.Zero(t, r.count(t, numbered(2)))
		require.NoError(t, s.InTx(r.inTx)(t.Context(), numbered(2)))
		require.Equal(t, 1, r.count(t, numbered(2)))
	})
	t.Run("after MaxTx, a delivery stops waiting for another delivery", func(t *testing.T) {
		running, finish, first := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		patient := r.store(t, nil)
		go func() {
			first <- patient.InTx(func(ctx context.Context, tx pgx.Tx, e *diffhook.Event) error {
				close(running)
				<-finish
				return r.handle(ctx, tx, e)
			})(t.Context(), numbered(3))
		}()
		<-running
		s := r.store(t, func(o *diffhookpgx.Options) { o.MaxTx = 200 * time.Millisecond })
		require.ErrorIs(t, s.InTx(r.inTx)(t.Context(), numbered(3)), once.ErrInProgress)
		close(finish)
		require.NoError(t, <-first)
	})
}

// TestRecordsOfOtherKinds: InTx meets claims of Func, and ended records.
func TestRecordsOfOtherKinds(t *testing.T) {
	r := newRig(t)
	s, k := r.store(t, nil), once.KeyOf("", numbered(1))
	db := stdlib.OpenDBFromPool(r.pool)
	defer db.Close()
	leases, err := oncesql.New(t.Context(), db, oncesql.Postgres, &oncesql.Options{Table: r.table})
	require.NoError(t, err)
	require.NoError(t, leases.Claim(t.Context(), k, "token", time.Minute))
	require.ErrorIs(t, s.InTx(r.inTx)(t.Context(), numbered(1)), once.ErrInProgress)
	require.NoError(t, leases.Commit(t.Context(), k, "token", time.Minute))
	require.NoError(t, s.InTx(r.inTx)(t.Context(), numbered(1)))
	require.Zero(t, r.count(t, numbered(1)))
	require.NoError(t, leases.Commit(t.Context(), k, "token", time.Microsecond))
	require.NoError(t, s.InTx(r.inTx)(t.Context(), numbered(1)))
	require.Equal(t, 1, r.count(t, numbered(1)))
	require.ErrorIs(t, leases.Claim(t.Context(), k, "token", time.Minute), once.ErrDone)
}

// TestReleasedDuringInTx: a claim of Func ends between INSERT and SELECT of InTx. The work
// does not run without a record, and the retry is handled.
func TestReleasedDuringInTx(t *testing.T) {
	r := newRig(t)
	k := once.KeyOf("", numbered(1))
	db := stdlib.OpenDBFromPool(r.pool)
	defer db.Close()
	leases, err := oncesql.New(t.Context(), db, oncesql.Postgres, &oncesql.Options{Table: r.table})
	require.NoError(t, err)
	require.NoError(t, leases.Claim(t.Context(), k, "token", time.Minute))
	tracing, config := *r, r.pool.Config()
	hook := func() {}
	config.ConnConfig.Tracer = &tracer{before: func() { hook() }}
	tracing.pool = openPool(t, config)
	f := tracing.store(t, nil).InTx(r.inTx)
	statements := 0
	hook = func() {
		if statements++; statements == 2 { // after BEGIN and INSERT, in a batch
			require.NoError(t, leases.Release(t.Context(), k, "token"))
		}
	}
	require.ErrorIs(t, f(t.Context(), numbered(1)), once.ErrInProgress)
	require.Zero(t, r.count(t, numbered(1)))
	require.NoError(t, f(t.Context(), numbered(1)))
	require.NoError(t, f(t.Context(), numbered(1)))
	require.Equal(t, 1, r.count(t, numbered(1)))
}

// TestConsumerAndKeep: each consumer handles each event, and a record lives for at least
// 18 h.
func TestConsumerAndKeep(t *testing.T) {
	r := newRig(t)
	for i, tc := range []struct {
		consumer   string
		keep, want time.Duration
	}{
		{"mail", time.Hour, 18 * time.Hour}, {"log", 30 * 24 * time.Hour, 30 * 24 * time.Hour}, {"", 0, 7 * 24 * time.Hour},
	} {
		s := r.store(t, func(o *diffhookpgx.Options) { o.Consumer, o.Keep = tc.consumer, tc.keep })
		require.NoError(t, s.InTx(r.inTx)(t.Context(), numbered(1)))
		require.Equal(t, i+1, r.count(t, numbered(1)))
		tx, err := r.pool.Begin(t.Context())
		require.NoError(t, err)
		first, err := s.First(t.Context(), tx, numbered(1))
		require.NoError(t, err)
		require.False(t, first, "the records of InTx and First are the same")
		require.NoError(t, tx.Rollback(t.Context()))
		k := once.KeyOf(tc.consumer, numbered(1))
		var seconds float64
		row := r.pool.QueryRow(t.Context(), "SELECT EXTRACT(EPOCH FROM expires_at - now())::float8 FROM "+r.table+" WHERE id = $1", k[:])
		require.NoError(t, row.Scan(&seconds))
		require.InDelta(t, tc.want.Seconds(), seconds, 60)
	}
}

func TestSweep(t *testing.T) {
	r := newRig(t)
	s := r.store(t, nil)
	const ended = 1_100 // more than a statement deletes
	r.exec(t, fmt.Sprintf("INSERT INTO %s SELECT sha256(i::text::bytea), 'tx', true, now() FROM generate_series(1, %d) i", r.table, ended))
	require.NoError(t, s.InTx(r.inTx)(t.Context(), numbered(1)))
	deleted, err := s.Sweep(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, ended, deleted)
	require.NoError(t, s.InTx(r.inTx)(t.Context(), numbered(1)))
	require.Equal(t, 1, r.count(t, numbered(1)), "the record that lives is kept")
}

// TestSimultaneous: of simultaneous deliveries, the first is handled. Deliveries of a done
// event succeed at once.
func TestSimultaneous(t *testing.T) {
	r := newRig(t)
	f := r.store(t, nil).InTx(r.inTx)
	for i := range 20 {
		errs := make([]error, 16)
		start := make(chan struct{})
		var group sync.WaitGroup
		for j := range errs {
			group.Go(func() {
				<-start
				errs[j] = f(t.Context(), numbered(i/2)) // each event twice
			})
		}
		close(start)
		group.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
		require.Equal(t, 1, r.count(t, numbered(i/2)))
	}
}

func TestFirst(t *testing.T) {
	r := newRig(t)
	s := r.store(t, nil)
	for _, want := range []bool{true, false} {
		tx, err := r.pool.Begin(t.Context())
		require.NoError(t, err)
		first, err := s.First(t.Context(), tx, numbered(1))
		require.NoError(t, err)
		require.Equal(t, want, first)
		require.NoError(t, tx.Commit(t.Context()))
	}
	tx, err := r.pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	require.NoError(t, tx.QueryRow(t.Context(), "SELECT COUNT(*) FROM "+r.table).Scan(new(int))) // the snapshot of tx is older
	require.NoError(t, s.InTx(r.inTx)(t.Context(), numbered(2)))
	_, err = s.First(t.Context(), tx, numbered(2))
	require.ErrorIs(t, err, once.ErrInProgress)
}
