package diffhook_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// Frames of HTTP/2 (RFC 9113, 6) for the servers of these tests.
const (
	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	frameGoAway       = 7
	endStream         = 1
	codeNone          = 0
	codeProtocolError = 1
	codeInternalError = 2
	codeRefusedStream = 7
	codeCancel        = 8
	codeCalm          = 11 // ENHANCE_YOUR_CALM
)

// h2conn is a connection of HTTP/2, answered by a test frame by frame.
type h2conn struct{ net.Conn }

func (c h2conn) frame(kind, flags byte, stream uint32, payload ...byte) {
	head := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	_, _ = c.Write(append(binary.BigEndian.AppendUint32(head, stream), payload...))
}

func (c h2conn) reset(stream uint32, code byte) { c.frame(frameReset, 0, stream, 0, 0, 0, code) }

func (c h2conn) goAway(last uint32, code byte) {
	c.frame(frameGoAway, 0, 0, append(binary.BigEndian.AppendUint32(nil, last), 0, 0, 0, code)...)
}

// answer answers 200 with a monitor.
func (c h2conn) answer(stream uint32) {
	c.frame(frameHeaders, 4, stream, 0x88) // END_HEADERS, ":status: 200"
	c.frame(frameData, endStream, stream, []byte(`{"data": {"id": "mon_1"}}`)...)
}

// trustTestServers makes default transports trust the certificate of httptest until the
// test ends. It returns the certificate.
func trustTestServers(t *testing.T) []tls.Certificate {
	t.Helper()
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	t.Cleanup(certified.Close)
	before := http.DefaultTransport
	trusting := before.(*http.Transport).Clone()
	trusting.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
	trusting.TLSClientConfig.RootCAs.AddCert(certified.Certificate())
	http.DefaultTransport = trusting
	t.Cleanup(func() { http.DefaultTransport = before })
	return certified.TLS.Certificates
}

// h2Server serves HTTP/2 and calls request for each complete request. It returns the
// origin.
func h2Server(t *testing.T, certificates []tls.Certificate, request func(conn h2conn, stream uint32)) string {
	t.Helper()
	config := &tls.Config{Certificates: certificates, NextProtos: []string{"h2"}}
	origin := rawServer(t, func(plain net.Conn) {
		conn := h2conn{tls.Server(plain, config)}
		conn.frame(frameSettings, 0, 0)
		if _, err := io.ReadFull(conn, make([]byte, len(http2Preface))); err != nil {
			return
		}
		for head := make([]byte, 9); ; {
			if _, err := io.ReadFull(conn, head); err != nil {
				return
			}
			length := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
			if _, err := io.CopyN(io.Discard, conn, length); err != nil {
				return
			}
			if (head[3] == frameHeaders || head[3] == frameData) && head[4]&endStream != 0 {
				request(conn, binary.BigEndian.Uint32(head[5:]))
			}
		}
	})
	return "https" + origin[len("http"):]
}

const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// defaultClient returns a client with the default transport.
func defaultClient(t *testing.T, origin string, opts diffhook.ClientOptions) *diffhook.Client {
	t.Helper()
	opts.BaseURL, opts.Limiter = origin+"/api/", unlimited()
	key, err := diffhook.NewAPIKey(testKeyText)
	require.NoError(t, err)
	c, err := diffhook.NewClient(key, &opts)
	require.NoError(t, err)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// TestSentOncePerAttempt: whatever a server does to a stream or a connection of HTTP/2,
// an attempt sends at most one request, even if net/http would repeat it. The outcome
// of a POST is unknown, unless the request was not processed.
func TestSentOncePerAttempt(t *testing.T) {
	certificates := trustTestServers(t)
	calls := append(slices.Clone(apiCalls), apiCall{
		name: "Do POST of nothing", do: func(ctx context.Context, c *diffhook.Client) error { return c.Do(ctx, "POST", "things", nil, nil) },
	})
	for _, c := range []struct {
		name        string
		request     func(conn h2conn, stream uint32)
		unprocessed bool
	}{
		{"reset with PROTOCOL_ERROR", func(c h2conn, s uint32) { c.reset(s, codeProtocolError) }, false},
		{"reset with INTERNAL_ERROR", func(c h2conn, s uint32) { c.reset(s, codeInternalError) }, false},
		{"reset with CANCEL", func(c h2conn, s uint32) { c.reset(s, codeCancel) }, false},
		{"reset with ENHANCE_YOUR_CALM", func(c h2conn, s uint32) { c.reset(s, codeCalm) }, false},
		{"reset with REFUSED_STREAM", func(c h2conn, s uint32) { c.reset(s, codeRefusedStream) }, true},
		{"GOAWAY below the stream", func(c h2conn, s uint32) { c.goAway(0, codeNone) }, true},
		{"GOAWAY below the stream, and closed", func(c h2conn, s uint32) { c.goAway(0, codeNone); c.Close() }, true},
		{"GOAWAY below the stream with an error", func(c h2conn, s uint32) { c.goAway(0, codeCalm) }, true},
		{"GOAWAY at the stream, and closed", func(c h2conn, s uint32) { c.goAway(s, codeNone); c.Close() }, false},
		{"GOAWAY at the stream with an error, and closed", func(c h2conn, s uint32) { c.goAway(s, codeInternalError); c.Close() }, false},
		{"closed", func(c h2conn, s uint32) { c.Close() }, false},
		{"not HTTP/2", func(c h2conn, s uint32) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); c.Close() }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int64
			origin := h2Server(t, certificates, func(conn h2conn, stream uint32) {
				sent.Add(1)
				c.request(conn, stream)
			})
			requireSent := func(call apiCall, attempts int) {
				t.Helper()
				sent.Store(0)
				err := call.do(t.Context(), defaultClient(t, origin, diffhook.ClientOptions{MaxAttempts: attempts}))
				require.Error(t, err, call.name)
				want := attempts
				if !call.repeatable && !c.unprocessed {
					want = 1
				}
				require.EqualValues(t, want, sent.Load(), "%s: %v", call.name, err)
				unknown := !call.repeatable && !c.unprocessed
				require.Equal(t, unknown, errors.Is(err, diffhook.ErrOutcomeUnknown), "%s: %v", call.name, err)
				require.NotErrorIs(t, err, context.Canceled, call.name)
			}
			for _, call := range calls {
				requireSent(call, 1)
			}
			for _, name := range []string{"get", "update", "create key", "trigger"} {
				requireSent(apiCallNamed(t, name), 2)
			}
		})
	}
}

// TestSentAgainByTheClient: after a reset, the client's own retry succeeds on a
// connection that other calls share.
func TestSentAgainByTheClient(t *testing.T) {
	var sent atomic.Int64
	origin := h2Server(t, trustTestServers(t), func(conn h2conn, stream uint32) {
		if n := sent.Add(1); n%3 == 1 {
			conn.reset(stream, codeProtocolError)
			return
		}
		conn.answer(stream)
	})
	c := defaultClient(t, origin, diffhook.ClientOptions{MaxAttempts: 10})
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() { assert.NoError(t, apiCallNamed(t, "get").do(t.Context(), c)) })
	}
	calls.Wait()
	// 20 answers take at most 31 requests: every third is reset.
	assert.LessOrEqual(t, sent.Load(), int64(31))
	assert.GreaterOrEqual(t, sent.Load(), int64(29))
}

// TestSentOnceAfterIdle: an HTTP/1.1 server closes the connection after the second
// request. net/http would repeat a GET by itself.
func TestSentOnceAfterIdle(t *testing.T) {
	for _, call := range apiCalls {
		var seconds, conns atomic.Int64
		origin := closingOnSecond(t, &conns, &seconds)
		c := defaultClient(t, origin, diffhook.ClientOptions{MaxAttempts: 1})
		require.NoError(t, c.Do(t.Context(), "GET", "things", nil, new(any)), call.name)
		err := call.do(t.Context(), c)
		require.Error(t, err, call.name)
		require.Equal(t, !call.repeatable, errors.Is(err, diffhook.ErrOutcomeUnknown), "%s: %v", call.name, err)
		require.EqualValues(t, 1, seconds.Load(), call.name)
		require.LessOrEqual(t, conns.Load(), int64(2), call.name)
	}
}

// TestConnectionsOfOthersStay: an attempt that ends before a second request closes no
// HTTP/2 connection of other calls.
func TestConnectionsOfOthersStay(t *testing.T) {
	slow, started := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	origin := h2Server(t, trustTestServers(t), func(conn h2conn, stream uint32) {
		if first.CompareAndSwap(false, true) {
			close(started)
			go func() { <-slow; conn.answer(stream) }()
			return
		}
		conn.reset(stream, codeRefusedStream)
	})
	c := defaultClient(t, origin, diffhook.ClientOptions{MaxAttempts: 1})
	done := make(chan error)
	go func() { done <- apiCallNamed(t, "get").do(t.Context(), c) }()
	<-started
	require.Error(t, apiCallNamed(t, "list").do(t.Context(), c))
	close(slow)
	require.NoError(t, <-done)
}

// TestDeadConnectionIsLeft: the client leaves a silent connection of HTTP/2, without
// even the answer to a ping, before the attempt ends. The next attempt gets a new
// connection.
func TestDeadConnectionIsLeft(t *testing.T) {
	var dead atomic.Pointer[net.Conn]
	hang := make(chan struct{})
	answered := false
	origin := h2Server(t, trustTestServers(t), func(conn h2conn, stream uint32) {
		if answered && dead.CompareAndSwap(nil, &conn.Conn) {
			<-hang // the server reads nothing more
			return
		}
		answered = true
		conn.answer(stream)
	})
	t.Cleanup(func() { close(hang) })
	c := defaultClient(t, origin, diffhook.ClientOptions{MaxAttempts: 2, AttemptTimeout: 3 * time.Second})
	require.NoError(t, apiCallNamed(t, "get").do(t.Context(), c))
	require.NoError(t, apiCallNamed(t, "get").do(t.Context(), c))
	require.NotNil(t, dead.Load())
}

// proxyAnswering is an HTTP proxy that answers CONNECT with a status.
func proxyAnswering(t *testing.T, tries *atomic.Int64, status string) *http.Transport {
	origin := rawServer(t, func(conn net.Conn) {
		if tries != nil {
			tries.Add(1)
		}
		if readRequest(bufio.NewReader(conn)) == nil && status != "" {
			_, _ = io.WriteString(conn, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n")
			return
		}
		_, _ = io.Copy(io.Discard, conn)
	})
	u, err := url.Parse(origin)
	require.NoError(t, err)
	u.User = url.UserPassword("made-up", "wrong")
	return &http.Transport{Proxy: http.ProxyURL(u)}
}

// TestWhatNeverLeftIsNotOfUnknownOutcome: a failure before there is a connection is not
// of unknown outcome, and the client tries again unless a retry is hopeless.
func TestWhatNeverLeftIsNotOfUnknownOutcome(t *testing.T) {
	silent := func(t *testing.T) string {
		return rawServer(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })[len("http://"):]
	}
	plain := func(t *testing.T) string {
		return rawServer(t, func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		})[len("http://"):]
	}
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	asks := httptest.NewUnstartedServer(http.NotFoundHandler())
	asks.Config.ErrorLog = log.New(io.Discard, "", 0)
	asks.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	asks.StartTLS()
	t.Cleanup(asks.Close)
	for _, c := range []struct {
		name      string
		at        func(t *testing.T) (origin string, transport *http.Transport)
		hopeless  bool
		isTimeout bool
	}{
		{"dial refused", func(t *testing.T) (string, *http.Transport) {
			return "https://" + closed.Addr().String(), &http.Transport{}
		}, false, false},
		{"dial hangs", func(t *testing.T) (string, *http.Transport) {
			return "https://api.example", &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}}
		}, false, true},
		{"no such host", func(t *testing.T) (string, *http.Transport) {
			return "https://api.example", &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.DNSError{Err: "no such host", Name: "api.example", IsNotFound: true}
			}}
		}, false, false},
		{"proxy down", func(t *testing.T) (string, *http.Transport) {
			return "https://api.example", &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: closed.Addr().String()})}
		}, false, false},
		{"proxy silent", func(t *testing.T) (string, *http.Transport) { return "https://api.example", proxyAnswering(t, nil, "") }, false, true},
		{"proxy says 503", func(t *testing.T) (string, *http.Transport) {
			return "https://api.example", proxyAnswering(t, nil, "503 Service Unavailable")
		}, false, false},
		{"proxy says 502", func(t *testing.T) (string, *http.Transport) {
			return "https://api.example", proxyAnswering(t, nil, "502 Bad Gateway")
		}, false, false},
		{"proxy says 407", func(t *testing.T) (string, *http.Transport) {
			return "https://api.example", proxyAnswering(t, nil, "407 Proxy Authentication Required")
		}, true, false},
		{"proxy answers 407 in other words", func(t *testing.T) (string, *http.Transport) {
			return "https://api.example", proxyAnswering(t, nil, "407 authenticationrequired")
		}, true, false},
		{"proxy says 403", func(t *testing.T) (string, *http.Transport) {
			return "https://api.example", proxyAnswering(t, nil, "403 Forbidden")
		}, true, false},
		{"SOCKS proxy rejects the password", func(t *testing.T) (string, *http.Transport) {
			origin := rawServer(t, func(conn net.Conn) {
				_, _ = io.ReadFull(conn, make([]byte, 4))
				_, _ = conn.Write([]byte{5, 2})
				_, _ = io.ReadFull(conn, make([]byte, len("..made-up.wrong")))
				_, _ = conn.Write([]byte{1, 1})
			})
			return "https://api.example", &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "socks5", User: url.UserPassword("made-up", "wrong"), Host: origin[len("http://"):]})}
		}, true, false},
		{"unknown certificate", func(t *testing.T) (string, *http.Transport) { return secure.URL, &http.Transport{} }, true, false},
		{"certificate of another host", func(t *testing.T) (string, *http.Transport) {
			transport := secure.Client().Transport.(*http.Transport).Clone()
			transport.TLSClientConfig.ServerName = "other.example"
			return secure.URL, transport
		}, true, false},
		{"certificate of the client missing", func(t *testing.T) (string, *http.Transport) {
			return asks.URL, asks.Client().Transport.(*http.Transport).Clone()
		}, true, false},
		{"TLS handshake timeout", func(t *testing.T) (string, *http.Transport) {
			return "https://" + silent(t), &http.Transport{TLSHandshakeTimeout: 50 * time.Millisecond}
		}, false, false},
		{"TLS handshake hangs", func(t *testing.T) (string, *http.Transport) { return "https://" + silent(t), &http.Transport{} }, false, true},
		{"TLS handshake broken off", func(t *testing.T) (string, *http.Transport) {
			return "https://" + rawServer(t, func(conn net.Conn) { _, _ = io.ReadFull(conn, make([]byte, 5)) })[len("http://"):], &http.Transport{}
		}, false, false},
		{"no TLS version in common", func(t *testing.T) (string, *http.Transport) {
			transport := secure.Client().Transport.(*http.Transport).Clone()
			transport.TLSClientConfig.MaxVersion = tls.VersionTLS11
			transport.TLSClientConfig.MinVersion = tls.VersionTLS11
			return secure.URL, transport
		}, false, false},
		{"not TLS", func(t *testing.T) (string, *http.Transport) { return "https://" + plain(t), &http.Transport{} }, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			timeout := 10 * time.Second
			if c.isTimeout {
				timeout = 200 * time.Millisecond
			}
			for _, name := range []string{"create key", "rotate", "get"} {
				origin, transport := c.at(t)
				t.Cleanup(transport.CloseIdleConnections)
				client := newClientAt(t, origin, &diffhook.ClientOptions{
					HTTPClient: &http.Client{Transport: transport}, AttemptTimeout: timeout, MaxAttempts: 2,
				})
				ctx, tries := countingTries(t.Context())
				err := apiCallNamed(t, name).do(ctx, client)
				require.Error(t, err)
				assert.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown, name)
				assert.NotErrorAs(t, err, new(*diffhook.APIError), name)
				assert.Equal(t, c.isTimeout, errors.Is(err, context.DeadlineExceeded), "%s: %v", name, err)
				attempts := int64(2)
				if c.hopeless {
					attempts = 1
					assert.NotContains(t, err.Error(), "attempts", name)
				} else {
					assert.ErrorContains(t, err, "2 attempts", name)
				}
				assert.Equal(t, attempts, tries(), name)
				assert.NotContains(t, err.Error(), "wrong", "the proxy's password")
			}
		})
	}
}

// TestHopelessIsTriedOnce: several wrong passwords can lock an account. The default
// transport reads the status, whatever the proxy's reason phrase.
func TestHopelessIsTriedOnce(t *testing.T) {
	before := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = before })
	for _, status := range []string{"407 Proxy Authentication Required", "407 Proxy Authorization Required", "407 authenticationrequired", "407 Login", "407 ", "407"} {
		for _, own := range []bool{true, false} {
			if own && !strings.Contains(strings.ToLower(status), "auth") {
				continue // net/http hides the status
			}
			t.Run(fmt.Sprintf("%s/own transport %t", status, own), func(t *testing.T) {
				var tries atomic.Int64
				transport := proxyAnswering(t, &tries, status)
				opts := diffhook.ClientOptions{HTTPClient: &http.Client{Transport: transport}, MaxAttempts: 2}
				if !own {
					opts.HTTPClient, http.DefaultTransport = nil, transport
				}
				client := newClientAt(t, "https://api.example", &opts)
				t.Cleanup(client.CloseIdleConnections)
				err := apiCallNamed(t, "get").do(t.Context(), client)
				require.Error(t, err)
				assert.EqualValues(t, 1, tries.Load())
				if !own {
					assert.ErrorContains(t, err, "407")
				}
			})
		}
	}
}

// TestConnectionOverBeforeTheStream: with these texts, net/http reports a connection
// without a new stream.
func TestConnectionOverBeforeTheStream(t *testing.T) {
	for _, text := range []string{"http2: client conn could not be established", "http2: client conn not usable"} {
		client := newTransportClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
			httptrace.ContextClientTrace(r.Context()).GotConn(httptrace.GotConnInfo{})
			return nil, errors.New(text)
		}), &diffhook.ClientOptions{MaxAttempts: 1})
		err := apiCallNamed(t, "create key").do(t.Context(), client)
		require.Error(t, err)
		assert.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown, text)
	}
}

// TestStreamsAboveTheLimit: a server that allows a single stream at a time refuses
// streams sent before the settings arrive. net/http then asks for further connections
// before it sends. Every call succeeds and arrives once.
func TestStreamsAboveTheLimit(t *testing.T) {
	var arrived atomic.Int64
	server := httptest.NewUnstartedServer(counting(&arrived, answeringJSON(201, `{"data": {"id": "mon_1"}}`)))
	server.EnableHTTP2 = true
	server.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 1}
	server.StartTLS()
	t.Cleanup(server.Close)
	c := newClientAt(t, server.URL, &diffhook.ClientOptions{HTTPClient: server.Client(), MaxAttempts: 20})
	var calls sync.WaitGroup
	const callers, rounds = 8, 10
	for range callers {
		calls.Go(func() {
			for range rounds {
				assert.NoError(t, apiCallNamed(t, "get").do(t.Context(), c))
				assert.NoError(t, apiCallNamed(t, "create monitor").do(t.Context(), c))
			}
		})
	}
	calls.Wait()
	assert.EqualValues(t, 2*callers*rounds, arrived.Load())
}

// errShutdown is the cause of the contexts that end in these tests.
var errShutdown = errors.New("the server is shutting down")

// endings are the ways in which a context ends after 3 s.
var endings = map[string]struct {
	is  error
	ctx func(context.Context) (context.Context, func())
}{
	"cancelled": {context.Canceled, func(ctx context.Context) (context.Context, func()) {
		ctx, cancel := context.WithCancelCause(ctx)
		stop := time.AfterFunc(3*time.Second, func() { cancel(errShutdown) })
		return ctx, func() { stop.Stop(); cancel(nil) }
	}},
	"deadline": {context.DeadlineExceeded, func(ctx context.Context) (context.Context, func()) {
		return context.WithTimeoutCause(ctx, 3*time.Second, errShutdown)
	}},
	"deadline, cause of a cancellation": {context.DeadlineExceeded, func(ctx context.Context) (context.Context, func()) {
		return context.WithTimeoutCause(ctx, 3*time.Second, errors.Join(errShutdown, context.DeadlineExceeded))
	}},
}

// never is a Limiter whose turns never come.
type never struct{}

func (never) Wait(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// endless is a body without a byte until the request ends.
type endless struct{ ctx context.Context }

func (e endless) Read(p []byte) (int, error) { <-e.ctx.Done(); return 0, context.Cause(e.ctx) }
func (e endless) Close() error               { return nil }

// TestErrorsMatchTheContext: at whichever stage the context ends, the error matches the
// error of the context, its cause, and the last error of the API.
func TestErrorsMatchTheContext(t *testing.T) {
	hangs := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, context.Cause(r.Context())
	}
	answer := func(status int, body string, header ...string) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) {
			resp := replyJSON(status, body)
			for i := 0; i < len(header); i += 2 {
				resp.Header.Set(header[i], header[i+1])
			}
			return resp, nil
		}
	}
	bodyHangs := func(status int) func(*http.Request) (*http.Response, error) {
		return func(r *http.Request) (*http.Response, error) {
			resp := replyJSON(status, "")
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(strings.NewReader(`{"data": `), endless{r.Context()}), endless{}}
			return resp, nil
		}
	}
	for _, c := range []struct {
		name  string
		send  func(*http.Request) (*http.Response, error)
		opts  diffhook.ClientOptions
		plan  int
		creds diffhook.Credentials
		also  error // the last error of the API
		early bool  // the call fails before the deadline, which has no cause yet
	}{
		{name: "waiting for a turn", opts: diffhook.ClientOptions{Limiter: never{}}},
		{name: "waiting for the plan's turn", send: answer(503, "{}"), plan: 1, also: diffhook.ErrServer, early: true},
		{name: "between retries", send: answer(503, "{}", "Retry-After", "10"), also: diffhook.ErrServer, early: true},
		{name: "in a pause", send: answer(429, "{}", "Retry-After", "10"), also: diffhook.ErrRateLimited, early: true},
		{name: "in a pause without a time", send: answer(429, "{}"), also: diffhook.ErrRateLimited, early: true},
		{name: "in flight", send: hangs},
		{name: "in the body of a success", send: bodyHangs(200), also: diffhook.ErrUnexpectedResponse},
		{name: "in the body of a 500", send: bodyHangs(500), also: diffhook.ErrServer},
		{name: "in the body of a 404", send: bodyHangs(404), also: diffhook.ErrNotFound},
		{name: "in the credentials", creds: diffhook.CredentialsFunc(func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", errors.New("the secrets manager does not answer")
		})},
		{name: "in an exchange for a token", send: hangs, creds: diffhook.ClientCredentials("dh_live_made-up-client", "made-up secret")},
	} {
		for name, ending := range endings {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					opts := c.opts
					opts.BaseURL, opts.HTTPClient = "http://127.0.0.1:1/api/", &http.Client{Transport: roundTripper(c.send)}
					if c.plan > 0 {
						opts.Limiter = diffhook.PlanLimiter(c.plan)
					}
					creds := c.creds
					if creds == nil {
						key, err := diffhook.NewAPIKey(testKeyText)
						require.NoError(t, err)
						creds = key
					}
					client, err := diffhook.NewClient(creds, &opts)
					require.NoError(t, err)
					ctx, cancel := ending.ctx(t.Context())
					defer cancel()
					began := time.Now()
					err = apiCallNamed(t, "get").do(ctx, client)
					require.ErrorIs(t, err, ending.is)
					if ending.is == context.Canceled || !c.early {
						require.Equal(t, 3*time.Second, time.Since(began))
						require.ErrorIs(t, err, errShutdown)
						if c.also == nil {
							assert.ErrorContains(t, err, errShutdown.Error())
						}
					}
					if c.also != nil {
						require.ErrorIs(t, err, c.also)
						assert.Equal(t, 1, requireAPIError(t, err).Attempts)
					}
					if ending.is == context.Canceled {
						assert.NotErrorIs(t, err, context.DeadlineExceeded)
					} else {
						assert.NotErrorIs(t, err, context.Canceled)
					}
					synctest.Wait()
					client.CloseIdleConnections()
					pause(10 * time.Minute) // until the exchange ends
				})
			})
		}
	}
}

// TestErrorsOfPOSTsMatchTheContext: a POST that may have been carried out is of unknown
// outcome, also if the caller gave up.
func TestErrorsOfPOSTsMatchTheContext(t *testing.T) {
	for name, ending := range endings {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newTransportClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
					<-r.Context().Done()
					return nil, context.Cause(r.Context())
				}), nil)
				ctx, cancel := ending.ctx(t.Context())
				defer cancel()
				err := apiCallNamed(t, "create key").do(ctx, client)
				assertMatches(t, err, ending.is, diffhook.ErrOutcomeUnknown)
				require.ErrorIs(t, err, errShutdown)
			})
		})
	}
}
