package routers_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// eachRow runs a test of both lines of every row over both protocols.
func eachRow(t *testing.T, test func(t *testing.T, r *rig, h http.Handler, protocol string)) {
	for _, row := range rows {
		for _, protocol := range protocols {
			t.Run(row.name+" "+protocol+" EventHandler", func(t *testing.T) {
				r := newRig(t)
				test(t, r, row.event(r.eventHandler()), protocol)
			})
			t.Run(row.name+" "+protocol+" Handler", func(t *testing.T) {
				r := newRig(t)
				test(t, r, row.own(r.v, r.next()), protocol)
			})
		}
	}
}

func TestDeliveries(t *testing.T) {
	eachRow(t, func(t *testing.T, r *rig, h http.Handler, protocol string) {
		r.testDeliveries(t, newTransport(t, protocol, nil), serve(t, h, 0))
		assert.EqualValues(t, 2, r.called.Load(), "calls for the deliveries that are accepted, and no others")
	})
}

// testDeliveries sends two valid deliveries to the hook at url, and two others.
func (r *rig) testDeliveries(t *testing.T, transport *http.Transport, url string) {
	t.Helper()
	body, long := diffhooktest.PageChanged(), longEvent(6<<20)
	assert.Equal(t, http.StatusNoContent, postBytes(t, transport, url, r.secret.Sign(body), body), "valid")
	assert.Equal(t, diffhook.ResultAccepted, <-r.results)

	assert.Equal(t, http.StatusUnauthorized, postBytes(t, transport, url, diffhooktest.NewSecret().Sign(body), body), "forged")
	assert.Equal(t, diffhook.ResultMismatch, <-r.results)

	assert.Equal(t, http.StatusUnauthorized, postBytes(t, transport, url, "", body), "unsigned")
	assert.Equal(t, diffhook.ResultNoSignature, <-r.results)

	assert.Equal(t, http.StatusNoContent, postBytes(t, transport, url, r.secret.Sign(long), long), "6 MiB")
	assert.Equal(t, diffhook.ResultAccepted, <-r.results)
}

// Without timeouts of the server, the deadline of the verifier ends a stalled body: the
// frameworks pass on the deadline.
func TestStalledBodyIsCutOff(t *testing.T) {
	for _, row := range rows {
		for _, protocol := range protocols {
			t.Run(row.name+" "+protocol, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t)
					for _, h := range []http.Handler{row.event(r.eventHandler()), row.own(r.v, r.next())} {
						status, after := stallInBubble(t, h, protocol, r.secret)
						assert.Equal(t, http.StatusRequestTimeout, status)
						assert.Equal(t, diffhook.DeliveryTimeout, after)
						assert.Equal(t, diffhook.ResultBodyTimeout, <-r.results)
					}
				})
			})
		}
	}
}

// stallInBubble serves h in a synctest bubble, stalls a delivery, and returns the status
// and the time of the answer. The status is 0 if there is no answer for an hour.
func stallInBubble(t *testing.T, h http.Handler, protocol string, secret diffhook.Secret) (int, time.Duration) {
	start := time.Now()
	listener := make(pipes)
	server := &http.Server{Handler: h, Protocols: bothProtocols()}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	transport := newTransport(t, protocol, listener.dial)
	defer transport.CloseIdleConnections()
	status := stall(t, transport, "http://pipe/hook", secret.Sign(nil))
	after := time.Since(start)
	time.Sleep(time.Second) // net/http closes the connection half a second after the answer
	return status, after
}

// A shorter ReadTimeout of the server ends a stalled body sooner, here over a socket.
func TestStalledBodyUnderReadTimeout(t *testing.T) {
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			url, transport := serve(t, row.event(r.eventHandler()), time.Second/4), newTransport(t, "HTTP/1.1", nil)
			assert.Equal(t, http.StatusRequestTimeout, stall(t, transport, url, r.secret.Sign(nil)))
			assert.Equal(t, diffhook.ResultBodyTimeout, <-r.results)
		})
	}
}
