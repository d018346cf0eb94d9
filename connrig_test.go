package diffhook_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// patience bounds the wait for a result that must come at once: far more than a busy
// machine needs, and half of DeliveryTimeout.
const patience = 5 * time.Second

// moment is the wait after which nothing has happened.
const moment = 200 * time.Millisecond

// pause waits without a socket: in a synctest bubble, the clock moves on.
func pause(d time.Duration) { <-time.After(d) }

// serve starts a server for h. The test fails if the server logs a panic or a second
// answer to a request.
func serve(tb testing.TB, h http.Handler, configure func(*httptest.Server)) *httptest.Server {
	tb.Helper()
	var logged lockedBuffer
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(&logged, "", 0)
	if configure != nil {
		configure(srv)
	}
	memory, inMemory := srv.Listener.(*memoryListener)
	if srv.EnableHTTP2 {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	if inMemory {
		srv.Client().Transport.(*http.Transport).DialContext = memory.dial
	}
	tb.Cleanup(func() {
		srv.Close()
		assert.NotContains(tb, logged.String(), "panic")
		assert.NotContains(tb, logged.String(), "superfluous")
	})
	return srv
}

func withHTTP2(srv *httptest.Server) { srv.EnableHTTP2 = true }

// withoutSockets makes the server listen in memory: in a synctest bubble, connections
// wait on the clock of the bubble.
func withoutSockets(srv *httptest.Server) {
	_ = srv.Listener.Close()
	srv.Listener = &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// memoryListener is a listener whose connections are pairs of net.Pipe.
type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *memoryListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (l *memoryListener) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// rawConn is the client's end of an HTTP/1.1 connection. Tests drive it by hand, to
// stop a request at any byte.
type rawConn struct {
	net.Conn
	tb testing.TB
	r  *bufio.Reader
}

// dial connects to srv. Reads and writes fail after patience.
func dial(tb testing.TB, srv *httptest.Server) *rawConn {
	tb.Helper()
	connect := new(net.Dialer).DialContext
	if memory, ok := srv.Listener.(*memoryListener); ok {
		connect = memory.dial
	}
	conn, err := connect(tb.Context(), "tcp", srv.Listener.Addr().String())
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = conn.Close() })
	require.NoError(tb, conn.SetDeadline(time.Now().Add(patience)))
	return &rawConn{Conn: conn, tb: tb, r: bufio.NewReader(conn)}
}

// post is the head of a request with the given header lines.
func post(lines ...string) string {
	return "POST /hook HTTP/1.1\r\nHost: test\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// signed is the header line with the signature of body under the current secret.
func signed(tb testing.TB, body string) string {
	return diffhook.SignatureHeader + ": " + mustSecret(tb, currentText).Sign([]byte(body))
}

// delivery is a complete request, correctly signed.
func delivery(tb testing.TB, body string) string {
	return post(signed(tb, body), contentLength(len(body))) + body
}

func contentLength(n int) string { return fmt.Sprintf("Content-Length: %d", n) }

// forged is a header line with a well-formed, wrong signature.
var forged = diffhook.SignatureHeader + ": " + forgedSignature

var forgedSignature = "sha256=" + strings.Repeat("0", 64)

func (c *rawConn) send(text string) {
	c.tb.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(c.tb, err)
}

// answer reads the next answer, which must be the final answer: a 100 Continue before
// it fails the test.
func (c *rawConn) answer() (*http.Response, string) {
	c.tb.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	require.NoError(c.tb, err, "no answer came in time")
	body, err := io.ReadAll(resp.Body)
	require.NoError(c.tb, err)
	return resp, string(body)
}

func (c *rawConn) requireStatus(status int) {
	c.tb.Helper()
	resp, body := c.answer()
	require.Equal(c.tb, status, resp.StatusCode, "the answer was %q", body)
}

// requireClosed requires that the server closes the connection. If the server left
// bytes unread, it resets the connection, which clean forbids.
func (c *rawConn) requireClosed(clean bool) {
	c.tb.Helper()
	_, err := c.r.ReadByte()
	if !clean && errors.Is(err, syscall.ECONNRESET) {
		return
	}
	require.ErrorIs(c.tb, err, io.EOF)
}

// requireReusable requires an answer of alive to a delivery on the same connection.
func (c *rawConn) requireReusable() {
	c.tb.Helper()
	c.send(delivery(c.tb, "{}"))
	resp, body := c.answer()
	require.Equal(c.tb, "200 alive", fmt.Sprint(resp.StatusCode, " ", body))
}

// alive reports in the answer whether the context of the request is alive, also after
// an earlier request on the connection was rejected.
var alive = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if err := r.Context().Err(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = io.WriteString(w, "alive")
})

// denyPatiently answers like a slow Deny that respects the request's context: "in
// time", or the error of the context.
func denyPatiently(w http.ResponseWriter, r *http.Request, err error) {
	said := "in time"
	select {
	case <-r.Context().Done():
		said = r.Context().Err().Error()
	case <-time.After(moment):
	}
	w.WriteHeader(diffhook.HTTPStatus(err))
	_, _ = io.WriteString(w, said)
}

// counted is middleware to count the bytes of the body read by next. It leaves the
// server's own request alone, and so how net/http treats the rest of a body.
func counted(n *atomic.Int64, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(r.Context())
		r.Body = &countedBody{r.Body, n}
		next.ServeHTTP(w, r)
	})
}

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

// consumed is middleware that reads the body before next, as middleware for logs or
// decoding does. If restore is set, consumed puts the body back.
func consumed(restore bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if restore {
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		next.ServeHTTP(w, r)
	})
}

// lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// timed is the result of a request, with the time.
type timed struct {
	status int
	body   string
	err    error
	after  time.Duration
}

// slowCase is a slow request. start begins the request on a new connection: nil if the
// connection is not HTTP/1.1.
type slowCase struct {
	name      string
	start     func(t *testing.T, srv *httptest.Server) (<-chan timed, *rawConn)
	configure func(*httptest.Server)
	outer     func(http.Handler) http.Handler
}

// http1 sends request and then drip once a second, unless drip is empty.
func http1(request, drip string) func(*testing.T, *httptest.Server) (<-chan timed, *rawConn) {
	return func(t *testing.T, srv *httptest.Server) (<-chan timed, *rawConn) {
		c, start, done := dial(t, srv), time.Now(), make(chan timed, 1)
		require.NoError(t, c.SetDeadline(start.Add(4*patience)))
		c.send(request)
		go dripping(t.Context(), c, drip)
		go func() {
			resp, err := http.ReadResponse(c.r, nil)
			for err == nil && resp.StatusCode == http.StatusContinue {
				resp, err = http.ReadResponse(c.r, nil)
			}
			done <- finish(start, resp, err)
		}()
		return done, c
	}
}

// http2 sends a body of text and then drip once a second, unless drip is empty. The
// body ends only if whole is set.
func http2(signature, text, drip string, whole bool) func(*testing.T, *httptest.Server) (<-chan timed, *rawConn) {
	return func(t *testing.T, srv *httptest.Server) (<-chan timed, *rawConn) {
		body, sender := io.Pipe()
		t.Cleanup(func() { _ = sender.Close() })
		name, value, _ := strings.Cut(signature, ": ")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, body)
		require.NoError(t, err)
		req.Header.Set(name, value)
		go func() {
			_, _ = io.WriteString(sender, text)
			if whole {
				_ = sender.Close()
			}
			dripping(t.Context(), sender, drip)
		}()
		start, done := time.Now(), make(chan timed, 1)
		go func() {
			resp, err := srv.Client().Do(req)
			done <- finish(start, resp, err)
		}()
		return done, nil
	}
}

func dripping(ctx context.Context, w io.Writer, text string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for text != "" {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if _, err := io.WriteString(w, text); err != nil {
			return
		}
	}
}

func finish(start time.Time, resp *http.Response, err error) timed {
	result := timed{after: time.Since(start), err: err}
	if err == nil {
		var body []byte
		body, result.err = io.ReadAll(resp.Body)
		resp.Body.Close()
		result.status, result.body = resp.StatusCode, string(body)
	}
	return result
}

// arriving is a body. It calls done once left bytes were read.
type arriving struct {
	io.ReadCloser
	left int
	done func()
}

func (b *arriving) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if before := b.left; before > 0 {
		if b.left -= n; b.left <= 0 {
			b.done()
		}
	}
	return n, err
}

// heapHeld returns the reachable bytes of the heap.
func heapHeld() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// sampleHeap watches the memory of the heap until stop is called. stop returns the
// largest growth.
func sampleHeap() (stop func() (grown uint64)) {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	first, peak := stats.HeapInuse, stats.HeapInuse
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			runtime.ReadMemStats(&stats)
			peak = max(peak, stats.HeapInuse)
			select {
			case <-tick.C:
			case <-ended:
				return
			}
		}
	}()
	return func() uint64 {
		close(ended)
		<-done
		return peak - first
	}
}
