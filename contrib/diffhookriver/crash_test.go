package diffhookriver_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/internal/childprocess"
	"github.com/diffhook/diffhook-go/internal/testservers"
)

// all reports whether the tests run all paths, and not a sample.
func all() bool { return os.Getenv("DIFFHOOK_TEST_PATHS") == "all" }

type delivery struct {
	monitorID string
	body      []byte
}

func newDelivery(t testing.TB, label string) delivery {
	id := "mon_" + rand.Text()
	body, err := json.Marshal(map[string]any{"event": "page.changed", "monitor_id": id, "label": label, "triggered_at": "2026-03-16T14:22:00Z"})
	require.NoError(t, err)
	return delivery{id, body}
}

// post returns the status of an attempt, or 0 without an answer.
func (d delivery) post(url string) int {
	s := diffhooktest.NewSender(childSecret(), &diffhooktest.SenderOptions{Retries: []time.Duration{}})
	return s.Send(context.Background(), url, d.body).Attempts[0].StatusCode
}

// schedule returns the waits of the retries of a generation, divided by scale.
func schedule(generation int, scale time.Duration) (waits []time.Duration) {
	if generation == 1 {
		return []time.Duration{5 * time.Second / scale, 30 * time.Second / scale}
	}
	for wait := time.Minute; wait <= 512*time.Minute; wait *= 2 {
		waits = append(waits, wait/scale)
	}
	return waits
}

// relay passes the first attempt at an event on to a victim, and the retries to a survivor,
// for which they wait. The answer to the first retry is lost.
type relay struct {
	victim   string // URL
	survivor func() *childprocess.Child
	attempts atomic.Int64
}

func (r *relay) RoundTrip(in *http.Request) (*http.Response, error) {
	url, attempt := r.victim, r.attempts.Add(1)
	if attempt > 1 {
		url = r.survivor().URL
	}
	out, err := http.NewRequestWithContext(in.Context(), in.Method, url, in.Body)
	if err != nil {
		return nil, err
	}
	out.Header, out.ContentLength = in.Header.Clone(), in.ContentLength
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err == nil && attempt == 2 {
		_ = resp.Body.Close()
		return nil, errors.New("the answer is lost")
	}
	return resp, err
}

// send delivers d with the retries of a generation, scaled 1:10.
func (d delivery) send(t testing.TB, generation int, victim string, survivor func() *childprocess.Child) diffhooktest.Result {
	s := diffhooktest.NewSender(childSecret(), &diffhooktest.SenderOptions{
		Generation: generation, Retries: schedule(generation, 10),
		HTTPClient: &http.Client{Transport: &relay{victim: victim, survivor: survivor}},
	})
	return s.Send(t.Context(), "http://balancer.invalid", d.body)
}

// TestKilledProcesses kills processes by SIGKILL in batches, each process in the middle of
// an event, at each step. A new process gets the retries of the sender, of generation 1 or 2,
// and River rescues the jobs. Every effect is there exactly once.
func TestKilledProcesses(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) {
		batches := 1
		if all() {
			batches = 17
		}
		dsn, db := newPostgres(t)
		for batch := range batches {
			killBatch(t, "PostgreSQL", dsn, db, slices.Concat(steps, steps), generation(batch, batches))
		}
		t.Logf("%d kills, every effect once", batches*2*len(steps))
	})
	t.Run("SQLite", func(t *testing.T) {
		rounds := 1
		if all() {
			rounds = 34
		}
		for round := range rounds {
			for _, step := range steps { // a stopped transaction stops all other transactions
				t.Run(fmt.Sprintf("%s %d", step, round), func(t *testing.T) {
					t.Parallel()
					path, db := newSQLite(t)
					killBatch(t, "SQLite", path, db, []string{step}, generation(round, rounds))
				})
			}
		}
	})
}

// generation returns 2 for the last of all rounds: the retries of generation 2 take long.
func generation(round, rounds int) int {
	if rounds > 1 && round == rounds-1 {
		return 2
	}
	return 1
}

func killBatch[TTx any](t *testing.T, kind, dsn string, db *database[TTx], steps []string, generation int) {
	victims := make([]*childprocess.Child, len(steps))
	var starting sync.WaitGroup
	for i := range victims {
		starting.Go(func() { victims[i] = childprocess.StartServer(t, job{kind, dsn, true}) })
	}
	starting.Wait()
	deliveries, results := make([]delivery, len(steps)), make([]diffhooktest.Result, len(steps))
	var survivor *childprocess.Child
	started := make(chan struct{})
	var sending sync.WaitGroup
	for i, step := range steps {
		deliveries[i] = newDelivery(t, step)
		sending.Go(func() {
			results[i] = deliveries[i].send(t, generation, victims[i].URL, func() *childprocess.Child { <-started; return survivor })
		})
	}
	stopped := map[string]int{}
	for range steps { // each victim can work at any event
		testservers.Eventually(t, "every event stops at its step", func() bool {
			for _, victim := range victims {
				select {
				case step := <-victim.Lines:
					stopped[step]++
					return true
				default:
				}
			}
			return false
		})
	}
	for _, victim := range victims {
		victim.Kill()
	}
	survivor = childprocess.StartServer(t, job{kind, dsn, false})
	close(started)
	time.Sleep(rescueTime) // River uses the real clock
	db.depose(t)
	rescuer := childprocess.StartServer(t, job{kind, dsn, false})
	sending.Wait()
	for i, result := range results {
		assert.True(t, result.Delivered, "killed %s, given up: %+v", steps[i], result.Attempts)
		if steps[i] == beforeInsert || steps[i] == afterInsert {
			assert.Len(t, result.Attempts, 3, "killed, then an answer lost")
		}
	}
	testservers.Eventually(t, "every job is completed", func() bool { return db.unfinished(t) == 0 })
	for i, d := range deliveries {
		assert.Equal(t, 1, db.effects(t, d.monitorID), steps[i])
		assert.Equal(t, http.StatusNoContent, d.post(survivor.URL), "a duplicate of a done event")
	}
	assert.Zero(t, db.unfinished(t), "the duplicates are not enqueued")
	survivor.Kill()
	rescuer.Kill()
}

// TestSimultaneousDuplicates delivers an event to 8 processes at the same instant. All
// answer 204, since the event is in the database. The effect is there once.
func TestSimultaneousDuplicates(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) { dsn, db := newPostgres(t); testDuplicates(t, "PostgreSQL", dsn, db) })
	t.Run("SQLite", func(t *testing.T) { path, db := newSQLite(t); testDuplicates(t, "SQLite", path, db) })
}

func testDuplicates[TTx any](t *testing.T, kind, dsn string, db *database[TTx]) {
	rounds := 5
	if all() {
		rounds = 50
	}
	receivers := make([]*childprocess.Child, 8)
	for i := range receivers {
		receivers[i] = childprocess.StartServer(t, job{kind, dsn, false})
	}
	for range rounds {
		d := newDelivery(t, "")
		statuses := make([]int, len(receivers))
		var posting sync.WaitGroup
		for i, r := range receivers {
			posting.Go(func() { statuses[i] = d.post(r.URL) })
		}
		posting.Wait()
		for _, status := range statuses {
			assert.Equal(t, http.StatusNoContent, status)
		}
		testservers.Eventually(t, "the job is completed", func() bool { return db.unfinished(t) == 0 })
		assert.Equal(t, 1, db.effects(t, d.monitorID))
	}
}
