package diffhook

import (
	"context"
	"fmt"
	"time"
)

const (
	// maxHold bounds the time that a delivery waits for the source, over all
	// reads. It leaves a fifth of DeliveryTimeout for everything else.
	maxHold = 8 * time.Second

	// holdStep is the time within which deliveries that arrive share a timer.
	holdStep = maxHold / 16

	// maxHeldBytes bounds the memory of the deliveries that wait, and heldOverhead
	// is the part of each beside the body: goroutine, headers and buffers.
	maxHeldBytes = 64 << 20
	heldOverhead = 8 << 10

	// maxHeldReads bounds the reads that a delivery waits for. The first may have
	// begun before the delivery arrived, and have missed the secret.
	maxHeldReads = 2
)

var (
	errNoRoom   = fmt.Errorf("%w: the deliveries that wait for the source already hold %d MiB", ErrSecretsUnavailable, maxHeldBytes>>20)
	errHeldLong = fmt.Errorf("%w: the source was not read within the %v that a delivery can wait", ErrSecretsUnavailable, maxHold)
)

// hold is a delivery that no known secret signed, on its way to a verdict.
type hold struct {
	v       *verifierState
	bytes   int64
	arrived time.Time

	limit *holdLimit // nil: it has not waited yet
	reads int        // it has waited for
	again bool       // another look may help
}

// holdLimit ends the wait of all deliveries that arrived within one holdStep.
type holdLimit struct {
	ends time.Time
	over chan struct{} // closed at ends
}

// newHold returns the hold of a delivery that keeps n bytes of body in memory.
func (v *verifierState) newHold(n int) hold {
	return hold{v: v, bytes: int64(n) + heldOverhead, arrived: time.Now()}
}

// look returns the secrets in force, after a read of the source if checked still
// are. The error says why the source could not be read. The hold's again reports
// whether the delivery may look once more, if the set has not signed it.
func (h *hold) look(ctx context.Context, checked *secretSet) (*secretSet, error) {
	v := h.v
	v.mu.Lock()
	if set := v.set.Load(); set != checked {
		v.mu.Unlock()
		h.again = true
		return set, nil
	}
	call, err := h.join(ctx)
	h.again = call != nil && h.reads < maxHeldReads && call.began.Before(h.arrived)
	v.mu.Unlock()
	if call == nil {
		return checked, err
	}
	select {
	case <-call.done:
		return v.set.Load(), call.err
	case <-ctx.Done():
		err = endedError(ctx, "while the source was read")
	case <-h.limit.over:
		err = errHeldLong
	}
	h.again = false
	return v.set.Load(), err
}

// join returns the call to wait for and makes room for the delivery. Without a
// call, the error says why: nil if another read cannot help, or not in time.
// v.mu is held.
func (h *hold) join(ctx context.Context) (*sourceCall, error) {
	r := &h.v.read
	switch {
	case h.v.fixed:
		return nil, nil
	case r.call != nil && r.call.settled: // it hangs, and is not asked again
		return nil, r.err
	case h.limit == nil && r.held > 0 && r.held+h.bytes > maxHeldBytes:
		return nil, errNoRoom
	}
	limit := h.limit
	if limit == nil {
		limit = r.holdLimit(h.arrived)
	}
	ends := limit.ends
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(ends) {
		ends = deadline
	}
	call := h.v.readForMiss(ends)
	if call == nil {
		return nil, r.err
	}
	if h.limit == nil {
		h.limit = limit
		r.held += h.bytes
	}
	h.reads++
	return call, nil
}

// leave gives back the room of the delivery.
func (h *hold) leave() {
	if h.limit == nil {
		return
	}
	h.v.mu.Lock()
	h.v.read.held -= h.bytes
	h.v.mu.Unlock()
}

// holdLimit returns the limit of a delivery that has just arrived. The verifier's
// mu is held.
func (r *reading) holdLimit(now time.Time) *holdLimit {
	if l := r.limit; l != nil && l.ends.Sub(now) > maxHold-holdStep {
		return l
	}
	l := &holdLimit{ends: now.Add(maxHold), over: make(chan struct{})}
	time.AfterFunc(maxHold, func() { close(l.over) })
	r.limit = l
	return l
}
