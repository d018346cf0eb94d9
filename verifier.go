package diffhook

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults and limits of receiving.
const (
	// DefaultRotationWindow is longer than the 1,023 minutes over which generation 2
	// can retry a delivery.
	DefaultRotationWindow = 24 * time.Hour

	// DefaultMaxBodyBytes is 8 MiB.
	DefaultMaxBodyBytes = 8 << 20

	// DeliveryTimeout is the time after which DiffHook counts a delivery without an
	// answer as failed. Its documentation says: 2xx within 10 s.
	DeliveryTimeout = 10 * time.Second
)

// defaultMinRefreshInterval lets a server learn of a rotation by a miss within the
// three attempts of generation 1, which span 35 s.
const defaultMinRefreshInterval = 10 * time.Second

// VerifierOptions configures a [Verifier]. The zero value, and a nil pointer, mean
// the defaults.
type VerifierOptions struct {
	// MaxBodyBytes bounds the body of a request: a longer body is rejected with
	// ErrBodyTooLarge. By default, [DefaultMaxBodyBytes].
	MaxBodyBytes int64

	// RotationWindow is how long a replaced secret is kept if the source names no
	// previous secret. A secret whose window is over stays rejected as previous while
	// the process lives. Negative: not at all. By default, [DefaultRotationWindow].
	RotationWindow time.Duration

	// MinRefreshInterval is the average time between reads of the source that unknown
	// signatures start. Three reads may follow each other at once, and a further read
	// is allowed per interval. After that, a delivery waits for the next read if the
	// read can be over within 8 s, and is rejected at once if not. If the source
	// learns of a rotation late, generation 1 retries after 5 s and 30 s more: with
	// an interval of up to 30 s, the last attempt finds the secret. Many receivers
	// whose source is the API need 30 s: see [SigningSecretService.Load]. Negative:
	// no limit. By default, 10 s.
	MinRefreshInterval time.Duration

	// MaxAge rejects, with ErrStale, events triggered longer ago or more than 5
	// minutes in the future, and events without a readable triggered_at. Other fields
	// do not matter, but a body that is not a JSON object is rejected with
	// ErrInvalidEvent. Retries carry the time of the change: a MaxAge below 2 minutes
	// (generation 1) or 18 h (generation 2) rejects late retries. By default, there
	// is no limit.
	MaxAge time.Duration

	// MaxHeldBytes bounds the memory of the deliveries that [Verifier.Hold] keeps:
	// a copy of the body, and 4 KiB for each. By default, 64 MiB.
	MaxHeldBytes int64

	// HandleHeld handles a held delivery of [Verifier.Handler] or
	// [Verifier.VerifyRequest] once it is verified, in place of the handler behind
	// the middleware. ctx ends after [DeliveryTimeout] and has no values of the
	// request. After an error or a panic, HandleHeld is called again in 5 s, and once
	// more 30 s later; then the delivery is dropped and logged. At most 16 held
	// deliveries are handled at a time, those of an [EventFunc] included. The order of
	// deliveries is not kept. By default, only EventHandler can hold deliveries.
	HandleHeld func(ctx context.Context, d *Delivery) error

	// Deny answers a rejected request. err must not be shown to the sender. The
	// context of the request may have ended if the body did not arrive. If the
	// request was rejected unread, the body may never arrive: do not wait for it.
	// Deny must not hijack the connection. It may be called concurrently. By default,
	// the answer is the status of [HTTPStatus] with a constant text.
	Deny func(w http.ResponseWriter, r *http.Request, err error)

	// Observe is called for each delivery, at the verdict and before the answer, on
	// the goroutine of the caller, for metrics. For a held delivery, it is called
	// again at the end, on another goroutine and without the context of the request.
	// It may be called concurrently. By default, nothing is called.
	Observe func(ctx context.Context, o Observation)

	// Logger receives rejected deliveries (Warn), rotations (Info) and failures of the
	// source (Warn). It also receives the errors of an [EventFunc] (Error, and Warn for
	// [ErrUnavailable]), and successes after DiffHook gave up (Warn).
	//
	// Of each Result, ten rejections a minute have a line. Further rejections are
	// counted in a summary, with the fingerprints of the secrets in force. It is
	// written with the next delivery after the minute. No line shows a path: route is
	// the pattern of [http.ServeMux], with … for an element that may be a token, and is
	// absent without a pattern.
	//
	// The handler may call the verifier. If it panics while the source is read, the
	// line is lost and the panic recovered. By default, nothing is logged.
	Logger *slog.Logger
}

// Observation is the verdict on a delivery. It holds nothing secret.
type Observation struct {
	// Result can be a metric's label. A held delivery has two observations:
	// [ResultHeld], and later [ResultAccepted] (after it was handled) or
	// [ResultDropped].
	Result Result

	// Err is the error of the method or the reason of the rejection, and nil for an
	// accepted delivery. If the body could not be read, errors.Is and errors.As find
	// the error of the reader. The text of the error is not shown: it may quote the
	// body.
	Err error

	// SignedByPrevious reports whether the previous secret signed the delivery.
	SignedByPrevious bool

	// Refreshed reports whether the delivery waited for a read of the source.
	Refreshed bool

	// BodyBytes is the number of bytes of the body that were read.
	BodyBytes int

	// Duration is the time from the call to the verdict. It includes the read of the
	// body and the wait for the source.
	Duration time.Duration
}

// Verifier decides whether deliveries come from DiffHook. It accepts the current
// signing secret and, during a rotation, the previous secret.
//
// Make a Verifier with [NewVerifier], one for each team whose deliveries a server
// receives. The zero value rejects every delivery with [ErrSecretsUnavailable]. A
// Verifier must not be copied. All methods are safe for concurrent use.
type Verifier struct {
	// state returns the state, behind a function as the key of a Secret: a program
	// that prints a Verifier by reflection would read the state, the logger and the
	// source while other goroutines change them.
	state func() *verifierState
}

// verifierState is the state behind a Verifier.
type verifierState struct {
	opts       VerifierOptions // defaults filled in
	load       func(context.Context) (Secrets, error)
	fixed      bool // the source is a Secrets, which never changes
	since      time.Time
	rejections rejections

	set atomic.Pointer[secretSet] // nil in the state of a zero Verifier only

	mu      sync.Mutex        // guards the fields below, and every store to set
	changed time.Time         // the time of the last store to set
	last    Secrets           // the last answer of the source, normalized
	sets    uint64            // number of sets so far
	known   map[string]*usage // secrets of all sets, by fingerprint

	unknownRejected map[string]bool // rejected fingerprints of secrets that are not in known

	pushed bool    // AcceptSuccessor made the current secret, and the source has named no newer secret
	source Secrets // the last answer of the source, normalized, even if the answer is not in force

	hold  holdRoom
	read  reading
	notes []note
}

// NewVerifier returns a verifier with the secrets of src, which it reads first. ctx
// covers that first read only. Nil options mean the defaults.
//
// Errors match [ErrSecretsUnavailable] and the cause if the source fails, and
// [ErrInvalidOptions] if an option is out of range.
func NewVerifier(ctx context.Context, src SecretSource, opts *VerifierOptions) (*Verifier, error) {
	v := &verifierState{since: time.Now(), known: make(map[string]*usage), unknownRejected: make(map[string]bool)}
	if opts != nil {
		v.opts = *opts
	}
	if err := v.opts.fill(); err != nil {
		return nil, err
	}
	if src == nil {
		return nil, fmt.Errorf("%w: the SecretSource is nil; use EnvSecrets, FileSecrets, a Secrets or a function", ErrInvalidOptions)
	}
	v.load = src.Load
	v.hold.canHold.Store(v.opts.HandleHeld != nil)
	v.hold.slots = make(chan struct{}, maxHandling)
	_, v.fixed = src.(Secrets)
	if err := v.firstRead(ctx); err != nil {
		return nil, err
	}
	return &Verifier{state: func() *verifierState { return v }}, nil
}

// live returns the state of v, and for a zero Verifier a state without secrets.
func (v *Verifier) live() *verifierState {
	if v.state == nil {
		return new(verifierState)
	}
	return v.state()
}

func (o *VerifierOptions) fill() error {
	if o.MaxBodyBytes < 0 {
		return fmt.Errorf("%w: MaxBodyBytes is negative; leave it 0 for %d", ErrInvalidOptions, DefaultMaxBodyBytes)
	}
	if o.MaxAge < 0 {
		return fmt.Errorf("%w: MaxAge is negative; leave it 0 for no limit", ErrInvalidOptions)
	}
	if o.MaxBodyBytes == 0 {
		o.MaxBodyBytes = DefaultMaxBodyBytes
	}
	if o.MaxHeldBytes < 0 {
		return fmt.Errorf("%w: MaxHeldBytes is negative; leave it 0 for %d", ErrInvalidOptions, defaultMaxHeldBytes)
	}
	if o.MaxHeldBytes == 0 {
		o.MaxHeldBytes = defaultMaxHeldBytes
	}
	o.MaxBodyBytes = min(o.MaxBodyBytes, math.MaxInt-1)
	if o.RotationWindow == 0 {
		o.RotationWindow = DefaultRotationWindow
	}
	if o.MinRefreshInterval == 0 {
		o.MinRefreshInterval = defaultMinRefreshInterval
	}
	return nil
}

// Verify reports whether signature, the value of the signature header, was made for
// body with a secret in force. body is the raw body, byte for byte as received.
//
// An unknown signature may make the verifier read the source again. Verify waits for
// that until ctx ends, and 8 s at most. The use of each secret is counted for
// [Verifier.Status], and the verdict is observed.
//
// Errors match [ErrNoSignature], [ErrMalformedSignature], [ErrSignatureMismatch],
// [ErrStale], [ErrSecretsUnavailable] or, if MaxAge is set, [ErrInvalidEvent].
func (v *Verifier) Verify(ctx context.Context, body []byte, signature string) error {
	a := attempt{v: v.live(), ctx: ctx, body: body}
	a.begin()
	a.decide(a.tag.parse(signature))
	return a.conclude()
}

// VerifyHeader is [Verifier.Verify] with the signature in h: X-DiffHook-Signature
// (generation 1) or, without that, X-Signature (generation 2). Names match in any
// case. Call VerifyHeader if there is no [http.Request], as in a Lambda function.
func (v *Verifier) VerifyHeader(ctx context.Context, body []byte, h http.Header) error {
	a := attempt{v: v.live(), ctx: ctx, body: body, header: h}
	a.begin()
	a.decide(a.parseHeader())
	return a.conclude()
}

// Format writes the fingerprints of the secrets in force, under every verb.
func (v *Verifier) Format(f fmt.State, _ rune) {
	if set := v.live().set.Load(); set != nil {
		fmt.Fprintf(f, "diffhook.Verifier(current %q, previous %q)", set.current.Fingerprint(), set.previous.Fingerprint())
		return
	}
	_, _ = io.WriteString(f, "diffhook.Verifier(zero)")
}

// attempt is a delivery on the way to a verdict. It lives on the stack of the method
// that verifies the delivery.
type attempt struct {
	v       *verifierState
	ctx     context.Context
	body    []byte
	header  http.Header                            // nil in Verify
	request *http.Request                          // nil outside net/http
	handle  func(context.Context, *Delivery) error // handles a held delivery; nil: it cannot be held
	start   time.Time                              // zero without Observe

	tag       tag
	err       error
	event     *Event    // set if MaxAge needs the event, and by EventHandler
	in        *incoming // set once the body of a request has been read
	match     int       // result of secretSet.match
	lane      uint32    // result of secretSet.match
	previous  bool
	refreshed bool
	gen1      bool // the signature is in the header of generation 1
}

func (a *attempt) begin() {
	if a.v.opts.Observe != nil {
		a.start = time.Now()
	}
}

// parseHeader parses the signature in the header.
func (a *attempt) parseHeader() error {
	s, gen1, err := signatureFrom(a.header)
	if err != nil {
		return err
	}
	a.gen1 = gen1
	return a.tag.parse(s)
}

// decide sets a.err to the verdict. parseErr is the error of parsing the signature.
func (a *attempt) decide(parseErr error) {
	switch set := a.v.set.Load(); {
	case set == nil:
		a.err = errZeroVerifier
	case parseErr != nil:
		a.err = parseErr
	case a.matches(set):
		a.err = a.accept(set)
	default:
		a.err = a.decideMiss(set)
		if a.match == 0 {
			a.err = a.hold(a.err)
		}
	}
}

// matches reports whether a secret of set signed the body. No branch before the
// verdict depends on which secret did.
func (a *attempt) matches(set *secretSet) bool {
	a.match, a.lane = set.match(a.body, &a.tag)
	return a.match != 0
}

// accept returns the verdict on a correct signature, and counts the use of the secret
// unless MaxAge rejects the delivery.
func (a *attempt) accept(set *secretSet) error {
	if a.v.opts.MaxAge > 0 {
		var err error
		if a.event, err = a.v.checkAge(a.body, time.Now()); err != nil {
			return err
		}
	}
	set.usages[a.match].record(a.lane, a.v.since)
	a.previous = a.match == matchPrevious
	return nil
}

var (
	errZeroVerifier = fmt.Errorf("%w: this Verifier is a zero value; make one with NewVerifier", ErrSecretsUnavailable)
	errOnlyRejected = fmt.Errorf("%w: %w", ErrSecretsUnavailable, errRejectedCurrent)
)

// maxClockSkew is how far ahead the clock of DiffHook may be under MaxAge: an event
// from the future stays new for as long as the clock is ahead.
const maxClockSkew = 5 * time.Minute

// checkAge applies MaxAge to a delivery that arrived at the given time. The signature
// must be correct: only then is the time in the body that of DiffHook.
func (v *verifierState) checkAge(body []byte, arrived time.Time) (*Event, error) {
	e, err := ParseEvent(body)
	if err != nil {
		return nil, err
	}
	at := e.TriggeredAt
	if age := arrived.Sub(at); at.IsZero() || age > v.opts.MaxAge || age < -maxClockSkew {
		return nil, ErrStale
	}
	return e, nil
}

// conclude logs, observes and returns the verdict.
func (a *attempt) conclude() error {
	v := a.v
	if v.opts.Logger != nil {
		v.rejections.log(a.ctx, v.opts.Logger, a)
	}
	if v.opts.Observe != nil {
		v.opts.Observe(a.ctx, Observation{
			Result:           resultOf(a.err),
			Err:              a.err,
			SignedByPrevious: a.err == nil && a.previous,
			Refreshed:        a.refreshed,
			BodyBytes:        len(a.body),
			Duration:         time.Since(a.start),
		})
	}
	return a.err
}
