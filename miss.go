package diffhook

import (
	"context"
	"fmt"
	"time"
)

const (
	// maxWait bounds the wait of a delivery for the source, over all reads. A fifth
	// of DeliveryTimeout is left for the handler.
	maxWait = 8 * time.Second

	// waitStep is the precision of maxWait: deliveries share a timer if they
	// arrive within this time.
	waitStep = maxWait / 16

	// maxWaitInHold bounds the wait of a delivery that can be held instead: the
	// hold waits for the secret, and DiffHook gets a response.
	maxWaitInHold = time.Second

	// maxWaitingBytes bounds the memory of all waiting deliveries. A delivery counts
	// the body, and waitOverhead for goroutine, headers and buffers.
	maxWaitingBytes = 64 << 20
	waitOverhead    = 8 << 10

	// maxWaitedReads bounds the reads for a delivery. The first read may begin before
	// the delivery arrives, and miss the secret.
	maxWaitedReads = 2
)

var (
	errNoRoom     = fmt.Errorf("%w: waiting deliveries already take %d MiB", ErrSecretsUnavailable, maxWaitingBytes>>20)
	errWaitedLong = fmt.Errorf("%w: the source was not read within %v, the longest wait of a delivery", ErrSecretsUnavailable, maxWait)
)

// decideMiss handles a miss: no secret in set signed the delivery, but the source may
// name a newer secret.
func (a *attempt) decideMiss(set *secretSet) error {
	w := a.v.newWait(a.bufferedBytes())
	defer w.leave()
	ctx := a.ctx
	if a.canHold() {
		bounded, cancel := context.WithTimeout(ctx, maxWaitInHold)
		defer cancel()
		ctx = bounded
	}
	for {
		newer, err := w.look(ctx, set)
		a.refreshed = w.reads > 0
		switch {
		case newer != set && a.matches(newer):
			return a.accept(newer)
		case w.again:
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

// bufferedBytes returns the memory of the body while the delivery waits.
func (a *attempt) bufferedBytes() int {
	if a.in != nil {
		return cap(a.body)
	}
	return len(a.body)
}

// sourceWait is the wait of a delivery for the source.
type sourceWait struct {
	v       *verifierState
	bytes   int64
	arrived time.Time

	limit *waitLimit // nil before the first read
	reads int        // reads waited for
	again bool       // another look may help
}

// waitLimit ends the wait of all deliveries of a waitStep.
type waitLimit struct {
	ends time.Time
	over chan struct{} // closed at ends
}

// newWait returns the wait of a delivery with n bytes of body in memory.
func (v *verifierState) newWait(n int) sourceWait {
	return sourceWait{v: v, bytes: int64(n) + waitOverhead, arrived: time.Now()}
}

// look returns the secrets in force, after a read of the source if these are still
// the checked secrets. The error is the failure of the read. Afterwards, w.again
// reports whether another look may help.
func (w *sourceWait) look(ctx context.Context, checked *secretSet) (*secretSet, error) {
	v := w.v
	v.mu.Lock()
	if set := v.set.Load(); set != checked {
		v.mu.Unlock()
		w.again = true
		return set, nil
	}
	call, err := w.join(ctx)
	w.again = call != nil && w.reads < maxWaitedReads && call.began.Before(w.arrived)
	v.mu.Unlock()
	if call == nil {
		return checked, err
	}
	select {
	case <-call.done:
		return v.set.Load(), call.err
	case <-ctx.Done():
		err = endedError(ctx, "while the source was read")
	case <-w.limit.over:
		err = errWaitedLong
	}
	w.again = false
	return v.set.Load(), err
}

// join returns the call to wait for and makes room for the delivery. The caller holds
// v.mu. If the source is fixed, hangs or cannot be read in time, or if there is no
// room, the call is nil. The error is then errNoRoom, or the last failure of the
// source, or nil.
func (w *sourceWait) join(ctx context.Context) (*sourceCall, error) {
	r := &w.v.read
	switch {
	case w.v.fixed:
		return nil, nil
	case r.call != nil && r.call.settled: // Load hangs
		return nil, r.err
	case w.limit == nil && r.waiting > 0 && r.waiting+w.bytes > maxWaitingBytes:
		return nil, errNoRoom
	}
	limit := w.limit
	if limit == nil {
		limit = r.waitLimit(w.arrived)
	}
	ends := limit.ends
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(ends) {
		ends = deadline
	}
	call := w.v.readForMiss(ends)
	if call == nil {
		return nil, r.err
	}
	if w.limit == nil {
		w.limit = limit
		r.waiting += w.bytes
	}
	w.reads++
	return call, nil
}

// leave gives back the room of the delivery.
func (w *sourceWait) leave() {
	if w.limit == nil {
		return
	}
	w.v.mu.Lock()
	w.v.read.waiting -= w.bytes
	w.v.mu.Unlock()
}

// waitLimit returns the limit of a delivery that arrives now. The caller holds
// Verifier.mu.
func (r *reading) waitLimit(now time.Time) *waitLimit {
	if l := r.limit; l != nil && l.ends.Sub(now) > maxWait-waitStep {
		return l
	}
	l := &waitLimit{ends: now.Add(maxWait), over: make(chan struct{})}
	time.AfterFunc(maxWait, func() { close(l.over) })
	r.limit = l
	return l
}
