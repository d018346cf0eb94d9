package routers_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// fiberApp is an application of Fiber v2 or v3.
type fiberApp interface {
	Handler() fasthttp.RequestHandler // prepares the routes too
	Server() *fasthttp.Server
}

// serveFiber does the same as the Listener method of app, without a banner.
func serveFiber(app fiberApp, listener net.Listener) error {
	app.Handler()
	return app.Server().Serve(listener)
}

// fiberRow is a version of Fiber. The functions contain the lines of docs/frameworks.md,
// letter for letter.
type fiberRow struct {
	name string

	// adapted mounts h, which is v.EventHandler(f), under the limits of the page.
	adapted func(h http.Handler) fiberApp

	// native mounts a handler of Fiber's own type under the same limits.
	native func(v *diffhook.Verifier, f diffhook.EventFunc) fiberApp

	// defaults mounts h without limits, behind the middleware that recovers panics.
	defaults func(h http.Handler) fiberApp

	// keep calls see with the body of each request, without a copy.
	keep func(see func(body []byte)) fiberApp
}

var fiberRows = []fiberRow{fiber2, fiber3}

// listen serves app on a socket, and returns the URL of the hook. At the end, listen closes
// the socket: Shutdown of fasthttp v1.69 races with contexts that a handler derived from
// the context of the adaptor.
func listen(t *testing.T, app fiberApp) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error)
	go func() { done <- serveFiber(app, listener) }()
	t.Cleanup(func() {
		assert.NoError(t, listener.Close())
		<-done
	})
	return "http://" + listener.Addr().String() + "/hook"
}

// eachFiber runs a test of the adaptor and of the native handler of both versions.
// configure is called before an application listens.
func eachFiber(t *testing.T, configure func(*fasthttp.Server), test func(t *testing.T, r *rig, url string)) {
	for _, row := range fiberRows {
		t.Run(row.name+" adaptor", func(t *testing.T) {
			r := newRig(t)
			app := row.adapted(r.eventHandler())
			configure(app.Server())
			test(t, r, listen(t, app))
		})
		t.Run(row.name+" native", func(t *testing.T) {
			r := newRig(t)
			app := row.native(r.v, acceptEvent)
			configure(app.Server())
			test(t, r, listen(t, app))
		})
	}
}

func TestFiberDeliveries(t *testing.T) {
	eachFiber(t, func(*fasthttp.Server) {}, func(t *testing.T, r *rig, url string) {
		r.testDeliveries(t, newTransport(t, "HTTP/1.1", nil), url)
	})
}

func TestFiberStalledBodyUnderReadTimeout(t *testing.T) {
	shorten := func(s *fasthttp.Server) {
		assert.Equal(t, diffhook.DeliveryTimeout, s.ReadTimeout, "as the page says")
		s.ReadTimeout /= 40
	}
	eachFiber(t, shorten, func(t *testing.T, r *rig, url string) {
		assert.Equal(t, http.StatusRequestTimeout, stall(t, newTransport(t, "HTTP/1.1", nil), url, r.secret.Sign(nil)))
		assert.Empty(t, r.results, "Fiber answers; the verifier does not learn of the request")
	})
}

func TestFiberDefaultsRefuseLongBodies(t *testing.T) {
	for _, row := range fiberRows {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t)
			url, body := listen(t, row.defaults(r.eventHandler())), longEvent(6<<20)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
			require.NoError(t, err)
			req.Header.Set(diffhook.SignatureHeader, r.secret.Sign(body))
			resp, err := newTransport(t, "HTTP/1.1", nil).RoundTrip(req)
			if err == nil { // the answer came before the reset
				assert.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
				resp.Body.Close()
			}
			assert.Empty(t, r.results, "the verifier does not learn of the request")
		})
	}
}

func TestFiberDefaultsLeaveStalledBodiesOpen(t *testing.T) {
	for _, row := range fiberRows {
		t.Run(row.name, func(t *testing.T) {
			// The first answer of a process starts a goroutine without an end, so the first
			// answer comes before the bubble.
			r, body := newRig(t), diffhooktest.PageChanged()
			url := listen(t, row.defaults(r.eventHandler()))
			assert.Equal(t, http.StatusNoContent, postBytes(t, newTransport(t, "HTTP/1.1", nil), url, r.secret.Sign(body), body))

			synctest.Test(t, func(t *testing.T) {
				listener, app := make(pipes), row.defaults(newRig(t).eventHandler())
				go func() { _ = serveFiber(app, listener) }()
				conn, err := listener.dial(t.Context(), "", "")
				require.NoError(t, err)
				_, err = io.WriteString(conn, "POST /hook HTTP/1.1\r\nHost: pipe\r\nContent-Length: 100\r\n\r\n{")
				require.NoError(t, err)
				require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Hour)))
				_, err = conn.Read(make([]byte, 1))
				assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "no answer for an hour")
				conn.Close()
				listener.Close()
				time.Sleep(time.Minute) // the workers of fasthttp end
			})
		})
	}
}

// In Fiber, only the recover middleware keeps a panic from ending the process.
func TestFiberRecoversPanics(t *testing.T) {
	for _, row := range fiberRows {
		t.Run(row.name, func(t *testing.T) {
			r, body := newRig(t), diffhooktest.PageChanged()
			h := r.v.EventHandler(func(context.Context, *diffhook.Event) error { panic("a bug of the customer") })
			url := listen(t, row.defaults(h))
			assert.Equal(t, http.StatusInternalServerError, postBytes(t, newTransport(t, "HTTP/1.1", nil), url, r.secret.Sign(body), body))
		})
	}
}

// Two values of the signature header are malformed. The adaptor passes on only the last
// value, and the native handler passes on both.
func TestFiberDoubledSignature(t *testing.T) {
	body := diffhooktest.PageChanged()
	for _, row := range fiberRows {
		for name, expected := range map[string]int{"adaptor": http.StatusNoContent, "native": http.StatusUnauthorized} {
			t.Run(row.name+" "+name, func(t *testing.T) {
				r := newRig(t)
				app := row.native(r.v, acceptEvent)
				if name == "adaptor" {
					app = row.adapted(r.eventHandler())
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, listen(t, app), bytes.NewReader(body))
				require.NoError(t, err)
				req.Header[diffhook.SignatureHeader] = []string{diffhooktest.NewSecret().Sign(body), r.secret.Sign(body)}
				resp, err := newTransport(t, "HTTP/1.1", nil).RoundTrip(req)
				require.NoError(t, err)
				resp.Body.Close()
				assert.Equal(t, expected, resp.StatusCode)
			})
		}
	}
}

// fasthttp uses the memory of a request again. The verifier passes on a copy.
func TestFiberReusesBodies(t *testing.T) {
	const first = `{"event":"page.changed","monitor_id":"mon_abc123","content":"first"}`
	other := strings.ReplaceAll(first, "first", "other")
	for _, row := range fiberRows {
		t.Run(row.name, func(t *testing.T) {
			r := newRig(t)
			// sendAll sends the first body, and then the other until done reports true.
			sendAll := func(app fiberApp, done func() bool) {
				url, transport := listen(t, app), newTransport(t, "HTTP/1.1", nil)
				assert.Equal(t, http.StatusNoContent, postBytes(t, transport, url, r.secret.Sign([]byte(first)), []byte(first)))
				for i := 0; i < 40 && !done(); i++ {
					assert.Equal(t, http.StatusNoContent, postBytes(t, transport, url, r.secret.Sign([]byte(other)), []byte(other)))
				}
			}
			var kept []byte
			sendAll(row.keep(func(body []byte) {
				if kept == nil {
					kept = body
				}
			}), func() bool { return string(kept) == other })
			assert.Equal(t, other, string(kept), "a body that is not copied changes")

			var event *diffhook.Event
			keepEvent := func(_ context.Context, e *diffhook.Event) error {
				if event == nil {
					event = e
				}
				return nil
			}
			for _, app := range []fiberApp{
				row.adapted(r.v.EventHandler(keepEvent)),
				row.native(r.v, keepEvent),
			} {
				event = nil
				sendAll(app, func() bool { return false })
				assert.Equal(t, first, string(event.Raw))
				assert.Equal(t, "first", event.Content)
			}
		})
	}
}
