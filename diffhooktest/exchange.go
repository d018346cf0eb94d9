package diffhooktest

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Request is the record of one request to the API. It shows no credentials:
// those of the Authorization header, and the client secret in a request for a
// token, are replaced by fingerprints, equal for equal credentials.
type Request struct {
	Time   time.Time // when it came, by the server's clock
	Method string
	Path   string // as it was escaped
	Query  string
	Route  string // the method and pattern of its route, such as "GET /api/monitors/{id}"; empty: none
	Header http.Header
	Body   []byte

	Status int  // of the answer; 0 where the connection was broken before there was one
	Fault  bool // it met a [Fault]
}

// Exchange is one request and its answer, whole but for the credential in the
// Authorization header, for checks against a contract. Bodies are as they were
// sent: they may contain a key, a client secret or a token, so do not log
// them.
type Exchange struct {
	Request    Request // with the body as it was sent
	Generation int     // that the request's credential speaks; 1 where it has none
	Status     int     // 0 where the connection was broken instead of an answer
	Header     http.Header
	Body       []byte // whole, also where a fault truncates it
}

// Requests returns the requests to the API so far, in the order in which they
// were answered. An answer is sent after its request is recorded.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Count returns how many requests of a route there were so far, written as in
// [Fault].Route; an empty one counts all. It panics on a route that can match
// nothing.
func (s *Server) Count(route string) int {
	checkPattern(route)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if matchRoute(route, r.Method, r.Path) {
			n++
		}
	}
	return n
}

// record keeps a request and tells the hook. a is nil where no answer is sent.
func (s *Server) record(in *incoming, fault *Fault, a *answer) {
	recorded := Request{
		Time: in.at, Method: in.method, Path: in.path, Query: in.query, Route: routeName(s.routes, in.method, in.path),
		Header: redactHeader(in.header), Body: in.body, Fault: fault != nil,
	}
	x := Exchange{Generation: generationOf(in.header)}
	if in.path == tokenPath {
		x.Generation = 2
	}
	if a != nil {
		recorded.Status = a.status
		x.Status, x.Header, x.Body = a.status, a.header.Clone(), slices.Clone(a.body)
	}
	x.Request = recorded
	x.Request.Header, x.Request.Body = recorded.Header.Clone(), slices.Clone(in.body)
	if in.path == tokenPath {
		recorded.Body = redactForm(in.body)
	}

	s.mu.Lock()
	s.requests = append(s.requests, recorded)
	hook := s.settings.OnExchange
	s.mu.Unlock()
	if hook != nil {
		hook(x)
	}
}

// redactHeader returns a copy of header without credentials.
func redactHeader(header http.Header) http.Header {
	header = header.Clone()
	for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie"} {
		for i, value := range header[name] {
			if token, ok := bearer(http.Header{"Authorization": {value}}); ok {
				header[name][i] = "Bearer " + fingerprint(token)
			} else {
				header[name][i] = fingerprint(value)
			}
		}
	}
	return header
}

// redactForm returns the form of a request for a token without the secret. A
// body that is no form is not kept.
func redactForm(body []byte) []byte {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return []byte(fingerprint(string(body)))
	}
	for name, values := range form {
		if name == "grant_type" || name == "client_id" {
			continue
		}
		for i, value := range values {
			values[i] = fingerprint(value)
		}
	}
	return []byte(form.Encode())
}

func fingerprint(credential string) string {
	sum := sha256.Sum256([]byte(credential))
	return "sha256:" + hex.EncodeToString(sum[:6])
}
