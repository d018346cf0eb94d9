package once

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	diffhook "github.com/diffhook/diffhook-go"
)

// DefaultMemoryKeys is how many events NewMemory(0) remembers.
const DefaultMemoryKeys = 100_000

// errMemoryFull is the error of a claim if every event of the memory store is running.
var errMemoryFull = fmt.Errorf("once: every event of the memory store is running (%w); pass a larger number to NewMemory", diffhook.ErrUnavailable)

// memory is a Store in this process. Every record is in records, and in a list: running
// in the order of the claims, or done, the least recently used first.
type memory struct {
	maxKeys int

	mu      sync.Mutex
	records map[Key]*record
	running list.List // of *record
	done    list.List // of *record
}

// record is a running or done event.
type record struct {
	key    Key
	token  string
	until  time.Time // the end of the lease, or of the time to keep the event
	isDone bool
	place  *list.Element // in m.done if isDone, else in m.running
}

// NewMemory returns a store in the memory of this process, for a program of a single
// process: other processes do not see the records, and a restart loses them. The store
// contains at most maxKeys events; 0 means DefaultMemoryKeys. A full store forgets the
// done event used least recently, never a running event, and [Func] observes [Forgotten].
// If all events are running, claims fail.
//
// NewMemory panics if maxKeys is negative. The store is safe for concurrent use.
func NewMemory(maxKeys int) Store {
	if maxKeys < 0 {
		panic("once: NewMemory of a negative number of keys")
	}
	if maxKeys == 0 {
		maxKeys = DefaultMemoryKeys
	}
	return &memory{maxKeys: maxKeys, records: make(map[Key]*record)}
}

func (m *memory) Claim(_ context.Context, k Key, token string, lease time.Duration) error {
	_, _, err := m.claim(k, token, lease)
	return err
}

// claim is Claim, and also returns the done event forgotten to make room, if any.
func (m *memory) claim(k Key, token string, lease time.Duration) (forgotten Key, forgot bool, err error) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.records[k]
	switch {
	case r == nil:
		forgotten, forgot, err = m.makeRoom(now)
		if err == nil {
			m.put(&record{key: k, token: token, until: now.Add(lease)})
		}
		return forgotten, forgot, err
	case now.Before(r.until) && r.isDone:
		m.done.MoveToBack(r.place)
		return forgotten, false, ErrDone
	case now.Before(r.until) && r.token != token:
		return forgotten, false, ErrInProgress
	}
	m.remove(r)
	m.put(&record{key: k, token: token, until: now.Add(lease)})
	return forgotten, false, nil
}

func (m *memory) Commit(_ context.Context, k Key, token string, keep time.Duration) error {
	_, _, err := m.commit(k, token, keep)
	return err
}

// commit is Commit, and also returns the done event forgotten to make room, if any.
func (m *memory) commit(k Key, token string, keep time.Duration) (forgotten Key, forgot bool, err error) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.records[k]
	switch {
	case r == nil: // the lease ended, and the record made room
		if forgotten, forgot, err = m.makeRoom(now); err != nil {
			return forgotten, forgot, err
		}
	case r.token == token:
		m.remove(r)
	case r.isDone:
		return forgotten, false, ErrDone
	default:
		return forgotten, false, ErrInProgress
	}
	m.put(&record{key: k, token: token, until: now.Add(keep), isDone: true})
	return forgotten, forgot, nil
}

func (m *memory) Release(_ context.Context, k Key, token string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.records[k]; r != nil && r.token == token && !r.isDone {
		m.remove(r)
	}
	return nil
}

// put adds r. The caller holds m.mu.
func (m *memory) put(r *record) {
	m.records[r.key] = r
	r.place = m.listOf(r).PushBack(r)
}

// remove removes r. The caller holds m.mu.
func (m *memory) remove(r *record) {
	delete(m.records, r.key)
	m.listOf(r).Remove(r.place)
}

func (m *memory) listOf(r *record) *list.List {
	if r.isDone {
		return &m.done
	}
	return &m.running
}

// makeRoom removes a record if the store is full: the oldest claim if the lease is over,
// else the done event used least recently. It reports a done event as forgotten, unless
// the time to keep the event is over. The caller holds m.mu.
func (m *memory) makeRoom(now time.Time) (forgotten Key, forgot bool, err error) {
	if len(m.records) < m.maxKeys {
		return forgotten, false, nil
	}
	if oldest := first(&m.running); oldest != nil && !now.Before(oldest.until) {
		m.remove(oldest)
		return forgotten, false, nil
	}
	oldest := first(&m.done)
	if oldest == nil {
		return forgotten, false, errMemoryFull
	}
	m.remove(oldest)
	return oldest.key, now.Before(oldest.until), nil
}

func first(l *list.List) *record {
	if e := l.Front(); e != nil {
		return e.Value.(*record)
	}
	return nil
}
