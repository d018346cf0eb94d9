// Package diffhooklambda receives the webhooks of DiffHook in an AWS Lambda
// function, behind a function URL, API Gateway or an Application Load Balancer.
package diffhooklambda

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/diffhook/diffhook-go"
)

// ErrUnknownEvent is returned to Lambda unless the event is a request of a function URL,
// API Gateway or an Application Load Balancer.
var ErrUnknownEvent = errors.New("diffhooklambda: unknown event; invoke the function by a function URL, API Gateway or an Application Load Balancer")

// Handler returns a handler for [lambda.Start], which verifies deliveries and calls handle
// with the events, as [diffhook.Verifier.EventHandler] does: limits, answers, observations
// and log lines are the same.
//
// The context of handle comes from the invocation, with the values for
// [github.com/aws/aws-lambda-go/lambdacontext]. It ends after [diffhook.DeliveryTimeout],
// or with the timeout of the function if sooner.
//
// Each invocation ends a [diffhook.Verifier.Hold]: Lambda freezes the process after an
// answer, and a held delivery would be lost.
//
// Any event but an HTTP request ends in [ErrUnknownEvent]. Handler does not recover a
// panic in handle: Lambda starts the process again, and DiffHook retries. Handler panics
// if v or handle is nil. The handler is safe for concurrent use.
func Handler(v *diffhook.Verifier, handle diffhook.EventFunc) lambda.Handler {
	return &handler{verifier: v, events: v.EventHandler(handle)}
}

type handler struct {
	verifier *diffhook.Verifier
	events   http.Handler
}

// Invoke answers the request in payload.
func (h *handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var e event
	if json.Unmarshal(payload, &e) != nil { // the error may quote the request
		return nil, ErrUnknownEvent
	}
	from := e.source()
	if from == unknown {
		return nil, ErrUnknownEvent
	}
	_ = h.verifier.Hold(0) // fails for a zero Verifier, which answers 503
	w := &recorder{header: make(http.Header)}
	h.events.ServeHTTP(w, e.request(ctx))
	return json.Marshal(w.response(from))
}
