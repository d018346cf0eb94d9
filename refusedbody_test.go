package diffhook_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// smuggled is a body that is a request of its own if the server takes it for
// one. A proxy in front, which forbids /admin, has seen a body.
const smuggled = "GET /admin HTTP/1.1\r\nHost: test\r\n\r\n"

// fullDuplex is middleware that lets handlers answer before they have read the
// body, as middleware for streams does. net/http then leaves the body alone.
func fullDuplex(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			panic(err)
		}
		next.ServeHTTP(w, r)
	})
}

// recovering is middleware that answers for a handler that panics.
func recovering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// closing is middleware that closes the body when it is done, before the
// server does.
func closing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer r.Body.Close()
		next.ServeHTTP(w, r)
	})
}

// replacing is middleware that puts a reader in place of the body. The reader may
// end before the body does. Afterwards the read deadline passes, as ReadTimeout
// does while net/http waits for the body.
func replacing(replace func(body io.ReadCloser) io.Reader) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = io.NopCloser(replace(r.Body))
			next.ServeHTTP(w, r)
			_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
		})
	}
}

// headerFirst is middleware that has sent the header of the answer before the
// handler comes to it.
func headerFirst(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		next.ServeHTTP(bodyOnly{w}, r)
	})
}

// bodyOnly is a ResponseWriter whose header has been sent.
type bodyOnly struct{ http.ResponseWriter }

func (bodyOnly) WriteHeader(int)               {}
func (w bodyOnly) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// opaqueWriter hides the server's ResponseWriter: no deadline can be set.
type opaqueWriter struct{ http.ResponseWriter }

// deadlinesOnly hides all of it but for its deadlines.
type deadlinesOnly struct{ http.ResponseWriter }

func (w deadlinesOnly) SetReadDeadline(at time.Time) error {
	return http.NewResponseController(w.ResponseWriter).SetReadDeadline(at)
}

func wrapping(wrap func(http.ResponseWriter) http.ResponseWriter) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(wrap(w), r) })
	}
}

// TestRefusedBodyIsNoRequest is about request smuggling: the body of a refused
// request, which comes after the answer, must not be read as a request.
func TestRefusedBodyIsNoRequest(t *testing.T) {
	t.Parallel()
	type deny = func(http.ResponseWriter, *http.Request, error)
	type layer = func(http.Handler) http.Handler
	long, late := contentLength(len(smuggled)), contentLength(rejectLimit+len(smuggled))
	start := contentLength(10 + len(smuggled))
	answers := func(before func(http.ResponseWriter, *http.Request)) deny {
		return func(w http.ResponseWriter, r *http.Request, err error) {
			before(w, r)
			w.WriteHeader(diffhook.HTTPStatus(err))
			_, _ = io.WriteString(w, "refused")
			_ = http.NewResponseController(w).Flush()
		}
	}
	type attack struct {
		name  string
		conn  *rawConn
		admin *atomic.Bool // whether it came through
	}
	var all []attack
	for _, tc := range []struct {
		name    string
		request string // without the end of its body, which is smuggled
		deny    deny
		outer   layer
	}{
		{"no signature", post(long), nil, nil},
		{"no signature, the body begins", post(start) + "0123456789", nil, nil},
		{"malformed signature", post("X-Signature: sha256=zz", long), nil, nil},
		{"long Content-Length", post(forged, late), nil, nil},
		{"chunked", post("Transfer-Encoding: chunked"), nil, nil},
		{"chunked, the body begins", post("Transfer-Encoding: chunked") + "5\r\nhello\r\n24\r\n", nil, nil},
		{"chunked, over the limit", post(forged, "Transfer-Encoding: chunked") + "258\r\n" + string(make([]byte, 600)) + "\r\n", nil, nil},
		{"chunked, malformed", post(forged, "Transfer-Encoding: chunked") + "zz\r\n", nil, nil},
		{"held back until 100 Continue", post(long, "Expect: 100-continue"), nil, nil},
		{"long, held back until 100 Continue", post(forged, late, "Expect: 100-continue"), nil, nil},

		{"Deny that flushes", post(long), answers(func(http.ResponseWriter, *http.Request) {}), nil},
		{"Deny that takes time", post(long), answers(func(http.ResponseWriter, *http.Request) { pause(moment) }), nil},
		{"Deny that reads the body", post(long), answers(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.ReadAll(r.Body) }), nil},
		{"Deny that closes the body", post(long), answers(func(_ http.ResponseWriter, r *http.Request) { _ = r.Body.Close() }), nil},
		{"Deny that clears the header", post(long), answers(func(w http.ResponseWriter, _ *http.Request) { clear(w.Header()) }), nil},
		{"Deny that clears the header, chunked", post("Transfer-Encoding: chunked"), answers(func(w http.ResponseWriter, _ *http.Request) { clear(w.Header()) }), nil},
		{"Deny that keeps the connection, chunked", post("Transfer-Encoding: chunked"), answers(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "keep-alive") }), nil},
		{"Deny that does nothing", post(long), func(http.ResponseWriter, *http.Request, error) {}, nil},
		{"Deny that panics", post(long), func(http.ResponseWriter, *http.Request, error) { panic("in Deny") }, recovering},
		{"Deny that panics, chunked", post("Transfer-Encoding: chunked"), func(http.ResponseWriter, *http.Request, error) { panic("in Deny") }, recovering},

		{"wrapped body", post(long), nil, func(next http.Handler) http.Handler { return counted(new(atomic.Int64), next) }},
		{"limited body", post(long), nil, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
				next.ServeHTTP(w, r)
			})
		}},
		{"replaced body", post(forged, long), nil, replacing(func(io.ReadCloser) io.Reader { return strings.NewReader("hello") })},
		{"replaced body, chunked", post(forged, "Transfer-Encoding: chunked"), nil, replacing(func(io.ReadCloser) io.Reader { return strings.NewReader("hello") })},
		{"body replaced by none", post(forged, long), nil, replacing(func(io.ReadCloser) io.Reader { return http.NoBody })},
		{"body replaced by none, chunked", post(forged, "Transfer-Encoding: chunked"), nil, replacing(func(io.ReadCloser) io.Reader { return http.NoBody })},
		{"body cut short", post(forged, start) + "0123456789", nil, replacing(func(body io.ReadCloser) io.Reader { return io.LimitReader(body, 10) })},
		{"body closed afterwards", post(long), nil, closing},
		{"writer that hides deadlines", post(long), nil, wrapping(func(w http.ResponseWriter) http.ResponseWriter { return opaqueWriter{w} })},
		{"writer that shows deadlines only", post(long), answers(func(http.ResponseWriter, *http.Request) {}),
			wrapping(func(w http.ResponseWriter) http.ResponseWriter { return deadlinesOnly{w} })},
		{"answer begun before", post(long), nil, headerFirst},
		{"answer begun before, chunked", post("Transfer-Encoding: chunked"), nil, headerFirst},
	} {
		for duplex, outermost := range map[string]layer{
			"full duplex": fullDuplex,
			"half duplex": func(next http.Handler) http.Handler { return next },
		} {
			if duplex == "half duplex" && strings.HasPrefix(tc.name, "answer begun before") {
				continue // net/http waits for the body before it sends a header
			}
			for kind, mount := range map[string]func(*diffhook.Verifier) http.Handler{
				"Handler": func(v *diffhook.Verifier) http.Handler { return v.Handler(alive) },
				"EventHandler": func(v *diffhook.Verifier) http.Handler {
					return v.EventHandler(func(context.Context, *diffhook.Event) error { return nil })
				},
			} {
				v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{
					MaxBodyBytes: rejectLimit, Deny: tc.deny,
				})
				h := mount(v)
				if tc.outer != nil {
					h = tc.outer(h)
				}
				admin := new(atomic.Bool)
				mux := http.NewServeMux()
				mux.Handle("/hook", outermost(h))
				mux.HandleFunc("/admin", func(http.ResponseWriter, *http.Request) { admin.Store(true) })
				c := dial(t, serve(t, mux, nil))
				c.send(tc.request)
				all = append(all, attack{duplex + "/" + kind + "/" + tc.name, c, admin})
			}
		}
	}

	// Step by step for all at the same time.
	for _, a := range all {
		a.conn.answer()
		_, _ = io.WriteString(a.conn, smuggled[:11]) // by now, the connection may be closed
	}
	pause(2 * discard)
	for _, a := range all {
		_, _ = io.WriteString(a.conn, smuggled[11:]+delivery(t, "{}"))
	}
	for _, a := range all {
		t.Run(a.name, func(t *testing.T) {
			a.conn.tb = t
			a.conn.requireClosed(false)
			require.False(t, a.admin.Load(), "the body was taken for a request")
		})
	}
}

// discard is longer than the library looks for the body of a refused request.
const discard = 50 * time.Millisecond

// TestFullDuplexSmugglesByItself shows that the test above tests something: a
// handler that lets a read deadline pass lets the body be taken for a request.
func TestFullDuplexSmugglesByItself(t *testing.T) {
	t.Parallel()
	admin := make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("/hook", fullDuplex(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
	})))
	mux.HandleFunc("/admin", func(http.ResponseWriter, *http.Request) { close(admin) })
	c := dial(t, serve(t, mux, nil))
	c.send(post(contentLength(len(smuggled))))
	c.answer()
	c.send(smuggled)
	c.requireStatus(http.StatusOK)
	<-admin
}

// TestRefusedBodyThereKeepsConnection: a body that has arrived is discarded,
// also under full duplex, and requests behind it are served.
func TestRefusedBodyThereKeepsConnection(t *testing.T) {
	t.Parallel()
	quietly := func(w http.ResponseWriter, _ *http.Request, err error) { w.WriteHeader(diffhook.HTTPStatus(err)) }
	for name, deny := range map[string]func(http.ResponseWriter, *http.Request, error){"default": nil, "Deny": quietly, "Deny that takes time": denyPatiently} {
		for duplex, outer := range map[string]func(http.Handler) http.Handler{
			"full duplex": fullDuplex,
			"half duplex": func(next http.Handler) http.Handler { return next },
		} {
			t.Run(duplex+"/"+name, func(t *testing.T) {
				v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{Deny: deny})
				c := dial(t, serve(t, outer(v.Handler(alive)), nil))
				c.send(post(contentLength(len(smuggled))) + smuggled + delivery(t, "{}") + post(contentLength(2)) + "{}")
				c.requireStatus(http.StatusUnauthorized)
				resp, body := c.answer()
				require.Equal(t, http.StatusOK, resp.StatusCode)
				require.Equal(t, "alive", body)
				c.requireStatus(http.StatusUnauthorized)
				pause(2 * discard) // no deadline is left behind
				c.requireReusable()
			})
		}
	}
}

// TestRefusalWithoutDeadlines: if no deadline can be set, the answer comes at
// once all the same, and the connection ends with the body.
func TestRefusalWithoutDeadlines(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
	c := dial(t, serve(t, http.TimeoutHandler(v.Handler(alive), patience, "late"), nil))
	c.send(post(contentLength(len(smuggled))))
	c.requireStatus(http.StatusUnauthorized)
	c.send(smuggled)
	c.requireClosed(false)
}

// TestPanicAfterCutoffCloses: when a body is cut off, the deadline has passed,
// and middleware that answers for a reader that panics must not keep the
// connection.
func TestPanicAfterCutoffCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
		w := &deadlineRecorder{header: http.Header{}}
		r := httptest.NewRequest(http.MethodPost, target, readerFunc(func([]byte) (int, error) {
			pause(diffhook.DeliveryTimeout + time.Second)
			panic(errors.New("broken reader"))
		}))
		r.Header.Set(diffhook.SignatureHeader, forgedSignature)
		recovering(v.Handler(alive)).ServeHTTP(w, r)
		assert.Equal(t, 1, w.deadlines)
		assert.Equal(t, "close", w.header.Get("Connection"))
	})
}
