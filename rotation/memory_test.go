package rotation_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/diffhook/diffhook-go/rotation"
)

// memory is a store. Versions are counted.
type memory struct {
	mu      sync.Mutex
	doc     []byte
	version int
	history []saved

	reformat bool // as JSONB and Vault do
	lag      time.Duration
	swap     func(n int, do func() error) error // faults, by the number of the Swap
	get      func() error
	swaps    int
}

type saved struct {
	at      time.Time
	doc     []byte
	version int
}

func (m *memory) Get(context.Context) ([]byte, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.get != nil {
		if err := m.get(); err != nil {
			return nil, "", err
		}
	}
	s := m.asOf(m.lag)
	return bytes.Clone(s.doc), fmt.Sprint(s.version), nil
}

// saves returns how often Swap was called.
func (m *memory) saves() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.swaps
}

// newest returns the document, whatever a Get would return.
func (m *memory) newest() saved {
	m.mu.Lock()
	defer m.mu.Unlock()
	return saved{doc: m.doc, version: m.version}
}

// failGets makes each Get return the results of get; nil: the document.
func (m *memory) failGets(get func() error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.get = get
}

// asOf returns the document of some time ago. The caller holds m.mu.
func (m *memory) asOf(lag time.Duration) (s saved) {
	for i, next := range slices.Backward(m.history) {
		if i == 0 || !next.at.After(time.Now().Add(-lag)) {
			return next
		}
	}
	return s
}

func (m *memory) Swap(_ context.Context, version string, doc []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.swaps++
	do := func() error {
		if version != fmt.Sprint(m.version) {
			return fmt.Errorf("version %s: %w", version, rotation.ErrConflict)
		}
		if m.reformat {
			doc = bytes.ReplaceAll(doc, []byte(`,"`), []byte(`,  "`))
		}
		m.version++
		m.doc = bytes.Clone(doc)
		m.history = append(m.history, saved{time.Now(), m.doc, m.version})
		return nil
	}
	if m.swap != nil {
		return m.swap(m.swaps, do)
	}
	return do()
}

type lagging struct {
	*memory
	lag time.Duration
}

func (l lagging) Get(context.Context) ([]byte, string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.asOf(l.lag)
	return s.doc, "", nil
}
