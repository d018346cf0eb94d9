package diffhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"
)

const (
	// readTimeout bounds a read of the source after the first one. It leaves
	// a delivery that waits for it half of DeliveryTimeout.
	readTimeout = 5 * time.Second

	// maxWaiting bounds the deliveries that wait for one read, and with them
	// the bodies that a flood of forgeries can hold in memory.
	maxWaiting = 64

	// defaultWatchInterval is used where Watch is told no interval.
	defaultWatchInterval = time.Minute
)

// reading is how a verifier reads its source: one call at a time, whoever
// wants it. Verifier.mu guards it.
type reading struct {
	call        *sourceCall // outstanding, until Load has really returned
	waiting     int         // deliveries waiting for call
	lastMiss    time.Time   // when a miss last began a call
	lastSuccess time.Time
	err         error // of the last call to end; nil after a success
}

// sourceCall is one call of Load. Its err may be read once done is closed,
// which is when Load returned or its time was up, whichever came first.
// Verifier.mu guards the rest.
type sourceCall struct {
	done    chan struct{}
	settled bool
	err     error
	timeout *time.Timer
}

var (
	errReadTimeout = plainSourceError(fmt.Errorf("the source has not answered within %v", readTimeout))
	errReadExited  = errors.New("the source ended its goroutine")
	errTooMany     = fmt.Errorf("%w: %d deliveries wait for the source already", ErrSecretsUnavailable, maxWaiting)
)

// Refresh reads the source now and puts its answer in force. It returns when
// the source has answered, or with an error when it failed, did not answer
// within 5 s (10 s where another read was under way), or ctx ended; the secrets
// in force then stay. The read itself does not end with ctx, since others may
// share it.
//
// Errors wrap [ErrSecretsUnavailable] and the cause.
func (v *Verifier) Refresh(ctx context.Context) error {
	return v.live().refresh(ctx)
}

func (v *verifierState) refresh(ctx context.Context) error {
	if v.load == nil {
		return errZeroVerifier
	}
	if ctx.Err() != nil {
		return endedError(ctx, "before the source was read")
	}
	// A call that began before this one may have read what was there before
	// it, so it does not count. One that began since does.
	v.mu.Lock()
	before := v.read.call
	v.mu.Unlock()
	if before != nil {
		_ = before.wait(ctx)
	}
	v.mu.Lock()
	call := v.read.call
	if call == nil {
		call = v.startRead()
	}
	v.mu.Unlock()
	return call.wait(ctx)
}

// Watch refreshes about every interval until ctx ends, and then returns; run
// it on a goroutine of its own. It spreads its reads by a tenth of the
// interval, so that servers started together do not ask together. An interval
// of zero or less means one minute. Failures are logged and shown by
// [Verifier.Status], and the next read is tried all the same.
func (v *Verifier) Watch(ctx context.Context, every time.Duration) {
	if every <= 0 {
		every = defaultWatchInterval
	}
	every = min(every, math.MaxInt64/2)
	for {
		spread := time.Duration((rand.Float64() - 0.5) / 5 * float64(every))
		timer := time.NewTimer(every + spread)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		_ = v.Refresh(ctx) // logged and kept for Status where it failed
	}
}

// refreshOnMiss is called by a delivery whose signature matches nothing in
// checked. It returns the set to go by, which is checked itself where nothing
// newer was learned; an error where the source is failing and the secret that
// is missing may be the one; and whether the delivery waited for a read.
func (v *verifierState) refreshOnMiss(ctx context.Context, checked *secretSet) (set *secretSet, waited bool, err error) {
	v.mu.Lock()
	if set = v.set.Load(); set != checked {
		v.mu.Unlock()
		return set, false, nil
	}
	call, err := v.readForMiss()
	if call == nil {
		v.mu.Unlock()
		return set, false, err
	}
	v.read.waiting++
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		v.read.waiting--
		v.mu.Unlock()
	}()
	err = call.wait(ctx)
	return v.set.Load(), true, err
}

// readForMiss returns the call for a miss to wait for, outstanding or new, or
// nil and why there is none: nil where the set is all there is to know. v.mu
// is held.
func (v *verifierState) readForMiss() (*sourceCall, error) {
	r := &v.read
	switch {
	case v.fixed:
		return nil, nil
	case r.call != nil && r.call.settled: // hung, and not to be asked again
		return nil, r.err
	case r.waiting >= maxWaiting:
		return nil, errTooMany
	case r.call != nil:
		return r.call, nil
	case !r.lastMiss.IsZero() && time.Since(r.lastMiss) < v.opts.MinRefreshInterval:
		return nil, r.err
	}
	r.lastMiss = time.Now()
	return v.startRead(), nil
}

// startRead begins a call of the source that belongs to no request: its
// context has a deadline and nothing else. v.mu is held and no call is
// outstanding.
func (v *verifierState) startRead() *sourceCall {
	call := &sourceCall{done: make(chan struct{})}
	v.read.call = call
	call.timeout = time.AfterFunc(readTimeout, func() {
		v.mu.Lock()
		defer v.unlockAlone()
		if v.read.call == call { // Load is still running
			v.settle(call, errReadTimeout)
		}
	})
	go v.runRead(call)
	return call
}

// runRead calls the source and puts its answer in force, on a goroutine of its
// own, which the source and the text of its error may block or end.
func (v *verifierState) runRead(call *sourceCall) {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel() // after finishRead: a context that is cancelled has not timed out
	var answer Secrets
	var err error
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = errReadTimeout // the same, whether the source or the timer is first
		}
		v.finishRead(call, answer, err)
	}()
	v.readSource(ctx, &answer, &err)
}

// finishRead ends a call whose Load has returned.
func (v *verifierState) finishRead(call *sourceCall, answer Secrets, err error) {
	v.mu.Lock()
	defer v.unlockAlone()
	v.read.call = nil
	call.timeout.Stop()
	if err == nil {
		// Late or not, it is the newest answer there is.
		err = plainSourceError(v.apply(answer))
	}
	if err != nil && call.settled {
		return // the timeout has been reported
	}
	v.settle(call, err)
}

// settle ends a call for those who wait, once, and records how the source
// does. v.mu is held.
func (v *verifierState) settle(call *sourceCall, err error) {
	v.logRead(v.read.err, err)
	v.read.err = err
	if err == nil {
		v.read.lastSuccess = time.Now()
	}
	if !call.settled {
		call.settled, call.err = true, err
		close(call.done)
	}
}

// logRead logs that reads have begun to fail, fail otherwise, or succeed again.
func (v *verifierState) logRead(before, now error) {
	if v.opts.Logger == nil || errorText(before) == errorText(now) {
		return
	}
	if now == nil {
		v.note(slog.LevelInfo, "diffhook: the secret source answers again")
		return
	}
	v.note(slog.LevelWarn, "diffhook: reading the secret source failed; the secrets in force stay", slog.Any("error", now))
}

// wait returns the outcome of the call, or an error when ctx ends first.
func (c *sourceCall) wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return endedError(ctx, "while the source was read")
	}
}

// firstRead is the read of NewVerifier, which only ctx bounds.
func (v *verifierState) firstRead(ctx context.Context) error {
	type result struct {
		answer Secrets
		err    error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() { done <- r }()
		v.readSource(ctx, &r.answer, &r.err)
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		return endedError(ctx, "before the source had answered")
	}
	if r.err != nil && ctx.Err() != nil { // the source may not wrap the cause
		r.err = newSourceError("the context ended before the source had answered", errors.Join(r.err, contextError(ctx)))
	}
	if r.err != nil {
		return r.err
	}
	v.mu.Lock()
	defer v.unlock()
	if err := v.apply(r.answer); err != nil {
		return plainSourceError(err)
	}
	v.read.lastSuccess = time.Now()
	return nil
}

// readSource calls the source and returns an error that is fit to be returned,
// logged and served. It runs on a goroutine of the verifier's own. The source and
// the text of its error may end that, so the results are pointers.
func (v *verifierState) readSource(ctx context.Context, answer *Secrets, err *error) {
	*err = plainSourceError(errReadExited)
	callSource(ctx, v.load, func(loaded Secrets, failure error) {
		if failure != nil {
			failure = v.foreignSourceError(failure, loaded.Current, loaded.Previous)
		}
		*answer, *err = loaded, failure
	})
}

// callSource calls the source and hands over its outcome. A source that
// panics, or that ends its goroutine as a failing test does, has failed like
// any other.
func callSource(ctx context.Context, source func(context.Context) (Secrets, error), done func(Secrets, error)) {
	answer, err := Secrets{}, errReadExited
	defer func() { done(answer, err) }()
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("the source panicked: " + textOf(p))
		}
	}()
	answer, err = source(ctx)
}
