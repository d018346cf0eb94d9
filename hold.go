package diffhook

import (
	"context"
	"fmt"
	"time"
)

const (
	// maxHold bounds the wait of a delivery for the source, over all reads. A
	// fifth of DeliveryTimeout is left for everything else.
	maxHold = 8 * time.Second

	// holdStep is the precision of maxHold: deliveries share a timer if they
	// arrive within this time.
	holdStep = maxHold / 16

	// maxHeldBytes bounds the memory of all waiting deliveries. A delivery counts
	// the body, and heldOverhead for goroutine, headers and buffers.
	maxHeldBytes = 64 << 20
	heldOverhead = 8 << 10

	// maxHeldReads bounds the reads for one delivery. The first read may begin
	// before the delivery arrives, and miss the secret.
	maxHeldReads = 2
)

var (
	errNoRoom   = fmt.Errorf("%w: waiting deliveries already hold %d MiB", ErrSecretsUnavailable, maxHeldBytes>>20)
	errHeldLong = fmt.Errorf("%w: the source was not read within the %v that a delivery can wait", ErrSecretsUnavailable, maxHold)
)

// decideMiss is the slow path of decide: no secret in set signed the delivery.
// The source may name a newer secret.
func (a *attempt) decideMiss(set *secretSet) error {
	h := a.v.newHold(a.heldBytes())
	defer h.leave()
	for {
		newer, err := h.look(a.ctx, set)
		a.refreshed = h.reads > 0
		switch {
		case newer != set && a.matches(newer):
			return a.accept(newer)
		case h.again:
			set = newer
		case err != nil:
			return err
		case newer.rejected != 0:
			return errOnlyRejected
		default:
			return ErrSignatureMismatch
		}
	}
}

// heldBytes returns the memory of the body while the delivery waits.
func (a *attempt) heldBytes() int {
	if a.in != nil {
		return cap(a.body)
	}
	return len(a.body)
}

// hold is the wait of one delivery for the source.
type hold struct {
	v       *verifierState
	bytes   int64
	arrived time.Time

	limit *holdLimit // nil before the first read
	reads int        // reads waited for
	again bool       // another look may help
}

// holdLimit ends the wait of all deliveries of one holdStep.
type holdLimit struct {
	ends time.Time
	over chan struct{} // closed at ends
}

// newHold returns the hold of a delivery with n bytes of body in memory.
func (v *verifierState) newHold(n int) hold {
	return hold{v: v, bytes: int64(n) + heldOverhead, arrived: time.Now()}
}

// look returns the secrets in force, after a read of the source if these are still
// the checked secrets. The error is the failure of the read. Afterwards, h.again
// reports whether another look may help.
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

// join returns the call to wait for and makes room for the delivery. The call is
// nil if the source is fixed, hangs or cannot be read in time, or if there is no
// room. The error is then the last failure of the source, if any, or errNoRoom.
// The caller holds v.mu.
func (h *hold) join(ctx context.Context) (*sourceCall, error) {
	r := &h.v.read
	switch {
	case h.v.fixed:
		return nil, nil
	case r.call != nil && r.call.settled: // Load hangs
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

// holdLimit returns the limit of a delivery that arrives now. The caller holds
// Verifier.mu.
func (r *reading) holdLimit(now time.Time) *holdLimit {
	if l := r.limit; l != nil && l.ends.Sub(now) > maxHold-holdStep {
		return l
	}
	l := &holdLimit{ends: now.Add(maxHold), over: make(chan struct{})}
	time.AfterFunc(maxHold, func() { close(l.over) })
	r.limit = l
	return l
}
