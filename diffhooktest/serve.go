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

// maxBodyBytes bounds the body of a request to the API, far above any use.
const maxBodyBytes = 1 << 20

// incoming is a request after the body was read.
type incoming struct {
	at                          time.Time
	method, path, query, remote string
	header                      http.Header
	body                        []byte
}

// ServeHTTP answers a request to the API. To break a connection, ServeHTTP hijacks
// it or, like other handlers of net/http, panics with [http.ErrAbortHandler].
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

// fail answers a request with a fault.
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
	var a *response
	if !fault.replaces() || fault.Handle {
		a = s.handle(in)
	}
	if fault.replaces() {
		a = fault.response(in.path, in.header)
		if !fault.HTML { // a proxy sets no request id
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

// handle authenticates, counts, routes, validates and carries out a request.
func (s *Server) handle(in *incoming) *response {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.now()
	a := s.respond(in, now)
	a.header.Set("X-Request-Id", newID("req"))
	a.header.Set("Date", now.UTC().Format(http.TimeFormat)) // by the server's clock, like the body
	return a
}

func (s *Server) respond(in *incoming, now time.Time) *response {
	if in.path == tokenPath {
		return s.token(in.method, in.query, in.header, in.body, now)
	}
	p, generation, failed := s.authenticate(in.header, now)
	if failed != nil {
		return failed.in(generation)
	}
	limits, failed := admit(now, s.quotas(p, in.remote)...)
	var a *response
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

// quotas returns the limits for a request: of the credential and of the remote
// address. For generation 2, the credential is the OAuth client with all tokens
// (assumed).
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

func (s *Server) act(in *incoming, p *principal, now time.Time) (*response, *failure) {
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

func send(w http.ResponseWriter, a *response) {
	writeHeader(w, a)
	_, _ = w.Write(a.body) // fails only if the client is gone
}

// truncate sends half of the body, and breaks the connection.
func truncate(w http.ResponseWriter, a *response) {
	writeHeader(w, a)
	_, _ = w.Write(a.body[:len(a.body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func writeHeader(w http.ResponseWriter, a *response) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if len(a.body) > 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
}

// drop breaks the connection after the first line of a response. Without that line,
// net/http would repeat some requests on a reused connection by itself, and hide
// the fault.
func drop(w http.ResponseWriter) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if errors.Is(err, http.ErrNotSupported) {
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		return // the connection is already broken
	}
	_, _ = buffered.WriteString("HTTP/1.1 200 OK\r\n")
	_ = buffered.Flush()
	_ = conn.Close()
}
