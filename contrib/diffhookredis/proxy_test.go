package diffhookredis_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
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
	count int           // the number of further commands of scripts with the fault
	open  chan struct{} // open while answers are held, else closed
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

// release lets the held answers go, if the client still waits.
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

// meets returns the fault of a request.
func (p *proxy) meets(request []byte) fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count == 0 || !bytes.Contains(bytes.ToLower(request), []byte("eval")) {
		return none
	}
	p.count--
	return p.fault
}

// held returns a channel, which is closed when held answers may go.
func (p *proxy) held() chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

// serve copies both ways. A fault affects the first piece of the answer to a request: a
// client of go-redis sends a request in a single write, and then waits for the answer.
func (p *proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		_ = client.Close()
		return
	}
	var met atomic.Int32 // the fault of the last request
	var answering sync.WaitGroup
	p.track(client, true)
	p.track(server, true)
	answering.Go(func() {
		defer p.track(client, false)
		copyPieces(client, server, func([]byte) bool {
			switch fault(met.Swap(int32(none))) {
			case cut:
				return false
			case hold:
				<-p.held()
			}
			return true
		})
	})
	copyPieces(server, client, func(request []byte) bool {
		if f := p.meets(request); f != none {
			met.Store(int32(f))
		}
		return true
	})
	p.track(server, false)
	answering.Wait()
}

// copyPieces copies until an error, or until pass returns false.
func copyPieces(to io.Writer, from io.Reader, pass func(piece []byte) bool) {
	piece := make([]byte, 64<<10)
	for {
		n, err := from.Read(piece)
		if err != nil || !pass(piece[:n]) {
			return
		}
		if _, err := to.Write(piece[:n]); err != nil {
			return
		}
	}
}
