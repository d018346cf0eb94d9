package diffhook

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

const (
	longestHold         = time.Hour // what a hold that nobody ends can swallow
	defaultMaxHeldBytes = 64 << 20
	heldOverhead        = 4 << 10 // of each delivery beside the body, with its goroutine
)

var (
	errHoldTime   = fmt.Errorf("%w: Hold: the time is not between 0 and %v", ErrInvalidOptions, longestHold)
	errCannotHold = fmt.Errorf("%w: Hold: nothing can hold a delivery; set HandleHeld or use EventHandler", ErrInvalidOptions)
	errHoldFull   = fmt.Errorf("%w: the hold is full; rotate sooner, or raise MaxHeldBytes", ErrSecretsUnavailable)
)

// heldDelivery is a delivery that was answered with 202. It is held until a secret
// in force signed it, and pending from then on.
type heldDelivery struct {
	Delivery // with a copy of the body
	tag      tag
	arrived  time.Time
	handle   func(context.Context, *Delivery) error
	usage    *usage // of the secret that signed it; nil while it is held
}

func (d *heldDelivery) bytes() int64 { return int64(cap(d.Body)) + heldOverhead }

// holdRoom is where deliveries are held. Verifier.mu guards what is not atomic.
type holdRoom struct {
	canHold atomic.Bool
	active  atomic.Bool // timer is set: read without the lock
	timer   *time.Timer // of the end; nil if no hold is on
	until   time.Time

	held    []*heldDelivery
	bytes   int64         // of all that are held or pending
	pending int           // deliveries
	idle    chan struct{} // closed when pending falls to 0
	slots   chan struct{} // a semaphore of maxHandling

	handled, dropped, full uint64
}

// Hold keeps deliveries of generation 1 that no known secret signed, instead of
// refusing them, until a secret that signed them is in force or d has passed. They
// are answered 202 and are in the memory of this process. d is an hour at most.
// Hold(0) ends a hold, and another Hold replaces its end. Nothing is held by default.
//
// Generation 2's deliveries are refused as ever, since DiffHook retries them for 17 h.
//
// Once a secret that signed it is in force, a delivery is given to the function of
// [Verifier.EventHandler] or, from [Verifier.Handler] and [Verifier.VerifyRequest],
// to HandleHeld of [VerifierOptions]. What no secret in force signed is dropped when
// the hold ends. SECURITY.md in the repository has the risks.
//
// Errors match [ErrInvalidOptions] if d is out of range or nothing can hold, and
// [ErrSecretsUnavailable] if the Verifier is zero.
func (v *Verifier) Hold(d time.Duration) error {
	if d < 0 || d > longestHold {
		return errHoldTime
	}
	return v.live().holdFor(d)
}

func (v *verifierState) holdFor(d time.Duration) error {
	h := &v.hold
	switch {
	case v.set.Load() == nil:
		return errZeroVerifier
	case d == 0:
		v.mu.Lock()
		v.endHold(v.unlock)
		return nil
	case !h.canHold.Load():
		return errCannotHold
	}
	v.mu.Lock()
	defer v.unlock()
	if h.timer != nil {
		h.timer.Stop()
	} else if v.opts.Logger != nil {
		v.note(slog.LevelInfo, "diffhook: deliveries that no known secret signed are held", slog.Duration("for", d))
	}
	if h.slots == nil {
		h.slots = make(chan struct{}, maxHandling)
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		v.mu.Lock()
		if h.timer != timer { // another Hold has replaced the end
			v.mu.Unlock()
			return
		}
		v.endHold(v.unlockAlone)
	})
	h.timer, h.until = timer, time.Now().Add(d)
	h.active.Store(true)
	return nil
}

// endHold ends the hold, if any, releases v.mu by unlock, and drops what is held: no
// secret in force signed it, since holdUnder and verifyHeld have looked.
func (v *verifierState) endHold(unlock func()) {
	h := &v.hold
	if h.timer == nil {
		unlock()
		return
	}
	h.timer.Stop()
	h.timer, h.until = nil, time.Time{}
	h.active.Store(false)
	dropped := h.held
	h.held = nil
	h.dropped += uint64(len(dropped))
	for _, d := range dropped {
		h.bytes -= d.bytes()
	}
	if v.opts.Logger != nil {
		v.note(slog.LevelInfo, "diffhook: the hold is over", slog.Int("dropped", len(dropped)), slog.Int("pending", h.pending))
	}
	unlock()
	for _, d := range dropped {
		v.observeHeld(d, ErrSignatureMismatch)
	}
}

// Drain waits until every held delivery that a secret in force signed has been
// handled, or dropped after its last failure. Call it when the server has shut down,
// after Hold(0): the end of the process loses the others.
//
// The error matches that of ctx and its cause if ctx ends first, and
// [ErrSecretsUnavailable] if the Verifier is zero.
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
		return fmt.Errorf("diffhook: Drain: the context ended before every held delivery was handled: %w", contextError(ctx))
	}
}

// hold holds a delivery that is otherwise refused with the error miss, and returns
// ErrHeld. It returns nil if a secret that signed it came into force meanwhile.
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

// holdUnder holds a delivery that no secret of set signed. It returns nil, and the
// delivery is to be verified again, if set is not in force any more.
func (a *attempt) holdUnder(set *secretSet, miss error) error {
	v, h := a.v, &a.v.hold
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.set.Load() != set:
		return nil
	case h.timer == nil: // the hold has ended
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

// verifyHeld verifies what is held under a set that has come into force, and starts
// to handle what a secret of set signed. The caller holds v.mu.
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
		if h.pending++; h.pending == 1 {
			h.idle = make(chan struct{})
		}
		go v.handleHeld(d)
	}
	clear(h.held[len(still):])
	h.held = still
}
