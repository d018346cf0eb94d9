package diffhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Bounds of the wait before a retry, if the API asks for no wait: the longest wait
// doubles from attempt to attempt, and the wait is a random part of it ("full jitter").
const (
	firstBackoff = 500 * time.Millisecond
	mostBackoff  = 8 * time.Second
)

// repeat makes attempts at a call until an attempt settles the call.
func (c *core) repeat(ctx context.Context, call *call, attempt func(context.Context, *call) outcome) error {
	var before error   // the error of the attempt before
	maybeDone := false // an earlier attempt may have been carried out
	for n := 1; ; n++ {
		call.attempts = n
		o := attempt(ctx, call)
		if o.unsent != nil {
			return call.unsentError(ctx, o.unsent, before)
		}
		if o.gone && maybeDone && call.method == http.MethodDelete {
			return nil // by the earlier attempt
		}
		if !o.retry || n >= c.opts.MaxAttempts || o.retryAfter > c.opts.MaxRetryWait {
			return o.err
		}
		before, maybeDone = o.err, maybeDone || o.maybeDone
		if err := c.waitToRetry(ctx, call, o); err != nil {
			return call.interruptedBy(err, o.err)
		}
	}
}

// waitToRetry waits before the attempt after o.
func (c *core) waitToRetry(ctx context.Context, call *call, o outcome) error {
	wait := o.retryAfter
	if wait == 0 && !o.atOnce {
		wait = backoff(call.attempts)
	}
	if ctx.Err() == nil {
		c.logRetry(ctx, call, wait, o.err)
	}
	return sleep(ctx, wait)
}

func matchesContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func (c *core) logRetry(ctx context.Context, call *call, wait time.Duration, err error) {
	if c.opts.Logger != nil {
		c.opts.Logger.LogAttrs(ctx, slog.LevelWarn, "diffhook: retrying",
			slog.String("method", call.method), slog.String("route", call.route),
			slog.Int("attempt", call.attempts), slog.Duration("wait", wait), slog.Any("error", err))
	}
}

// backoff returns the wait after the n-th attempt.
func backoff(n int) time.Duration {
	longest := min(firstBackoff<<min(n-1, 16), mostBackoff)
	return rand.N(longest)
}

// Headers with the time at which a limit is reset. DiffHook documents such headers
// without their names: these are the common names.
var resetHeaders = [...]string{"RateLimit-Reset", "X-RateLimit-Reset", "X-Rate-Limit-Reset", "X-RateLimit-Reset-After"}

// retryAfter returns how long a response asks to wait, or 0. It reads Retry-After
// (seconds or a date; RFC 9110, 10.2.3), then inBody, which is the
// retry_after_seconds of generation 2, and then the reset headers of a 429.
//
// A date is compared with the Date of the response, since the clock of this
// machine may differ.
func retryAfter(resp *http.Response, inBody string) time.Duration {
	now, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	for _, text := range [...]string{resp.Header.Get("Retry-After"), inBody} {
		if wait, ok := parseWait(text, now); ok {
			return wait
		}
	}
	if resp.StatusCode != http.StatusTooManyRequests {
		return 0
	}
	for _, name := range resetHeaders {
		if wait, ok := parseWait(resp.Header.Get(name), now); ok {
			return wait
		}
	}
	return 0
}

// parseWait reads a number of seconds or a date. It reports false if text is
// neither.
func parseWait(text string, now time.Time) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	at, err := http.ParseTime(text)
	isDate := err == nil
	if !isDate {
		at, isDate = parseTime(text) // as in some reset headers
	}
	if isDate {
		return inSeconds(at.Sub(now).Seconds()), true
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, false
	}
	switch {
	case n > 1e11: // a date, in milliseconds since 1970
		return inSeconds(time.UnixMilli(int64(min(n, 1e14))).Sub(now).Seconds()), true
	case n > 1e9: // a date, in seconds since 1970
		return inSeconds(time.Unix(int64(n), 0).Sub(now).Seconds()), true
	}
	return inSeconds(n), true
}

// inSeconds converts a number of seconds from any origin, up to a year.
func inSeconds(n float64) time.Duration {
	const most = 365 * 24 * 60 * 60
	if !(n > 0) { // also not a number
		return 0
	}
	return time.Duration(min(n, most) * float64(time.Second))
}

// departure watches how the request of one attempt leaves the process.
//
// net/http repeats some requests by itself, without a wait and without a limit. Over
// HTTP/2 it repeats any request without a body if the server reset the stream with
// PROTOCOL_ERROR, also a POST that was carried out. Before each repetition, net/http
// takes a connection for the request again. There, departure ends the attempt: only
// the client repeats a request.
type departure struct {
	end   func() // ends the attempt
	trace httptrace.ClientTrace

	asked  atomic.Bool  // a connection was asked for
	conns  atomic.Int32 // how often the request got a connection
	repeat atomic.Bool  // the transport was about to repeat the request
}

// watch returns ctx with a trace of connections for d.
func (d *departure) watch(ctx context.Context) context.Context {
	d.trace = httptrace.ClientTrace{GetConn: d.getConn, GotConn: d.gotConn}
	return httptrace.WithClientTrace(ctx, &d.trace)
}

// getConn is called when the transport asks for a connection, before it sends
// anything on the connection.
func (d *departure) getConn(string) {
	d.asked.Store(true)
	if d.conns.Load() > 0 {
		d.stop()
	}
}

// gotConn is called when the transport is about to send the request on a connection.
func (d *departure) gotConn(info httptrace.GotConnInfo) {
	if d.conns.Add(1) == 1 {
		return
	}
	d.stop()
	// HTTP/2 looks at the context before it sends. HTTP/1 does not, but there
	// the connection belongs to this request alone.
	if !isHTTP2(info.Conn) && info.Conn != nil {
		_ = info.Conn.Close()
	}
}

// stop ends the attempt, because the transport is about to repeat the request.
func (d *departure) stop() {
	d.repeat.Store(true)
	d.end()
}

// left reports whether the request may have left, after the transport returned
// err. Without a connection, no request leaves. If the transport does not report
// connections, err decides.
func (d *departure) left(err error) bool {
	if d.asked.Load() || d.conns.Load() > 0 {
		return d.conns.Load() > 0 && !isUnprocessed(err)
	}
	return !isDialError(err) && !isUntrusted(err)
}

// isHTTP2 reports whether conn may carry other requests at the same time.
func isHTTP2(conn net.Conn) bool {
	secure, ok := conn.(*tls.Conn)
	return ok && secure.ConnectionState().NegotiatedProtocol == "h2"
}

// isDialError reports whether the connection could not be made.
func isDialError(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// errRepeated is the error of an attempt that the transport was about to repeat.
var errRepeated = errors.New("the connection failed or the server reset the request, and the transport was about to send it again")

// isUnprocessed reports whether the server did not process the request. The server
// refused the stream, or the stream is above the last stream of GOAWAY (RFC 9113,
// 8.7). net/http returns both as text, because no request of the client can be
// rewound: see newRequest. Or the connection ended before a stream began, or
// before the end of the TLS handshake.
func isUnprocessed(err error) bool {
	text := err.Error()
	switch {
	case isCertificateAlert(err),
		text == "http2: client conn could not be established", text == "http2: client conn not usable":
		return true
	}
	if strings.HasPrefix(text, "http2: Transport received GOAWAY from server") {
		return true // for a stream above the last one
	}
	text, ok := strings.CutPrefix(text, "http2: Transport: cannot retry err [")
	return ok && (strings.HasPrefix(text, "http2: Transport received Server's graceful shutdown GOAWAY]") ||
		strings.HasPrefix(text, "stream error: ") && strings.Contains(text, "; REFUSED_STREAM; received from peer]"))
}

// isHopeless reports whether another attempt will fail in the same way: the server
// is not the server of the URL, or the proxy does not let the client through.
// Several wrong passwords can lock an account of the proxy.
func isHopeless(err error) bool {
	return isUntrusted(err) || isCertificateAlert(err) || isProxyRefusal(err)
}

// isCertificateAlert reports whether the server asked for a certificate of the client
// and rejected it, or its absence. In TLS 1.3 the alert comes after the request was
// sent, but such a server does not read the request.
func isCertificateAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && op.Err != nil && strings.Contains(op.Err.Error(), "certificate")
}

// isUntrusted reports whether the server did not prove its identity. The client then
// sends nothing.
func isUntrusted(err error) bool {
	var unverified *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &unverified) || errors.As(err, &unknown) || errors.As(err, &hostname) || errors.As(err, &invalid) ||
		errors.Is(err, http.ErrSchemeMismatch)
}

// proxyError is an HTTP proxy's refusal to connect. net/http passes on the reason
// phrase alone, which the proxy may have chosen or left out.
type proxyError struct{ status int }

func (e *proxyError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the proxy refused to connect: %d %s", e.status, http.StatusText(e.status)))
}

// proxyResponse is the type of OnProxyConnectResponse in a transport.
type proxyResponse = func(context.Context, *url.URL, *http.Request, *http.Response) error

// asProxyError returns a proxyResponse that calls before, unless before is nil, and
// turns a refusal into a proxyError.
func asProxyError(before proxyResponse) proxyResponse {
	return func(ctx context.Context, proxy *url.URL, req *http.Request, resp *http.Response) error {
		if before != nil {
			if err := before(ctx, proxy, req, resp); err != nil {
				return err
			}
		}
		if resp.StatusCode != http.StatusOK {
			return &proxyError{resp.StatusCode}
		}
		return nil
	}
}

// isProxyRefusal reports whether err is a proxy's refusal of a connection that no
// retry changes: the proxy does not know the client, or does not let the client
// through.
func isProxyRefusal(err error) bool {
	var refusal *proxyError
	if errors.As(err, &refusal) {
		return isRefusal(refusal.status)
	}
	var op *net.OpError
	if errors.As(err, &op) && strings.HasPrefix(op.Op, "socks") && op.Err != nil {
		return strings.Contains(op.Err.Error(), "authentication")
	}
	return isRefusalPhrase(err.Error())
}

func isRefusal(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusProxyAuthRequired
}

// isRefusalPhrase reports whether text is the reason phrase of such a refusal, which
// the transport of a caller may pass on. Proxies write 407 in their own words, such
// as "authenticationrequired".
func isRefusalPhrase(text string) bool {
	text = strings.ToLower(text)
	if strings.ContainsAny(text, ":;") { // of another error, such as the address of a host
		return false
	}
	for _, phrase := range [...]string{"unauthorized", "forbidden"} {
		if text == phrase {
			return true
		}
	}
	return strings.Contains(text, "proxy auth") || strings.Contains(text, "authentication") && strings.Contains(text, "required")
}
