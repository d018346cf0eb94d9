package diffhookriver_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookriver"
	"github.com/diffhook/diffhook-go/internal/testservers"
)

// TestEnqueueAndWork: an event is enqueued once and handled once, with the delivered bytes.
// A JSON column of PostgreSQL rejects such bytes.
func TestEnqueueAndWork(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) { _, db := newPostgres(t); testEnqueueAndWork(t, db) })
	t.Run("SQLite", func(t *testing.T) { _, db := newSQLite(t); testEnqueueAndWork(t, db) })
}

func testEnqueueAndWork[TTx any](t *testing.T, db *database[TTx]) {
	bodies := make(chan string, 10)
	client := start(t, db, func(ctx context.Context, e *diffhook.Event) error {
		bodies <- string(e.Raw)
		return db.once(ctx, e)
	}, 2)
	enqueue := diffhookriver.Enqueue(client)
	body := `{"event":"page.changed","monitor_id":"mon_1","triggered_at":"2026-03-16T14:22:00Z","content":"\u0000 \ud800 é \"", "n": 1.0e2}`
	e, err := diffhook.ParseEvent([]byte(body))
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, enqueue(t.Context(), e))
	}
	assert.Equal(t, body, <-bodies)
	testservers.Eventually(t, "the job is completed", func() bool { return db.unfinished(t) == 0 })
	require.NoError(t, enqueue(t.Context(), e), "a duplicate of a done event")
	assert.Zero(t, db.unfinished(t))
	assert.Equal(t, 1, db.effects(t, "mon_1"))

	// An event without a body.
	require.NoError(t, enqueue(t.Context(), &diffhook.Event{Type: "page.changed", MonitorID: "mon_2", TriggeredAt: time.Now()}))
	testservers.Eventually(t, "the event is worked", func() bool { return db.effects(t, "mon_2") == 1 })
}

func TestEnqueueTx(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) { _, db := newPostgres(t); testEnqueueTx(t, db) })
	t.Run("SQLite", func(t *testing.T) { _, db := newSQLite(t); testEnqueueTx(t, db) })
}

func testEnqueueTx[TTx any](t *testing.T, db *database[TTx]) {
	client, err := river.NewClient(db.driver, &river.Config{}) // inserts only
	require.NoError(t, err)
	e, failed := newEvent(t, ""), errors.New("the work failed")
	enqueue := func(then error) (enqueued bool, err error) {
		return enqueued, db.inTx(t.Context(), func(tx TTx) error {
			enqueued, err = diffhookriver.EnqueueTx(t.Context(), client, tx, e)
			return errors.Join(err, then)
		})
	}
	for i, step := range []struct {
		then     error
		enqueued bool
	}{{failed, true}, {nil, true}, {nil, false}} {
		enqueued, err := enqueue(step.then)
		require.ErrorIs(t, err, step.then)
		assert.Equal(t, step.enqueued, enqueued, "step %d", i)
	}
	assert.Equal(t, 1, db.unfinished(t))
}

// TestDuplicateInEveryState: in every state, a job suppresses a duplicate. By default, River
// ignores cancelled and discarded jobs.
func TestDuplicateInEveryState(t *testing.T) {
	_, db := newPostgres(t)
	client, err := river.NewClient(db.driver, &river.Config{})
	require.NoError(t, err)
	enqueue := diffhookriver.Enqueue(client)
	for _, state := range rivertype.JobStates() {
		t.Run(string(state), func(t *testing.T) {
			e := newEvent(t, "")
			require.NoError(t, enqueue(t.Context(), e))
			finalized := "NULL"
			if state == rivertype.JobStateCancelled || state == rivertype.JobStateCompleted || state == rivertype.JobStateDiscarded {
				finalized = "now()"
			}
			require.NoError(t, db.inTx(t.Context(), func(tx pgx.Tx) error {
				return db.exec(t.Context(), tx, "UPDATE river_job SET state = $1::river_job_state, finalized_at = "+finalized, string(state))
			}))
			require.NoError(t, enqueue(t.Context(), e))
			n, err := db.number(t.Context(), "SELECT count(*) FROM river_job")
			require.NoError(t, err)
			assert.Equal(t, 1, n)
			require.NoError(t, db.inTx(t.Context(), func(tx pgx.Tx) error { return db.exec(t.Context(), tx, "DELETE FROM river_job") }))
		})
	}
}

// TestWhichEventsAreOne: events are told apart by their keys, and without a key by
// their bodies.
func TestWhichEventsAreOne(t *testing.T) {
	_, db := newSQLite(t)
	client, err := river.NewClient(db.driver, &river.Config{})
	require.NoError(t, err)
	for _, step := range []struct {
		body string
		jobs int
	}{
		{`{"event":"page.changed","monitor_id":"mon_1","triggered_at":"2026-03-16T14:22:00Z"}`, 1},
		{`{"triggered_at":"2026-03-16T14:22:00Z","event":"page.changed","monitor_id":"mon_1"}`, 1},
		{`{"event":"page.changed","monitor_id":"mon_1"}`, 2},
		{`{"event":"page.changed","monitor_id":"mon_1","label":"another"}`, 3},
		{`{"event":"page.changed","monitor_id":"mon_1"}`, 3},
	} {
		e, err := diffhook.ParseEvent([]byte(step.body))
		require.NoError(t, err)
		require.NoError(t, diffhookriver.Enqueue(client)(t.Context(), e))
		require.Equal(t, step.jobs, db.unfinished(t), step.body)
	}
}

// TestTimeLeftAfterTimeout: River starts no other attempt before the function could return.
func TestTimeLeftAfterTimeout(t *testing.T) {
	assert.Equal(t, 70*time.Second, diffhookriver.RescueTime(time.Minute))
	assert.Zero(t, diffhookriver.RescueTime(0), "JobTimeout, which Check compares")
}

func TestEnqueueErrors(t *testing.T) {
	_, db := newSQLite(t)
	client, err := river.NewClient(db.driver, &river.Config{Workers: withOtherWorker(t)})
	require.NoError(t, err)
	err = diffhookriver.Enqueue(client)(t.Context(), newEvent(t, ""))
	require.ErrorIs(t, err, diffhookriver.ErrConfig)
	assert.ErrorContains(t, err, "AddWorker")

	client, err = river.NewClient(db.driver, &river.Config{})
	require.NoError(t, err)
	db.close()
	require.ErrorIs(t, diffhookriver.Enqueue(client)(t.Context(), newEvent(t, "")), diffhook.ErrUnavailable)
}

// TestFailedAttempts: an error and a failed commit are tried again, and leave a
// single effect.
func TestFailedAttempts(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) { _, db := newPostgres(t); testFailedAttempts(t, db) })
	t.Run("SQLite", func(t *testing.T) { _, db := newSQLite(t); testFailedAttempts(t, db) })
}

func testFailedAttempts[TTx any](t *testing.T, db *database[TTx]) {
	var attempts atomic.Int64
	failed := errors.New("failed")
	client := start(t, db, func(ctx context.Context, e *diffhook.Event) error {
		attempt := attempts.Add(1)
		return db.inTx(ctx, func(tx TTx) error {
			if err := db.effect(ctx, tx, e); err != nil || attempt == 1 {
				return errors.Join(err, failed)
			}
			if err := diffhookriver.CompleteTx(ctx, tx); err != nil || attempt == 2 {
				return errors.Join(err, failed) // the commit fails after the work succeeded
			}
			return nil
		})
	}, 1)
	e := newEvent(t, "")
	require.NoError(t, diffhookriver.Enqueue(client)(t.Context(), e))
	testservers.Eventually(t, "the job is completed", func() bool { return db.unfinished(t) == 0 })
	assert.EqualValues(t, 3, attempts.Load())
	assert.Equal(t, 1, db.effects(t, e.MonitorID))
}

// TestCommitAnswerLost: the commit succeeds, and the function sees an error. The job
// stays completed.
func TestCommitAnswerLost(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) { _, db := newPostgres(t); testCommitAnswerLost(t, db) })
	t.Run("SQLite", func(t *testing.T) { _, db := newSQLite(t); testCommitAnswerLost(t, db) })
}

func testCommitAnswerLost[TTx any](t *testing.T, db *database[TTx]) {
	var attempts atomic.Int64
	client := start(t, db, func(ctx context.Context, e *diffhook.Event) error {
		attempts.Add(1)
		return errors.Join(db.once(ctx, e), errors.New("the answer is lost"))
	}, 1)
	first, second := newEvent(t, ""), newEvent(t, "")
	for _, e := range []*diffhook.Event{first, second} { // the worker handles the events in turn
		require.NoError(t, diffhookriver.Enqueue(client)(t.Context(), e))
		testservers.Eventually(t, "the job is completed", func() bool { return db.unfinished(t) == 0 })
	}
	testservers.Eventually(t, "the worker is free again", func() bool { return attempts.Load() == 2 })
	assert.Equal(t, 1, db.effects(t, first.MonitorID))
	assert.Zero(t, db.unfinished(t))
}

// TestTimeout: the context of the function ends in time, and River tries again.
func TestTimeout(t *testing.T) {
	_, db := newSQLite(t)
	var attempts atomic.Int64
	workers := river.NewWorkers()
	diffhookriver.AddWorker(workers, func(ctx context.Context, e *diffhook.Event) error {
		if attempts.Add(1) == 1 {
			deadline, ok := ctx.Deadline()
			assert.True(t, ok && time.Until(deadline) <= 100*time.Millisecond, "River ends the context 10 s later")
			<-ctx.Done()
			return ctx.Err()
		}
		return db.once(ctx, e)
	}, &diffhookriver.WorkerOptions{Timeout: 100 * time.Millisecond})
	config := fast(workers, 1)
	config.JobTimeout, config.RescueStuckJobsAfter = time.Hour, 2*time.Hour
	client, err := river.NewClient(db.driver, config)
	require.NoError(t, err)
	require.NoError(t, client.Start(context.Background()))
	defer func() { require.NoError(t, client.Stop(context.Background())) }()
	require.NoError(t, diffhookriver.Enqueue(client)(t.Context(), newEvent(t, "")))
	testservers.Eventually(t, "the job is completed", func() bool { return db.unfinished(t) == 0 })
	assert.EqualValues(t, 2, attempts.Load())
}

// TestZombieWorker: a worker outlives the timeout and the rescue by River, and ends while
// another attempt runs, or later. The work of the zombie is rolled back, and the effect is
// there once.
func TestZombieWorker(t *testing.T) {
	for _, test := range []struct {
		name   string
		wakes  string // when the zombie goes on: during the next attempt, or after it
		silent bool   // the function ignores the error
	}{
		{"after the next attempt", "after", false},
		{"during the next attempt", "during", false},
		{"after the next attempt, ignoring the error", "after", true},
		{"during the next attempt, ignoring the error", "during", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			t.Run("PostgreSQL", func(t *testing.T) { _, db := newPostgres(t); testZombie(t, db, test.wakes == "during", test.silent) })
			t.Run("SQLite", func(t *testing.T) { _, db := newSQLite(t); testZombie(t, db, test.wakes == "during", test.silent) })
		})
	}
}

func testZombie[TTx any](t *testing.T, db *database[TTx], during, silent bool) {
	var attempts atomic.Int64
	wake, second, verdict := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	work := func(ctx context.Context, e *diffhook.Event) error {
		switch attempts.Add(1) {
		case 1: // the zombie, long after the end of the context
			<-wake
			err := db.once(context.WithoutCancel(ctx), e)
			verdict <- err
			if silent {
				return nil
			}
			return err
		case 2:
			if during {
				close(second)
				time.Sleep(300 * time.Millisecond) // less than the timeout
			}
		}
		return db.once(ctx, e)
	}
	first := start(t, db, work, 1)
	e := newEvent(t, "")
	require.NoError(t, diffhookriver.Enqueue(first)(t.Context(), e))
	testservers.Eventually(t, "the first attempt runs", func() bool { return attempts.Load() == 1 })
	time.Sleep(1200 * time.Millisecond) // the timeout and the time until the rescue, by the real clock
	db.depose(t)
	start(t, db, work, 2)
	if during {
		<-second
	} else {
		testservers.Eventually(t, "the next attempt has completed the job", func() bool { return db.unfinished(t) == 0 })
	}
	close(wake)
	require.ErrorIs(t, <-verdict, diffhookriver.ErrAttemptOver)
	testservers.Eventually(t, "the job is completed", func() bool { return db.unfinished(t) == 0 })
	assert.Equal(t, 1, db.effects(t, e.MonitorID))
}
