package diffhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// smuggled is a body that is also a request. A proxy may forbid /admin, and pass this
// on as a body.
const smuggled = "GET /admin HTTP/1.1\r\nHost: test\r\n\r\n"

// fullDuplex is middleware that lets handlers answer before reading the body, as for
// streams. net/http then does not touch the body.
func fullDuplex(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			panic(err)
		}
		next.ServeHTTP(w, r)
	})
}

// recovering is middleware for a panic of the handler: it answers.
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

// closing is middleware that closes the body after next, before the server does.
func closing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer r.Body.Close()
		next.ServeHTTP(w, r)
	})
}

// replacing is middleware that replaces the body by a reader. The reader may end before
// the body. Afterwards the read deadline passes, as if ReadTimeout ended while net/http
// waits for the body.
func replacing(replace func(body io.ReadCloser) io.Reader) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = io.NopCloser(replace(r.Body))
			next.ServeHTTP(w, r)
			_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
		})
	}
}

// headerFirst is middleware that sends the header of the answer before next.
func headerFirst(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		next.ServeHTTP(bodyOnly{w}, r)
	})
}

// bodyOnly is a ResponseWriter whose header is sent.
type bodyOnly struct{ http.ResponseWriter }

func (bodyOnly) WriteHeader(int)               {}
func (w bodyOnly) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// opaqueWriter hides the server's ResponseWriter: no deadline can be set.
type opaqueWriter struct{ http.ResponseWriter }

// deadlinesOnly hides the server's ResponseWriter except for deadlines.
type deadlinesOnly struct{ http.ResponseWriter }

func (w deadlinesOnly) SetReadDeadline(at time.Time) error {
	return http.NewResponseController(w.ResponseWriter).SetReadDeadline(at)
}

func wrapping(wrap func(http.ResponseWriter) http.ResponseWriter) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(wrap(w), r) })
	}
}

// TestRejectedBodyIsNoRequest: the body of a rejected request arrives after the answer,
// and must not be read as a request (request smuggling).
func TestRejectedBodyIsNoRequest(t *testing.T) {
	t.Parallel()
	type deny = func(http.ResponseWriter, *http.Request, error)
	type layer = func(http.Handler) http.Handler
	long, late := contentLength(len(smuggled)), contentLength(rejectLimit+len(smuggled))
	start := contentLength(10 + len(smuggled))
	answers := func(before func(http.ResponseWriter, *http.Request)) deny {
		return func(w http.ResponseWriter, r *http.Request, err error) {
			before(w, r)
			w.WriteHeader(diffhook.HTTPStatus(err))
			_, _ = io.WriteString(w, "denied")
			_ = http.NewResponseController(w).Flush()
		}
	}
	type attack struct {
		name  string
		conn  *rawConn
		admin *atomic.Bool // whether /admin was called
	}
	var all []attack
	for _, tc := range []struct {
		name    string
		request string // up to the end of the body, which is smuggled
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
				continue // net/http waits for the body before the header
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

	// Each step runs for all attacks at the same time.
	for _, a := range all {
		a.conn.answer()
		_, _ = io.WriteString(a.conn, smuggled[:11]) // the connection may be closed already
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

// discard is longer than the library waits for the body of a rejected request.
const discard = 50 * time.Millisecond

// TestFullDuplexSmugglesByItself shows that the test above can fail: after a passed
// read deadline, net/http reads the body as a request.
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

// TestRejectedBodyThereKeepsConnection: an arrived body is discarded, also under full
// duplex, and later requests are served.
func TestRejectedBodyThereKeepsConnection(t *testing.T) {
	t.Parallel()
	quietly := func(w http.ResponseWriter, _ *http.Request, err error) { w.WriteHeader(diffhook.HTTPStatus(err)) }
	for name, deny := range map[string]func(http.ResponseWriter, *http.Request, error){"default": nil, "Deny": quietly, "Deny that takes time": denyPatiently} {
		for duplex, outer := range map[string]func(http.Handler) http.Handler{
			"full duplex": fullDuplex,
			"half duplex": func(next http.Handler) http.Handler { return next },
		} {
			t.Run(duplex+"/"+name, func(t *testing.T) {
				t.Parallel()
				v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{Deny: deny})
				c := dial(t, serve(t, outer(v.Handler(alive)), nil))
				c.send(post(contentLength(len(smuggled))) + smuggled + delivery(t, "{}") + post(contentLength(2)) + "{}")
				c.requireStatus(http.StatusUnauthorized)
				resp, body := c.answer()
				require.Equal(t, http.StatusOK, resp.StatusCode)
				require.Equal(t, "alive", body)
				c.requireStatus(http.StatusUnauthorized)
				pause(2 * discard) // no deadline may be left
				c.requireReusable()
			})
		}
	}
}

// TestRejectionWithoutDeadlines: if no deadline can be set, the answer still comes at
// once, and the connection closes after the body.
func TestRejectionWithoutDeadlines(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
	c := dial(t, serve(t, http.TimeoutHandler(v.Handler(alive), patience, "late"), nil))
	c.send(post(contentLength(len(smuggled))))
	c.requireStatus(http.StatusUnauthorized)
	c.send(smuggled)
	c.requireClosed(false)
}

// TestPanicAfterCutoffCloses: the deadline has passed once a body is cut off.
// Middleware that answers after a panic of a reader must not keep the connection.
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

// rejectLimit is MaxBodyBytes in these tests.
const rejectLimit = 512

// Lengths of bodies: net/http by itself waits for waitedFor bytes to keep the
// connection, and does not wait for givenUp bytes.
const (
	waitedFor = 100 << 10
	givenUp   = 1 << 20
)

// early are the rejections without a byte of the body.
var early = []struct {
	name, signature string // a header line, or empty
	status          int
	byLength        bool // whether the Content-Length is the reason
}{
	{"no signature", "X-Unrelated: 1", http.StatusUnauthorized, false},
	{"malformed signature", diffhook.SignatureHeader + ": sha256=zz", http.StatusUnauthorized, false},
	{"long Content-Length", forged, http.StatusRequestEntityTooLarge, true},
}

// fate is the end of a connection after a rejection.
type fate int

const (
	reused  fate = iota
	closed       // in order, after all bytes were read
	cut          // in order or by a reset
	whoever      // closed, or reused if the next delivery is served
)

func (c *rawConn) requireFate(want fate, resp *http.Response) {
	c.tb.Helper()
	if want == whoever {
		want = reused
		if resp.Close {
			want = cut
		}
	}
	if want == reused {
		c.requireReusable()
		return
	}
	c.requireClosed(want == closed)
}

// TestRejectionReadsNoBody: attackers announce bodies to hold connections and memory.
// The answer must not wait for the body, the connection must not outlive the answer,
// and no byte may be read.
func TestRejectionReadsNoBody(t *testing.T) {
	t.Parallel()
	servers := t // servers close at the end, since net/http lingers for half a second
	forms := []struct {
		name  string
		lines []string
		body  string
		fate  fate
	}{
		{"announced, never sent", []string{contentLength(waitedFor)}, "", closed},
		{"announced, stalled", []string{contentLength(waitedFor)}, "{", closed},
		{"long, never sent", []string{contentLength(givenUp)}, "", closed},
		{"chunked, never sent", []string{"Transfer-Encoding: chunked"}, "", closed},
		{"chunked, stalled", []string{"Transfer-Encoding: chunked"}, "5\r\nhello\r\n", closed},
		{"chunked, stalled in a chunk", []string{"Transfer-Encoding: chunked"}, "ffff\r\nhello", closed},
		{"held back until 100 Continue", []string{contentLength(waitedFor), "Expect: 100-continue"}, "", closed},
		{"chunked, held back until 100 Continue", []string{"Transfer-Encoding: chunked", "Expect: 100-continue"}, "", closed},
		{"to be closed, never sent", []string{contentLength(waitedFor), "Connection: close"}, "", closed},
		{"to be closed, chunked, stalled", []string{"Transfer-Encoding: chunked", "Connection: close"}, "5\r\nhello\r\n", closed},
		{"there", []string{contentLength(1000)}, strings.Repeat("x", 1000), reused},
		{"there, chunked", []string{"Transfer-Encoding: chunked"}, "5\r\nhello\r\n0\r\n\r\n", whoever},
		{"there, chunked and empty", []string{"Transfer-Encoding: chunked"}, "0\r\n\r\n", whoever},
		{"there, more than anybody reads", []string{contentLength(300 << 10)}, strings.Repeat("x", 300<<10), cut},
		{"none", nil, "", reused},
	}
	for _, why := range early {
		for _, form := range forms {
			if why.byLength && !strings.Contains(fmt.Sprint(form.lines), "Content-Length") {
				continue
			}
			t.Run(why.name+"/"+form.name, func(t *testing.T) {
				t.Parallel()
				v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{MaxBodyBytes: rejectLimit})
				c := dial(t, serve(servers, v.Handler(alive), nil))

				c.send(post(append([]string{why.signature}, form.lines...)...) + form.body)

				resp, _ := c.answer()
				require.Equal(t, why.status, resp.StatusCode)
				if form.fate != whoever {
					require.Equal(t, form.fate != reused, resp.Close, "the Connection header of the answer")
				}
				c.requireFate(form.fate, resp)
				if form.fate == cut {
					return
				}

				var read atomic.Int64
				c = dial(t, serve(servers, counted(&read, v.Handler(alive)), nil))
				c.send(post(append([]string{why.signature}, form.lines...)...) + form.body)
				resp, _ = c.answer()
				require.Equal(t, why.status, resp.StatusCode)
				require.Zero(t, read.Load(), "bytes of the body were read")
				c.requireFate(whoever, resp)
			})
		}
	}
}

// TestPlainServerHoldsAnswersBack shows that the test above can fail: by itself,
// net/http waits for the unread body.
func TestPlainServerHoldsAnswersBack(t *testing.T) {
	t.Parallel()
	handled := make(chan struct{})
	c := dial(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		close(handled)
	}), nil))

	c.send(post(contentLength(waitedFor)))

	<-handled
	require.NoError(t, c.SetReadDeadline(time.Now().Add(moment)))
	_, err := c.r.Peek(1)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
	c.send(strings.Repeat("x", waitedFor))
	c.requireStatus(http.StatusUnauthorized)
}

// TestRejectionKeepsConnectionWithBodyThere: a sender with a wrong header, or a proxy,
// may keep its connections. An arrived body, in any number of segments, is discarded
// and the connection kept.
func TestRejectionKeepsConnectionWithBodyThere(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
			handler := v.Handler(alive)
			entered, there := make(chan struct{}, 2), make(chan struct{})
			c := dial(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				entered <- struct{}{}
				<-there
				handler.ServeHTTP(w, r)
			}), nil))

			c.send(post(contentLength(size)))
			<-entered // the head is read, without the body
			c.send(strings.Repeat("x", size))
			close(there)

			c.requireStatus(http.StatusUnauthorized)
			c.requireReusable()
		})
	}
}

// TestRejectionLeavesContextsAlone: a rejection must not end the contexts of other
// requests. While a handler runs after the body was read, net/http watches the
// connection. A deadline that passes then counts as a lost connection, and cancels the
// context of this request and every later request. Proxies send the deliveries of many
// senders over the same connection.
func TestRejectionLeavesContextsAlone(t *testing.T) {
	t.Parallel()
	servers := t // servers close at the end, since net/http lingers for half a second
	plain := func(next http.Handler) http.Handler { return next }
	restored := func(next http.Handler) http.Handler { return consumed(true, next) }
	swallowed := func(next http.Handler) http.Handler { return consumed(false, next) }
	swallowedAndClosed := func(next http.Handler) http.Handler {
		return consumed(false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = r.Body.Close()
			next.ServeHTTP(w, r)
		}))
	}
	overLimit := strings.Repeat("x", rejectLimit+1)
	for _, tc := range []struct {
		name    string
		outer   func(http.Handler) http.Handler
		request string
		status  int
		fate    fate
	}{
		{"no body", plain, post(), http.StatusUnauthorized, reused},
		{"empty body", plain, post("X-Signature: sha256=", contentLength(0)), http.StatusUnauthorized, reused},
		{"empty chunked body", plain, post(forged, "Transfer-Encoding: chunked") + "0\r\n\r\n", http.StatusUnauthorized, reused},
		{"forgery", plain, post(forged, contentLength(5)) + "hello", http.StatusUnauthorized, reused},
		{"body read before and put back", restored, post(contentLength(5)) + "hello", http.StatusUnauthorized, whoever},
		{"body read before, put back and too long", restored, post(forged, contentLength(rejectLimit+1)) + overLimit, http.StatusRequestEntityTooLarge, whoever},
		{"body read before and put back, work afterwards", func(next http.Handler) http.Handler { return worksAfter(restored(next)) }, post(contentLength(5)) + "hello", http.StatusUnauthorized, whoever},
		{"body read before, no signature", swallowed, post(contentLength(5)) + "hello", http.StatusUnauthorized, whoever},
		{"chunked body read before, no signature", swallowed, post("Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n", http.StatusUnauthorized, whoever},
		{"body read and closed before, no signature", swallowedAndClosed, post(contentLength(5)) + "hello", http.StatusUnauthorized, whoever},
		{"body read and closed before", swallowedAndClosed, post(signed(t, "hello"), contentLength(5)) + "hello", http.StatusInternalServerError, whoever},
		{"body read before", swallowed, post(signed(t, "hello"), contentLength(5)) + "hello", http.StatusInternalServerError, whoever},
		{"chunked body a byte over the limit", plain, post(forged, "Transfer-Encoding: chunked") +
			fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(overLimit), overLimit), http.StatusRequestEntityTooLarge, whoever},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{
				MaxBodyBytes: rejectLimit,
				Deny:         denyPatiently,
			})
			handler := v.Handler(alive)
			outer := tc.outer(handler)
			first := true // requests on a connection are sequential
			c := dial(t, serve(servers, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if first {
					first = false
					outer.ServeHTTP(w, r)
					return
				}
				handler.ServeHTTP(w, r)
			}), nil))

			c.send(tc.request)

			resp, said := c.answer()
			require.Equal(t, tc.status, resp.StatusCode)
			c.requireFate(tc.fate, resp)
			require.Equal(t, "in time", said, "the context in Deny")
		})
	}
}

// worksAfter is middleware with work after the answer, as for keeping records.
func worksAfter(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		pause(moment)
	})
}

// TestDenyThatFlushes: a long or flushed answer leaves before Deny returns, and must
// not wait for the body either. Middleware that wraps bodies, as for telemetry, makes
// no difference.
func TestDenyThatFlushes(t *testing.T) {
	t.Parallel()
	servers := t // servers close at the end, since net/http lingers for half a second
	long := strings.Repeat("denied ", 1000)
	for _, wrapped := range []bool{false, true} {
		for _, tc := range []struct {
			name, request string
			fate          fate
		}{
			{"never sent", post(contentLength(waitedFor)), closed},
			{"chunked, never sent", post("Transfer-Encoding: chunked"), closed},
			{"there", post(contentLength(5)) + "hello", whoever},
			{"there, chunked", post("Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n", whoever},
			{"none", post(), reused},
		} {
			t.Run(fmt.Sprintf("%s, wrapped %t", tc.name, wrapped), func(t *testing.T) {
				t.Parallel()
				v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{
					Deny: func(w http.ResponseWriter, _ *http.Request, err error) {
						w.WriteHeader(diffhook.HTTPStatus(err))
						_, _ = io.WriteString(w, long)
						_ = http.NewResponseController(w).Flush()
					},
				})
				h := worksAfter(v.Handler(alive))
				if wrapped {
					h = counted(new(atomic.Int64), h)
				}
				c := dial(t, serve(servers, h, nil))
				c.send(tc.request)
				resp, said := c.answer()
				require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
				require.Equal(t, long, said)
				c.requireFate(tc.fate, resp)
			})
		}
	}
}

// TestForgeryKeepsConnection: after a body was read, there is nothing to wait for,
// whatever the verdict.
func TestForgeryKeepsConnection(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300<<10)
	for _, tc := range []struct{ name, request string }{
		{"small", post(forged, contentLength(5)) + "hello"},
		{"long", post(forged, contentLength(len(long))) + long},
		{"chunked", post(forged, "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n"},
		{"with 100 Continue", post(forged, contentLength(5), "Expect: 100-continue")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
			c := dial(t, serve(t, v.Handler(alive), nil))
			c.send(tc.request)
			if strings.Contains(tc.request, "Expect") {
				c.requireStatus(http.StatusContinue)
				c.send("hello")
			}
			c.requireStatus(http.StatusUnauthorized)
			c.requireReusable()
		})
	}
}

// TestRejectionHTTP2 withholds the body on a stream: the answer still comes, and the
// connection serves other streams.
func TestRejectionHTTP2(t *testing.T) {
	t.Parallel()
	for _, why := range early {
		for _, form := range []struct {
			name   string
			begin  string
			length int64 // -1: not announced
		}{
			{"not announced, never sent", "", -1},
			{"announced, never sent", "", waitedFor},
			{"announced, stalled", "hello", waitedFor},
		} {
			if why.byLength && form.length < 0 {
				continue
			}
			t.Run(why.name+"/"+form.name, func(t *testing.T) {
				t.Parallel()
				v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{MaxBodyBytes: rejectLimit})
				var read atomic.Int64
				srv := serve(t, counted(&read, v.Handler(alive)), withHTTP2)
				withheld, sender := io.Pipe()
				defer sender.Close()
				go func() { _, _ = io.WriteString(sender, form.begin) }()

				name, value, _ := strings.Cut(why.signature, ": ")
				status, first := postHTTP2(t, srv, name, value, withheld, form.length)

				require.Equal(t, why.status, status)
				require.Zero(t, read.Load(), "bytes of the body were read")
				name, value, _ = strings.Cut(signed(t, "{}"), ": ")
				status, second := postHTTP2(t, srv, name, value, strings.NewReader("{}"), 2)
				require.Equal(t, http.StatusOK, status)
				require.Equal(t, first, second, "the connection was not used again")
			})
		}
	}
}

// postHTTP2 returns the status of the answer and the client's address of the
// connection.
func postHTTP2(t *testing.T, srv *httptest.Server, name, value string, body io.Reader, length int64) (status int, conn string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { conn = info.Conn.LocalAddr().String() },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL, body)
	require.NoError(t, err)
	req.ContentLength = length
	req.Header.Set(name, value)
	resp, err := srv.Client().Do(req)
	require.NoError(t, err, "no answer came in time")
	defer resp.Body.Close()
	require.Equal(t, 2, resp.ProtoMajor)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, conn
}
