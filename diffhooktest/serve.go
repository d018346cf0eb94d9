package diffhooktest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// maxBodyBytes is more than a request to the API can need.
const maxBodyBytes = 1 << 20

// incoming is a request that was read.
type incoming struct {
	at                          time.Time
	method, path, query, remote string
	header                      http.Header
	body                        []byte
}

// ServeHTTP answers one request to the API. It panics with
// [http.ErrAbortHandler], as handlers of net/http do, to break off a
// connection that it cannot hijack.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		panic(http.ErrAbortHandler)
	}
	defer s.active.Done()
	in := &incoming{at: s.clock.now(), method: r.Method, path: r.URL.EscapedPath(), query: r.URL.RawQuery, remote: r.RemoteAddr, header: r.Header}
	var err error
	if in.body, err = io.ReadAll(io.LimitReader(r.Body, maxBodyBytes+1)); err != nil {
		panic(http.ErrAbortHandler) // the client is gone
	}
	fault := s.takeFault(in.method, in.path)
	if fault == nil {
		a := s.handle(in)
		s.record(in, nil, a)
		send(w, a)
		return
	}
	s.fail(w, r, in, fault)
}

// fail answers a request that meets a fault.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, in *incoming, fault *Fault) {
	if fault.Delay > 0 {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
		if s.clock.sleep(ctx, fault.Delay) != nil {
			s.record(in, fault, nil)
			drop(w)
			return
		}
	}
	if fault.Reset == BeforeHandling {
		s.record(in, fault, nil)
		drop(w)
		return
	}
	var a *answer
	if !fault.replaces() || fault.Handle {
		a = s.handle(in)
	}
	if fault.replaces() {
		a = fault.answer(in.path, in.header)
		if !fault.HTML { // a proxy knows nothing of request ids
			a.header.Set("X-Request-Id", newID("req"))
		}
	}
	fault.mark(a)
	switch {
	case fault.Reset == AfterHandling, fault.Truncate && len(a.body) == 0:
		s.record(in, fault, nil)
		drop(w)
	case fault.Truncate:
		s.record(in, fault, a)
		truncate(w, a)
	default:
		s.record(in, fault, a)
		send(w, a)
	}
}

func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.active.Add(1)
	return true
}

// handle does what a request asks for: authenticate, count, route, validate,
// act.
func (s *Server) handle(in *incoming) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.now()
	a := s.answer(in, now)
	a.header.Set("X-Request-Id", newID("req"))
	a.header.Set("Date", now.UTC().Format(http.TimeFormat)) // by the clock that all times in the answer are of
	return a
}

func (s *Server) answer(in *incoming, now time.Time) *answer {
	if in.path == tokenPath {
		return s.token(in.method, in.query, in.header, in.body, now)
	}
	p, generation, failed := s.authenticate(in.header, now)
	if failed != nil {
		return failed.in(generation)
	}
	limits, failed := admit(now, s.quotas(p, in.remote)...)
	var a *answer
	if failed == nil {
		a, failed = s.act(in, p, now)
	}
	if failed != nil {
		a = failed.in(generation)
	}
	for name, values := range limits {
		a.header[name] = values
	}
	return a
}

// quotas returns the limits that a request is under: that of its credential,
// which for generation 2 is the OAuth client with all its tokens (assumed), and
// that of the address it comes from.
func (s *Server) quotas(p *principal, remote string) []quota {
	perKey := p.team.plan.requestsPerMinute()
	perIP := perKey
	if s.settings.RequestsPerMinutePerIP > 0 {
		perIP = s.settings.RequestsPerMinutePerIP
	}
	ip, _, err := net.SplitHostPort(remote)
	if err != nil {
		ip = remote
	}
	if s.addresses[ip] == nil {
		s.addresses[ip] = new(rateLog)
	}
	return []quota{{p.requests, perKey}, {s.addresses[ip], perIP}}
}

func (s *Server) act(in *incoming, p *principal, now time.Time) (*answer, *failure) {
	route, id, failed := find(s.routes, in.method, in.path)
	if failed != nil {
		return nil, failed
	}
	if len(in.body) > maxBodyBytes {
		return nil, invalid("The body is longer than %d bytes", maxBodyBytes)
	}
	c := &call{server: s, team: p.team, generation: p.generation, now: now, id: id, query: in.query, header: in.header, body: in.body}
	if failed := route.check(c); failed != nil {
		return nil, failed
	}
	return route.handle(c)
}

func send(w http.ResponseWriter, a *answer) {
	writeHeader(w, a)
	_, _ = w.Write(a.body) // fails where the client is gone
}

// truncate sends the first half of an answer's body.
func truncate(w http.ResponseWriter, a *answer) {
	writeHeader(w, a)
	_, _ = w.Write(a.body[:len(a.body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func writeHeader(w http.ResponseWriter, a *answer) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if len(a.body) > 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
}

// drop breaks the connection. The first line of an answer goes first: net/http
// sends some requests again, unasked, when a connection that was used before
// ends without a byte, and the fault would then not be seen.
func drop(w http.ResponseWriter) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if errors.Is(err, http.ErrNotSupported) {
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		return // the connection is broken already
	}
	_, _ = buffered.WriteString("HTTP/1.1 200 OK\r\n")
	_ = buffered.Flush()
	_ = conn.Close()
}
