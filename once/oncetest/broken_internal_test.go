package oncetest

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/once"
)

// model is a store with a fault. Without the fault, model conforms.
type model struct {
	fault fault
	now   func() time.Time // the clock of the server

	mu      sync.Mutex
	records map[once.Key]modelRecord
}

type modelRecord struct {
	token  string
	isDone bool
	until  time.Time
}

type fault string

const (
	none           fault = ""
	forgets        fault = "forgets done events"
	neverExpires   fault = "a lease never ends"
	keepsForever   fault = "a done event is never forgotten"
	ignoresToken   fault = "any token commits and releases"
	ownClock       fault = "counts by the clock of the process"
	doneTooEarly   fault = "an event is done when it is claimed"
	claimOnce      fault = "a claim is not repeatable"
	commitOnce     fault = "a commit is not repeatable"
	releaseOnce    fault = "a release is not repeatable"
	lateCommit     fault = "a commit after the lease is refused"
	claimsTwice    fault = "simultaneous claims succeed"
	releasesOthers fault = "a repeated release ends another claim"
	firstLease     fault = "a repeated claim keeps the first lease"
	cutsKeys       fault = "keeps only a part of the key"
	foldsKeys      fault = "compares keys as text in any case"
)

// get returns the record of k, unless the time to keep the record is over. If the lease of
// a running record is over, ended is true.
func (m *model) get(k once.Key, now time.Time) (r modelRecord, found, ended bool) {
	r, found = m.records[m.name(k)]
	ended = found && !now.Before(r.until)
	if m.fault == neverExpires && !r.isDone || m.fault == keepsForever && r.isDone {
		ended = false
	}
	return r, found, ended
}

// name returns the key under which the record of k is kept.
func (m *model) name(k once.Key) once.Key {
	switch m.fault {
	case cutsKeys:
		k[len(k)-1] = 0
	case foldsKeys:
		copy(k[:], bytes.ToLower(k[:]))
	}
	return k
}

func (m *model) clock() time.Time {
	if m.fault == ownClock {
		return time.Now()
	}
	return m.now()
}

func (m *model) Claim(_ context.Context, k once.Key, token string, lease time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock()
	r, found, ended := m.get(k, now)
	switch {
	case !found, ended, m.fault == claimsTwice && !r.isDone:
	case r.isDone:
		return once.ErrDone
	case r.token != token, m.fault == claimOnce:
		return once.ErrInProgress
	}
	until := now.Add(lease)
	if m.fault == firstLease && found && !ended {
		until = r.until
	}
	m.records[m.name(k)] = modelRecord{token, m.fault == doneTooEarly, until}
	return nil
}

func (m *model) Commit(_ context.Context, k once.Key, token string, keep time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock()
	r, found, ended := m.get(k, now)
	own := !found || r.token == token || m.fault == ignoresToken
	switch {
	case ended && own && m.fault == lateCommit:
		return once.ErrInProgress
	case own && r.isDone && m.fault == commitOnce, !own && r.isDone:
		return once.ErrDone
	case !own:
		return once.ErrInProgress
	}
	m.records[m.name(k)] = modelRecord{token, true, now.Add(keep)}
	if m.fault == forgets {
		delete(m.records, m.name(k))
	}
	return nil
}

func (m *model) Release(_ context.Context, k once.Key, token string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, found := m.records[k]
	own := r.token == token || m.fault == ignoresToken || m.fault == releasesOthers && found
	switch {
	case !found && m.fault == releaseOnce:
		return errLost
	case found && own && !r.isDone:
		delete(m.records, m.name(k))
	}
	return nil
}

// broken lists the checks that must catch each fault.
var broken = []struct {
	fault  fault
	caught []string
}{
	{none, nil},
	{forgets, []string{"done", "lost answers", "simultaneous claims"}},
	{neverExpires, []string{"end of a lease"}},
	{keepsForever, []string{"end of the time kept"}},
	{ignoresToken, []string{"foreign token", "end of a lease"}},
	{ownClock, []string{"clock"}},
	{doneTooEarly, []string{"claim", "end of a lease", "simultaneous claims"}},
	{claimOnce, []string{"lost answers"}},
	{commitOnce, []string{"lost answers"}},
	{releaseOnce, []string{"lost answers"}},
	{lateCommit, []string{"commit after the lease"}},
	{claimsTwice, []string{"claim", "simultaneous claims"}},
	{firstLease, []string{"repeated claim"}},
	{cutsKeys, []string{"claim"}},
	{foldsKeys, []string{"claim"}},
	{releasesOthers, []string{"lost answers", "foreign token"}},
}

func TestBrokenStores(t *testing.T) {
	for _, tc := range broken {
		name := string(tc.fault)
		if tc.fault == none {
			name = "a store that conforms"
		}
		t.Run(name, func(t *testing.T) {
			failed := failedChecks(t, tc.fault)
			if tc.fault == none {
				require.Empty(t, failed)
			}
			require.Subset(t, failed, tc.caught)
		})
	}
}

// failedChecks returns the names of the checks that fail on a store with the fault.
func failedChecks(t *testing.T, f fault) (failed []string) {
	server := serverClock(t)
	for _, c := range checks {
		var err error
		if c.name == "clock" { // the check makes a bubble of its own
			err = runCheck(t, c, f, server)
		} else {
			synctest.Test(t, func(t *testing.T) { err = runCheck(t, c, f, time.Now) })
		}
		if err != nil {
			failed = append(failed, c.name)
		}
	}
	return failed
}

func runCheck(t *testing.T, c check, f fault, now func() time.Time) error {
	data := &model{fault: f, now: now, records: map[once.Key]modelRecord{}}
	return c.run(t, func(*testing.T) once.Store { return handle{data} })
}

// handle is a store on the data of a model, as in another process.
type handle struct{ *model }

// serverClock returns a clock that runs outside of any bubble.
func serverClock(t *testing.T) func() time.Time {
	var now atomic.Pointer[time.Time]
	tick := func() { t := time.Now(); now.Store(&t) }
	tick()
	ticker := time.NewTicker(time.Millisecond)
	stopped := make(chan struct{})
	t.Cleanup(func() { ticker.Stop(); close(stopped) })
	go func() {
		for {
			select {
			case <-ticker.C:
				tick()
			case <-stopped:
				return
			}
		}
	}()
	return func() time.Time { return *now.Load() }
}
