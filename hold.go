package diffhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/diffhook/diffhook-go/internal/scrub"
)

const (
	longestHold         = time.Hour // bounds a hold that nobody ends
	defaultMaxHeldBytes = 64 << 20
	heldOverhead        = 4 << 10 // memory of a delivery beside the body, goroutine included
	maxHandling         = 16      // calls of the customer's functions at a time
)

// heldRetries are the waits after a failure to handle a held delivery. Generation 1
// waits as long, but does not retry a delivery after the answer 202.
var heldRetries = [...]time.Duration{5 * time.Second, 30 * time.Second}

var (
	errHoldTime     = fmt.Errorf("%w: Hold: the time is not between 0 and %v", ErrInvalidOptions, longestHold)
	errCannotHold   = fmt.Errorf("%w: Hold: nothing can hold a delivery; set HandleHeld or use EventHandler", ErrInvalidOptions)
	errHoldFull     = fmt.Errorf("%w: the hold is full; rotate sooner, or raise MaxHeldBytes", ErrSecretsUnavailable)
	errHeldRejected = scrub.NewError("diffhook: held delivery: its secret was rejected before the delivery was handled", ErrSignatureMismatch, nil)
	errHeldExited   = errors.New("the function ended the goroutine")
)

// heldDelivery is a delivery after the answer 202. It is held until it is verified,
// and then pending until it is handled.
type heldDelivery struct {
	Delivery // with a copy of the body
	tag      tag
	arrived  time.Time
	handle   func(context.Context, *Delivery) error
	usage    *usage // of the secret that signed it; nil while it is held
}

func (d *heldDelivery) bytes() int64 { return int64(cap(d.Body)) + heldOverhead }

// holdRoom is the state of Hold. Verifier.mu guards all fields but canHold, reads of
// timer, and slots.
type holdRoom struct {
	canHold atomic.Bool
	timer   atomic.Pointer[time.Timer] // end of the hold; nil if no hold is on
	until   time.Time

	held    []*heldDelivery
	bytes   int64         // memory of all held and pending deliveries
	pending int           // number of pending deliveries
	idle    chan struct{} // closed when pending falls to 0
	slots   chan struct{} // a semaphore of maxHandling

	handled, dropped, full uint64
}

// Hold keeps deliveries of generation 1 with an unknown signature for d, an hour at
// most, instead of rejecting them. They are answered 202 and kept in the memory of
// this process. Hold(0) ends a hold, and another Hold replaces the end. By default,
// nothing is held. Deliveries of generation 2 are rejected as before: DiffHook retries
// them for 17 h.
//
// If the secret of a held delivery comes into force, the [EventFunc] is called with the
// event. For [Verifier.Handler] and [Verifier.VerifyRequest], HandleHeld of
// [VerifierOptions] is called with the delivery. Other held deliveries are dropped at
// the end of the hold. SECURITY.md in the repository describes the risks.
//
// Errors match [ErrInvalidOptions] if d is out of range or nothing can hold, and
// [ErrSecretsUnavailable] if the Verifier is zero.
func (v *Verifier) Hold(d time.Duration) error {
	state := v.live()
	switch {
	case d < 0 || d > longestHold:
		return errHoldTime
	case state.set.Load() == nil:
		return errZeroVerifier
	case d == 0:
		state.mu.Lock()
		state.endHold(state.unlock)
		return nil
	case !state.hold.canHold.Load():
		return errCannotHold
	}
	state.startHold(d)
	return nil
}

// startHold starts a hold, or replaces the end of the running hold.
func (v *verifierState) startHold(d time.Duration) {
	h := &v.hold
	v.mu.Lock()
	defer v.unlock()
	if running := h.timer.Load(); running != nil {
		running.Stop()
	} else if v.opts.Logger != nil {
		v.note(slog.LevelInfo, "diffhook: deliveries that no known secret signed are held", slog.Duration("for", d))
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		v.mu.Lock()
		if h.timer.Load() != timer { // another Hold replaced the end
			v.mu.Unlock()
			return
		}
		v.endHold(v.unlockAlone)
	})
	h.timer.Store(timer)
	h.until = time.Now().Add(d)
}

// endHold ends the hold, if any, releases v.mu by unlock, and drops the held
// deliveries: holdUnder and verifyHeld have verified each under the set in force.
func (v *verifierState) endHold(unlock func()) {
	h := &v.hold
	timer := h.timer.Swap(nil)
	if timer == nil {
		unlock()
		return
	}
	timer.Stop()
	h.until = time.Time{}
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

// Drain waits until every verified delivery of a hold is handled, or dropped after the
// last failure. Call Drain after Hold(0) and after the shutdown of the server: the end
// of the process loses the deliveries that are not handled.
//
// The error matches the error of ctx and its cause if ctx ends first, and
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

// canHold reports whether a hold is on that takes this delivery.
func (a *attempt) canHold() bool { return a.handle != nil && a.gen1 && a.v.hold.timer.Load() != nil }

// hold holds the delivery and returns ErrHeld if a hold is on, and miss if not. The
// error is nil if the delivery matches a secret that has come into force meanwhile.
func (a *attempt) hold(miss error) error {
	if !a.canHold() {
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

// holdUnder holds the delivery, which matches no secret of set. It returns nil if set
// is no longer in force: the caller must verify the delivery again.
func (a *attempt) holdUnder(set *secretSet, miss error) error {
	v, h := a.v, &a.v.hold
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.set.Load() != set:
		return nil
	case h.timer.Load() == nil: // the hold is over
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

// verifyHeld verifies the held deliveries under a set that comes into force, and
// starts to handle the matching deliveries. The caller holds v.mu.
func (v *verifierState) verifyHeld(set *secretSet) {
	h := &v.hold
	still := h.held[:0]
	for _, d := range h.held {
		match, _ := set.match(d.Body, &d.tag)
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

// handleHeld handles a pending delivery, with retries.
func (v *verifierState) handleHeld(d *heldDelivery) {
	err := errHeldExited
	defer func() { v.leaveHold(d, err) }()
	if v.opts.MaxAge > 0 {
		if _, err = v.checkAge(d.Body, d.arrived); err != nil {
			return
		}
	}
	d.usage.record(0, v.since) // any lane: held deliveries are few
	for i := 0; ; i++ {
		err = errHeldExited
		if err = v.callHeld(d); err == nil || err == errHeldRejected || i == len(heldRetries) {
			return
		}
		time.Sleep(heldRetries[i])
	}
}

// callHeld waits for a slot and calls the customer's function, unless the secret is
// rejected. The context holds no values of the request.
func (v *verifierState) callHeld(d *heldDelivery) (err error) {
	v.hold.slots <- struct{}{}
	defer func() {
		<-v.hold.slots
		if p := recover(); p != nil {
			err = errors.New("the function panicked: " + scrub.TextOf(p))
		}
	}()
	v.mu.Lock()
	rejected := d.usage.rejected
	v.mu.Unlock()
	if rejected {
		return errHeldRejected
	}
	ctx, cancel := context.WithTimeout(context.Background(), DeliveryTimeout)
	defer cancel()
	delivery := d.Delivery
	return d.handle(ctx, &delivery)
}

// leaveHold observes, counts and logs the end of a pending delivery, and frees the
// memory. DiffHook does not retry a dropped delivery.
func (v *verifierState) leaveHold(d *heldDelivery, err error) {
	defer func() { // also if the observer ends the goroutine
		h := &v.hold
		v.mu.Lock()
		defer v.unlockAlone()
		h.bytes -= d.bytes()
		if h.pending--; h.pending == 0 {
			close(h.idle)
		}
		if err == nil {
			h.handled++
			return
		}
		h.dropped++
		if v.opts.Logger == nil {
			return
		}
		attrs := []slog.Attr{slog.Any("error", err)}
		if e, err := ParseEvent(d.Body); err == nil {
			attrs = append(attrs, eventAttr(e))
		}
		v.note(slog.LevelError, "diffhook: a held delivery was dropped, and DiffHook will not retry it", attrs...)
	}()
	v.observeHeld(d, err)
}

// observeHeld observes the end of a held delivery. A panic of the observer is
// recovered: there is no request to fail.
func (v *verifierState) observeHeld(d *heldDelivery, err error) {
	if v.opts.Observe == nil {
		return
	}
	defer func() { _ = recover() }()
	o := Observation{Result: ResultAccepted, SignedByPrevious: d.SignedByPrevious, BodyBytes: len(d.Body), Duration: time.Since(d.arrived)}
	if err != nil {
		o.Result, o.Err, o.SignedByPrevious = ResultDropped, err, false
	}
	v.opts.Observe(context.Background(), o)
}
