package diffhookredis_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/internal/childprocess"
)

// all reports whether the tests run all paths, and not a sample.
func all() bool { return os.Getenv("DIFFHOOK_TEST_PATHS") == "all" }

// schedules are the times after the first attempt at which DiffHook retries, scaled
// 1:10. Of the 11 attempts of generation 2, the first three are enough.
var schedules = map[string][]time.Duration{
	"generation 1": {500 * time.Millisecond, 3500 * time.Millisecond},
	"generation 2": {6 * time.Second, 18 * time.Second},
}

// delivery is an event on its way.
type delivery struct{ body []byte }

func newDelivery(t testing.TB, monitorID, label string) delivery {
	body, err := json.Marshal(diffhook.Event{Type: "page.changed", MonitorID: monitorID, Label: label, TriggeredAt: time.Now()})
	require.NoError(t, err)
	return delivery{body}
}

// post returns the status of an attempt, or 0 without an answer.
func (d delivery) post(url string) int {
	s := diffhooktest.NewSender(childSecret(), &diffhooktest.SenderOptions{Retries: []time.Duration{}})
	return s.Send(context.Background(), url, d.body).Attempts[0].StatusCode
}

func startReceiver(t testing.TB, url, stop string) *childprocess.Child {
	return childprocess.StartServer(t, job{Receive: true, URL: url, Stop: stop})
}

func effects(t testing.TB, client *redis.Client, monitorID string) int {
	n, err := client.Get(context.Background(), effectKey(monitorID)).Int()
	if err != redis.Nil {
		require.NoError(t, err)
	}
	return n
}

// TestKilledReceiver kills a process by SIGKILL at each step of an event, and at random
// moments, and delivers the retries to another process. No event is lost. An event is
// handled twice only if the process dies after the effect and before the commit.
func TestKilledReceiver(t *testing.T) {
	kills := 2 * (len(steps) + 1)
	if all() {
		kills = 210
	}
	eachServer(t, func(t *testing.T, url string) {
		t.Parallel()
		client := newClient(t, options(t, url))
		survivor := startReceiver(t, url, "").URL
		var twice, total int
		var mu sync.Mutex
		var running sync.WaitGroup
		slots := make(chan struct{}, 16)
		for i := range kills {
			slots <- struct{}{}
			running.Go(func() {
				defer func() { <-slots }()
				step, schedule := "a random moment", "generation 1"
				if n := i % (len(steps) + 1); n < len(steps) {
					step = steps[n]
				}
				if all() && i/(len(steps)+1)%2 == 1 {
					schedule = "generation 2"
				}
				n := killOnce(t, url, client, survivor, step, schedules[schedule])
				switch step {
				case afterEffect, beforeCommit:
					assert.Equal(t, 2, n, "%s, %s", step, schedule)
				case "a random moment":
					assert.Contains(t, []int{1, 2}, n, "%s, %s", step, schedule)
				default:
					assert.Equal(t, 1, n, "%s, %s", step, schedule)
				}
				mu.Lock()
				defer mu.Unlock()
				total++
				if n == 2 {
					twice++
				}
			})
		}
		running.Wait()
		t.Logf("%d kills: 0 events lost, %d handled twice", total, twice)
	})
}

// killOnce kills a receiver at a step, retries, and returns the number of effects.
func killOnce(t *testing.T, url string, client *redis.Client, survivor, step string, schedule []time.Duration) int {
	victim := startReceiver(t, url, step)
	monitorID := "mon_" + randomName()
	d := newDelivery(t, monitorID, "")
	began := time.Now()
	answered := make(chan int, 1)
	go func() { answered <- d.post(victim.URL) }()
	if step == "a random moment" {
		time.Sleep(rand.N(4 * time.Millisecond))
	} else {
		assert.Equal(t, step, <-victim.Lines)
	}
	victim.Kill()
	status := <-answered
	for _, after := range schedule {
		if status == http.StatusNoContent {
			break
		}
		time.Sleep(time.Until(began.Add(after)))
		status = d.post(survivor)
	}
	assert.Equal(t, http.StatusNoContent, status, "the event is lost: %s", step)
	n := effects(t, client, monitorID)
	assert.Equal(t, http.StatusNoContent, d.post(survivor), "a duplicate of a done event")
	assert.Equal(t, n, effects(t, client, monitorID))
	return n
}

// TestSimultaneousDuplicates delivers an event to 8 processes at the same instant. Only the
// first handles the event, and no duplicate gets a 204 before the event is done.
func TestSimultaneousDuplicates(t *testing.T) {
	rounds := 5
	if all() {
		rounds = 50
	}
	eachServer(t, func(t *testing.T, url string) {
		client := newClient(t, options(t, url))
		var receivers []string
		for range 8 {
			receivers = append(receivers, startReceiver(t, url, "").URL)
		}
		toAll := func(d delivery) map[int]int {
			statuses := make([]int, len(receivers))
			var running sync.WaitGroup
			for i, address := range receivers {
				running.Go(func() { statuses[i] = d.post(address) })
			}
			running.Wait()
			count := map[int]int{}
			for _, status := range statuses {
				count[status]++
			}
			return count
		}
		for range rounds {
			monitorID := "mon_" + randomName()
			d := newDelivery(t, monitorID, "slow")
			count := toAll(d)
			assert.Equal(t, 8, count[http.StatusNoContent]+count[http.StatusServiceUnavailable], count)
			assert.GreaterOrEqual(t, count[http.StatusNoContent], 1)
			assert.Equal(t, map[int]int{http.StatusNoContent: 8}, toAll(d), "duplicates of a done event, all at once")
			assert.Equal(t, 1, effects(t, client, monitorID))
		}
	})
}
