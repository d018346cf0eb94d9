package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/testservers"
	"github.com/diffhook/diffhook-go/once"
)

// TestRestartedDatabase kills the server at a step of a delivery, while other events are
// handled, and sends each event again after the restart. In a transaction, each event is
// handled once. With leases, each event is handled at least once, and again only if an
// effect or commit of the event failed, perhaps because the answer was lost.
//
// The test and the subtests are not parallel: no other test of the package sees a restart.
func TestRestartedDatabase(t *testing.T) {
	atPace(t)
	for _, d := range servers() {
		for _, mode := range d.modes() {
			kills := []int{sample[mode][1] - 1} // between effect and commit
			if allPaths() {
				kills = every(steps[mode] - 2) // without the request and the answer
			}
			for _, at := range kills {
				t.Run(fmt.Sprintf("%s/%s/step %d", d.name, mode, at), func(t *testing.T) { restart(t, d, mode, at) })
			}
		}
	}
}

// restart kills the server at a step of an event, in the middle of 40 events.
func restart(t *testing.T, d database, mode string, at int) {
	r, failures := newRig(t, d), &failures{of: map[once.Key]int{}}
	o := order{
		Driver: d.driver, DSN: r.dsn, Table: r.opts.Table, Effects: r.effects,
		Mode: mode, Dialect: d.dialect, Observe: failures.observe,
	}
	before := testservers.PID(t, strings.ToUpper(d.name))
	deliverAll(t, killAt(t, modes[mode](t, o), before, at))
	r.db = d.open(t, r.dsn) // without connections to the dead server
	require.Eventually(t, func() bool { return r.db.Ping() == nil }, 30*time.Second, 50*time.Millisecond)
	require.NotEqual(t, before, testservers.PID(t, strings.ToUpper(d.name)), "no delivery reached the step")
	deliverAll(t, modes[mode](t, o))

	repeated := 0
	for i := range 40 {
		e := numbered(i)
		n, most := r.count(t, e), 1
		if mode == "Func" {
			most += failures.of[once.KeyOf("", e)]
		}
		require.GreaterOrEqual(t, n, 1)
		require.LessOrEqual(t, n, most)
		repeated += n - 1
	}
	t.Logf("%d of 40 events handled again; %d had a failed effect or commit", repeated, len(failures.of))
}

// deliverAll delivers 40 events with retries, 4 at a time.
func deliverAll(t *testing.T, f diffhook.EventFunc) {
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := worker; i < 40; i += 4 {
				deliverUntil(t, f, numbered(i))
			}
		})
	}
	group.Wait()
}

// killAt returns f, which kills the server process at a step of an event, once.
func killAt(t *testing.T, f diffhook.EventFunc, pid, at int) diffhook.EventFunc {
	next := 0
	victim := numbered(10).MonitorID // a single goroutine delivers the event
	return func(ctx context.Context, e *diffhook.Event) error {
		if e.MonitorID == victim {
			ctx = context.WithValue(ctx, hookKey{}, func() {
				if next == at {
					if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
						t.Errorf("the server cannot be killed: %v", err)
					}
				}
				next++
			})
		}
		return f(ctx, e)
	}
}

// failures counts the failed effects and commits of Func, by event.
type failures struct {
	mu sync.Mutex
	of map[once.Key]int
}

func (f *failures) observe(_ context.Context, o once.Observation) {
	if o.Outcome == once.Failed || o.Outcome == once.CommitFailed {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.of[o.Key]++
	}
}
