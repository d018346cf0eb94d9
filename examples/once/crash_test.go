package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/internal/childprocess"
)

// allPaths reports whether the crash tests run all paths, and not a sample.
func allPaths() bool { return os.Getenv("DIFFHOOK_TEST_PATHS") == "all" }

// schedules are the scaled waits of each generation of DiffHook. The first three waits of
// generation 2 are enough: an event is handled by then.
var schedules = map[int][]time.Duration{
	1: {5 * time.Second / scale, 30 * time.Second / scale},
	2: {time.Minute / scale, 2 * time.Minute / scale, 4 * time.Minute / scale},
}

// deliverer sends events as DiffHook does: the first attempt at each event to a worker that
// dies in the attempt, and the retries to another worker.
type deliverer struct {
	victim, survivor string // URLs
	at               int    // the step at which the victim dies; less than 0: the victim lives
	attempts         atomic.Int64
}

func (d *deliverer) RoundTrip(r *http.Request) (*http.Response, error) {
	target, first := d.survivor, d.attempts.Add(1) == 1
	if first {
		target = d.victim
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, target, r.Body)
	if err != nil {
		return nil, err
	}
	out.Header, out.ContentLength = r.Header.Clone(), r.ContentLength
	if first && d.at >= 0 {
		out.Header.Set(deathHeader, strconv.Itoa(d.at))
	}
	return http.DefaultTransport.RoundTrip(out)
}

// send delivers e with retries.
func (d *deliverer) send(t *testing.T, secret diffhook.Secret, generation int, e *diffhook.Event) diffhooktest.Result {
	body, err := json.Marshal(e)
	require.NoError(t, err)
	s := diffhooktest.NewSender(secret, &diffhooktest.SenderOptions{
		Generation: generation, Retries: schedules[generation], HTTPClient: &http.Client{Transport: d},
	})
	return s.Send(t.Context(), "http://worker.invalid", body)
}

// TestCrash kills a process in the first attempt at each event, at every step in turn. In
// the transaction of the work, each event is handled once. With leases, each event is
// handled at least once, and twice only if the process died between effect and commit.
func TestCrash(t *testing.T) {
	forEach(t, func(t *testing.T, d database) {
		for _, mode := range d.modes() {
			t.Run(mode, func(t *testing.T) {
				t.Parallel()
				if !allPaths() {
					crash(t, d, mode, 1, sample[mode])
					return
				}
				crash(t, d, mode, 1, slices.Repeat(every(steps[mode]), 12))
				crash(t, d, mode, 2, every(steps[mode]))
			})
		}
	})
}

func every(steps int) (all []int) {
	for i := range steps {
		all = append(all, i)
	}
	return all
}

// crash kills a process at each step of kills, each time in another event.
func crash(t *testing.T, d database, mode string, generation int, kills []int) {
	r, secret := newRig(t, d), diffhooktest.NewSecret()
	o := order{
		Driver: d.driver, DSN: d.crashDSN(r.dsn), Table: r.opts.Table, Effects: r.effects,
		Mode: mode, Secret: secret.Reveal(), Dialect: d.dialect,
	}
	survivor := startWorker(t, o)
	var group sync.WaitGroup
	var twice atomic.Int64
	slots := make(chan struct{}, 8)
	for i, at := range kills {
		slots <- struct{}{}
		victim := startWorker(t, o) // on the goroutine of the test, which may fail
		group.Go(func() {
			defer func() { <-slots }()
			e := numbered(i)
			result := (&deliverer{victim: victim.URL, survivor: survivor.URL, at: at}).send(t, secret, generation, e)
			name := fmt.Sprintf("generation %d, killed at step %d", generation, at)
			if !victim.Exits() {
				t.Errorf("%s: the worker did not reach that step", name)
			}
			if !result.Delivered {
				t.Errorf("%s: given up: %+v", name, result.Attempts)
			}
			switch n := r.count(t, e); {
			case n == 1:
			case n == 2 && mode == "Func" && at >= afterEffect && at < afterCommit:
				twice.Add(1) // as documented
			default:
				t.Errorf("%s: handled %d times", name, n)
			}
		})
	}
	group.Wait()
	t.Logf("%s, %s, generation %d: %d processes killed; each event handled once, but %d twice", d.name, mode, generation, len(kills), twice.Load())
}

// crashDSN returns the data source name of a worker, with waits at the pace of the test.
func (d database) crashDSN(dsn string) string {
	return strings.Replace(dsn, "busy_timeout%285000%29", "busy_timeout%28500%29", 1)
}

// TestDuplicatesToEightProcesses sends an event to 8 processes at the same instant, with
// the retries of generation 1 to each. The event is handled once, and every delivery
// succeeds.
func TestDuplicatesToEightProcesses(t *testing.T) {
	events := 5
	if allPaths() {
		events = 50
	}
	forEach(t, func(t *testing.T, d database) {
		for _, mode := range d.modes() {
			t.Run(mode, func(t *testing.T) {
				r, secret := newRig(t, d), diffhooktest.NewSecret()
				o := order{
					Driver: d.driver, DSN: d.crashDSN(r.dsn), Table: r.opts.Table, Effects: r.effects,
					Mode: mode, Secret: secret.Reveal(), Dialect: d.dialect,
				}
				var workers [8]*childprocess.Child
				for i := range workers {
					workers[i] = startWorker(t, o)
				}
				for i := range events {
					e := numbered(i)
					var group sync.WaitGroup
					start := make(chan struct{})
					for _, w := range workers {
						group.Go(func() {
							<-start
							result := (&deliverer{victim: w.URL, survivor: w.URL, at: -1}).send(t, secret, 1, e)
							if !result.Delivered {
								t.Errorf("given up: %+v", result.Attempts)
							}
						})
					}
					close(start)
					group.Wait()
					require.Equal(t, 1, r.count(t, e))
				}
			})
		}
	})
}
