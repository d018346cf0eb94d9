package main

import (
	"net"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy passes connections on to a server, and loses answers or stalls.
type proxy struct {
	server string
	dsn    string // of the server through the proxy

	mu      sync.Mutex
	cut     int // the answers that pass before the lost answer; less than 0: all
	stalled chan struct{}
	conns   map[net.Conn]bool
}

var mysqlAddress = regexp.MustCompile(`tcp\(([^)]*)\)`)

// newProxy starts a proxy to the server of a data source name.
func newProxy(t *testing.T, dsn string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{cut: -1, conns: map[net.Conn]bool{}}
	if m := mysqlAddress.FindStringSubmatch(dsn); m != nil {
		p.server = m[1]
	} else {
		u, err := url.Parse(dsn)
		require.NoError(t, err)
		p.server = u.Host
	}
	p.dsn = strings.Replace(dsn, p.server, listener.Addr().String(), 1)
	t.Cleanup(func() { _ = listener.Close(); p.resume() })
	go func() {
		for {
			client, err := listener.Accept()
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
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	go p.pass(server, client, func() bool { return true })
	p.pass(client, server, p.answer)
}

// pass copies from one side to the other while keep returns true.
func (p *proxy) pass(to, from net.Conn, keep func() bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.wait()
			if !keep() {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// answer reports whether an answer of the server passes.
func (p *proxy) answer() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut--
	return p.cut != -1
}

// lose makes the proxy lose an answer and the connection, after so many answers.
func (p *proxy) lose(after int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = after
}

// lost reports whether the answer is lost by now.
func (p *proxy) lost() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cut < 0
}

// stall holds back everything until resume.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = make(chan struct{})
}

func (p *proxy) wait() {
	p.mu.Lock()
	stalled := p.stalled
	p.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
}

// resume lets everything pass, on new connections.
func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
		delete(p.conns, c)
	}
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}
