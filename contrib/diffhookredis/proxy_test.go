package diffhookredis_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy stands between a client and a server, and loses answers.
type proxy struct {
	addr   string
	server string

	mu    sync.Mutex
	conns map[net.Conn]bool
	fault fault
	count int           // commands of scripts that are still to meet the fault
	open  chan struct{} // closed unless answers are held
}

type fault int

const (
	none fault = iota
	cut        // the command is carried out, and the connection breaks before the answer
	hold       // the command is carried out, and the answer waits until the proxy is released
)

func startProxy(t testing.TB, server string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{addr: l.Addr().String(), server: server, conns: make(map[net.Conn]bool), open: make(chan struct{})}
	close(p.open)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.release()
		p.closeAll()
		running.Wait()
	})
	return p
}

// fail makes the next n calls of scripts meet a fault.
func (p *proxy) fail(f fault, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.count = f, n
	if f == hold {
		p.open = make(chan struct{})
	}
}

// release lets the held answers go, to connections that still wait.
func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.count = none, 0
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

func (p *proxy) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) track(c net.Conn, open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if open {
		p.conns[c] = true
		return
	}
	_ = c.Close()
	delete(p.conns, c)
}

// next returns the fault of a piece of a request.
func (p *proxy) next(request []byte) (fault, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count == 0 || !bytes.Contains(bytes.ToLower(request), []byte("evalsha")) {
		return none, p.open
	}
	p.count--
	return p.fault, p.open
}

// serve copies both ways. A client of go-redis sends one request in one write, and
// then waits for the answer.
func (p *proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		_ = client.Close()
		return
	}
	for _, c := range []net.Conn{client, server} {
		p.track(c, true)
		defer p.track(c, false)
	}
	request, answer := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := client.Read(request)
		if err != nil {
			return
		}
		fault, open := p.next(request[:n])
		if _, err := server.Write(request[:n]); err != nil {
			return
		}
		if n, err = server.Read(answer); err != nil {
			return
		}
		switch fault {
		case cut:
			return
		case hold:
			<-open
		}
		if _, err := io.Copy(client, bytes.NewReader(answer[:n])); err != nil {
			return
		}
	}
}
