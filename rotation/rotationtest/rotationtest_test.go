package rotationtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/rotation"
	"github.com/diffhook/diffhook-go/rotation/rotationtest"
)

// place keeps documents in memory. fault names the broken rule.
type place struct {
	mu    sync.Mutex
	docs  map[string]*memory
	fault string
}

// memory is a store of a document.
type memory struct {
	mu    sync.Mutex
	doc   []byte
	n     int
	fault string
}

func (p *place) open(name string) (rotation.Store, error) {
	if p.fault == "cannot be opened" {
		return nil, errors.New("connection refused")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.docs == nil {
		p.docs = map[string]*memory{}
	}
	if p.docs[name] == nil || p.fault == "another document for each handle" {
		p.docs[name] = &memory{fault: p.fault}
	}
	return p.docs[name], nil
}

func (m *memory) Get(ctx context.Context) ([]byte, string, error) {
	if ctx.Err() != nil && m.fault != "ignores the context" {
		return nil, "", ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.doc == nil && m.fault == "fails without a document":
		return nil, "", errors.New("not found")
	case m.doc == nil && m.fault == "invents a document":
		return []byte("{}"), "0", nil
	case m.doc == nil:
		return nil, strconv.Itoa(m.n), nil
	case m.fault == "truncates":
		return m.doc[:min(len(m.doc), 4096)], strconv.Itoa(m.n), nil
	case m.fault == "returns the stored bytes":
		return m.doc, strconv.Itoa(m.n), nil
	}
	return bytes.Clone(m.doc), strconv.Itoa(m.n), nil
}

func (m *memory) Swap(ctx context.Context, version string, doc []byte) error {
	if ctx.Err() != nil && m.fault != "ignores the context" {
		return ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	newest := version == strconv.Itoa(m.n)
	switch {
	case m.fault == "does not compare":
	case m.fault == "does not compare the first" && m.n == 1:
	case m.fault == "refuses an unchanged document" && bytes.Equal(doc, m.doc):
		return rotation.ErrConflict
	case !newest && m.fault == "returns an error without ErrConflict":
		return errors.New("version mismatch")
	case !newest && m.fault == "shows the document":
		return fmt.Errorf("%w: the document is %s", rotation.ErrConflict, m.doc)
	case !newest:
		return rotation.ErrConflict
	case m.fault == "writes nothing":
		return nil
	case m.fault == "refuses":
		return errors.New("access denied")
	}
	m.n++
	if m.doc = doc; m.fault != "keeps the caller's bytes" {
		m.doc = bytes.Clone(doc)
	}
	return nil
}

func TestStoreThatKeepsTheRules(t *testing.T) {
	require.NoError(t, rotationtest.TestStore(t.Context(), new(place).open))
}

func TestFileStoreKeepsTheRules(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, rotationtest.TestStore(t.Context(), func(name string) (rotation.Store, error) {
		return rotation.FileStore(filepath.Join(dir, name)), nil
	}))
}

func TestStoreThatBreaksARule(t *testing.T) {
	for _, fault := range []string{
		"cannot be opened",
		"another document for each handle",
		"ignores the context",
		"fails without a document",
		"invents a document",
		"truncates",
		"returns the stored bytes",
		"does not compare",
		"does not compare the first",
		"refuses an unchanged document",
		"returns an error without ErrConflict",
		"shows the document",
		"writes nothing",
		"refuses",
		"keeps the caller's bytes",
	} {
		t.Run(fault, func(t *testing.T) {
			require.Error(t, rotationtest.TestStore(t.Context(), (&place{fault: fault}).open))
		})
	}
}

func ExampleTestStore() {
	documents := new(place) // the documents of a store of your own
	err := rotationtest.TestStore(context.Background(), func(name string) (rotation.Store, error) {
		return documents.open(name)
	})
	fmt.Println(err)
	// Output: <nil>
}
