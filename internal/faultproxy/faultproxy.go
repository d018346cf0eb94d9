// Package faultproxy is a proxy for tests with real servers: it breaks connections, and
// holds statements and answers.
package faultproxy

import (
	"bytes"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A Proxy stands between clients and a server, and passes on the pieces of requests and
// answers. The methods are safe for concurrent use.
type Proxy struct {
	// Target is the target of Start, with the address of the proxy.
	Target string

	server  string // address
	request []byte // a text of the requests whose answers faults hit; empty: all pieces

	mu     sync.Mutex
	before int // number of pieces that pass before the fault
	cuts   int // number of pieces still to lose
	hold   bool
	met    bool
	held   chan struct{} // open while pieces wait, else nil
}

var address = regexp.MustCompile(`([\w.-]+:\d+)([/)?]|$)`)

// Start starts a proxy to a server, which ends with the test. target is an address, or a
// URL or data source name with an address. Faults hit the pieces of all requests and
// answers.
func Start(t testing.TB, target string) *Proxy {
	return StartForAnswers(t, target, "")
}

// StartForAnswers is Start with faults that hit only the first piece of each answer to a
// request with a text, in letters of either case. Clients must wait for each answer.
func StartForAnswers(t testing.TB, target, request string) *Proxy {
	t.Helper()
	found := address.FindStringSubmatch(target)
	if found == nil {
		t.Fatal("the target of the proxy contains no address")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{server: found[1], request: bytes.ToLower([]byte(request))}
	p.Target = strings.Replace(target, p.server, l.Addr().String(), 1)
	t.Cleanup(func() { _ = l.Close(); p.Release() })
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

// Cut lets so many pieces pass, and then loses n pieces, each with the connection.
func (p *Proxy) Cut(before, n int) { p.arm(before, n, false) }

// Hold lets so many pieces pass, and then holds the pieces of all connections until Release.
func (p *Proxy) Hold(before int) { p.arm(before, 0, true) }

// Release ends the fault. Held pieces pass: a statement reaches the server late, even if
// the client is gone.
func (p *Proxy) Release() { p.arm(0, 0, false) }

// Met reports whether the fault has begun.
func (p *Proxy) Met() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.met
}

// arm replaces the fault.
func (p *Proxy) arm(before, cuts int, hold bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before, p.cuts, p.hold, p.met = before, cuts, hold, false
	if p.held != nil {
		close(p.held)
		p.held = nil
	}
}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		_ = client.Close()
		return
	}
	all := len(p.request) == 0
	var asked atomic.Bool // faults hit the next answer
	go p.pass(server, client, func(piece []byte) bool {
		asked.Store(bytes.Contains(bytes.ToLower(piece), p.request))
		return all
	})
	p.pass(client, server, func([]byte) bool { return asked.Swap(false) || all })
}

// pass copies until the connection ends or breaks.
func (p *Proxy) pass(to, from net.Conn, hit func(piece []byte) bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	piece := make([]byte, 64<<10)
	for {
		n, err := from.Read(piece)
		if err != nil || !p.passes(hit(piece[:n])) {
			return
		}
		if _, err := to.Write(piece[:n]); err != nil {
			return
		}
	}
}

// passes reports whether a piece passes, and waits while the piece is held. Faults pass over
// the piece unless hit is true.
func (p *Proxy) passes(hit bool) bool {
	if !hit {
		return true
	}
	held, lost := p.meet()
	if held != nil {
		<-held
	}
	return !lost
}

// meet lets a piece meet the fault.
func (p *Proxy) meet() (held chan struct{}, lost bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.cuts == 0 && !p.hold:
	case p.before > 0:
		p.before--
	case p.hold:
		p.hold, p.met, p.held = false, true, make(chan struct{})
	default:
		p.met, lost = true, true
		p.cuts--
	}
	return p.held, lost
}
