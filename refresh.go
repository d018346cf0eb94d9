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

	"github.com/diffhook/diffhook-go/internal/scrub"
)

const (
	// readTimeout bounds every read of the source but the first. A delivery that
	// waits for a read keeps half of DeliveryTimeout.
	readTimeout = 5 * time.Second

	// defaultWatchInterval is the interval of Watch for zero or less.
	defaultWatchInterval = time.Minute
)

// reading is the state of reading the source: at most one call runs at a time.
// Verifier.mu guards it.
type reading struct {
	call        *sourceCall   // the running call, even after the timeout; nil once Load returns
	next        *sourceCall   // scheduled for deliveries that wait; nil while a call runs
	took        time.Duration // duration of the last call that succeeded
	lastSuccess time.Time
	err         error // error of the last call; nil after a success
	budget      budget
	waiting     int64      // memory of the deliveries that wait, in bytes
	limit       *waitLimit // limit of the deliveries that arrived last
}

// sourceCall is a call of Load. err may be read once done is closed: when Load
// returned or the time was up, whichever came first. Verifier.mu guards the other
// fields.
type sourceCall struct {
	done    chan struct{}
	settled bool
	err     error
	began   time.Time // in the future while the call is scheduled
	timeout *time.Timer
}

var (
	errReadTimeout = plainSourceError(fmt.Errorf("the source did not answer within %v", readTimeout))
	errReadExited  = errors.New("the source ended the goroutine")
)

// Refresh reads the source now and puts the answer in force. After an error, the
// secrets in force stay. ctx bounds the wait and not the read, which other callers
// may share. Deliveries that wait for the next read share this read.
//
// Errors match [ErrSecretsUnavailable] and the cause:
//
//   - The source failed.
//   - The source did not answer within 5 s, or within 10 s if another read was
//     running.
//   - ctx ended: the error of ctx, and the cause.
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
	// A running call may have read the secrets before this Refresh was called: the
	// call after it counts.
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

// Watch calls [Verifier.Refresh] about every interval until ctx ends, and then returns:
// run it on a separate goroutine. The reads are spread by a tenth of the interval, so
// servers that started together do not read together. Zero and less mean one minute. A
// failure is logged and shown by [Verifier.Status], and the next read is tried all the
// same.
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
		_ = v.Refresh(ctx) // a failure is logged and shown by Status
	}
}

// readForMiss returns the call for a miss to wait for: running, new or scheduled. It
// returns nil if the next read cannot be over at ends. The caller holds v.mu, and no
// call hangs.
func (v *verifierState) readForMiss(ends time.Time) *sourceCall {
	r := &v.read
	if r.call != nil {
		return r.call
	}
	now := time.Now()
	at := r.budget.next(v.opts.MinRefreshInterval)
	if r.next == nil && !at.After(now) {
		r.budget.take(now, v.opts.MinRefreshInterval)
		return v.startRead()
	}
	if at.Add(r.took + waitStep).After(ends) { // it may take longer than the last read
		return nil
	}
	if r.next == nil {
		v.scheduleRead(at, at.Sub(now))
	}
	return r.next
}

// scheduleRead reads the source after the given time, unless another read comes
// first. The caller holds v.mu.
func (v *verifierState) scheduleRead(at time.Time, after time.Duration) {
	call := &sourceCall{done: make(chan struct{}), began: at}
	v.read.next = call
	time.AfterFunc(after, func() {
		v.mu.Lock()
		defer v.unlockAlone()
		if v.read.next == call {
			v.read.budget.take(time.Now(), v.opts.MinRefreshInterval)
			v.startRead()
		}
	})
}

// startRead starts a call of the source, or the scheduled call. The call belongs to
// no request: its context has a deadline and nothing else. The caller holds v.mu, and
// no call is running.
func (v *verifierState) startRead() *sourceCall {
	call := v.read.next
	if call == nil {
		call = &sourceCall{done: make(chan struct{})}
	}
	v.read.call, v.read.next = call, nil
	call.began = time.Now()
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

// runRead calls the source and puts the answer in force, on a separate goroutine: the
// source and the text of the error may block or end the goroutine.
func (v *verifierState) runRead(call *sourceCall) {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel() // after finishRead: a cancelled context does not count as a timeout
	var answer Secrets
	var err error
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = errReadTimeout // the same error, whether the source or the timer is first
		}
		v.finishRead(call, answer, err)
	}()
	v.readSource(ctx, &answer, &err)
}

// finishRead ends a call after Load returned.
func (v *verifierState) finishRead(call *sourceCall, answer Secrets, err error) {
	v.mu.Lock()
	defer v.unlockAlone()
	v.read.call = nil
	call.timeout.Stop()
	if err == nil {
		v.read.took = min(time.Since(call.began), readTimeout)
		// Late or not, it is the newest answer.
		err = plainSourceError(v.apply(answer))
	}
	if err != nil && call.settled {
		return // the timeout has been reported
	}
	v.settle(call, err)
}

// settle ends a call for the goroutines that wait, once, and saves the result for the
// status. The caller holds v.mu.
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

// logRead logs when reads begin to fail, fail in another way, or succeed again.
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

// wait returns the error of the call, or an error if ctx ends first.
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
	began := time.Now()
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
		r.err = sourceError("the context ended before the source had answered", errors.Join(r.err, contextError(ctx)))
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
	v.read.took = min(v.read.lastSuccess.Sub(began), readTimeout)
	return nil
}

// readSource calls the source and returns an error that is fit to be returned, logged
// and served. It runs on a separate goroutine. The source and the text of the error may
// end the goroutine, so the results are pointers.
func (v *verifierState) readSource(ctx context.Context, answer *Secrets, err *error) {
	*err = plainSourceError(errReadExited)
	callSource(ctx, v.load, func(loaded Secrets, failure error) {
		if failure != nil {
			failure = v.foreignSourceError(failure, loaded.Current, loaded.Previous)
		}
		*answer, *err = loaded, failure
	})
}

// callSource calls the source and passes the result to done, also if the source
// panics, or ends its goroutine as a failing test does.
func callSource(ctx context.Context, source func(context.Context) (Secrets, error), done func(Secrets, error)) {
	answer, err := Secrets{}, errReadExited
	defer func() { done(answer, err) }()
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("the source panicked: " + scrub.TextOf(p))
		}
	}()
	answer, err = source(ctx)
}

// refreshBurst is the number of reads on a miss without a pause. The source may lag
// behind a rotation, and a forgery may use up a read.
const refreshBurst = 3

// maxRefreshInterval is 36 years. It keeps sums of intervals within a Duration.
const maxRefreshInterval = 1 << 60

// budget is a bucket of refreshBurst reads, which fills by a read per interval: the
// interval is an average. The zero value is a full bucket.
type budget struct {
	full time.Time // when the bucket is full again
}

// next returns when the next read may begin: in the past if a read is left. A
// negative interval means no limit.
func (b *budget) next(interval time.Duration) time.Time {
	if interval < 0 {
		return time.Time{}
	}
	return b.full.Add(-(refreshBurst - 1) * min(interval, maxRefreshInterval))
}

// take takes a read at the given time.
func (b *budget) take(now time.Time, interval time.Duration) {
	if b.full.Before(now) {
		b.full = now
	}
	b.full = b.full.Add(min(max(0, interval), maxRefreshInterval))
}

// sourceError returns the error of a failure to read the source. It matches
// ErrSecretsUnavailable and the cause.
func sourceError(text string, cause error) error {
	return scrub.NewError(ErrSecretsUnavailable.Error()+": "+text, ErrSecretsUnavailable, cause)
}

// plainSourceError returns the sourceError of an error of this package.
func plainSourceError(err error) error {
	if err == nil {
		return nil
	}
	return sourceError(err.Error(), err)
}

// endedError returns the sourceError of the end of ctx. It matches the error of ctx
// and the cause.
func endedError(ctx context.Context, when string) error {
	return sourceError("the context ended "+when, contextError(ctx))
}

// foreignSourceError returns the sourceError of an error of the source, without the
// known secrets and others in the text. The methods of the error may do anything:
// the caller must not hold v.mu.
func (v *verifierState) foreignSourceError(cause error, others ...Secret) error {
	v.mu.Lock()
	secrets := others
	for _, u := range v.known {
		secrets = append(secrets, u.secret)
	}
	v.mu.Unlock()
	texts := make([]string, 0, len(secrets))
	for _, s := range secrets {
		texts = append(texts, s.Reveal())
	}
	text := strings.TrimPrefix(scrub.TextOf(cause), ErrSecretsUnavailable.Error()+": ")
	return sourceError(scrub.Text(strings.TrimPrefix(text, "diffhook: "), 300, texts...), cause)
}
