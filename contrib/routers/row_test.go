package routers_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// row is a framework in the table of docs/frameworks.md. The functions contain the lines of
// the table, letter for letter.
type row struct {
	name string

	// event mounts h, which is v.EventHandler(f).
	event func(h http.Handler) http.Handler

	// own mounts the handler of a customer behind v.Handler: next, or a call of next in
	// a handler of the framework.
	own func(v *diffhook.Verifier, next http.Handler) http.Handler
}

var rows = []row{netHTTP, chiRow, gorillaRow, httprouterRow, ginRow, echo4Row, echo5Row}

// rig is a verifier with a secret, and the observed results.
type rig struct {
	v       *diffhook.Verifier
	secret  diffhook.Secret
	results chan diffhook.Result
	called  atomic.Int32 // calls of the function or handler of the customer
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{secret: diffhooktest.NewSecret(), results: make(chan diffhook.Result, 100)}
	var err error
	r.v, err = diffhook.NewVerifier(t.Context(), diffhook.Secrets{Current: r.secret}, &diffhook.VerifierOptions{
		Observe: func(_ context.Context, o diffhook.Observation) { r.results <- o.Result },
	})
	require.NoError(t, err)
	return r
}

func (r *rig) eventHandler() http.Handler {
	return r.v.EventHandler(func(ctx context.Context, e *diffhook.Event) error {
		r.called.Add(1)
		return acceptEvent(ctx, e)
	})
}

// acceptEvent accepts the event of every signed body of these tests.
func acceptEvent(_ context.Context, e *diffhook.Event) error {
	if e.MonitorID != "mon_abc123" {
		return errors.New("not an event of these tests")
	}
	return nil
}

// next returns a handler of a customer. The handler answers 204 if the delivery in the
// context and the body of the request are the same.
func (r *rig) next() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.called.Add(1)
		d, ok := diffhook.DeliveryFromContext(req.Context())
		body, err := io.ReadAll(req.Body)
		if !ok || err != nil || len(body) == 0 || !bytes.Equal(d.Body, body) {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// longEvent returns the body of an event with n bytes.
func longEvent(n int) []byte {
	const begin, end = `{"event":"page.changed","monitor_id":"mon_abc123","content":"`, `"}`
	return []byte(begin + string(bytes.Repeat([]byte("x"), n-len(begin)-len(end))) + end)
}
