package diffhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// maxHandling bounds the calls of the customer's functions at a time.
const maxHandling = 16

// heldRetries are the waits after a failure to handle a held delivery. They are
// those of generation 1, which does not retry a delivery that was answered 202.
var heldRetries = [...]time.Duration{5 * time.Second, 30 * time.Second}

var (
	errHeldRejected = fmt.Errorf("%w: its secret was rejected before the held delivery was handled", ErrSignatureMismatch)
	errHeldExited   = errors.New("the function ended its goroutine")
)

// handleHeld handles a pending delivery, with retries.
func (v *verifierState) handleHeld(d *heldDelivery) {
	err := errHeldExited
	defer func() { v.leaveHold(d, err) }()
	if err = v.admitHeld(d); err != nil {
		return
	}
	for i := 0; ; i++ {
		err = errHeldExited
		if err = v.callHeld(d); err == nil || err == errHeldRejected || i == len(heldRetries) {
			return
		}
		time.Sleep(heldRetries[i])
	}
}

// admitHeld applies MaxAge at the time of arrival, and counts the use of the secret.
func (v *verifierState) admitHeld(d *heldDelivery) error {
	if v.opts.MaxAge > 0 {
		if _, err := v.checkAge(d.Body, d.arrived); err != nil {
			return err
		}
	}
	d.usage.record(0, v.since) // any lane: held deliveries are few
	return nil
}

// callHeld waits for a slot and calls the customer's function, unless the secret has
// been rejected. The context has no values of the request.
func (v *verifierState) callHeld(d *heldDelivery) (err error) {
	v.hold.slots <- struct{}{}
	defer func() {
		<-v.hold.slots
		if p := recover(); p != nil {
			err = errors.New("the function panicked: " + textOf(p))
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

// leaveHold observes and counts the end of a pending delivery, and frees the memory.
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
		v.noteDropped(d, err)
	}()
	v.observeHeld(d, err)
}

// noteDropped logs the loss of an acknowledged delivery. The caller holds v.mu.
func (v *verifierState) noteDropped(d *heldDelivery, err error) {
	if v.opts.Logger == nil {
		return
	}
	attrs := []slog.Attr{slog.Any("error", err)}
	if e, err := ParseEvent(d.Body); err == nil {
		attrs = append(attrs, eventAttr(e))
	}
	v.note(slog.LevelError, "diffhook: a held delivery was dropped, and DiffHook will not retry it", attrs...)
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
