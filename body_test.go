package diffhook_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// slowGroup is a set of cases with the same end and the same response.
type slowGroup struct {
	name  string
	cases []slowCase
	after time.Duration
	want  string
	cut   bool // whether the server closes the connection
}

// slowGroups are senders that send slowly or not at all, and handlers at work for
// longer than DeliveryTimeout.
func slowGroups(t *testing.T) []slowGroup {
	const (
		chunked = "Transfer-Encoding: chunked"
		timeout = "408 Request Timeout"
	)
	hello, empty, five := signed(t, "hello"), signed(t, ""), contentLength(5)
	long := strings.Repeat("x", 300<<10)
	restored := func(next http.Handler) http.Handler { return consumed(true, next) }
	serverTimeout := func(d time.Duration) func(*httptest.Server) {
		return func(srv *httptest.Server) { srv.Config.ReadTimeout = d } // counted from the accept
	}
	return []slowGroup{
		{"cut off by a shorter timeout of the server", []slowCase{
			{name: "stalled", start: http1(post(hello, five)+"hell", ""), configure: serverTimeout(time.Second)},
			{name: "chunked, dripping", start: http1(post(hello, chunked), "1\r\nx\r\n"), configure: serverTimeout(time.Second)},
			{name: "HTTP/2, stalled", start: http2(hello, "", "", false), configure: func(srv *httptest.Server) {
				serverTimeout(time.Second)(srv)
				withHTTP2(srv)
			}},
		}, time.Second, timeout, true},
		{"cut off", []slowCase{
			{name: "stalled before the first byte", start: http1(post(hello, five), "")},
			{name: "stalled", start: http1(post(hello, five)+"hell", "")},
			{name: "stalled, 8 MiB promised", start: http1(post(hello, contentLength(8<<20))+long, "")},
			{name: "chunked, stalled before the first byte", start: http1(post(hello, chunked), "")},
			{name: "chunked, stalled", start: http1(post(hello, chunked)+"5\r\nhello\r\n", "")},
			{name: "chunked, stalled before the end", start: http1(post(hello, chunked)+"5\r\nhello\r\n0\r\n", "")},
			{name: "a byte a second", start: http1(post(hello, contentLength(100)), "x")},
			{name: "chunked, a byte a second", start: http1(post(hello, chunked), "1\r\nx\r\n")},
			{name: "stalled after 100 Continue", start: http1(post(hello, five, "Expect: 100-continue"), "")},
			{name: "longer timeout of the server", start: http1(post(hello, five), ""), configure: serverTimeout(time.Hour)},
			endsAtCutoff(hello),
			{name: "HTTP/2, stalled before the first byte", start: http2(hello, "", "", false), configure: withHTTP2},
			{name: "HTTP/2, stalled", start: http2(hello, "hello", "", false), configure: withHTTP2},
			{name: "HTTP/2, a byte a second", start: http2(hello, "", "x", false), configure: withHTTP2},
		}, diffhook.DeliveryTimeout, timeout, true},
		{"handled", []slowCase{
			{name: "body", start: http1(delivery(t, "hello"), "")},
			{name: "long body", start: http1(delivery(t, long), "")},
			{name: "chunked body", start: http1(post(hello, chunked)+"5\r\nhello\r\n0\r\n\r\n", "")},
			{name: "no body", start: http1(post(empty), "")},
			{name: "empty body", start: http1(delivery(t, ""), "")},
			{name: "empty chunked body", start: http1(post(empty, chunked)+"0\r\n\r\n", "")},
			{name: "body of five seconds", start: http1(post(signed(t, strings.Repeat("y", 5)), five), "y")},
			{name: "body read before and put back", start: http1(delivery(t, "hello"), ""), outer: restored},
			{name: "chunked body read before and put back", start: http1(post(hello, chunked)+"5\r\nhello\r\n0\r\n\r\n", ""), outer: restored},
			{name: "empty body read before and put back", start: http1(delivery(t, ""), ""), outer: restored},
			{name: "HTTP/2, body", start: http2(hello, "hello", "", true), configure: withHTTP2},
			{name: "HTTP/2, empty body", start: http2(empty, "", "", true), configure: withHTTP2},
		}, slowWork, "200 alive", false},
	}
}

// slowWork is the time from the request until the handler of a slow case ends.
const slowWork = diffhook.DeliveryTimeout + time.Second

// check requires that tc ends as g says, and returns the time until the response. The
// handler works until the same time, however late the body was complete.
func (g slowGroup) check(t *testing.T, tc slowCase, configure func(*httptest.Server)) time.Duration {
	v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
	worked := make(chan struct{})
	h := v.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done(): // the cutoff of slow senders must not end the context
		case <-worked:
		}
		alive(w, r)
	}))
	if tc.outer != nil {
		h = tc.outer(h)
	}
	srv := serve(t, h, func(srv *httptest.Server) {
		configure(srv)
		if tc.configure != nil {
			tc.configure(srv)
		}
	})
	done, conn := tc.start(t, srv)
	time.AfterFunc(slowWork, func() { close(worked) })
	got := <-done
	require.NoError(t, got.err)
	require.Equal(t, g.want, fmt.Sprint(got.status, " ", strings.TrimSpace(got.body)))
	if g.cut && conn != nil {
		if err := conn.SetDeadline(time.Now().Add(patience)); !errors.Is(err, io.ErrClosedPipe) { // closed already
			require.NoError(t, err)
		}
		conn.requireClosed(false)
	}
	return got.after
}

// TestSlowBodies: a slow sender is cut off after DeliveryTimeout, and the context of a
// slow handler does not end.
func TestSlowBodies(t *testing.T) {
	for _, g := range slowGroups(t) {
		for _, tc := range g.cases {
			t.Run(g.name+"/"+tc.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					require.Equal(t, g.after, g.check(t, tc, withoutSockets))
				})
			})
		}
	}
}

// TestSlowBodiesOverSockets: the same in real time, all cases at once. The sample holds
// the cases of one second.
func TestSlowBodiesOverSockets(t *testing.T) {
	groups := slowGroups(t)
	for _, g := range groups[:sampled(1, len(groups))] {
		for _, tc := range g.cases {
			t.Run(g.name+"/"+tc.name, func(t *testing.T) {
				t.Parallel()
				require.GreaterOrEqual(t, g.check(t, tc, func(*httptest.Server) {}), g.after/2)
			})
		}
	}
}

// endsAtCutoff is a body whose last byte arrives between the decision to cut it off and
// the deadline. The deadline then passes on a connection that net/http watches for the
// handler.
func endsAtCutoff(signature string) slowCase {
	last := sync.OnceValue(func() chan struct{} { return make(chan struct{}) }) // made in the bubble of the test
	return slowCase{
		name: "ends at the very moment",
		start: func(t *testing.T, srv *httptest.Server) (<-chan timed, *rawConn) {
			done, c := http1(post(signature, contentLength(5))+"hell", "")(t, srv)
			go func() {
				select {
				case <-last():
					_, _ = io.WriteString(c, "o")
				case <-t.Context().Done():
				}
			}()
			return done, c
		},
		outer: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ended := make(chan struct{})
				r = r.WithContext(r.Context())
				r.Body = &arriving{ReadCloser: r.Body, left: 5, done: func() { close(ended) }}
				next.ServeHTTP(&lateDeadline{ResponseWriter: w, before: sync.OnceFunc(func() {
					close(last())
					<-ended
				})}, r)
			})
		},
	}
}

// lateDeadline is a ResponseWriter that calls a function before it sets a deadline.
type lateDeadline struct {
	http.ResponseWriter
	before func()
}

func (w *lateDeadline) SetReadDeadline(at time.Time) error {
	w.before()
	return http.NewResponseController(w.ResponseWriter).SetReadDeadline(at)
}

// deadlineWriter is a ResponseWriter that supports and counts read deadlines: the body
// ends when a deadline passes.
type deadlineWriter struct {
	*httptest.ResponseRecorder
	body *io.PipeReader
	set  int
}

func (w *deadlineWriter) SetReadDeadline(at time.Time) error {
	w.set++
	if at.Before(time.Now()) {
		return w.body.CloseWithError(os.ErrDeadlineExceeded)
	}
	return nil
}

// TestCutoffTime checks the exact moment, and no deadline after a body in time:
// net/http would end the context of the handler.
func TestCutoffTime(t *testing.T) {
	for _, tc := range []struct {
		name   string
		ends   time.Duration // when the body ends; 0: never
		status int
		after  time.Duration
		set    bool
	}{
		{"in time", time.Second, http.StatusOK, time.Second + time.Minute, false},
		{"at the last moment", diffhook.DeliveryTimeout - 1, http.StatusOK, diffhook.DeliveryTimeout - 1 + time.Minute, false},
		{"too late", diffhook.DeliveryTimeout + 1, http.StatusRequestTimeout, diffhook.DeliveryTimeout, true},
		{"never", 0, http.StatusRequestTimeout, diffhook.DeliveryTimeout, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body, sender := io.Pipe()
				defer sender.Close()
				if tc.ends > 0 {
					time.AfterFunc(tc.ends, func() { _ = sender.Close() })
				}
				v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
				w := &deadlineWriter{ResponseRecorder: httptest.NewRecorder(), body: body}
				r := httptest.NewRequest(http.MethodPost, target, body)
				r.Header.Set(diffhook.SignatureHeader, mustSecret(t, currentText).Sign(nil))
				start := time.Now()
				v.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { pause(time.Minute) })).ServeHTTP(w, r)
				require.Equal(t, tc.after, time.Since(start))
				require.Equal(t, tc.status, w.Code)
				require.Equal(t, tc.set, w.set > 0, "whether deadlines were set")
				pause(time.Minute)
				synctest.Wait()
			})
		})
	}
}

// TestTimeoutHandler: the ResponseWriter supports no deadlines. The shorter time
// answers, and the server's ReadTimeout bounds a stalled body.
func TestTimeoutHandler(t *testing.T) {
	for _, tc := range []struct {
		name, request string
		err           error
	}{
		{"slow handler", delivery(t, "hello"), nil},
		{"stalled body", post(signed(t, "hello"), contentLength(5)) + "hell", diffhook.ErrBodyTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan error, 1)
			v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{
				Deny: func(_ http.ResponseWriter, _ *http.Request, err error) { ended <- err },
			})
			h := v.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
				ended <- nil
			}))
			c := dial(t, serve(t, http.TimeoutHandler(h, moment, "late"), func(srv *httptest.Server) { srv.Config.ReadTimeout = time.Second }))
			c.send(tc.request)
			resp, body := c.answer()
			require.Equal(t, "503 late", fmt.Sprint(resp.StatusCode, " ", body))
			require.ErrorIs(t, <-ended, tc.err)
		})
	}
}

// TestBodyBreaksOff: the sender closes the connection in the middle of the body.
func TestBodyBreaksOff(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, request string }{
		{"Content-Length", post(signed(t, "hello"), contentLength(5)) + "hell"},
		{"chunked", post(signed(t, "hello"), "Transfer-Encoding: chunked") + "5\r\nhello\r\n"},
		{"in a chunk", post(signed(t, "hello"), "Transfer-Encoding: chunked") + "6\r\nhello"},
	} {
		verdicts := make(chan diffhook.Observation, 1)
		v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{
			Observe: func(_ context.Context, o diffhook.Observation) { verdicts <- o },
		})
		srv := serve(t, v.Handler(alive), nil)
		t.Run(tc.name+"/half closed", func(t *testing.T) {
			c := dial(t, srv)
			c.send(tc.request)
			require.NoError(t, c.Conn.(*net.TCPConn).CloseWrite())
			require.ErrorIs(t, (<-verdicts).Err, diffhook.ErrBodyRead)
			c.requireStatus(http.StatusBadRequest)
			c.requireClosed(true)
		})
		t.Run(tc.name+"/closed", func(t *testing.T) {
			c := dial(t, srv)
			c.send(tc.request)
			require.NoError(t, c.Close())
			require.ErrorIs(t, (<-verdicts).Err, diffhook.ErrBodyRead)
		})
	}
}

// TestBodyEndsInRubbish: after such a body, the next bytes must not be read as a
// request: a proxy may have read them as part of the body (request smuggling,
// golang.org/issue/12027).
func TestBodyEndsInRubbish(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, end string }{
		{"trailer", "0\r\nno trailer\r\n\r\n"},
		{"long trailer", "0\r\nX-Long: " + strings.Repeat("x", 8<<10) + "\r\n\r\n"},
		{"chunk size", "zz\r\n\r\n"},
		{"no end of the chunk", "0123456789"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
			c := dial(t, serve(t, v.Handler(alive), nil))
			c.send(post(signed(t, "hello"), "Transfer-Encoding: chunked") + "5\r\nhello\r\n" + tc.end + delivery(t, "{}"))
			resp, _ := c.answer()
			require.Equal(t, http.StatusBadRequest, resp.StatusCode)
			c.requireClosed(false)
		})
	}
}

// TestBodyWithoutEnd: a body over the limit is rejected at the limit, before the sender
// stops.
func TestBodyWithoutEnd(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{MaxBodyBytes: rejectLimit})
	c := dial(t, serve(t, v.Handler(alive), nil))
	c.send(post(forged, "Transfer-Encoding: chunked") + "258\r\n" + strings.Repeat("x", 600) + "\r\n")
	c.requireStatus(http.StatusRequestEntityTooLarge)
	c.requireClosed(false)
}

// closes counts calls of Close.
type closes struct {
	io.Reader
	n *int
}

func (c closes) Close() error { *c.n++; return errClosed }

var errClosed = errors.New("closed")

// TestVerifyRequestBody checks the limit and bodies that other code changed before. A
// later reader of the body gets the same bytes and errors as without a verifier.
func TestVerifyRequestBody(t *testing.T) {
	const limit, text = 64, "0123456789"
	most := strings.Repeat("x", limit)
	type reader = io.Reader
	whole := func(s string) func() reader { return func() reader { return strings.NewReader(s) } }
	oneByOne := func(s string) func() reader {
		return func() reader { return iotest.OneByteReader(strings.NewReader(s)) }
	}
	within := func(n int64) func() reader {
		return func() reader { return http.MaxBytesReader(nil, io.NopCloser(strings.NewReader(text)), n) }
	}
	breaks := func(err error) func() reader {
		return func() reader { return io.MultiReader(strings.NewReader("012"), iotest.ErrReader(err)) }
	}
	none := func() reader { return http.NoBody }
	for _, tc := range []struct {
		name   string
		body   func() io.Reader // nil: a nil Body
		length int64
		sign   string
		err    error
	}{
		{"plain", whole(text), 10, text, nil},
		{"length unknown", whole(text), -1, text, nil},
		{"length zero, as of a request made by hand", whole(text), 0, text, nil},
		{"byte by byte", oneByOne(text), 10, text, nil},
		{"end comes with the last bytes", func() reader { return iotest.DataErrReader(strings.NewReader(text)) }, -1, text, nil},
		{"longer than Content-Length", whole(text), 3, text, nil},
		{"longer than Content-Length, signed up to there", whole(text), 3, text[:3], diffhook.ErrSignatureMismatch},
		{"empty", whole(""), 0, "", nil},
		{"empty, length unknown", whole(""), -1, "", nil},
		{"none", none, 0, "", nil},
		{"nil", nil, 0, "", nil},
		{"at the limit", whole(most), limit, most, nil},
		{"at the limit, length unknown", whole(most), -1, most, nil},
		{"at the limit, byte by byte", oneByOne(most), -1, most, nil},
		{"over the limit", whole(most + "x"), limit + 1, most + "x", diffhook.ErrBodyTooLarge},
		{"over the limit, length unknown", whole(most + "x"), -1, most + "x", diffhook.ErrBodyTooLarge},
		{"over the limit, byte by byte", oneByOne(most + "x"), -1, most + "x", diffhook.ErrBodyTooLarge},
		{"over the limit, length a lie", whole(most + "x"), 3, most + "x", diffhook.ErrBodyTooLarge},
		{"far over the limit, signed up to there", whole(strings.Repeat(most, 9)), -1, most, diffhook.ErrBodyTooLarge},
		{"over a limit set before", within(9), 10, text, diffhook.ErrBodyTooLarge},
		{"over a limit set before, signed up to there", within(9), -1, text[:9], diffhook.ErrBodyTooLarge},
		{"at a limit set before", within(10), 10, text, nil},
		{"read before", whole(""), 10, text, diffhook.ErrBodyConsumed},
		{"read in part before", whole(text[4:]), 10, text, diffhook.ErrBodyConsumed},
		{"replaced by a shorter body, signed", whole(text[:5]), 10, text[:5], diffhook.ErrBodyConsumed},
		{"taken away", none, 10, text, diffhook.ErrBodyConsumed},
		{"nil, with a length", nil, 10, text, diffhook.ErrBodyConsumed},
		{"closed before", func() reader { return iotest.ErrReader(http.ErrBodyReadAfterClose) }, 10, text, diffhook.ErrBodyConsumed},
		{"broken off", breaks(io.ErrUnexpectedEOF), 10, text, diffhook.ErrBodyRead},
		{"broken off after the signed bytes", breaks(io.ErrUnexpectedEOF), -1, "012", diffhook.ErrBodyRead},
		{"not to be decoded", breaks(errors.New("gzip: invalid header")), -1, "012", diffhook.ErrBodyRead},
		{"too slow", breaks(fmt.Errorf("read: %w", os.ErrDeadlineExceeded)), 10, text, diffhook.ErrBodyTimeout},
		{"forged", whole(text), 10, "another", diffhook.ErrSignatureMismatch},
		{"unsigned", whole(text), 10, "-", diffhook.ErrNoSignature},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{MaxBodyBytes: limit})
			closed := 0
			request := func() *http.Request {
				r := httptest.NewRequest(http.MethodPost, target, nil)
				r.ContentLength = tc.length
				if tc.sign != "-" {
					r.Header.Set(diffhook.SignatureHeader, mustSecret(t, currentText).Sign([]byte(tc.sign)))
				}
				r.Body = nil
				if tc.body != nil {
					r.Body = closes{tc.body(), &closed}
					if body := tc.body(); body == http.NoBody {
						r.Body = http.NoBody
					}
				}
				return r
			}
			read := func(r *http.Request) (string, error) {
				if r.Body == nil {
					return "", nil
				}
				body, err := io.ReadAll(r.Body)
				return string(body), err
			}
			wantBody, wantErr := read(request())

			r := request()
			for range 2 { // the body is complete again after each
				d, err := v.VerifyRequest(r)
				require.ErrorIs(t, err, tc.err)
				if tc.err != nil {
					require.Nil(t, d)
				} else {
					require.Equal(t, wantBody, string(d.Body))
					require.False(t, d.SignedByPrevious)
				}
			}
			gotBody, gotErr := read(r)
			require.Equal(t, wantBody, gotBody)
			require.Equal(t, wantErr, gotErr)

			if closed = 0; r.Body != nil {
				err := r.Body.Close()
				if tc.body != nil && tc.body() != http.NoBody {
					require.Equal(t, errClosed, err)
					require.Equal(t, 1, closed)
				}
			}
		})
	}
}

// TestDelivery: the handler finds the delivery in the context, and the body.
func TestDelivery(t *testing.T) {
	set := diffhook.Secrets{Current: mustSecret(t, currentText), Previous: mustSecret(t, previousText)}
	v := newVerifier(t, set, nil)
	var found []*diffhook.Delivery
	h := v.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		d, ok := diffhook.DeliveryFromContext(r.Context())
		require.True(t, ok)
		found = append(found, d)
		_ = append(d.Body, "overwritten"...) // a write past the end of the body
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, string(d.Body), string(body))
	}))
	for _, secret := range []diffhook.Secret{set.Current, set.Previous} {
		body := secret.Fingerprint()
		r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
		r.Header.Set(diffhook.SignatureHeader, secret.Sign([]byte(body)))
		h.ServeHTTP(httptest.NewRecorder(), r)
		_, ok := diffhook.DeliveryFromContext(r.Context())
		require.False(t, ok, "the incoming request changed")
	}
	// Compared last: a later delivery reuses no memory of an earlier delivery.
	require.Equal(t, []*diffhook.Delivery{
		{Body: []byte(set.Current.Fingerprint())},
		{Body: []byte(set.Previous.Fingerprint()), SignedByPrevious: true},
	}, found)
}

// TestMemoryOfPromises: 1,000 senders promise 8 GB in all. A request without a
// well-formed signature costs nothing, any other only the bytes that arrived.
func TestMemoryOfPromises(t *testing.T) {
	const senders, promised, sent = 1000, 8 << 20, 16 << 10
	for _, tc := range []struct {
		name, signature string
		sent            int
		most            uint64 // bytes held at the end
	}{
		{"malformed signature", "X-Signature: sha256=zz", 0, senders * connectionCost},
		{"forged signature", forged, sent, senders * (4*sent + connectionCost)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var verdicts, arrived sync.WaitGroup
			verdicts.Add(senders)
			v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{
				Observe: func(context.Context, diffhook.Observation) { verdicts.Done() },
			})
			handler := v.Handler(alive)
			srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Body = &arriving{ReadCloser: r.Body, left: tc.sent, done: arrived.Done}
				if tc.sent == 0 {
					arrived.Done()
				}
				handler.ServeHTTP(w, r)
			}), nil)
			request := post(tc.signature, contentLength(promised)) + strings.Repeat("x", tc.sent)
			conns := make([]net.Conn, senders)
			for i := range conns {
				conns[i] = dial(t, srv).Conn
			}

			before := heapHeld()
			peak := sampleHeap()
			arrived.Add(senders)
			for _, conn := range conns {
				_, err := io.WriteString(conn, request)
				require.NoError(t, err)
			}
			arrived.Wait()
			if tc.sent == 0 {
				verdicts.Wait()
			}
			grown := peak()
			held := heapHeld()
			for _, conn := range conns {
				require.NoError(t, conn.Close())
			}
			verdicts.Wait()

			held -= min(held, before)
			t.Logf("%d senders promise %d MiB each and send %d KiB: %.1f MiB are held, and the heap grows by %.1f MiB at most",
				senders, promised>>20, tc.sent>>10, float64(held)/(1<<20), float64(grown)/(1<<20))
			require.Less(t, held, tc.most)
			require.Less(t, grown, 2*tc.most)
		})
	}
}

// connectionCost bounds the heap of a connection with a request, apart from the body.
const connectionCost = 24 << 10

// Errors of readers other than net/http's.

type codeError struct { // the form of several web frameworks
	Code    int
	Message any
}

func (*codeError) Error() string { return "too much " + pageText }

type codeValueError struct{ Status int32 }

func (codeValueError) Error() string { return "a value" }

type (
	statusCodeError   int
	statusError       int
	embeddedError     struct{ *codeError }
	textCodeError     struct{ Code string }
	unexportedError   struct{ code int }
	panickingError    struct{}
	panickingIsError  struct{}
	brokenUnwrapError struct{}
)

type (
	getStatusError      struct{ httpError }
	httpStatusError     struct{ httpError }
	httpStatusCodeError struct{ httpError }
	codeMethodError     struct{ httpError }
	smallCodeError      struct{ httpError }
	unsignedError       struct{ Status uint16 }
	fieldError          struct{ HTTPStatus int }
)

// httpError is the text and the status of errors that differ in a method.
type httpError int

func (httpError) Error() string                   { return "by another method" }
func (unsignedError) Error() string               { return "unsigned" }
func (fieldError) Error() string                  { return "another field" }
func (e getStatusError) GetStatus() int           { return int(e.httpError) }
func (e httpStatusError) HTTPStatus() int         { return int(e.httpError) }
func (e httpStatusCodeError) HTTPStatusCode() int { return int(e.httpError) }
func (e codeMethodError) Code() int               { return int(e.httpError) }
func (e smallCodeError) Code() int32              { return int32(e.httpError) }

func (statusCodeError) Error() string     { return "by a method" }
func (e statusCodeError) StatusCode() int { return int(e) }
func (statusError) Error() string         { return "by a shorter method" }
func (e statusError) Status() int         { return int(e) }
func (embeddedError) Error() string       { return "embedded" }
func (textCodeError) Error() string       { return "a text" }
func (unexportedError) Error() string     { return "an unexported field" }
func (panickingError) Error() string      { return "panics" }
func (panickingError) StatusCode() int    { panic("no status") }
func (panickingIsError) Error() string    { return "panics" }
func (panickingIsError) Is(error) bool    { panic("not comparable") }
func (brokenUnwrapError) Error() string   { return "wraps nothing" }
func (brokenUnwrapError) Unwrap() []error { return []error{nil, nil} }

// failingRequest is signed, and the body fails with err after a few bytes.
func failingRequest(t *testing.T, err error) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, io.MultiReader(strings.NewReader("{"), iotest.ErrReader(err)))
	r.ContentLength = -1
	r.Header.Set(diffhook.SignatureHeader, mustSecret(t, currentText).Sign([]byte("{")))
	return r
}

// TestBodyErrorKinds: a reader before the verifier may have a limit or a timeout too.
func TestBodyErrorKinds(t *testing.T) {
	var nilPointer *codeError
	tooLarge := &codeError{Code: http.StatusRequestEntityTooLarge}
	long := make([]error, 1000)
	for i := range long {
		long[i] = errors.New("an error among many")
	}
	for _, tc := range []struct {
		name  string
		cause error
		kind  error
	}{
		{"pointer to a struct with Code", tooLarge, diffhook.ErrBodyTooLarge},
		{"struct with Status", codeValueError{http.StatusRequestEntityTooLarge}, diffhook.ErrBodyTooLarge},
		{"method StatusCode", statusCodeError(http.StatusRequestEntityTooLarge), diffhook.ErrBodyTooLarge},
		{"method Status", statusError(http.StatusRequestEntityTooLarge), diffhook.ErrBodyTooLarge},
		{"method GetStatus", getStatusError{413}, diffhook.ErrBodyTooLarge},
		{"method HTTPStatus", httpStatusError{413}, diffhook.ErrBodyTooLarge},
		{"method HTTPStatusCode", httpStatusCodeError{413}, diffhook.ErrBodyTooLarge},
		{"method Code", codeMethodError{413}, diffhook.ErrBodyTooLarge},
		{"method Code of 32 bits", smallCodeError{413}, diffhook.ErrBodyTooLarge},
		{"unsigned field", unsignedError{413}, diffhook.ErrBodyTooLarge},
		{"field HTTPStatus", fieldError{413}, diffhook.ErrBodyTooLarge},
		{"wrapped", fmt.Errorf("limit: %w", fmt.Errorf("read: %w", tooLarge)), diffhook.ErrBodyTooLarge},
		{"joined", errors.Join(io.ErrUnexpectedEOF, tooLarge), diffhook.ErrBodyTooLarge},
		{"embedded", embeddedError{tooLarge}, diffhook.ErrBodyTooLarge},
		{"408", &codeError{Code: http.StatusRequestTimeout}, diffhook.ErrBodyTimeout},
		{"the end of a context's time", fmt.Errorf("read: %w", context.DeadlineExceeded), diffhook.ErrBodyTimeout},
		{"deadline", os.ErrDeadlineExceeded, diffhook.ErrBodyTimeout},
		{"net/http's limit", fmt.Errorf("read: %w", &http.MaxBytesError{Limit: 1}), diffhook.ErrBodyTooLarge},

		{"another status", &codeError{Code: http.StatusBadGateway}, diffhook.ErrBodyRead},
		{"another status around 413", fmt.Errorf("%w: %w", statusError(http.StatusBadRequest), tooLarge), diffhook.ErrBodyTooLarge},
		{"no status", errors.New("gzip: invalid header"), diffhook.ErrBodyRead},
		{"canceled", context.Canceled, diffhook.ErrBodyRead},
		{"nil pointer", nilPointer, diffhook.ErrBodyRead},
		{"embedded nil pointer", embeddedError{}, diffhook.ErrBodyRead},
		{"Code is text", textCodeError{"413"}, diffhook.ErrBodyRead},
		{"unexported field", unexportedError{http.StatusRequestEntityTooLarge}, diffhook.ErrBodyRead},
		{"a method that panics", panickingError{}, diffhook.ErrBodyRead},
		{"Is that panics", panickingIsError{}, diffhook.ErrBodyRead},
		{"wraps nil", brokenUnwrapError{}, diffhook.ErrBodyRead},
		{"behind more than anybody looks at", errors.Join(append(long, tooLarge)...), diffhook.ErrBodyRead},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
			_, err := v.VerifyRequest(failingRequest(t, tc.cause))
			requireRejected(t, err, tc.kind)
			w := httptest.NewRecorder()
			v.Handler(alive).ServeHTTP(w, failingRequest(t, tc.cause))
			require.Equal(t, diffhook.HTTPStatus(tc.kind), w.Code)
		})
	}
}

// TestBodyErrorKeepsCause: in Deny and Observe, errors.Is and errors.As find the
// reader's error. No text shows it: it may quote the body.
func TestBodyErrorKeepsCause(t *testing.T) {
	for _, cause := range []error{
		&codeError{http.StatusRequestEntityTooLarge, pageText},
		&codeError{http.StatusRequestTimeout, pageText},
		&codeError{http.StatusTeapot, pageText},
		fmt.Errorf("%s: %w", pageText, http.ErrBodyReadAfterClose),
	} {
		logs := new(logged)
		var got []error
		v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{
			Logger:  logs.logger(),
			Observe: func(_ context.Context, o diffhook.Observation) { got = append(got, o.Err) },
			Deny:    func(_ http.ResponseWriter, _ *http.Request, err error) { got = append(got, err) },
		})
		_, err := v.VerifyRequest(failingRequest(t, cause))
		v.Handler(alive).ServeHTTP(httptest.NewRecorder(), failingRequest(t, cause))

		detector := newLeakDetector(pageText)
		for _, err := range append(got, err) {
			require.ErrorIs(t, err, cause)
			var own *codeError
			if errors.As(cause, &own) {
				own = nil
				require.ErrorAs(t, err, &own)
				require.Equal(t, pageText, own.Message)
			}
			assertOpaque(t, detector, err, io.EOF)
		}
		require.Len(t, got, 3)
		require.Len(t, logs.lines(), 2)
		for _, line := range logs.lines() {
			assert.Empty(t, detector.find(fmt.Sprintf("%v %+v %#v", line, line, line)))
		}
	}
}

// The error of a reader built on this package does not decide the verdict.
func TestBodyErrorHasOneVerdict(t *testing.T) {
	for other := range receiveErrors {
		v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
		_, err := v.VerifyRequest(failingRequest(t, fmt.Errorf("a verifier before: %w", other)))
		requireRejected(t, err, diffhook.ErrBodyRead)
	}
}

// TestFormFilesAreRemoved: net/http removes the temporary files of its own request
// only. Handlers get a copy of the request, whose files would fill the disk.
func TestFormFilesAreRemoved(t *testing.T) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("page", "page.html")
	require.NoError(t, err)
	_, err = part.Write(bytes.Repeat([]byte("x"), 1<<20))
	require.NoError(t, err)
	require.NoError(t, form.Close())

	secret, forger := mustSecret(t, currentText), diffhooktest.NewSecret()
	parse := func(t *testing.T, r *http.Request) {
		if r.MultipartForm != nil {
			return // the form is parsed already
		}
		assert.NoError(t, r.ParseMultipartForm(1<<10))
		assert.NotEmpty(t, files(t), "the test must have a file on the disk")
	}
	accept := func(t *testing.T) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { parse(t, r) })
	}
	for _, tc := range []struct {
		name   string
		signer diffhook.Secret
		next   func(t *testing.T) http.Handler
		deny   bool
		outer  func(t *testing.T, next http.Handler) http.Handler
	}{
		{name: "next", signer: secret, next: accept},
		{name: "next that panics", signer: secret, next: func(t *testing.T) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				parse(t, r)
				panic(http.ErrAbortHandler)
			})
		}},
		{name: "next that reads the parts without the form", signer: secret, next: func(t *testing.T) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, err := r.MultipartReader()
				assert.NoError(t, err)
			})
		}},
		{name: "Deny of a forgery", signer: forger, next: accept, deny: true},
		{name: "Deny of an unread body", next: accept, deny: true},
		{name: "middleware that parsed the form before", signer: secret, next: accept, outer: func(t *testing.T, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				whole, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				r.Body = io.NopCloser(bytes.NewReader(whole))
				parse(t, r)
				r.Body = io.NopCloser(bytes.NewReader(whole))
				next.ServeHTTP(w, r)
				assert.NotEmpty(t, files(t), "net/http removes these files")
			})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			opts := &diffhook.VerifierOptions{}
			if tc.deny {
				opts.Deny = func(_ http.ResponseWriter, r *http.Request, _ error) { parse(t, r) }
			}
			h := newVerifier(t, diffhook.Secrets{Current: secret}, opts).Handler(tc.next(t))
			if tc.outer != nil {
				h = tc.outer(t, h)
			}
			srv := serve(t, h, nil)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, bytes.NewReader(body.Bytes()))
			require.NoError(t, err)
			r.Header.Set("Content-Type", form.FormDataContentType())
			if !tc.signer.IsZero() {
				r.Header.Set(diffhook.SignatureHeader, tc.signer.Sign(body.Bytes()))
			}
			resp, err := srv.Client().Do(r)
			if err == nil {
				resp.Body.Close()
			}
			srv.Close() // after the handler's return
			assert.Empty(t, files(t))
		})
	}
}

// files returns the names of the temporary files.
func files(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
