package diffhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
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
type sourceCall struct {
	done    chan struct{}
	settled bool
	err     error
}

// sourceError is a failure of the source, under the sentinel. Its text is that
// of the cause, bounded, on one line, and without the secrets in force. The
// cause itself, which may have them, is kept from reflection as a Secret's key is.
type sourceError struct {
	text  string
	cause func() error
}

func newSourceError(text string, cause error) error {
	return &sourceError{text: text, cause: hide(cause)}
}

func (e *sourceError) Error() string   { return ErrSecretsUnavailable.Error() + ": " + e.text }
func (e *sourceError) Unwrap() []error { return []error{ErrSecretsUnavailable, e.cause()} }

var (
	errReadTimeout = fmt.Errorf("the source has not answered within %v", readTimeout)
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
		return newSourceError("the context ended before the source was read", context.Cause(ctx))
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
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	stop := context.AfterFunc(ctx, func() {
		v.mu.Lock()
		defer v.unlock()
		if v.read.call == call { // and it has not just returned
			v.settle(call, v.sourceError(errReadTimeout))
		}
	})
	go callSource(ctx, v.load, func(answer Secrets, err error) {
		if err != nil && ctx.Err() != nil {
			err = errReadTimeout // the same, whichever of the two is heard first
		}
		stop()
		cancel()
		v.mu.Lock()
		defer v.unlock()
		v.read.call = nil
		if err == nil {
			// Late or not, it is the newest answer there is.
			err = v.apply(answer)
		}
		if err != nil && call.settled {
			return // that it is late has been told
		}
		v.settle(call, v.sourceError(err, answer.Current, answer.Previous))
	})
	return call
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
		return newSourceError("the context ended while the source was read", context.Cause(ctx))
	}
}

// firstRead is the read of NewVerifier, which only ctx bounds.
func (v *verifierState) firstRead(ctx context.Context) error {
	type result struct {
		answer Secrets
		err    error
	}
	done := make(chan result, 1)
	go callSource(ctx, v.load, func(answer Secrets, err error) { done <- result{answer, err} })
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		r.err = context.Cause(ctx)
	}
	v.mu.Lock()
	defer v.unlock()
	if r.err == nil {
		r.err = v.apply(r.answer)
	}
	if r.err != nil {
		return v.sourceError(r.err, r.answer.Current, r.answer.Previous)
	}
	v.read.lastSuccess = time.Now()
	return nil
}

// callSource calls the source and hands over its outcome. A source that
// panics, or that ends its goroutine as a failing test does, has failed like
// any other.
func callSource(ctx context.Context, source func(context.Context) (Secrets, error), done func(Secrets, error)) {
	answer, err := Secrets{}, errReadExited
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the source panicked: %v", p)
		}
		done(answer, err)
	}()
	answer, err = source(ctx)
}

// sourceError makes an error of the source fit to be returned, logged and
// served. others are secrets that may be in it, beside those in force.
func (v *verifierState) sourceError(cause error, others ...Secret) error {
	if cause == nil {
		return nil
	}
	var texts []string
	for _, u := range v.known {
		texts = append(texts, u.secret.Reveal())
	}
	for _, s := range others {
		texts = append(texts, s.Reveal())
	}
	// Sprint survives an Error method that panics.
	text := strings.TrimPrefix(fmt.Sprint(cause), ErrSecretsUnavailable.Error()+": ")
	return newSourceError(scrub(strings.TrimPrefix(text, "diffhook: "), 300, texts...), cause)
}
