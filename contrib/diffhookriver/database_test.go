package diffhookriver_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookriver"
	"github.com/diffhook/diffhook-go/internal/testservers"
)

// database is a database with River's tables, and a table for effects of events.
type database[TTx any] struct {
	driver   riverdriver.Driver[TTx]
	begin    func(ctx context.Context) (TTx, error)
	exec     func(ctx context.Context, tx TTx, query string, args ...any) error
	commit   func(ctx context.Context, tx TTx) error
	rollback func(ctx context.Context, tx TTx) error
	number   func(ctx context.Context, query string, args ...any) (int, error)
	close    func()
}

func openPostgres(ctx context.Context, dsn string) (*database[pgx.Tx], error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 5
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	return &database[pgx.Tx]{
		driver: riverpgxv5.New(pool),
		begin:  pool.Begin,
		exec: func(ctx context.Context, tx pgx.Tx, query string, args ...any) error {
			_, err := tx.Exec(ctx, query, args...)
			return err
		},
		commit:   func(ctx context.Context, tx pgx.Tx) error { return tx.Commit(ctx) },
		rollback: func(ctx context.Context, tx pgx.Tx) error { return tx.Rollback(ctx) },
		number: func(ctx context.Context, query string, args ...any) (n int, err error) {
			return n, pool.QueryRow(ctx, query, args...).Scan(&n)
		},
		close: pool.Close,
	}, nil
}

func openSQLite(path string) (*database[*sql.Tx], error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // as River asks
	return &database[*sql.Tx]{
		driver: riversqlite.New(db),
		begin:  func(ctx context.Context) (*sql.Tx, error) { return db.BeginTx(ctx, nil) },
		exec: func(ctx context.Context, tx *sql.Tx, query string, args ...any) error {
			_, err := tx.ExecContext(ctx, query, args...)
			return err
		},
		commit:   func(_ context.Context, tx *sql.Tx) error { return tx.Commit() },
		rollback: func(_ context.Context, tx *sql.Tx) error { return tx.Rollback() },
		number: func(ctx context.Context, query string, args ...any) (n int, err error) {
			return n, db.QueryRowContext(ctx, query, args...).Scan(&n)
		},
		close: func() { _ = db.Close() },
	}, nil
}

// newPostgres returns the DSN of a new schema, with the tables.
func newPostgres(t testing.TB) (string, *database[pgx.Tx]) {
	dsn := testservers.Address(t, "POSTGRES")
	ctx := context.Background()
	schema := "river_" + strings.ToLower(rand.Text())
	conn, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	_, err = conn.Exec(ctx, "CREATE SCHEMA "+schema)
	require.NoError(t, err)
	require.NoError(t, conn.Close(ctx))
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery = query.Encode()
	db, err := openPostgres(ctx, u.String())
	require.NoError(t, err)
	t.Cleanup(func() {
		db.close()
		conn, err := pgx.Connect(ctx, dsn) // the test may have restarted the server
		require.NoError(t, err)
		_, err = conn.Exec(ctx, "DROP SCHEMA "+schema+" CASCADE")
		require.NoError(t, err)
		require.NoError(t, conn.Close(ctx))
	})
	migrate(t, db)
	return u.String(), db
}

func newSQLite(t testing.TB) (string, *database[*sql.Tx]) {
	path := filepath.Join(t.TempDir(), "river.sqlite")
	db, err := openSQLite(path)
	require.NoError(t, err)
	t.Cleanup(db.close)
	migrate(t, db)
	return path, db
}

func migrate[TTx any](t testing.TB, db *database[TTx]) {
	migrator, err := rivermigrate.New(db.driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	_, err = migrator.Migrate(context.Background(), rivermigrate.DirectionUp, nil)
	require.NoError(t, err)
	require.NoError(t, db.inTx(context.Background(), func(tx TTx) error {
		return db.exec(context.Background(), tx, "CREATE TABLE effects (monitor_id TEXT NOT NULL)")
	}))
}

// inTx commits if f returns nil.
func (db *database[TTx]) inTx(ctx context.Context, f func(tx TTx) error) error {
	tx, err := db.begin(ctx)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		_ = db.rollback(context.WithoutCancel(ctx), tx)
		return err
	}
	return db.commit(ctx, tx)
}

// effect is the work of an event.
func (db *database[TTx]) effect(ctx context.Context, tx TTx, e *diffhook.Event) error {
	return db.exec(ctx, tx, "INSERT INTO effects (monitor_id) VALUES ($1)", e.MonitorID)
}

// once is the function of a worker: the effect and the end of the job share a transaction.
func (db *database[TTx]) once(ctx context.Context, e *diffhook.Event) error {
	return db.inTx(ctx, func(tx TTx) error {
		if err := db.effect(ctx, tx, e); err != nil {
			return err
		}
		return diffhookriver.CompleteTx(ctx, tx)
	})
}

func (db *database[TTx]) effects(t testing.TB, monitorID string) int {
	n, err := db.number(context.Background(), "SELECT count(*) FROM effects WHERE monitor_id = $1", monitorID)
	require.NoError(t, err)
	return n
}

// unfinished returns the number of jobs that are not completed.
func (db *database[TTx]) unfinished(t testing.TB) int {
	n, err := db.number(context.Background(), "SELECT count(*) FROM river_job WHERE state <> 'completed'")
	require.NoError(t, err)
	return n
}

// soon retries at once.
type soon struct{}

func (soon) NextRetry(*rivertype.JobRow) time.Time { return time.Now().Add(50 * time.Millisecond) }

// fast returns a config with timeouts of a second or less. Check refuses such a config.
func fast(workers *river.Workers, maxWorkers int) *river.Config {
	return &river.Config{
		Workers:              workers,
		Queues:               map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: maxWorkers}},
		JobTimeout:           time.Second,
		RescueStuckJobsAfter: 1100 * time.Millisecond,
		RetryPolicy:          soon{},
		FetchCooldown:        20 * time.Millisecond,
		FetchPollInterval:    100 * time.Millisecond,
		Logger:               slog.New(slog.DiscardHandler),
		TestOnly:             true, // no jitter at the start
	}
}

// start starts a client whose worker is f.
func start[TTx any](t testing.TB, db *database[TTx], f diffhook.EventFunc, maxWorkers int) *river.Client[TTx] {
	workers := river.NewWorkers()
	diffhookriver.AddWorker(workers, f, nil)
	client, err := river.NewClient(db.driver, fast(workers, maxWorkers))
	require.NoError(t, err)
	require.NoError(t, client.Start(context.Background()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, client.StopAndCancel(ctx))
	})
	return client
}

// depose makes the next client the leader, which rescues jobs at once. Otherwise River
// replaces a dead leader after 15 s, and a live leader rescues jobs every 30 s.
func (db *database[TTx]) depose(t testing.TB) {
	require.NoError(t, db.inTx(context.Background(), func(tx TTx) error {
		return db.exec(context.Background(), tx, "DELETE FROM river_leader")
	}))
}

func newEvent(t testing.TB, label string) *diffhook.Event {
	e, err := diffhook.ParseEvent(newDelivery(t, label).body)
	require.NoError(t, err)
	return e
}
