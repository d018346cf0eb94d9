package diffhookriver_test

import (
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy stands between a client and a server, and breaks or holds a piece of a statement or
// of an answer.
type proxy struct {
	server string
	dsn    string // of the server through the proxy

	mu    sync.Mutex
	fault fault
	after int           // the number of pieces before the fault
	open  chan struct{} // open while pieces are held, else nil
}

type fault int

const (
	none fault = iota
	cut        // the connection breaks, and the piece is lost
	hold       // all pieces of all connections wait until the proxy is released
)

func newProxy(t testing.TB, dsn string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	p := &proxy{server: u.Host, dsn: strings.Replace(dsn, u.Host, l.Addr().String(), 1)}
	t.Cleanup(func() { _ = l.Close(); p.release() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return p
}

func (p *proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		_ = client.Close()
		return
	}
	go p.pass(server, client)
	p.pass(client, server)
}

// pass copies until the connection ends or breaks. A held statement reaches the server
// late, even if the client is gone.
func (p *proxy) pass(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	piece := make([]byte, 64<<10)
	for {
		n, err := from.Read(piece)
		if err != nil || !p.passes() {
			return
		}
		if _, err := to.Write(piece[:n]); err != nil {
			return
		}
	}
}

// passes reports whether a piece passes, and waits while pieces are held.
func (p *proxy) passes() bool {
	p.mu.Lock()
	p.after--
	if p.fault != none && p.after == -1 {
		if p.fault == cut {
			p.fault = none
			p.mu.Unlock()
			return false
		}
		p.open = make(chan struct{})
	}
	open := p.open
	p.mu.Unlock()
	if open != nil {
		<-open
	}
	return true
}

// fail makes the proxy break or hold a piece, after so many pieces.
func (p *proxy) fail(f fault, after int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.after = f, after
}

// met reports whether the fault has begun.
func (p *proxy) met() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.after < 0
}

// release ends the fault: the held pieces pass.
func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.after = none, 0
	if p.open != nil {
		close(p.open)
		p.open = nil
	}
}
