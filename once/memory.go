package once

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	diffhook "github.com/diffhook/diffhook-go"
)

// DefaultMemoryKeys is how many events NewMemory(0) remembers, in about 40 MB.
const DefaultMemoryKeys = 100_000

// errMemoryFull is the error of a memory store in which every event is running.
var errMemoryFull = fmt.Errorf("once: every event of the memory store is running: %w", diffhook.ErrUnavailable)

// memory is a Store in this process. Every record is in records. A done one is also
// in done, the least recently used first.
type memory struct {
	maxKeys int

	mu      sync.Mutex
	records map[Key]*record
	done    *list.List // of Key
}

// record is an event that is running or done.
type record struct {
	token string
	until time.Time     // the end of the lease, or of the time for which it is kept
	done  *list.Element // its place in memory.done; nil while it is running
}

// NewMemory returns a store in the memory of this process, for a program that runs
// as one process: others do not see the records, and a restart loses them. It holds
// at most maxKeys events; 0 means DefaultMemoryKeys. If it is full, it forgets the
// done event that was used least recently, never a running one, and [Func] observes
// [Forgotten]. If all are running, claims fail.
//
// NewMemory panics if maxKeys is negative. The store is safe for concurrent use.
func NewMemory(maxKeys int) Store {
	if maxKeys < 0 {
		panic("once: NewMemory of a negative number of keys")
	}
	if maxKeys == 0 {
		maxKeys = DefaultMemoryKeys
	}
	return &memory{maxKeys: maxKeys, records: make(map[Key]*record), done: list.New()}
}

func (m *memory) Claim(_ context.Context, k Key, token string, lease time.Duration) error {
	_, _, err := m.claim(k, token, lease)
	return err
}

// claim is Claim. It also returns the done event that it forgot to make room, if any.
func (m *memory) claim(k Key, token string, lease time.Duration) (forgotten Key, forgot bool, err error) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.records[k]
	if r == nil {
		if forgotten, forgot, err = m.makeRoom(now); err != nil {
			return forgotten, forgot, err
		}
		m.records[k] = &record{token: token, until: now.Add(lease)}
		return forgotten, forgot, nil
	}
	ended := !now.Before(r.until)
	switch {
	case r.done != nil && !ended:
		m.done.MoveToBack(r.done)
		return forgotten, false, ErrDone
	case r.done == nil && !ended && r.token != token:
		return forgotten, false, ErrInProgress
	}
	m.unlist(r)
	r.token, r.until = token, now.Add(lease)
	return forgotten, false, nil
}

func (m *memory) Commit(_ context.Context, k Key, token string, keep time.Duration) error {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.records[k]
	switch {
	case r == nil: // the lease ended, and its record was removed
		if _, _, err := m.makeRoom(now); err != nil {
			return err
		}
		r = &record{token: token}
		m.records[k] = r
	case r.token == token:
	case r.done == nil:
		return ErrInProgress
	default:
		return ErrDone
	}
	r.until = now.Add(keep)
	if r.done == nil {
		r.done = m.done.PushBack(k)
	}
	return nil
}

func (m *memory) Release(_ context.Context, k Key, token string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.records[k]; r != nil && r.token == token && r.done == nil {
		delete(m.records, k)
	}
	return nil
}

// unlist makes r a record that is not done.
func (m *memory) unlist(r *record) {
	if r.done != nil {
		m.done.Remove(r.done)
		r.done = nil
	}
}

// makeRoom removes the done event that was used least recently if the store is
// full. It reports that event as forgotten unless its time had ended. If every event
// is running, makeRoom removes those whose lease has ended.
func (m *memory) makeRoom(now time.Time) (forgotten Key, forgot bool, err error) {
	if len(m.records) < m.maxKeys {
		return forgotten, false, nil
	}
	if oldest := m.done.Front(); oldest != nil {
		k := oldest.Value.(Key)
		forgot = now.Before(m.records[k].until)
		m.done.Remove(oldest)
		delete(m.records, k)
		return k, forgot, nil
	}
	for k, r := range m.records {
		if !now.Before(r.until) {
			delete(m.records, k)
		}
	}
	if len(m.records) >= m.maxKeys {
		return forgotten, false, errMemoryFull
	}
	return forgotten, false, nil
}
