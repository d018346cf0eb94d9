package diffhooktest

import (
	"fmt"
	"html"
	"net/http"
	"strconv"
	"time"
)

// FaultHeader is set to 1 on every response that a [Fault] made or changed.
const FaultHeader = "X-Diffhooktest-Fault"

// Reset is the moment at which a fault breaks the connection.
type Reset int

const (
	NoReset        Reset = iota
	BeforeHandling       // the request is read, and never handled
	AfterHandling        // the request is handled, and the response lost
)

// Fault is a failure of requests, for [Server.Fail]. Faults come before
// authentication. A request that a fault keeps from being handled counts towards no
// limit.
//
// The fields combine: a delay and then a status, a truncated page of HTML. Zero
// fields change nothing, apart from Route and Times.
type Fault struct {
	// Route selects the requests: "POST /api/keys", "GET /api/monitors/{id}" (an
	// element in braces matches any), a path for any method, or a method for any
	// path. By default, any request.
	Route string

	// Times is the number of requests that fail. A negative number means all, until
	// [Server.ClearFaults]. By default, 1.
	Times int

	// Skip is the number of selected requests that pass before the first failure.
	Skip int

	// Status replaces the handling of the request by an error with this status, in
	// the form of the request's generation.
	Status int

	// Handle makes the server handle the request first, and then replaces the
	// response, like a gateway that fails after the work.
	Handle bool

	// HTML makes the response a page of HTML, as from a proxy, with Status or else
	// 502.
	HTML bool

	// Header is added to the response, and replaces headers of the same name.
	Header http.Header

	// RetryAfter sets the Retry-After header, rounded up to seconds. A 429 of
	// generation 2 from Status repeats it in the body. By default, no header.
	RetryAfter time.Duration

	// Delay passes first, on the server's clock. If the client gives up or the
	// server closes, the delay ends early and the connection breaks.
	Delay time.Duration

	// Reset breaks the connection instead of a response: BeforeHandling or
	// AfterHandling. On a socket, the client still reads the first line of a response.
	Reset Reset

	// Truncate breaks the connection in the middle of the response's body. The
	// Content-Length promises the whole body. If the body is empty, no response
	// arrives.
	Truncate bool
}

// armedFault is a fault with two counters: failures to come (negative: no end), and
// requests to skip before.
type armedFault struct {
	Fault
	left, skip int
}

// Fail arms a fault. A request meets at most one fault: the first that selects the
// request and does not skip it. Fail panics if no request can match Route, or if
// Status is outside 300 to 599.
func (s *Server) Fail(f Fault) {
	checkPattern(f.Route)
	if f.Status != 0 && (f.Status < 300 || f.Status > 599) {
		panic(fmt.Sprintf("diffhooktest: Fault.Status is %d; use 300 to 599", f.Status))
	}
	if f.Times == 0 {
		f.Times = 1
	}
	f.Header = f.Header.Clone()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &armedFault{Fault: f, left: f.Times, skip: f.Skip})
}

// ClearFaults disarms all faults. A fault that a request met before continues.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// takeFault returns the fault for a request, or nil, and counts the request.
func (s *Server) takeFault(method, path string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if f.left == 0 || !matchRoute(f.Route, method, path) {
			continue
		}
		if f.skip > 0 {
			f.skip--
			continue
		}
		if f.left > 0 {
			f.left--
		}
		return &f.Fault
	}
	return nil
}

// replaces reports whether the fault makes a response of its own.
func (f *Fault) replaces() bool { return f.Status != 0 || f.HTML }

// response returns the fault's own response to a request.
func (f *Fault) response(path string, header http.Header) *response {
	status := f.Status
	if status == 0 {
		status = http.StatusBadGateway
	}
	if f.HTML {
		a := newResponse(status)
		title := fmt.Sprintf("%d %s", status, html.EscapeString(http.StatusText(status)))
		a.header.Set("Content-Type", "text/html; charset=utf-8")
		a.body = fmt.Appendf(nil, "<!doctype html>\n<html><head><title>%s</title></head><body><h1>%s</h1><hr>proxy</body></html>\n", title, title)
		return a
	}
	if path == tokenPath {
		switch {
		case status == http.StatusTooManyRequests: // the token endpoint has this form in openapi.yaml
		case status >= 500:
			return tokenError(status, "temporarily_unavailable", http.StatusText(status))
		case status == http.StatusUnauthorized:
			return tokenError(status, "invalid_client", "The client is unknown or revoked, or its secret is wrong")
		default:
			return tokenError(status, "invalid_request", http.StatusText(status))
		}
		return (&failure{status: status, message: "Too many requests", retryAfter: f.RetryAfter}).in(2)
	}
	code, message := codeOf(status)
	return (&failure{status: status, code: code, message: message, retryAfter: f.RetryAfter}).in(generationOf(header))
}

func codeOf(status int) (code, message string) {
	switch status {
	case http.StatusUnauthorized:
		return codeUnauthorized, "Authorization header missing or invalid"
	case http.StatusForbidden:
		return codeForbidden, "You do not have access to this resource"
	case http.StatusNotFound:
		return codeNotFound, "Not found"
	case http.StatusTooManyRequests:
		return codeRateLimited, "Too many requests"
	case http.StatusInternalServerError:
		return codeServerError, "Internal server error"
	}
	if status >= 500 {
		return codeServerError, http.StatusText(status)
	}
	return codeInvalidRequest, "Invalid request"
}

// mark applies RetryAfter, Header and FaultHeader to a response.
func (f *Fault) mark(a *response) {
	if f.RetryAfter > 0 {
		a.header.Set("Retry-After", strconv.Itoa(seconds(f.RetryAfter)))
	}
	for name, values := range f.Header {
		a.header[http.CanonicalHeaderKey(name)] = values
	}
	a.header.Set(FaultHeader, "1")
}
