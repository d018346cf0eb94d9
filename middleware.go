package diffhook

import (
	"context"
	"log/slog"
	"net/http"
)

// Delivery is a verified delivery.
type Delivery struct {
	// Body is the body as received. It is also what r.Body reads: do not
	// change it.
	Body []byte

	// SignedByPrevious reports that the previous secret signed it.
	SignedByPrevious bool
}

// deliveryKey is the key of a request's Delivery in its context.
type deliveryKey struct{}

// DeliveryFromContext returns the delivery that [Verifier.Handler] verified,
// from the context of the request that it passed on, and whether there is one.
func DeliveryFromContext(ctx context.Context) (*Delivery, bool) {
	d, ok := ctx.Value(deliveryKey{}).(*Delivery)
	return d, ok
}

// VerifyRequest reads the body of r, at most MaxBodyBytes of it, and verifies
// it as [Verifier.VerifyHeader] does. Whether it returns a delivery or an
// error, r.Body is whole again afterwards. Without a well-formed signature, and
// with a Content-Length over the limit, nothing is read.
//
// Errors wrap those of [Verifier.Verify], [ErrBodyTooLarge], [ErrBodyTimeout],
// [ErrBodyRead] or [ErrBodyConsumed]; [HTTPStatus] has the answer to each.
//
// It is for routers that do not take the [Verifier.Handler] middleware. It
// cannot set deadlines: a slow body is bounded by the server's ReadTimeout
// alone, so set one.
func (v *Verifier) VerifyRequest(r *http.Request) (*Delivery, error) {
	a := attempt{v: v.live(), ctx: r.Context(), request: r, header: r.Header}
	a.receive(nil)
	if a.in != nil {
		r.Body = a.in
	}
	if err := a.conclude(); err != nil {
		return nil, err
	}
	return &a.in.Delivery, nil
}

// Handler returns middleware that passes verified deliveries on to next and
// answers all other requests itself, through Deny or with the status of
// [HTTPStatus] and a constant text. next reads the body as usual, and finds
// the delivery by [DeliveryFromContext].
//
// Mount it before anything that reads or decodes the body. While it reads, a
// body that has not arrived within [DeliveryTimeout] is cut off, also where
// the server has no timeouts, unless the ResponseWriter supports no deadlines
// (that of [http.TimeoutHandler] does not): set the server's ReadTimeout then.
// A refused request whose body was not read costs no wait for the rest of it.
func (v *Verifier) Handler(next http.Handler) http.Handler {
	if next == nil {
		panic("diffhook: Verifier.Handler of a nil handler")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := attempt{v: v.live(), ctx: r.Context(), request: r, header: r.Header}
		a.receive(w)
		if a.conclude() != nil {
			a.deny(w)
			return
		}
		next.ServeHTTP(w, a.passOn(context.WithValue(a.ctx, deliveryKey{}, &a.in.Delivery)))
	})
}

// EventHandler returns a handler that verifies deliveries as
// [Verifier.Handler] does, parses their events and calls handle. It answers
// 204 where handle returns nil, 500 where it returns an error, which is
// logged, and 400 where the body is no event; DiffHook retries all but the
// first. A panic in handle is not recovered.
//
// The context of handle ends [DeliveryTimeout] after the request came in, when
// DiffHook has given up on the attempt, or earlier with the request's own.
// Acknowledge first and work later where the work can take longer, and see
// [Event.DedupKey]. handle may be called concurrently.
func (v *Verifier) EventHandler(handle func(context.Context, *Event) error) http.Handler {
	if handle == nil {
		panic("diffhook: Verifier.EventHandler of a nil function")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), DeliveryTimeout)
		defer cancel()

		a := attempt{v: v.live(), ctx: r.Context(), request: r, header: r.Header}
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
			a.v.logFailure(ctx, r, a.event, err)
			http.Error(w, "the delivery could not be handled", http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

func (v *verifierState) logFailure(ctx context.Context, r *http.Request, e *Event, err error) {
	if v.opts.Logger == nil {
		return
	}
	v.opts.Logger.LogAttrs(ctx, slog.LevelError, "diffhook: handling a delivery failed; DiffHook will retry it",
		slog.Any("error", err),
		slog.String("event", bounded(e.DedupKey(), 100)),
		slog.String("route", routeOf(r)))
}

// receive reads the body and settles the verdict. w is nil where there is
// none to set deadlines with.
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

// passOn returns the request with its body whole again. It is a copy, since
// net/http looks at the body of its own when the handler has returned: it can
// tell only then whether the connection is fit for another request.
func (a *attempt) passOn(ctx context.Context) *http.Request {
	if a.in == nil {
		return a.request
	}
	r := a.request.WithContext(ctx)
	r.Body = a.in
	return r
}

// admit refuses what can be refused before one byte of the body is read.
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

// deny answers a refused request.
func (a *attempt) deny(w http.ResponseWriter) {
	answer := func() {
		if deny := a.v.opts.Deny; deny != nil {
			deny(w, a.passOn(a.ctx), a.err)
			return
		}
		status := HTTPStatus(a.err)
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, http.StatusText(status), status)
	}
	if a.err == ErrBodyTimeout && a.request.ProtoMajor == 1 {
		closeAfter(w, answer) // the deadline has passed, perhaps just after the last byte
		return
	}
	withoutBody(w, a.request, a.in, answer)
}
