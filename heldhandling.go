package diffhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// handleQueued starts attempts at pending deliveries, maxHandling of them at a
// time. The caller holds v.mu.
func (v *verifierState) handleQueued() {
	h := &v.hold
	for h.running < maxHandling && len(h.queue) > 0 {
		d := h.queue[0]
		h.queue[0], h.queue = nil, h.queue[1:]
		h.running++
		go v.attemptHeld(d)
	}
}

// attemptHeld makes one attempt at a pending delivery, on a goroutine of its own,
// which the customer's function may block or end.
func (v *verifierState) attemptHeld(d *heldDelivery) {
	err := errHeldExited
	defer func() { v.settleHeld(d, err) }()
	if err = v.admitHeld(d); err != nil {
		d.failures = len(heldRetries) // another attempt cannot help
		return
	}
	err = errHeldExited
	err = callHeld(d)
}

// admitHeld applies MaxAge as of the arrival, and Reject.
func (v *verifierState) admitHeld(d *heldDelivery) error {
	v.mu.Lock()
	rejected := d.usage.rejected
	v.mu.Unlock()
	if rejected {
		return errHeldRevoked
	}
	if v.opts.MaxAge > 0 {
		if _, err := v.checkAge(d.Body, d.arrived); err != nil {
			return err
		}
	}
	if d.failures == 0 {
		d.usage.record(v.since)
	}
	return nil
}

// callHeld calls the customer's function with a context of its own: the request
// is over.
func callHeld(d *heldDelivery) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("the function panicked: " + textOf(p))
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), DeliveryTimeout)
	defer cancel()
	delivery := d.Delivery
	return d.handle(ctx, &delivery)
}

// settleHeld ends an attempt: the delivery is handled, or has another attempt, or
// is dropped after the last one.
func (v *verifierState) settleHeld(d *heldDelivery, err error) {
	again := err != nil && d.failures < len(heldRetries)
	defer v.leaveHold(d, err, again) // also if the observer ends the goroutine
	if !again {
		v.observeHeld(d, err)
	}
}

// leaveHold counts the end of an attempt and makes room for the next one.
func (v *verifierState) leaveHold(d *heldDelivery, err error, again bool) {
	v.mu.Lock()
	defer v.unlockAlone()
	h := &v.hold
	h.running--
	switch {
	case again:
		d.failures++
		time.AfterFunc(heldRetries[d.failures-1], func() {
			v.mu.Lock()
			defer v.mu.Unlock()
			h.queue = append(h.queue, d)
			v.handleQueued()
		})
	case err == nil:
		h.handled++
	default:
		h.dropped++
	}
	if !again {
		h.bytes -= d.bytes()
		if h.pending--; h.pending == 0 {
			close(h.idle)
		}
	}
	v.handleQueued()
}

// observeHeld makes known what became of a held delivery. A panic of the observer
// or of the handler of logs is recovered: no request is there to fail.
func (v *verifierState) observeHeld(d *heldDelivery, err error) {
	defer func() { _ = recover() }()
	result := resultAccepted
	if err != nil {
		result = resultDropped
	}
	if err != nil && d.usage != nil && v.opts.Logger != nil {
		v.opts.Logger.LogAttrs(context.Background(), slog.LevelError, "diffhook: a held delivery is lost: handling it failed", slog.Any("error", err))
	}
	if v.opts.Observe != nil {
		v.opts.Observe(context.Background(), Observation{
			Result:           result,
			Err:              err,
			SignedByPrevious: err == nil && d.SignedByPrevious,
			BodyBytes:        len(d.Body),
			Duration:         time.Since(d.arrived),
		})
	}
}

// noteHold logs the state of the hold. The caller holds v.mu.
func (v *verifierState) noteHold(text string) {
	if v.opts.Logger == nil {
		return
	}
	s := v.hold.status()
	attrs := []slog.Attr{slog.Int("held", s.Held), slog.Int("pending", s.Pending), slog.Uint64("handled", s.Handled), slog.Uint64("dropped", s.Dropped), slog.Uint64("full", s.Full)}
	if !s.Until.IsZero() {
		attrs = append(attrs, slog.Time("until", s.Until))
	}
	v.note(slog.LevelInfo, text, attrs...)
}

// status returns what Status shows. The caller holds v.mu.
func (h *holdRoom) status() HoldStatus {
	return HoldStatus{CanHold: h.canHold, Until: h.until.UTC(), Held: len(h.held), Pending: h.pending, Handled: h.handled, Dropped: h.dropped, Full: h.full}
}

// eventFunc makes of a function for events a function for held deliveries.
func eventFunc(handle func(context.Context, *Event) error) func(context.Context, *Delivery) error {
	return func(ctx context.Context, d *Delivery) error {
		e, err := ParseEvent(d.Body)
		if err != nil {
			return fmt.Errorf("the event of a held delivery: %w", err)
		}
		return handle(ctx, e)
	}
}

// enableHold lets Hold hold: there is a function to call afterwards.
func (v *verifierState) enableHold() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hold.canHold = true
}
