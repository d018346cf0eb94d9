package diffhooktest

import (
	"fmt"
	"html"
	"net/http"
	"strconv"
	"time"
)

// FaultHeader is set to 1 on every answer that a [Fault] made or changed.
const FaultHeader = "X-Diffhooktest-Fault"

// Reset says whether, and when, a fault breaks the connection.
type Reset int

const (
	NoReset        Reset = iota
	BeforeHandling       // the request is read, and never handled
	AfterHandling        // the request is handled, and its answer lost
)

// Fault is something that goes wrong with requests, for [Server.Fail]. Faults
// come before authentication, and what they keep from being handled counts
// towards no limit.
//
// The fields combine: a delay and then a status, a truncated page of HTML. A
// fault that has only Delay or Header changes nothing else.
type Fault struct {
	// Route names the requests that it meets: "POST /api/keys", "GET
	// /api/monitors/{id}" (an element in braces stands for any), a path for
	// any method, or a method for any path. By default, any request.
	Route string

	// Times is how many requests it meets; less than 0: all until
	// [Server.ClearFaults]. By default, 1.
	Times int

	// Skip is how many requests of the route pass before the first one.
	Skip int

	// Status is answered instead of the request being handled, in the error
	// form of the request's generation. By default, the request is handled.
	Status int

	// Handle has the request handled first, and only its answer replaced: the
	// gateway that fails after the work was done.
	Handle bool

	// HTML answers with a page of HTML, as proxies do, rather than JSON, with
	// Status or, by default, 502.
	HTML bool

	// Header is added to the answer, in the place of headers that it has.
	Header http.Header

	// RetryAfter is announced in the Retry-After header, in whole seconds
	// rounded up, and by generation 2 in the body of a 429. By default,
	// nothing is.
	RetryAfter time.Duration

	// Delay passes on the server's clock before anything else happens. It ends
	// early, and with it the connection, when the client gives up or the
	// server is closed.
	Delay time.Duration

	// Reset breaks the connection instead of sending an answer. What a client
	// sees is an answer that ends after its first line.
	Reset Reset

	// Truncate breaks the connection in the middle of the answer's body, whose
	// Content-Length promises all of it. An answer without a body is lost
	// whole.
	Truncate bool
}

// armedFault is a fault and how often it has yet to be met and skipped.
type armedFault struct {
	Fault
	left, skip int
}

// Fail arms a fault. A request meets at most one: of those armed for it, the
// first that does not skip it. Fail panics on a Route that can match nothing
// and on a Status that is no status of an error.
func (s *Server) Fail(f Fault) {
	checkPattern(f.Route)
	if f.Status != 0 && (f.Status < 300 || f.Status > 599) {
		panic(fmt.Sprintf("diffhooktest: Fault.Status is %d; want 300 to 599", f.Status))
	}
	if f.Times == 0 {
		f.Times = 1
	}
	f.Header = f.Header.Clone()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &armedFault{Fault: f, left: f.Times, skip: f.Skip})
}

// ClearFaults disarms all faults. One that a request has already met goes on.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// takeFault returns the fault that a request meets, or nil.
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

// replaces reports whether the fault has an answer of its own.
func (f *Fault) replaces() bool { return f.Status != 0 || f.HTML }

// answer returns the fault's own answer to a request.
func (f *Fault) answer(path string, header http.Header) *answer {
	status := f.Status
	if status == 0 {
		status = http.StatusBadGateway
	}
	if f.HTML {
		a := newAnswer(status)
		title := fmt.Sprintf("%d %s", status, html.EscapeString(http.StatusText(status)))
		a.header.Set("Content-Type", "text/html; charset=utf-8")
		a.body = fmt.Appendf(nil, "<!doctype html>\n<html><head><title>%s</title></head><body><h1>%s</h1><hr>proxy</body></html>\n", title, title)
		return a
	}
	if path == tokenPath {
		switch {
		case status == http.StatusTooManyRequests: // as openapi.yaml has it
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

// mark changes an answer as the fault says.
func (f *Fault) mark(a *answer) {
	if f.RetryAfter > 0 {
		a.header.Set("Retry-After", strconv.Itoa(seconds(f.RetryAfter)))
	}
	for name, values := range f.Header {
		a.header[http.CanonicalHeaderKey(name)] = values
	}
	a.header.Set(FaultHeader, "1")
}
