package diffhooktest

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Request is the record of a request to the API, without credentials. Fingerprints
// replace the Authorization header and the client secret in a request for a token.
// Equal credentials have equal fingerprints.
type Request struct {
	Time   time.Time // of arrival, by the server's clock
	Method string
	Path   string // escaped
	Query  string
	Route  string // method and pattern, such as "GET /api/monitors/{id}"; empty if no route matches
	Header http.Header
	Body   []byte

	Status int  // of the response; 0 if the connection broke before
	Fault  bool // whether the request met a [Fault]
}

// Exchange is a request and the response, for checks against a contract. A
// fingerprint replaces the Authorization header. Bodies are complete and may
// contain a key, a client secret or a token: do not log them.
type Exchange struct {
	Request    Request // with the complete body
	Generation int     // of the request's credential; 1 without a credential, but 2 for the token endpoint
	Status     int     // 0 if the connection broke before a response
	Header     http.Header
	Body       []byte // complete, even if a fault truncates the response
}

// Requests returns the requests to the API so far, in the order of their responses.
// A request is recorded before the response is sent.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Count returns the number of requests so far that match route, written like
// [Fault].Route. An empty route counts all. Count panics if no request can match
// route.
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

// record saves a request and calls the hook. a is nil if no response is sent.
func (s *Server) record(in *incoming, fault *Fault, a *response) {
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

// redactHeader returns a copy of header with fingerprints for credentials.
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

// redactForm returns the form of a request for a token with fingerprints for all
// values but grant_type and client_id. A malformed form becomes a fingerprint.
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
