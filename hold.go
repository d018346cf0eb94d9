package diffhook

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// longestHold bounds what a hold that nobody ends can swallow.
	longestHold = time.Hour

	// defaultMaxHeldBytes is the default of VerifierOptions.MaxHeldBytes. A
	// delivery counts the copy of the body, and heldOverhead for everything else.
	defaultMaxHeldBytes = 64 << 20
	heldOverhead        = 4 << 10

	// maxHandling bounds the calls of the customer's functions at a time.
	maxHandling = 16
)

// heldRetries are the waits before the second and the third attempt at a verified
// delivery: those of generation 1, which has been told that it was delivered.
var heldRetries = [...]time.Duration{5 * time.Second, 30 * time.Second}

var (
	errHoldFull    = fmt.Errorf("%w: the hold is full; end it, or raise MaxHeldBytes", ErrSecretsUnavailable)
	errCannotHold  = fmt.Errorf("%w: Hold: nothing can hold a delivery; set HandleHeld or use EventHandler", ErrInvalidOptions)
	errHoldLength  = fmt.Errorf("%w: Hold: the time is not between 0 and %v", ErrInvalidOptions, longestHold)
	errHeldExited  = errors.New("the function ended its goroutine")
	errHeldRevoked = fmt.Errorf("%w: the secret was rejected while the delivery waited to be handled", ErrSignatureMismatch)
)

// heldDelivery is a delivery that has been answered with 202. It is held until a
// secret in force signed it, and pending from then on.
type heldDelivery struct {
	Delivery // Body is a copy
	tag      tag
	arrived  time.Time
	handle   func(context.Context, *Delivery) error
	usage    *usage // of the secret that signed it; nil while it is held
	failures int
}

// bytes is the memory that the delivery counts.
func (d *heldDelivery) bytes() int64 { return int64(cap(d.Body)) + heldOverhead }

// holdRoom is where deliveries are held. Verifier.mu guards all but active.
type holdRoom struct {
	active  atomic.Bool // a hold is on: lets a miss outside a hold pass without the lock
	canHold bool
	until   time.Time
	timer   *time.Timer // of the end; nil: no hold is on

	held    []*heldDelivery
	queue   []*heldDelivery // pending, and due for an attempt
	running int             // attempts under way
	pending int             // those in the queue, under way and waiting for a retry
	idle    chan struct{}   // closed when pending falls to 0
	bytes   int64           // of all that are held and pending

	handled, dropped, full uint64
}

// Hold keeps deliveries of generation 1 that no known secret signed, instead of
// refusing them, until a secret that signed them is in force or d has passed. They
// are answered 202 and stay in the memory of this process: use it while the
// signing secret is rotated, and the new secret may take longer than the 35 s
// after which generation 1 gives up. Hold(0) ends a hold, and a second Hold
// replaces the end of the first one. d is an hour at most.
//
// Deliveries with the header of generation 2 are refused as ever: generation 2
// retries them for 17 h, which is safer than memory.
//
// As soon as a secret in force signed a held delivery, [Verifier.EventHandler]
// calls its own function for it, and [Verifier.Handler] and
// [Verifier.VerifyRequest] call HandleHeld of [VerifierOptions], without which they
// hold nothing. When a hold ends, the deliveries that no secret in force signed are
// dropped. A source that fails is no reason to refuse: the delivery is held.
//
// A hold is bounded by MaxHeldBytes, and forgeries can fill it: a delivery that
// does not fit is answered 503. The end of the process loses all that is held: see
// [Verifier.Drain].
//
// Errors match [ErrInvalidOptions] if d is out of range or nothing can hold, and
// [ErrSecretsUnavailable] from a zero Verifier.
func (v *Verifier) Hold(d time.Duration) error {
	if d < 0 || d > longestHold {
		return errHoldLength
	}
	return v.live().beginHold(d)
}

func (v *verifierState) beginHold(d time.Duration) error {
	v.mu.Lock()
	h := &v.hold
	switch {
	case v.set.Load() == nil:
		v.mu.Unlock()
		return errZeroVerifier
	case d == 0:
		v.dropHeld(v.endHold(), v.unlock)
		return nil
	case !h.canHold:
		v.mu.Unlock()
		return errCannotHold
	}
	defer v.unlock()
	if h.timer != nil {
		h.timer.Stop()
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		v.mu.Lock()
		var dropped []*heldDelivery
		if h.timer == timer { // no later Hold has replaced it
			dropped = v.endHold()
		}
		v.dropHeld(dropped, v.unlockAlone)
	})
	h.timer, h.until = timer, time.Now().Add(d)
	h.active.Store(true)
	v.noteHold("diffhook: deliveries that no known secret signed are held")
	return nil
}

// Drain waits until no held delivery is pending: each that a secret in force
// signed has been handled, or dropped after three failures. Call it before the
// process exits, after Hold(0) and after the server has shut down. It does not wait
// for deliveries that no secret in force signed.
//
// The error matches that of ctx and its cause if ctx ends first, and
// [ErrSecretsUnavailable] from a zero Verifier.
func (v *Verifier) Drain(ctx context.Context) error {
	state := v.live()
	if state.set.Load() == nil {
		return errZeroVerifier
	}
	state.mu.Lock()
	pending, idle := state.hold.pending, state.hold.idle
	state.mu.Unlock()
	if pending == 0 {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("diffhook: Drain: the context ended before every held delivery was handled; call it again: %w", contextError(ctx))
	}
}

// hold holds a delivery that no secret signed, for which miss is the error
// otherwise. It returns ErrHeld if it does so, and nil if a secret that came into
// force meanwhile signed the delivery.
func (a *attempt) hold(miss error) error {
	if a.handle == nil || !a.gen1 || !a.v.hold.active.Load() {
		return miss
	}
	for {
		set := a.v.set.Load()
		if a.matches(set) {
			return a.accept(set)
		}
		if err := a.holdUnder(set, miss); err != nil {
			return err
		}
	}
}

// holdUnder holds a delivery that no secret of set signed, if set is still in
// force. It returns nil if not: the delivery must be verified again. So whatever is
// held has been verified with the secrets in force.
func (a *attempt) holdUnder(set *secretSet, miss error) error {
	v, h := a.v, &a.v.hold
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.set.Load() != set:
		return nil
	case h.timer == nil: // the hold is over
		return miss
	case h.bytes+int64(len(a.body))+heldOverhead > v.opts.MaxHeldBytes:
		h.full++
		return errHoldFull
	}
	d := &heldDelivery{tag: a.tag, arrived: time.Now(), handle: a.handle}
	d.Body = append([]byte(nil), a.body...)
	h.bytes += d.bytes()
	h.held = append(h.held, d)
	return ErrHeld
}

// verifyHeld verifies what is held with a set that comes into force, and makes
// pending what a secret of set signed. The caller holds v.mu.
func (v *verifierState) verifyHeld(set *secretSet) {
	h := &v.hold
	still := h.held[:0]
	for _, d := range h.held {
		match := set.match(d.Body, &d.tag)
		if match == 0 {
			still = append(still, d)
			continue
		}
		d.usage, d.SignedByPrevious = set.usages[match], match == matchPrevious
		if h.pending == 0 {
			h.idle = make(chan struct{})
		}
		h.pending++
		h.queue = append(h.queue, d)
	}
	clear(h.held[len(still):])
	h.held = still
	v.handleQueued()
}

// endHold ends the hold and returns what it drops: as every change of the set
// verifies all that is held, no secret in force signed it. The caller holds v.mu.
func (v *verifierState) endHold() (dropped []*heldDelivery) {
	h := &v.hold
	if h.timer == nil {
		return nil
	}
	h.timer.Stop()
	h.timer, h.until = nil, time.Time{}
	h.active.Store(false)
	dropped, h.held = h.held, nil
	for _, d := range dropped {
		h.bytes -= d.bytes()
	}
	h.dropped += uint64(len(dropped))
	v.noteHold("diffhook: the hold is over")
	return dropped
}

// dropHeld observes the deliveries that endHold returned, after it has released
// v.mu by unlock.
func (v *verifierState) dropHeld(dropped []*heldDelivery, unlock func()) {
	unlock()
	for _, d := range dropped {
		v.observeHeld(d, ErrSignatureMismatch)
	}
}
