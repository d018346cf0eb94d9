package diffhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Delivery is a verified delivery.
type Delivery struct {
	// Body is the body as received. r.Body reads the same memory: do not change it.
	Body []byte

	// SignedByPrevious reports whether the previous secret signed the delivery.
	SignedByPrevious bool
}

// deliveryKey is the key of the Delivery in the context of a request.
type deliveryKey struct{}

// DeliveryFromContext returns the delivery that [Verifier.Handler] verified, from the
// context of the request, and whether there is a delivery.
func DeliveryFromContext(ctx context.Context) (*Delivery, bool) {
	d, ok := ctx.Value(deliveryKey{}).(*Delivery)
	return d, ok
}

// VerifyRequest reads the body of r, up to MaxBodyBytes, and verifies it as
// [Verifier.VerifyHeader] does. Afterwards r.Body is whole again, also after an
// error. Nothing is read if the signature is missing or malformed, or if the
// Content-Length is over the limit.
//
// VerifyRequest is for routers that do not take [Verifier.Handler]. Call it before
// anything that reads the body: the form values of an earlier r.FormValue are not
// verified.
//
// It sets no deadlines: set the server's ReadTimeout, which alone bounds a slow body.
// If the router enables full duplex on HTTP/1, set the header Connection: close for
// an error.
//
// Errors match those of [Verifier.Verify], [ErrBodyTooLarge], [ErrBodyTimeout],
// [ErrBodyRead], [ErrBodyConsumed] or [ErrHeld]. [HTTPStatus] returns the status to
// answer with.
func (v *Verifier) VerifyRequest(r *http.Request) (*Delivery, error) {
	state := v.live()
	a := attempt{v: state, ctx: r.Context(), request: r, header: r.Header, handle: state.opts.HandleHeld}
	a.receive(nil)
	if a.in != nil {
		r.Body = a.in
	}
	if err := a.conclude(); err != nil {
		return nil, err
	}
	return &a.in.Delivery, nil
}

// Handler returns middleware that passes verified deliveries on to next, and answers
// all other requests by Deny or with the status of [HTTPStatus]. next reads the body
// as usual, and gets the delivery from [DeliveryFromContext]. Files of a form that
// next parses are removed when next returns. During a [Verifier.Hold], deliveries
// that no known secret signed are answered 202, and HandleHeld of [VerifierOptions]
// gets them later.
//
// Mount it before anything that reads the body. A body not complete within
// [DeliveryTimeout] is cut off. If the ResponseWriter supports no deadlines, as in
// [http.TimeoutHandler], set the server's ReadTimeout.
//
// A rejected request is answered at once. Unless the whole body was seen, the
// connection is closed: no part of a body is taken for a request.
func (v *Verifier) Handler(next http.Handler) http.Handler {
	if next == nil {
		panic("diffhook: Verifier.Handler of a nil handler")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		state := v.live()
		a := attempt{v: state, ctx: r.Context(), request: r, header: r.Header, handle: state.opts.HandleHeld}
		a.receive(w)
		if a.conclude() != nil {
			a.deny(w)
			return
		}
		ctx := context.WithValue(a.ctx, deliveryKey{}, &a.in.Delivery)
		a.passOn(ctx, a.in, func(r *http.Request) { next.ServeHTTP(w, r) })
	})
}

// EventFunc handles the event of a verified delivery, for [Verifier.EventHandler].
// After an error, DiffHook retries the delivery: return [ErrUnavailable], also
// wrapped, if the event cannot be handled now. The same event can come twice: see
// [Event.DedupKey]. An EventFunc may be called concurrently.
type EventFunc = func(context.Context, *Event) error

// EventHandler returns a handler that verifies deliveries as [Verifier.Handler]
// does, parses their events and calls handle. The answers, of which DiffHook
// retries all but 204:
//   - 204 if handle returns nil;
//   - 503 if handle returns [ErrUnavailable], which is logged as a warning;
//   - 500 if handle returns another error, which is logged;
//   - 400 if the body is not a JSON object.
//
// The context of handle ends with the request, or [DeliveryTimeout] after the
// request came in, when DiffHook gives up. If handle returns nil after that, the
// answer is 204, and a warning is logged: DiffHook retries the event. If the work
// can take longer, save the event, return nil and work later.
//
// A panic in handle is not recovered, except for a delivery that [Verifier.Hold]
// kept.
func (v *Verifier) EventHandler(handle EventFunc) http.Handler {
	if handle == nil {
		panic("diffhook: Verifier.EventHandler of a nil function")
	}
	v.live().hold.canHold.Store(true)
	handleHeld := func(ctx context.Context, d *Delivery) error {
		e, err := ParseEvent(d.Body)
		if err != nil {
			return err
		}
		return handle(ctx, e)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(r.Context(), DeliveryTimeout)
		defer cancel()

		a := attempt{v: v.live(), ctx: r.Context(), request: r, header: r.Header, handle: handleHeld}
		a.receive(w)
		if a.err == nil && a.event == nil {
			a.event, a.err = ParseEvent(a.body)
		}
		if a.conclude() != nil {
			a.deny(w)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		if err := handle(ctx, a.event); err != nil {
			status := http.StatusInternalServerError
			if errors.Is(err, ErrUnavailable) {
				status = http.StatusServiceUnavailable
			}
			a.v.logFailure(ctx, r, a.event, err, status)
			http.Error(w, "the delivery could not be handled", status)
			return
		}
		if ctx.Err() != nil {
			a.v.logLateness(ctx, r, a.event, time.Since(start))
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// receive reads the body and sets the verdict. A nil w means that no deadline can be
// set.
func (a *attempt) receive(w http.ResponseWriter) {
	a.begin()
	if a.err = a.admit(); a.err != nil {
		return
	}
	a.in = readBody(w, a.request, a.v.opts.MaxBodyBytes)
	a.body, a.err = a.in.Body, a.in.err
	if a.err != nil {
		return
	}
	a.decide(nil)
	a.in.SignedByPrevious = a.previous
}

// passOn calls handle with a copy of the request, whose body is in. After the handler,
// net/http looks at the body of the original request to decide whether to keep the
// connection, so the original must not change. net/http removes the files of the
// original form only, so passOn removes the files of the copy's form.
func (a *attempt) passOn(ctx context.Context, in *incoming, handle func(*http.Request)) {
	r := a.request.WithContext(ctx)
	r.Body = in
	defer func() {
		if form := r.MultipartForm; form != nil && form != a.request.MultipartForm {
			_ = form.RemoveAll()
		}
	}()
	handle(r)
}

// admit rejects a request, if it can, before a byte of the body is read.
func (a *attempt) admit() error {
	if a.v.set.Load() == nil {
		return errZeroVerifier
	}
	if err := a.parseHeader(); err != nil {
		return err
	}
	if a.request.ContentLength > a.v.opts.MaxBodyBytes {
		return ErrBodyTooLarge
	}
	return nil
}

// deny answers a rejected or held request.
func (a *attempt) deny(w http.ResponseWriter) {
	if errors.Is(a.err, ErrHeld) {
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusAccepted)
		return
	}
	in := a.in
	if in == nil {
		in = unread(a.request, a.err)
	}
	answer := func() {
		if deny := a.v.opts.Deny; deny != nil {
			a.passOn(a.ctx, in, func(r *http.Request) { deny(w, r, a.err) })
			return
		}
		status := HTTPStatus(a.err)
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, http.StatusText(status), status)
	}
	if errors.Is(a.err, ErrBodyTimeout) && a.request.ProtoMajor == 1 {
		closeAfter(w, answer) // the deadline has passed, perhaps just after the last byte
		return
	}
	reject(w, a.request, in, answer)
}

// A rejected HTTP/1 request must not leave a part of the body on the connection:
// net/http would parse the part as the next request, unchecked by a proxy in front.
// net/http itself prevents this, except after EnableFullDuplex and a passed read
// deadline.
const (
	// discardTime bounds the wait for the body of a rejected request.
	discardTime = 20 * time.Millisecond

	// maxDiscard bounds the bytes read to keep a connection, as the limit of net/http
	// does.
	maxDiscard = 256 << 10
)

// reject calls answer to reject a request whose body is not read to the end. If the
// whole body is there, reject discards the body and keeps the connection. Otherwise the
// connection is closed, and the answer does not wait.
func reject(w http.ResponseWriter, r *http.Request, in *incoming, answer func()) {
	switch left(r, in) {
	case nothingLeft:
		answer()
	case somethingLeft:
		if !isServerWriter(w) || passReadDeadline(w, discardTime) != nil {
			closeAfter(w, answer)
			return
		}
		defer discardRest(w, in) // also if Deny panics
		answer()
	case maybeLeft:
		closeAfter(w, answer)
	}
}

// discardRest reads the rest of a body, and closes the connection unless it sees the
// end.
func discardRest(w http.ResponseWriter, in *incoming) {
	switch _, err := in.rest.Read(nil); {
	case in.closed: // Deny closed the body, perhaps before the end
		closeConnection(w)
		return
	case err == io.EOF, err == http.ErrBodyReadAfterClose: // net/http saw the end, when Deny flushed
		return
	}
	_ = passReadDeadline(w, discardTime)
	if _, err := io.CopyN(io.Discard, in.rest, maxDiscard+1); err != io.EOF {
		closeConnection(w)
		return
	}
	// net/http now reads ahead: the deadline would count as a lost connection.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
}

// closeAfter closes the connection after an answer. The answer waits for nothing.
func closeAfter(w http.ResponseWriter, answer func()) {
	closeConnection(w)
	// A connection with unread bytes is reset, and the sender may lose the
	// answer: until the deadline, net/http discards bytes that have arrived.
	defer func() { _ = passReadDeadline(w, discardTime) }()
	answer()
}

// closeConnection makes net/http close an HTTP/1 connection after the answer. The
// header alone does nothing once the answer began, or if Deny removes the header. So
// net/http also hears of a body over a limit: it then closes in any case, half a second
// after the answer, so that the sender gets the answer.
func closeConnection(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	byteOverLimit := io.NopCloser(strings.NewReader("x"))
	_, _ = http.MaxBytesReader(innermost(w), byteOverLimit, 0).Read(make([]byte, 1))
}

// leftover is whether a part of the body of a request is unread.
type leftover int

const (
	nothingLeft leftover = iota
	maybeLeft
	somethingLeft
)

// left reports whether a part of the body of r is unread, without reading or waiting.
// in is the body so far.
//
// If nothing is left, net/http reads ahead until the handler returns. If a deadline
// ended that read, net/http would cancel the contexts of this request and of all
// later requests on the connection.
func left(r *http.Request, in *incoming) leftover {
	switch {
	case r.ProtoMajor != 1: // HTTP/2 waits for nothing
		return nothingLeft
	case r.ContentLength == 0:
		return nothingLeft
	case in.whole && (isServerBody(in.rest) || int64(len(in.Body)) == r.ContentLength):
		return nothingLeft
	case !isServerBody(in.rest): // a wrapper may have read the body, or replace it
		return maybeLeft
	case r.ContentLength < 0: // reading nothing would wait for a chunk
		return maybeLeft
	case r.ContentLength-int64(len(in.Body)) > maxDiscard:
		return maybeLeft
	case len(in.Body) == 0 && r.Header.Get("Expect") != "": // a read would ask for the body
		return maybeLeft
	}
	switch _, err := in.rest.Read(nil); err {
	case nil:
		return somethingLeft
	case io.EOF:
		return nothingLeft
	}
	return maybeLeft // such as a body that was closed, perhaps before the end
}

// isServerBody reports whether body is the body of net/http's own server, whose types
// are not exported. A wrapper, such as http.MaxBytesReader, is not.
func isServerBody(body io.Reader) bool {
	switch fmt.Sprintf("%T", body) {
	case "*http.body", "*http.expectContinueReader":
		return true
	}
	return false
}

// isServerWriter reports whether w, under its wrappers, is the ResponseWriter of
// net/http's server for HTTP/1.
func isServerWriter(w http.ResponseWriter) bool {
	return fmt.Sprintf("%T", innermost(w)) == "*http.response"
}

// innermost returns the ResponseWriter under the wrappers of w.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

// passReadDeadline makes the read deadline of the connection, or of the stream,
// pass after d.
func passReadDeadline(w http.ResponseWriter, d time.Duration) error {
	deadline := time.Unix(1, 0)
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	return http.NewResponseController(w).SetReadDeadline(deadline)
}
