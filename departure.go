package diffhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
)

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

// isHTTP2 reports whether conn may carry the requests of others.
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

// isCertificateAlert reports whether the server asked for a certificate of the
// client and rejected it, or its absence. In TLS 1.3 the client learns that after
// it has sent the request, which such a server does not read.
func isCertificateAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && op.Err != nil && strings.Contains(op.Err.Error(), "certificate")
}

// isUntrusted reports whether the server did not prove to be the server of the URL.
// The client then sends nothing.
func isUntrusted(err error) bool {
	var unverified *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &unverified) || errors.As(err, &unknown) || errors.As(err, &hostname) || errors.As(err, &invalid) ||
		errors.Is(err, http.ErrSchemeMismatch)
}
