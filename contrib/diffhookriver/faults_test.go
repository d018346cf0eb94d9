package diffhookriver_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookriver"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/internal/faultproxy"
	"github.com/diffhook/diffhook-go/internal/testservers"
)

// never is the hook of a receiver or worker without faults.
func never(string, *diffhook.Event) {}

// attempts delivers d with the retries of generation 2, scaled 1:1000. Every answer but the
// last is 503.
func (d delivery) attempts(t testing.TB, h http.Handler) {
	s := diffhooktest.NewSender(childSecret(), &diffhooktest.SenderOptions{Generation: 2, Retries: schedule(2, 1000)})
	result := s.SendTo(t.Context(), h, d.body)
	last := len(result.Attempts) - 1
	assert.True(t, result.Delivered, "given up: %+v", result.Attempts)
	for _, a := range result.Attempts[:last] {
		assert.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
	}
}

// attempt delivers d a single time, and returns the status. The receiver has 100 ms.
func (d delivery) attempt(t testing.TB, h http.Handler) int {
	short := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), diffhook.DeliveryTimeout/100)
		defer cancel()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
	s := diffhooktest.NewSender(childSecret(), &diffhooktest.SenderOptions{Generation: 2, Retries: []time.Duration{}})
	return s.SendTo(t.Context(), short, d.body).Attempts[0].StatusCode
}

// through opens the database through p. A used database is connected.
func through(t testing.TB, p *faultproxy.Proxy, used bool) *database[pgx.Tx] {
	db, err := openPostgres(t.Context(), p.Target)
	require.NoError(t, err)
	t.Cleanup(db.close)
	if used {
		require.NoError(t, db.inTx(t.Context(), func(tx pgx.Tx) error { return nil }))
	}
	return db
}

// newInserter returns a client that only enqueues.
func newInserter(db *database[pgx.Tx]) (*river.Client[pgx.Tx], error) {
	return river.NewClient(db.driver, &river.Config{Logger: slog.New(slog.DiscardHandler)})
}

// eachPiece runs test with the number of pieces before the fault, until test reports that
// the fault was not met. A sample is every third number.
func eachPiece(t *testing.T, test func(t *testing.T, after int, used bool) (met bool)) {
	step := 3
	if all() {
		step = 1
	}
	for _, used := range []bool{false, true} {
		t.Run(fmt.Sprintf("connected %t", used), func(t *testing.T) {
			after := 0
			for ; test(t, after, used); after += step {
				require.Less(t, after, 100)
			}
			require.Greater(t, after, 3, "the proxy saw no statements")
			t.Logf("no fault after %d pieces", after)
		})
	}
}

// TestLostAnswersOfEnqueue breaks the connection of a receiver at each statement and at each
// answer in turn. The sender's retry is enqueued, and the effect is there once.
func TestLostAnswersOfEnqueue(t *testing.T) {
	dsn, db := newPostgres(t)
	start(t, db, db.once, 2)
	p := faultproxy.Start(t, dsn)
	eachPiece(t, func(t *testing.T, after int, used bool) bool {
		proxied := through(t, p, used)
		client, err := newInserter(proxied)
		require.NoError(t, err)
		d, h := newDelivery(t, ""), receiver(client, never)
		p.Cut(after, 1)
		d.attempts(t, h)
		met := p.Met()
		p.Release()
		testservers.Eventually(t, "the event is worked", func() bool { return db.effects(t, d.monitorID) == 1 })
		d.attempts(t, h) // a duplicate
		testservers.Eventually(t, "the job is completed", func() bool { return db.unfinished(t) == 0 })
		require.Equal(t, 1, db.effects(t, d.monitorID), "fault after %d pieces", after)
		return met
	})
}

// TestLostAnswersOfCompleteTx breaks the connection of the work at each statement and at each
// answer in turn, also at the commit. Every effect is there once.
func TestLostAnswersOfCompleteTx(t *testing.T) {
	dsn, db := newPostgres(t)
	p := faultproxy.Start(t, dsn)
	var proxied atomic.Pointer[database[pgx.Tx]]
	var running atomic.Int64
	client := start(t, db, func(ctx context.Context, e *diffhook.Event) error {
		running.Add(1)
		defer running.Add(-1)
		return proxied.Load().once(ctx, e)
	}, 1)
	var ids []string
	eachPiece(t, func(t *testing.T, after int, used bool) bool {
		proxied.Store(through(t, p, used))
		e := newEvent(t, "")
		ids = append(ids, e.MonitorID)
		p.Cut(after, 1)
		require.NoError(t, diffhookriver.Enqueue(client)(t.Context(), e))
		testservers.Eventually(t, "the work is done", func() bool { return db.unfinished(t) == 0 && running.Load() == 0 })
		met := p.Met()
		p.Release()
		require.Equal(t, 1, db.effects(t, e.MonitorID), "fault after %d pieces", after)
		return met
	})
	require.Zero(t, db.unfinished(t))
	for _, id := range ids {
		assert.Equal(t, 1, db.effects(t, id))
	}
}

// requireRescue rescues the jobs of dead or stalled workers, and requires each effect once.
func requireRescue(t testing.TB, db *database[pgx.Tx], deliveries ...delivery) {
	t.Helper()
	time.Sleep(rescueTime) // River uses the real clock
	db.depose(t)
	start(t, db, db.once, 4)
	testservers.Eventually(t, "every job is completed", func() bool { return db.unfinished(t) == 0 })
	for _, d := range deliveries {
		require.Equal(t, 1, db.effects(t, d.monitorID))
	}
}

// TestLostAnswersOfRiver breaks a connection of a process, which receives and works, at each
// of the first pieces in turn. A job whose fetch was lost is rescued.
func TestLostAnswersOfRiver(t *testing.T) {
	step := 20
	if all() {
		step = 1
	}
	for after := 0; after < 80; after += step {
		t.Run(strconv.Itoa(after), func(t *testing.T) {
			t.Parallel()
			dsn, db := newPostgres(t)
			p := faultproxy.Start(t, dsn)
			proxied := through(t, p, true)
			client := start(t, proxied, work(proxied, never), 1)
			p.Cut(after, 1)
			deliveries := []delivery{newDelivery(t, ""), newDelivery(t, ""), newDelivery(t, "")}
			for _, d := range deliveries {
				d.attempts(t, receiver(client, never))
			}
			testservers.Eventually(t, "the fault is met", p.Met)
			requireRescue(t, db, deliveries...)
		})
	}
}

// TestStalledEnqueue holds all connections of a receiver from each statement and each answer
// on. The delivery fails in time. Then held statements reach the server late, and the retry
// is enqueued once.
func TestStalledEnqueue(t *testing.T) {
	dsn, db := newPostgres(t)
	start(t, db, db.once, 2)
	p := faultproxy.Start(t, dsn)
	eachPiece(t, func(t *testing.T, after int, used bool) bool {
		proxied := through(t, p, used)
		client, err := newInserter(proxied)
		require.NoError(t, err)
		var failure error
		enqueue := diffhookriver.Enqueue(client)
		d, h := newDelivery(t, ""), handler(func(ctx context.Context, e *diffhook.Event) error {
			failure = enqueue(ctx, e)
			return failure
		})
		p.Hold(after)
		status, met := d.attempt(t, h), p.Met()
		if met {
			require.Equal(t, http.StatusServiceUnavailable, status, "stalled after %d pieces", after)
			require.ErrorIs(t, failure, diffhook.ErrUnavailable)
		}
		p.Release()
		d.attempts(t, h)
		testservers.Eventually(t, "the job is completed", func() bool { return db.unfinished(t) == 0 })
		require.Equal(t, 1, db.effects(t, d.monitorID), "stalled after %d pieces", after)
		return met
	})
}

// TestStalledWorker holds all connections of a process in the work of an event, for longer
// than the timeout of the work. Deliveries fail meanwhile. Then the process receives and
// works again, and every effect is there once.
func TestStalledWorker(t *testing.T) {
	for _, step := range []string{beforeEffect, afterEffect, beforeCommit} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			dsn, db := newPostgres(t)
			p := faultproxy.Start(t, dsn)
			proxied := through(t, p, true)
			var stall sync.Once
			stalled, failed := make(chan struct{}), make(chan error, 1)
			handle := work(proxied, func(at string, e *diffhook.Event) {
				if at == step && e.Label == step {
					stall.Do(func() { p.Hold(0); close(stalled) })
				}
			})
			client := start(t, proxied, func(ctx context.Context, e *diffhook.Event) error {
				err := handle(ctx, e)
				if err != nil {
					select {
					case failed <- err:
					default:
					}
				}
				return err
			}, 2)
			h := receiver(client, never)
			inWork, during, later := newDelivery(t, step), newDelivery(t, ""), newDelivery(t, "")
			inWork.attempts(t, h)
			<-stalled
			require.Equal(t, http.StatusServiceUnavailable, during.attempt(t, h))
			require.Error(t, <-failed, "the timeout ends the work")
			p.Release()
			during.attempts(t, h)
			later.attempts(t, h)
			testservers.Eventually(t, "the process works again", func() bool {
				return db.effects(t, during.monitorID) == 1 && db.effects(t, later.monitorID) == 1
			})
			requireRescue(t, db, inWork, during, later)
		})
	}
}
