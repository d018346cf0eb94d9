package diffhook_test

import (
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/diffhook/diffhook-go"
)

// countNew returns a hook that counts new connections.
func countNew(n *atomic.Int64) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			n.Add(1)
		}
	}
}

// countOpen returns a hook that keeps how many connections are open.
func countOpen(n *atomic.Int64) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			n.Add(1)
		case http.StateClosed, http.StateHijacked:
			n.Add(-1)
		}
	}
}

// faulty answers one request in four with something else than it should.
var faulty = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	switch rand.N(24) {
	case 0:
		panic(http.ErrAbortHandler)
	case 1:
		brokenOff(w, r)
	case 2:
		answering(502, "text/html", strings.Repeat("<p>Bad Gateway", 10000))(w, r)
	case 3:
		answering(302, "", "")(w, r)
	case 4: // its body unread
		w.WriteHeader(http.StatusNotFound)
	case 5:
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done() // until the attempt times out
	default:
		_, _ = io.Copy(io.Discard, r.Body)
		answeringJSON(200, `{"data": {"id": "mon_abc123"}}`)(w, r)
	}
})

// TestNothingIsLeftBehind makes many calls, of which some fail in every way, and
// counts goroutines and connections before and after.
func TestNothingIsLeftBehind(t *testing.T) {
	const workers = 64
	calls := int64(sampled(2000, 10_000))
	var open atomic.Int64
	server := serve(t, faulty, func(s *httptest.Server) { s.Config.ConnState = countOpen(&open) })
	transport := ownTransport(t)
	transport.MaxIdleConnsPerHost = workers
	c := newClient(t, server, &diffhook.ClientOptions{
		HTTPClient: &http.Client{Transport: transport}, MaxAttempts: 1, AttemptTimeout: 50 * time.Millisecond,
	})
	before := runtime.NumGoroutine()
	var next, failed atomic.Int64
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for n := next.Add(1); n <= calls; n = next.Add(1) {
				if apiCalls[n%int64(len(apiCalls))].do(t.Context(), c) != nil {
					failed.Add(1)
				}
			}
		})
	}
	work.Wait()
	assert.Greater(t, failed.Load(), calls/10)
	assert.LessOrEqual(t, open.Load(), int64(2*workers), "connections that are open, and idle")

	transport.CloseIdleConnections()
	// Both ends take a moment to notice.
	for began := time.Now(); (open.Load() > 0 || runtime.NumGoroutine() > before) && time.Since(began) < patience; {
		pause(5 * time.Millisecond)
	}
	assert.Zero(t, open.Load(), "connections left behind")
	assert.LessOrEqual(t, runtime.NumGoroutine(), before, "goroutines left behind")
}

// TestConnectionsAreShared: with the client's own transport, as many goroutines
// as it keeps connections for open no more than one each. On a busy machine, net/http
// does not wait for a connection that has not been returned yet, and opens another.
func TestConnectionsAreShared(t *testing.T) {
	const workers, each = 64, 50
	var opened atomic.Int64
	all := make(chan struct{})
	var first atomic.Int64
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := first.Add(1); n == workers { // so that each has one
			close(all)
		} else if n < workers {
			<-all
		}
		answeringJSON(200, `{"data": {"id": "mon_abc123"}}`)(w, r)
	}), func(s *httptest.Server) { s.Config.ConnState = countNew(&opened) })
	c := newClient(t, server, nil)
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for range each {
				_, err := c.Monitors.Get(t.Context(), "mon_abc123")
				assert.NoError(t, err)
			}
		})
	}
	work.Wait()
	assert.GreaterOrEqual(t, opened.Load(), int64(workers))
	assert.Less(t, opened.Load(), int64(2*workers))
}
