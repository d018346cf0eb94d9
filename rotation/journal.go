package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/diffhook/diffhook-go/internal/scrub"
	"github.com/diffhook/diffhook-go/internal/wait"
)

const (
	storeTimeout = 10 * time.Second // of each call of the store
	storeTries   = 3
	storeLag     = 30 * time.Second // from Swap until Get shows the document
)

// journal reads and writes the document of a run. The lease in the document keeps other
// runs from DiffHook and from people. The version of the store keeps them from the
// document.
type journal struct {
	store Store
	kind  string

	saving  turn        // held while the document is replaced
	resting atomic.Bool // during a long wait, which saves nothing
	run     string      // the name of this run in the lease; "" before

	mu    sync.Mutex // guards the fields below
	doc   document   // the newest document; immutable
	until time.Time  // the end of the lease
	texts []string   // the credentials that no error may show
}

func newJournal(s Store, kind string) *journal {
	return &journal{store: s, kind: kind, saving: make(turn, 1)}
}

// turn is a lock that is held across calls of the customer's code.
type turn chan struct{}

func (t turn) take() { t <- struct{}{} }
func (t turn) free() { <-t }

func pause(ctx context.Context, d time.Duration) error { return wait.For(ctx, d) }

func (j *journal) get(ctx context.Context) (content []byte, version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	content, version, err = j.store.Get(ctx)
	if err != nil {
		return nil, "", scrub.Foreign("read the document", err, j.hidden()...)
	}
	return content, version, nil
}

// load reads the document anew, without a lease.
func (j *journal) load(ctx context.Context) error {
	_, _, doc, err := j.read(ctx)
	if err == nil {
		j.remember(doc)
	}
	return err
}

// read returns the document. A document of a newer format is an error.
func (j *journal) read(ctx context.Context) (content []byte, version string, doc document, err error) {
	if content, version, err = j.get(ctx); err != nil {
		return nil, "", nil, err
	}
	doc = newDocument(j.kind)
	if err := decode(content, doc); err != nil {
		return nil, "", nil, err
	}
	if doc.head().Format > format {
		return nil, "", nil, fmt.Errorf("%w: the document is of format %d, and this version writes %d; update the program", ErrInvalidDocument, doc.head().Format, format)
	}
	j.hide(doc)
	return content, version, doc, nil
}

// remember keeps doc as the newest document.
func (j *journal) remember(doc document) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.doc, j.until = doc, doc.head().RunUntil
}

// hide keeps the credentials of doc out of errors.
func (j *journal) hide(doc document) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, text := range doc.credentials() {
		if text != "" && !slices.Contains(j.texts, text) {
			j.texts = append(slices.Clip(j.texts), text)
		}
	}
}

// update saves the document with a change and a longer lease. After an error of the
// store, it tries again, and calls change for the newest document.
func (j *journal) update(ctx context.Context, change func(document) error) (err error) {
	j.saving.take()
	defer j.saving.free()
	var saved document // of the last try, whose response may be lost
	for try := range storeTries {
		if try > 0 && pause(ctx, time.Second) != nil {
			return err
		}
		content, version, doc, readErr := j.read(ctx)
		if err = readErr; errors.Is(err, ErrInvalidDocument) {
			return err
		} else if err != nil {
			continue
		}
		if saved != nil && sameDocument(content, saved) {
			j.remember(doc)
			return nil
		}
		if err := j.change(doc, change); err != nil {
			return err
		}
		if err = j.save(ctx, content, version, doc); err == nil {
			j.remember(doc)
			return nil
		}
		saved = doc
	}
	return err
}

// change calls change for doc and renews the lease, unless another run holds the lease.
func (j *journal) change(doc document, change func(document) error) error {
	h := doc.head()
	if j.run != "" && h.Run != j.run {
		return errTakenOver
	}
	if j.run != "" {
		h.RunUntil = now().Add(leaseLength)
	}
	return change(doc)
}

// save swaps doc in, and reads until the store shows doc: the response to Swap may be
// lost, and the store may lag.
func (j *journal) save(ctx context.Context, before []byte, version string, doc document) error {
	j.hide(doc)
	content, err := encode(before, doc)
	if err != nil {
		return err
	}
	swapCtx, cancel := context.WithTimeout(ctx, storeTimeout)
	err = j.store.Swap(swapCtx, version, content)
	cancel()
	for deadline := time.Now().Add(storeLag); ; {
		seen, _, getErr := j.get(ctx)
		switch {
		case getErr == nil && sameDocument(seen, doc):
			return nil
		case err != nil:
			return scrub.Foreign("save the document", err, j.hidden()...)
		case time.Now().After(deadline) && getErr != nil:
			return getErr
		case time.Now().After(deadline):
			return fmt.Errorf("%w: save the document: the store does not show the saved document; try again", ErrConflict)
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// snapshot returns a copy of the newest document of this run.
func snapshot[D any](j *journal) D {
	j.mu.Lock()
	defer j.mu.Unlock()
	return *any(j.doc).(*D)
}

// phase returns the phase of the newest document of this run.
func (j *journal) phase() phase {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.doc.head().Phase
}

// hidden returns the credentials that no error may show.
func (j *journal) hidden() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.texts
}
