package routers_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// protocols are the ways to a server: HTTP/1.1, and HTTP/2 without TLS.
var protocols = []string{"HTTP/1.1", "HTTP/2.0"}

// serve serves h over both protocols on a socket, and returns the URL of the hook.
// The Addr of newServer is not used.
func serve(t *testing.T, h http.Handler, readTimeout time.Duration) string {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.Config = newServer(h)
	server.Config.Protocols = bothProtocols()
	server.Config.ReadTimeout = readTimeout
	server.Start()
	t.Cleanup(server.Close)
	return server.URL + "/hook"
}

// newServer returns the server of docs/frameworks.md.
func newServer(r http.Handler) *http.Server {
	server := &http.Server{Addr: ":8080", Handler: r, ReadTimeout: 10 * time.Second}
	return server
}

func bothProtocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

// newTransport returns a transport for a single protocol. A nil dial means the network.
func newTransport(t *testing.T, protocol string, dial func(context.Context, string, string) (net.Conn, error)) *http.Transport {
	transport := &http.Transport{Protocols: new(http.Protocols), DialContext: dial}
	transport.Protocols.SetHTTP1(protocol == "HTTP/1.1")
	transport.Protocols.SetUnencryptedHTTP2(protocol == "HTTP/2.0")
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// post sends a delivery and returns the status of the answer, or 0 if there is no
// answer for an hour.
func post(t *testing.T, transport http.RoundTripper, url string, header http.Header, body io.Reader, length int64) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	require.NoError(t, err)
	req.ContentLength = length
	req.Header = header
	resp, err := transport.RoundTrip(req)
	if ctx.Err() != nil {
		return 0
	}
	require.NoError(t, err)
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	return resp.StatusCode
}

func postBytes(t *testing.T, transport http.RoundTripper, url, signature string, body []byte) int {
	t.Helper()
	return post(t, transport, url, signed(signature), bytes.NewReader(body), int64(len(body)))
}

// stall sends the beginning of a body of 100 bytes and no more, and returns the
// status of the answer, or 0 if there is no answer for an hour.
func stall(t *testing.T, transport http.RoundTripper, url, signature string) int {
	t.Helper()
	body, sender := io.Pipe()
	defer sender.Close()
	end := time.AfterFunc(time.Hour+time.Second, func() { sender.Close() }) // the transport waits for the body
	defer end.Stop()
	go func() { _, _ = sender.Write([]byte(`{"event":`)) }()
	return post(t, transport, url, signed(signature), body, 100)
}

// signed returns the header of a delivery with the given signature.
func signed(signature string) http.Header {
	return http.Header{"Content-Type": {"application/json"}, diffhook.SignatureHeader: {signature}}
}

// pipes is a listener without a network, for a server in a synctest bubble: the clock of
// the bubble stops during a read from a socket.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipes) Close() error {
	defer func() { _ = recover() }() // closed before
	close(p)
	return nil
}

func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p <- server
	return client, nil
}
