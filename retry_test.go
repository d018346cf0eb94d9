package diffhook_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// apiCall is a call of the API by a method of the client.
type apiCall struct {
	name       string
	method     string
	route      string
	repeatable bool // whether twice is the same as once
	data       bool // whether the call needs the data of the answer
	do         func(ctx context.Context, c *diffhook.Client) error
}

var apiCalls = []apiCall{
	{"get", "GET", "monitors/{id}", true, true, func(ctx context.Context, c *diffhook.Client) error {
		_, err := c.Monitors.Get(ctx, "mon_abc123")
		return err
	}},
	{"list", "GET", "logs", true, true, func(ctx context.Context, c *diffhook.Client) error {
		_, err := c.Logs.List(ctx, nil)
		return err
	}},
	{"load secret", "GET", "signing-secret", true, true, func(ctx context.Context, c *diffhook.Client) error {
		_, err := c.SigningSecret.Load(ctx)
		return err
	}},
	{"update", "PUT", "monitors/{id}", true, true, func(ctx context.Context, c *diffhook.Client) error {
		_, err := c.Monitors.Update(ctx, "mon_abc123", diffhook.MonitorUpdate{Label: new("a")})
		return err
	}},
	{"delete", "DELETE", "monitors/{id}", true, false, func(ctx context.Context, c *diffhook.Client) error {
		return c.Monitors.Delete(ctx, "mon_abc123")
	}},
	{"pause", "POST", "monitors/{id}/pause", true, false, func(ctx context.Context, c *diffhook.Client) error {
		return c.Monitors.Pause(ctx, "mon_abc123")
	}},
	{"resume", "POST", "monitors/{id}/resume", true, false, func(ctx context.Context, c *diffhook.Client) error {
		return c.Monitors.Resume(ctx, "mon_abc123")
	}},
	{"create key", "POST", "keys", false, true, func(ctx context.Context, c *diffhook.Client) error {
		_, _, err := c.Keys.Create(ctx, "ci-pipeline")
		return err
	}},
	{"create monitor", "POST", "monitors", false, true, func(ctx context.Context, c *diffhook.Client) error {
		_, err := c.Monitors.Create(ctx, diffhook.MonitorParams{URL: "https://example.com/a"})
		return err
	}},
	{"rotate", "POST", "signing-secret/rotate", false, true, func(ctx context.Context, c *diffhook.Client) error {
		_, err := c.SigningSecret.Rotate(ctx)
		return err
	}},
	{"trigger", "POST", "monitors/{id}/trigger", false, false, func(ctx context.Context, c *diffhook.Client) error {
		return c.Monitors.Trigger(ctx, "mon_abc123")
	}},
	{"Do POST", "POST", "things", false, true, func(ctx context.Context, c *diffhook.Client) error {
		return c.Do(ctx, "POST", "things?a=b", map[string]int{"a": 1}, new(any))
	}},
	{"Do PATCH", "PATCH", "things", false, true, func(ctx context.Context, c *diffhook.Client) error {
		return c.Do(ctx, "PATCH", "things", map[string]int{"a": 1}, new(any))
	}},
}

func apiCallNamed(t testing.TB, name string) apiCall {
	t.Helper()
	i := slices.IndexFunc(apiCalls, func(c apiCall) bool { return c.name == name })
	require.GreaterOrEqual(t, i, 0, name)
	return apiCalls[i]
}

// sentinels are all errors of calls.
var sentinels = []error{
	diffhook.ErrUnauthorized, diffhook.ErrForbidden, diffhook.ErrMonitorLimit, diffhook.ErrNotFound,
	diffhook.ErrInvalidRequest, diffhook.ErrRateLimited, diffhook.ErrServer, diffhook.ErrUnexpectedResponse,
	diffhook.ErrOutcomeUnknown, diffhook.ErrInvalidCredentials,
	context.Canceled, context.DeadlineExceeded, io.ErrUnexpectedEOF, syscall.ECONNREFUSED,
}

// assertMatches fails if err matches any sentinel but the given sentinels.
func assertMatches(t testing.TB, err error, want ...error) {
	t.Helper()
	if !assert.Error(t, err) {
		return
	}
	for _, sentinel := range sentinels {
		assert.Equal(t, slices.Contains(want, sentinel), errors.Is(err, sentinel), "errors.Is(%q, %q)", err, sentinel)
	}
}

// requireAPIError returns err as an APIError.
func requireAPIError(t testing.TB, err error) *diffhook.APIError {
	t.Helper()
	var api *diffhook.APIError
	require.ErrorAs(t, err, &api)
	return api
}

// answering returns a handler that reads the request and always answers the same.
func answering(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Request-Id", "req_0001")
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// answeringJSON is answering with a body of JSON.
func answeringJSON(status int, body string) http.HandlerFunc {
	return answering(status, "application/json", body)
}

// brokenOff answers with the beginning of an answer.
func brokenOff(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "1000")
	answeringJSON(http.StatusOK, `{"data": {"id": "mon`)(w, r)
	panic(http.ErrAbortHandler)
}

// TestSent shows for each lasting failure how often each call is sent, and its error.
func TestSent(t *testing.T) {
	const attempts = 3
	type failure struct {
		name     string
		answer   http.HandlerFunc
		status   int // status of the APIError; 0: no APIError
		again    bool
		postsToo bool // whether calls that are not repeatable are sent again
		dataOnly bool // whether only a call that needs data fails
		unknown  bool // whether the error of a call that is not repeatable matches ErrOutcomeUnknown
		is       []error
	}
	failures := []failure{
		// A broken connection, or silence, leaves the outcome open.
		{name: "connection breaks", answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			again: true, unknown: true, is: []error{io.ErrUnexpectedEOF}},
		{name: "attempt timeout", answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			again: true, unknown: true, is: []error{context.DeadlineExceeded}},

		// The call is carried out, and the result is lost.
		{name: "200 breaks off", answer: brokenOff, status: 200, again: true, dataOnly: true, unknown: true,
			is: []error{diffhook.ErrUnexpectedResponse, io.ErrUnexpectedEOF}},
		{name: "200 HTML", answer: answering(200, "text/html", "\n<p>hello"), status: 200, unknown: true,
			is: []error{diffhook.ErrUnexpectedResponse}},
		{name: "200 with an error", answer: answeringJSON(200, `{"error": {"code": "NOT_FOUND"}}`), status: 200, unknown: true,
			is: []error{diffhook.ErrUnexpectedResponse}},
		{name: "200 with an error of generation 2", answer: answeringJSON(200, `{"data": null, "error": "not found"}`), status: 200, unknown: true,
			is: []error{diffhook.ErrUnexpectedResponse}},
		{name: "200 with no error", answer: answeringJSON(200, `{"error": ""}`), status: 200, dataOnly: true, unknown: true,
			is: []error{diffhook.ErrUnexpectedResponse}},
		{name: "201 not JSON", answer: answeringJSON(201, "hello"), status: 201, dataOnly: true, unknown: true,
			is: []error{diffhook.ErrUnexpectedResponse}},
		{name: "200 empty", answer: answeringJSON(200, ""), status: 200, dataOnly: true, unknown: true,
			is: []error{diffhook.ErrUnexpectedResponse}},
		{name: "204", answer: answering(204, "", ""), status: 204, dataOnly: true, unknown: true,
			is: []error{diffhook.ErrUnexpectedResponse}},
	}
	for status, is := range map[int][]error{
		400: {diffhook.ErrInvalidRequest}, 401: {diffhook.ErrUnauthorized}, 403: {diffhook.ErrForbidden}, 404: {diffhook.ErrNotFound},
		405: {diffhook.ErrInvalidRequest}, 409: {diffhook.ErrInvalidRequest}, 422: {diffhook.ErrInvalidRequest}, 429: {diffhook.ErrRateLimited},
		500: {diffhook.ErrServer}, 501: {diffhook.ErrServer}, 502: {diffhook.ErrServer}, 503: {diffhook.ErrServer}, 504: {diffhook.ErrServer},
		505: {diffhook.ErrServer}, 508: {diffhook.ErrServer}, 520: {diffhook.ErrServer}, 522: {diffhook.ErrServer}, 524: {diffhook.ErrServer},
		529: {diffhook.ErrServer}, 530: {diffhook.ErrServer}, 599: {diffhook.ErrServer},
		402: {diffhook.ErrInvalidRequest}, 407: {diffhook.ErrInvalidRequest}, 410: {diffhook.ErrNotFound},
	} {
		failures = append(failures, failure{
			name: strconv.Itoa(status), answer: answeringJSON(status, `{"error": {"code": "A_CODE", "message": "a message"}}`), status: status,
			again: status == 429 || status >= 500 && status != 501 && status != 505, postsToo: status == 429,
			unknown: status >= 500, is: is,
		})
	}
	for _, failure := range failures {
		for _, call := range apiCalls {
			t.Run(failure.name+"/"+call.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var sent atomic.Int64
					c := newHandlerClient(t, counting(&sent, failure.answer), &diffhook.ClientOptions{MaxAttempts: attempts})
					err := call.do(t.Context(), c)
					if failure.dataOnly && !call.data {
						require.NoError(t, err)
						require.EqualValues(t, 1, sent.Load())
						return
					}
					want := 1
					if failure.again && (call.repeatable || failure.postsToo) {
						want = attempts
					}
					assert.EqualValues(t, want, sent.Load(), "times sent")
					is := failure.is
					if failure.unknown && !call.repeatable {
						is = append(slices.Clone(is), diffhook.ErrOutcomeUnknown)
					}
					assertMatches(t, err, is...)
					assert.Equal(t, failure.unknown && !call.repeatable, strings.Contains(err.Error(), "look before repeating"), err.Error())
					if want > 1 {
						assert.ErrorContains(t, err, strconv.Itoa(want)+" attempts")
					} else {
						assert.NotContains(t, err.Error(), "attempts")
					}
					if failure.status == 0 {
						assert.NotErrorAs(t, err, new(*diffhook.APIError))
						assert.ErrorContains(t, err, call.method+" "+call.route+": ")
						return
					}
					api := requireAPIError(t, err)
					assert.Equal(t, failure.status, api.StatusCode)
					assert.Equal(t, call.method, api.Method)
					assert.Equal(t, call.route, api.Route)
					assert.Equal(t, want, api.Attempts)
					assert.Equal(t, "req_0001", api.RequestID)
					assert.Zero(t, api.RetryAfter)
					if failure.status >= 400 {
						assert.Equal(t, "A_CODE", api.Code)
						assert.Equal(t, "a message", api.Message)
					}
				})
			})
		}
	}
}

// rawServer accepts connections of HTTP/1.1 and calls serve for each. It returns the
// base of URLs.
func rawServer(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var conns sync.WaitGroup
	var open sync.Map
	t.Cleanup(func() {
		listener.Close()
		open.Range(func(conn, _ any) bool { conn.(net.Conn).Close(); return true })
		conns.Wait()
	})
	conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			open.Store(conn, nil)
			conns.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	return "http://" + listener.Addr().String()
}

// reset breaks a connection, like the end of a machine.
func reset(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// readRequest reads a complete request.
func readRequest(from *bufio.Reader) error {
	r, err := http.ReadRequest(from)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err
}

// rawAnswer is an answer with a monitor.
const rawAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 23\r\n\r\n{\"data\":{\"id\":\"mon_1\"}}"

// closingOnSecond serves HTTP/1.1: it answers the first request of a connection, and
// closes the connection after the second. It counts the connections and the second
// requests, and returns the base of URLs.
func closingOnSecond(t *testing.T, conns, seconds *atomic.Int64) string {
	return rawServer(t, func(conn net.Conn) {
		conns.Add(1)
		buffered := bufio.NewReader(conn)
		if readRequest(buffered) != nil {
			return
		}
		_, _ = io.WriteString(conn, rawAnswer)
		if readRequest(buffered) == nil {
			seconds.Add(1)
		}
	})
}

// ownTransport returns a transport that shares no connection.
func ownTransport(t testing.TB) *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// TestSentOverSockets is TestSent for failures of connections. The waits are real, so
// there is a single retry.
func TestSentOverSockets(t *testing.T) {
	const attempts = 2
	var counts sync.Map // *atomic.Int64 by test
	count := func(t *testing.T) *atomic.Int64 {
		n, _ := counts.LoadOrStore(t.Name(), new(atomic.Int64))
		return n.(*atomic.Int64)
	}
	for _, failure := range []struct {
		name    string
		origin  func(t *testing.T) string
		sent    int // times a repeatable call is sent; 0: cannot be counted
		posts   int
		unknown bool
		is      []error
	}{
		// The request never left: a POST is sent again too.
		{"refused", func(t *testing.T) string {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer listener.Close()
			return "http://" + listener.Addr().String()
		}, 0, 0, false, []error{syscall.ECONNREFUSED}},
		{"reset before the request was read", func(t *testing.T) string {
			return rawServer(t, func(conn net.Conn) {
				// Read a byte first: after an earlier reset, the connection can seem
				// never made.
				if _, err := io.ReadFull(conn, make([]byte, 1)); err == nil {
					count(t).Add(1)
				}
				reset(conn)
			})
		}, attempts, 1, true, nil},
		{"reset after the request was read", func(t *testing.T) string {
			return rawServer(t, func(conn net.Conn) {
				if readRequest(bufio.NewReader(conn)) == nil {
					count(t).Add(1)
				}
				reset(conn)
			})
		}, attempts, 1, true, nil},
		{"half a status line", func(t *testing.T) string {
			return rawServer(t, func(conn net.Conn) {
				if readRequest(bufio.NewReader(conn)) == nil {
					count(t).Add(1)
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 2")
			})
		}, attempts, 1, true, nil},
		{"not HTTP", func(t *testing.T) string {
			return rawServer(t, func(conn net.Conn) {
				if readRequest(bufio.NewReader(conn)) == nil {
					count(t).Add(1)
				}
				_, _ = io.WriteString(conn, "SSH-2.0-made-up\r\n\r\n")
			})
		}, attempts, 1, true, nil},
	} {
		for _, call := range apiCalls {
			t.Run(failure.name+"/"+call.name, func(t *testing.T) {
				t.Parallel()
				c := newClientAt(t, failure.origin(t), &diffhook.ClientOptions{
					MaxAttempts: attempts, HTTPClient: &http.Client{Transport: ownTransport(t)},
				})
				ctx, tries := countingTries(t.Context())
				err := call.do(ctx, c)
				require.Error(t, err)
				is := failure.is
				if failure.unknown && !call.repeatable {
					is = append(slices.Clone(is), diffhook.ErrOutcomeUnknown)
				}
				assertMatches(t, err, is...)
				assert.NotErrorAs(t, err, new(*diffhook.APIError))
				want := failure.sent
				if !call.repeatable {
					want = failure.posts
				}
				assert.EqualValues(t, want, count(t).Load(), "times sent")
				if failure.sent == 0 {
					assert.EqualValues(t, attempts, tries(), "attempts")
				}
			})
		}
	}
}

// TestConnectionClosedWhileIdle: the server ends each connection after the first
// answer, without notice. net/http then sends some requests again by itself, but never
// a POST that may have arrived.
func TestConnectionClosedWhileIdle(t *testing.T) {
	t.Parallel()
	t.Run("closed at once", func(t *testing.T) {
		t.Parallel()
		var arrived atomic.Int64
		c := newClientAt(t, rawServer(t, func(conn net.Conn) {
			if readRequest(bufio.NewReader(conn)) == nil {
				arrived.Add(1)
				_, _ = io.WriteString(conn, rawAnswer)
			}
		}), &diffhook.ClientOptions{HTTPClient: &http.Client{Transport: ownTransport(t)}, MaxAttempts: 1})
		for range 200 {
			before := arrived.Load()
			err := c.Do(t.Context(), "POST", "things", map[string]int{"a": 1}, new(any))
			sent := arrived.Load() - before
			if err != nil {
				require.ErrorIs(t, err, diffhook.ErrOutcomeUnknown)
				require.LessOrEqual(t, sent, int64(1))
			} else {
				require.EqualValues(t, 1, sent)
			}
		}
	})
	t.Run("closed after the next request", func(t *testing.T) {
		t.Parallel()
		for _, call := range apiCalls {
			if call.repeatable {
				continue
			}
			var conns, seconds atomic.Int64
			c := newClientAt(t, closingOnSecond(t, &conns, &seconds), &diffhook.ClientOptions{HTTPClient: &http.Client{Transport: ownTransport(t)}})
			require.NoError(t, c.Do(t.Context(), "GET", "things", nil, new(any)), call.name)
			require.ErrorIs(t, call.do(t.Context(), c), diffhook.ErrOutcomeUnknown, call.name)
			require.EqualValues(t, 1, seconds.Load(), call.name)
		}
	})
}

// stubborn is a transport that sends a request again if there is no answer, with the
// body from GetBody.
type stubborn struct {
	next   http.RoundTripper
	second error // error of the second try; nil: sent
}

func (s stubborn) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.next.RoundTrip(r)
	if err == nil {
		return resp, nil
	}
	if s.second != nil {
		return nil, s.second
	}
	again := r.Clone(r.Context())
	if r.Body != nil && r.Body != http.NoBody {
		if r.GetBody == nil {
			return nil, err
		}
		if again.Body, err = r.GetBody(); err != nil {
			return nil, err
		}
	}
	return s.next.RoundTrip(again)
}

// TestTransportThatRepeats: transports repeat a request by themselves, without a trace.
// A call that is not safe to repeat still arrives once.
func TestTransportThatRepeats(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for _, c := range []struct {
		name   string
		second error
		is     []error
	}{
		{"sends again", nil, []error{io.ErrUnexpectedEOF}},
		// The error of the last try alone looks as if nothing was sent.
		{"second try fails to dial", refused, []error{syscall.ECONNREFUSED}},
	} {
		for _, call := range apiCalls {
			if call.repeatable {
				continue
			}
			t.Run(c.name+"/"+call.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var sent atomic.Int64
					breaks := counting(&sent, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
					client := newTransportClient(t, stubborn{diffhooktest.Transport(breaks), c.second}, nil)
					err := call.do(t.Context(), client)
					assertMatches(t, err, append(slices.Clone(c.is), diffhook.ErrOutcomeUnknown)...)
					assert.EqualValues(t, 1, sent.Load(), "times sent")
				})
			})
		}
	}
}

// dialFails is a transport without a connection, and without a trace of a connection.
type dialFails struct {
	tries int
	next  http.RoundTripper
	n     atomic.Int64
}

func (d *dialFails) RoundTrip(r *http.Request) (*http.Response, error) {
	if d.n.Add(1) <= int64(d.tries) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	return d.next.RoundTrip(r)
}

// TestDialErrorIsRepeated: a POST that never left is sent later.
func TestDialErrorIsRepeated(t *testing.T) {
	for _, call := range apiCalls {
		t.Run(call.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sent atomic.Int64
				answer := counting(&sent, answeringJSON(503, `{}`))
				c := newTransportClient(t, &dialFails{tries: 2, next: diffhooktest.Transport(answer)}, &diffhook.ClientOptions{MaxAttempts: 3})
				err := call.do(t.Context(), c)
				assert.EqualValues(t, 1, sent.Load())
				assert.Equal(t, 3, requireAPIError(t, err).Attempts)
				assert.Equal(t, !call.repeatable, errors.Is(err, diffhook.ErrOutcomeUnknown))
			})
		})
	}
}

// TestDeleteRepeated: a DELETE whose answer was lost, and whose retry gets a 404, has
// succeeded. No other 404 is a success.
func TestDeleteRepeated(t *testing.T) {
	notFound := answeringJSON(404, `{"error": "Monitor not found"}`)
	breaks := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	deletes := map[string]func(context.Context, *diffhook.Client) error{
		"monitor":         func(ctx context.Context, c *diffhook.Client) error { return c.Monitors.Delete(ctx, "mon_abc123") },
		"key":             func(ctx context.Context, c *diffhook.Client) error { return c.Keys.Delete(ctx, "key_1") },
		"previous secret": func(ctx context.Context, c *diffhook.Client) error { return c.SigningSecret.RevokePrevious(ctx) },
		"Do":              func(ctx context.Context, c *diffhook.Client) error { return c.Do(ctx, "DELETE", "things/1", nil, nil) },
	}
	for _, c := range []struct {
		name    string
		answers []http.HandlerFunc
		err     error
	}{
		{"404", []http.HandlerFunc{notFound}, diffhook.ErrNotFound},
		{"lost, then 404", []http.HandlerFunc{breaks, notFound}, nil},
		{"502, then 404", []http.HandlerFunc{answeringJSON(502, ""), notFound}, nil},
		{"502, 429, then 404", []http.HandlerFunc{answeringJSON(502, ""), answeringJSON(429, "{}"), notFound}, nil},
		// A request answered by 429 was not carried out: the id was wrong at first.
		{"429, then 404", []http.HandlerFunc{answeringJSON(429, "{}"), notFound}, diffhook.ErrNotFound},
		{"lost, then 410", []http.HandlerFunc{breaks, answeringJSON(410, `{"error": "Gone"}`)}, nil},
		{"410", []http.HandlerFunc{answeringJSON(410, `{"error": "Gone"}`)}, diffhook.ErrNotFound},
		// Not an answer of the API.
		{"lost, then a proxy's 410", []http.HandlerFunc{breaks, answering(410, "text/html", "<p>gone")}, diffhook.ErrNotFound},
		{"502, then 403", []http.HandlerFunc{answeringJSON(502, ""), answeringJSON(403, "{}")}, diffhook.ErrForbidden},
	} {
		for name, do := range deletes {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					client := newHandlerClient(t, inTurn(c.answers...), nil)
					require.ErrorIs(t, do(t.Context(), client), c.err)
				})
			})
		}
	}
	t.Run("not sent, then 404", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client := newTransportClient(t, &dialFails{tries: 1, next: diffhooktest.Transport(notFound)}, nil)
			require.ErrorIs(t, client.Monitors.Delete(t.Context(), "mon_abc123"), diffhook.ErrNotFound)
		})
	})
	t.Run("a PUT whose retry finds 404 has not succeeded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client := newHandlerClient(t, inTurn(breaks, notFound), nil)
			require.ErrorIs(t, apiCallNamed(t, "update").do(t.Context(), client), diffhook.ErrNotFound)
		})
	})
}

// inTurn answers each request with the next answer, and repeats the last.
func inTurn(answers ...http.HandlerFunc) http.Handler {
	var n atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers[min(int(n.Add(1)), len(answers))-1](w, r)
	})
}

// TestRetrySucceeds: a successful retry hides the earlier error.
func TestRetrySucceeds(t *testing.T) {
	for _, call := range apiCalls {
		if !call.repeatable {
			continue
		}
		t.Run(call.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newBubbleServer(t)
				c := s.Client(&diffhook.ClientOptions{Limiter: unlimited()})
				m, err := c.Monitors.Create(t.Context(), diffhook.MonitorParams{URL: "https://example.com/a", WebhookURL: "https://example.com/b", IntervalMinutes: 5})
				require.NoError(t, err)
				s.Fail(diffhooktest.Fault{Status: 503})
				s.Fail(diffhooktest.Fault{Reset: diffhooktest.AfterHandling})
				s.Fail(diffhooktest.Fault{Status: 429, RetryAfter: time.Second})
				before := s.Count("")
				switch call.name {
				case "get":
					_, err = c.Monitors.Get(t.Context(), m.ID)
				case "update":
					_, err = c.Monitors.Update(t.Context(), m.ID, diffhook.MonitorUpdate{Label: new("a")})
				case "delete":
					err = c.Monitors.Delete(t.Context(), m.ID)
				case "pause":
					err = c.Monitors.Pause(t.Context(), m.ID)
				case "resume":
					err = c.Monitors.Resume(t.Context(), m.ID)
				default:
					err = call.do(t.Context(), c)
				}
				require.NoError(t, err)
				require.Equal(t, 4, s.Count("")-before)
			})
		})
	}
}

// arrivals returns a handler, and the arrival times of requests since the first.
func arrivals(next http.Handler) (http.Handler, func() []time.Duration) {
	var mu sync.Mutex
	var times []time.Time
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		times = append(times, time.Now())
		mu.Unlock()
		next.ServeHTTP(w, r)
	})
	return h, func() (since []time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		for _, at := range times {
			since = append(since, at.Sub(times[0]))
		}
		return since
	}
}

// TestBackoff measures the waits of many calls: the longest doubles from 0.5 s to 8 s,
// and the waits are uniform between 0 and the longest.
func TestBackoff(t *testing.T) {
	const attempts, draws = 9, 500
	synctest.Test(t, func(t *testing.T) {
		var waits [attempts - 1][]time.Duration
		for range draws {
			h, times := arrivals(answeringJSON(503, "{}"))
			c := newHandlerClient(t, h, &diffhook.ClientOptions{MaxAttempts: attempts})
			require.ErrorIs(t, apiCalls[0].do(t.Context(), c), diffhook.ErrServer)
			since := times()
			require.Len(t, since, attempts)
			for i := range waits {
				waits[i] = append(waits[i], since[i+1]-since[i])
			}
		}
		for i, waits := range waits {
			longest := min(500*time.Millisecond<<i, 8*time.Second)
			var sum time.Duration
			for _, wait := range waits {
				sum += wait
			}
			assert.LessOrEqual(t, slices.Max(waits), longest, "retry %d", i+1)
			assert.Greater(t, slices.Max(waits), longest*95/100, "retry %d", i+1)
			assert.GreaterOrEqual(t, slices.Min(waits), time.Duration(0), "retry %d", i+1)
			assert.Less(t, slices.Min(waits), longest*5/100, "retry %d", i+1)
			// Six standard deviations of the mean of uniform draws.
			off := 6 * float64(longest) / math.Sqrt(12*draws)
			assert.InDelta(t, float64(longest)/2, float64(sum)/draws, off, "retry %d", i+1)
		}
	})
}

// withHeader adds headers to an answer, as pairs of name and value.
func withHeader(answer http.HandlerFunc, pairs ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(pairs); i += 2 {
			w.Header().Set(pairs[i], pairs[i+1])
		}
		answer(w, r)
	}
}

// TestRetryAfter: the forms in which the API may ask for a wait. A 429 without a
// credible wait pauses all calls for a default.
func TestRetryAfter(t *testing.T) {
	const plain = `{"error": "Too many requests"}`
	const unnamed = 5 * time.Second
	dateIn := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	unixIn := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).Unix(), 10) }
	milliIn := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).UnixMilli(), 10) }
	limited := func(pairs ...string) http.HandlerFunc { return withHeader(answeringJSON(429, plain), pairs...) }
	const ahead = 40 * time.Minute // by which the server's clock is ahead
	for _, c := range []struct {
		name   string
		answer func() http.HandlerFunc
		wait   time.Duration // 0: backoff
	}{
		{"seconds", func() http.HandlerFunc { return limited("Retry-After", "7") }, 7 * time.Second},
		{"fraction", func() http.HandlerFunc { return limited("Retry-After", "1.5") }, 1500 * time.Millisecond},
		{"date", func() http.HandlerFunc { return limited("Retry-After", dateIn(9*time.Second)) }, 9 * time.Second},
		{"date as a number", func() http.HandlerFunc { return limited("Retry-After", unixIn(9*time.Second)) }, 9 * time.Second},
		{"date in milliseconds", func() http.HandlerFunc { return limited("Retry-After", milliIn(9*time.Second)) }, 9 * time.Second},
		{"body", func() http.HandlerFunc { return answeringJSON(429, `{"error": "a", "retry_after_seconds": 11}`) }, 11 * time.Second},
		{"a text in the body", func() http.HandlerFunc { return answeringJSON(429, `{"error": "a", "retry_after_seconds": "11"}`) }, 11 * time.Second},
		{"header before body", func() http.HandlerFunc {
			return withHeader(answeringJSON(429, `{"error": "a", "retry_after_seconds": 11}`), "Retry-After", "7")
		}, 7 * time.Second},
		{"body if the header is rubbish", func() http.HandlerFunc {
			return withHeader(answeringJSON(429, `{"error": "a", "retry_after_seconds": 11}`), "Retry-After", "soon")
		}, 11 * time.Second},
		{"RateLimit-Reset", func() http.HandlerFunc { return limited("RateLimit-Reset", "13") }, 13 * time.Second},
		{"X-RateLimit-Reset", func() http.HandlerFunc { return limited("X-RateLimit-Reset", "14") }, 14 * time.Second},
		{"X-RateLimit-Reset as a date", func() http.HandlerFunc { return limited("X-RateLimit-Reset", unixIn(15*time.Second)) }, 15 * time.Second},
		{"X-RateLimit-Reset in ISO 8601", func() http.HandlerFunc {
			return limited("X-RateLimit-Reset", time.Now().Add(15*time.Second).UTC().Format(time.RFC3339))
		}, 15 * time.Second},
		{"ISO 8601 in the body", func() http.HandlerFunc {
			at := time.Now().Add(15 * time.Second).UTC().Format(time.RFC3339)
			return answeringJSON(429, `{"error": "a", "retry_after_seconds": "`+at+`"}`)
		}, 15 * time.Second},
		{"X-Rate-Limit-Reset in milliseconds", func() http.HandlerFunc { return limited("X-Rate-Limit-Reset", milliIn(15*time.Second)) }, 15 * time.Second},
		{"X-RateLimit-Reset-After", func() http.HandlerFunc { return limited("X-RateLimit-Reset-After", "16") }, 16 * time.Second},
		{"503 too", func() http.HandlerFunc { return withHeader(answeringJSON(503, plain), "Retry-After", "5") }, 5 * time.Second},
		// The reset of a limit that is not reached.
		{"reset of a 503", func() http.HandlerFunc { return withHeader(answeringJSON(503, plain), "RateLimit-Reset", "13") }, 0},

		// The clocks differ: the Date of the response names the clock of the wait.
		{"date by a clock ahead", func() http.HandlerFunc {
			return limited("Retry-After", dateIn(ahead+9*time.Second), "Date", dateIn(ahead))
		}, 9 * time.Second},
		{"date by a clock behind", func() http.HandlerFunc {
			return limited("Retry-After", dateIn(9*time.Second-ahead), "Date", dateIn(-ahead))
		}, 9 * time.Second},
		{"reset by a clock ahead", func() http.HandlerFunc {
			return limited("X-RateLimit-Reset", unixIn(ahead+9*time.Second), "Date", dateIn(ahead))
		}, 9 * time.Second},
		{"Date is rubbish", func() http.HandlerFunc {
			return limited("Retry-After", dateIn(9*time.Second), "Date", "today")
		}, 9 * time.Second},

		// No wait, or no credible wait.
		{"none", func() http.HandlerFunc { return limited() }, unnamed},
		{"past date", func() http.HandlerFunc { return limited("Retry-After", dateIn(-time.Hour)) }, unnamed},
		{"negative", func() http.HandlerFunc { return limited("Retry-After", "-5") }, unnamed},
		{"not a number", func() http.HandlerFunc { return limited("Retry-After", "NaN") }, unnamed},
		{"zero", func() http.HandlerFunc { return limited("Retry-After", "0") }, unnamed},
		{"a list in the body", func() http.HandlerFunc { return answeringJSON(429, `{"error": "a", "retry_after_seconds": [11]}`) }, unnamed},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pause(5 * 365 * 24 * time.Hour) // until Unix times exceed 10⁹
				h, times := arrivals(inTurn(c.answer(), answeringJSON(200, `{"data": {"id": "mon_1"}}`)))
				client := newHandlerClient(t, h, nil)
				require.NoError(t, apiCallNamed(t, "get").do(t.Context(), client))
				since := times()
				require.Len(t, since, 2)
				if c.wait == 0 {
					assert.LessOrEqual(t, since[1], 500*time.Millisecond)
				} else {
					assert.Equal(t, c.wait, since[1])
				}
			})
		})
	}
}

// TestPauseWithoutTimeGrows: consecutive 429s without a wait double the pause of all
// calls, once for each pause, up to a minute. Any other response ends the series.
func TestPauseWithoutTimeGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var limited atomic.Bool
		limited.Store(true)
		h, times := arrivals(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if limited.Load() {
				answeringJSON(429, `{"error": "Too many requests"}`)(w, r)
				return
			}
			answeringJSON(200, `{"data": {"id": "mon_1"}}`)(w, r)
		}))
		c := newHandlerClient(t, h, &diffhook.ClientOptions{MaxAttempts: 7})
		get := func() error { return apiCallNamed(t, "get").do(t.Context(), c) }
		requireTimes := func(want ...time.Duration) {
			t.Helper()
			since := times()
			require.Len(t, since, len(want))
			for i, at := range want {
				// Less than a backoff later, if the backoff was the longer wait.
				require.InDelta(t, at*time.Second, since[i], float64(8*time.Second), "request %d", i+1)
				if i > 0 {
					require.GreaterOrEqual(t, since[i]-since[i-1], (at-want[i-1])*time.Second)
				}
			}
		}
		require.ErrorIs(t, get(), diffhook.ErrRateLimited)
		requireTimes(0, 5, 15, 35, 75, 135, 195)

		// The pause of the last 429 holds. Then the series is over.
		limited.Store(false)
		require.NoError(t, get())
		limited.Store(true)
		began := time.Now()
		go func() { pause(time.Second); limited.Store(false) }()
		require.NoError(t, get())
		require.Equal(t, 5*time.Second, time.Since(began))
	})
	t.Run("many at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, times := arrivals(inTurn(slices.Repeat([]http.HandlerFunc{answeringJSON(429, "{}")}, 8)...))
			both := newHandlerClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				pause(time.Second) // until all requests are sent
				h.ServeHTTP(w, r)
			}), &diffhook.ClientOptions{MaxAttempts: 2})
			var calls sync.WaitGroup
			for range 4 {
				calls.Go(func() { assert.ErrorIs(t, apiCallNamed(t, "get").do(t.Context(), both), diffhook.ErrRateLimited) })
			}
			calls.Wait()
			require.Len(t, times(), 8)
			require.Equal(t, 6*time.Second, times()[7], "5 s and the second of the answer")
		})
	})
}

// TestWaitTooLong: if the API asks for a longer wait than the caller accepts, the error
// comes at once.
func TestWaitTooLong(t *testing.T) {
	limited := func(seconds string) http.HandlerFunc {
		return withHeader(answeringJSON(429, `{"error": "Too many requests"}`), "Retry-After", seconds)
	}
	for _, c := range []struct {
		name     string
		answer   http.HandlerFunc
		longest  time.Duration
		deadline time.Duration
		after    time.Duration
		is       []error
	}{
		{name: "default", answer: limited("61"), after: 61 * time.Second, is: []error{diffhook.ErrRateLimited}},
		{name: "option", answer: limited("6"), longest: 5 * time.Second, after: 6 * time.Second, is: []error{diffhook.ErrRateLimited}},
		{name: "absurd", answer: limited("1e300"), after: 365 * 24 * time.Hour, is: []error{diffhook.ErrRateLimited}},
		{name: "infinite", answer: limited("Inf"), after: 365 * 24 * time.Hour, is: []error{diffhook.ErrRateLimited}},
		{name: "deadline before", answer: limited("10"), deadline: 5 * time.Second, after: 10 * time.Second,
			is: []error{diffhook.ErrRateLimited, context.DeadlineExceeded}},
		{name: "503", answer: withHeader(answeringJSON(503, `{}`), "Retry-After", "10"), deadline: 5 * time.Second, after: 10 * time.Second,
			is: []error{diffhook.ErrServer, context.DeadlineExceeded}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sent atomic.Int64
				client := newHandlerClient(t, counting(&sent, c.answer), &diffhook.ClientOptions{MaxRetryWait: c.longest})
				ctx := t.Context()
				if c.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.deadline)
					defer cancel()
				}
				began := time.Now()
				err := apiCallNamed(t, "get").do(ctx, client)
				assertMatches(t, err, c.is...)
				assert.Zero(t, time.Since(began))
				assert.EqualValues(t, 1, sent.Load())
				assert.Equal(t, c.after, requireAPIError(t, err).RetryAfter)
			})
		})
	}
	t.Run("as long as allowed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client := newHandlerClient(t, inTurn(limited("60"), answeringJSON(200, `{"data": {"id": "mon_1"}}`)), nil)
			require.NoError(t, apiCallNamed(t, "get").do(t.Context(), client))
		})
	})
}

// TestBackoffIsNoWaitAskedFor: MaxRetryWait bounds the waits of the API. A short
// MaxRetryWait does not prevent retries.
func TestBackoffIsNoWaitAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 20 {
			var sent atomic.Int64
			c := newHandlerClient(t, counting(&sent, answeringJSON(503, "{}")), &diffhook.ClientOptions{MaxRetryWait: time.Millisecond})
			require.ErrorIs(t, apiCallNamed(t, "get").do(t.Context(), c), diffhook.ErrServer)
			require.EqualValues(t, 4, sent.Load())
		}
	})
}

// TestPauseForAll: a 429 stops every call of the client, and of clients made from it,
// until the time in the 429.
func TestPauseForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limited := withHeader(answeringJSON(429, "{}"), "Retry-After", "20")
		h, times := arrivals(inTurn(limited, answeringJSON(200, `{"data": {"id": "mon_1"}}`)))
		c := newHandlerClient(t, h, nil)
		key, err := diffhook.NewAPIKey(testKeyText)
		require.NoError(t, err)
		others := []*diffhook.Client{c, c.WithCredentials(key)}
		var calls sync.WaitGroup
		calls.Go(func() { assert.NoError(t, apiCallNamed(t, "get").do(t.Context(), c)) })
		synctest.Wait()
		for _, other := range others {
			calls.Go(func() { assert.NoError(t, apiCallNamed(t, "trigger").do(t.Context(), other)) })
		}
		calls.Wait()
		assert.Equal(t, []time.Duration{0, 20 * time.Second, 20 * time.Second, 20 * time.Second}, times())
	})
}

// TestPauseLongerThanAllowed: during a pause longer than MaxRetryWait, calls return an
// error without being sent.
func TestPauseLongerThanAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int64
		c := newHandlerClient(t, counting(&sent, withHeader(answeringJSON(429, "{}"), "Retry-After", "300")), nil)
		require.ErrorIs(t, apiCallNamed(t, "get").do(t.Context(), c), diffhook.ErrRateLimited)
		pause(100 * time.Second)
		for _, call := range apiCalls {
			err := call.do(t.Context(), c)
			assertMatches(t, err, diffhook.ErrRateLimited)
			api := requireAPIError(t, err)
			assert.Equal(t, 200*time.Second, api.RetryAfter)
			assert.Equal(t, call.route, api.Route)
			assert.Equal(t, 0, api.Attempts, "how often the request was sent")
		}
		assert.EqualValues(t, 1, sent.Load())
	})
}

// TestCancelled: the time at which an abandoned call ends.
func TestCancelled(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		is     []error
	}{
		// The API's own error says more than the caller's cancellation.
		{"in the wait after a 429", withHeader(answeringJSON(429, "{}"), "Retry-After", "10"), []error{diffhook.ErrRateLimited}},
		{"in the wait after a 503", withHeader(answeringJSON(503, "{}"), "Retry-After", "10"), []error{diffhook.ErrServer}},
		{"in flight", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, []error{context.Canceled}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sent atomic.Int64
				client := newHandlerClient(t, counting(&sent, c.answer), nil)
				ctx, cancel := context.WithCancel(t.Context())
				began := time.Now()
				time.AfterFunc(3*time.Second, cancel)
				err := apiCallNamed(t, "get").do(ctx, client)
				for _, is := range c.is {
					require.ErrorIs(t, err, is)
				}
				assert.Equal(t, 3*time.Second, time.Since(began))
				assert.EqualValues(t, 1, sent.Load())
			})
		})
	}
	t.Run("a POST in flight", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client := newHandlerClient(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), nil)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(3*time.Second, cancel)
			assertMatches(t, apiCallNamed(t, "create key").do(ctx, client), context.Canceled, diffhook.ErrOutcomeUnknown)
		})
	})
	t.Run("before it begins", func(t *testing.T) {
		var sent atomic.Int64
		client := newHandlerClient(t, counting(&sent, answeringJSON(200, `{"data": {"id": "mon_1"}}`)), nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, call := range apiCalls {
			assertMatches(t, call.do(ctx, client), context.Canceled)
		}
		assert.Zero(t, sent.Load())
	})
}

// TestLateTurn: a retry whose turn comes after the deadline returns the API's error,
// not only the lack of time.
func TestLateTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newHandlerClient(t, answeringJSON(503, "{}"), &diffhook.ClientOptions{Limiter: diffhook.PlanLimiter(1)})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		require.ErrorIs(t, apiCallNamed(t, "get").do(ctx, c), diffhook.ErrServer)
	})
}

// TestOneAttempt: with MaxAttempts 1, nothing is sent again.
func TestOneAttempt(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"429": withHeader(answeringJSON(429, "{}"), "Retry-After", "1"), "503": answeringJSON(503, "{}"),
		"breaks": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		for _, call := range apiCalls {
			t.Run(name+"/"+call.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var sent atomic.Int64
					c := newHandlerClient(t, counting(&sent, answer), &diffhook.ClientOptions{MaxAttempts: 1})
					began := time.Now()
					require.Error(t, call.do(t.Context(), c))
					assert.EqualValues(t, 1, sent.Load())
					assert.Zero(t, time.Since(began))
				})
			})
		}
	}
}
