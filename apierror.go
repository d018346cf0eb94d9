package diffhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Codes of errors that generation 1 documents.
const (
	codeInvalidAPIKey = "INVALID_API_KEY"
	codeMonitorLimit  = "MONITOR_LIMIT"
	codeRateLimited   = "RATE_LIMITED"
)

// APIError is an answer of the API other than success, or, with Attempts 0, a
// 429 in place of a request that was not sent because an earlier answer asked
// for a longer wait than MaxRetryWait. Its text says what to
// check, and never holds a credential: what the server says is bounded,
// stripped of control characters and of anything that looks like a key.
type APIError struct {
	StatusCode int
	Code       string // such as NOT_FOUND; generation 1, and the token endpoint
	Message    string // the server's, or what is wrong with its answer
	RequestID  string // of the X-Request-Id header, for DiffHook's support; assumed

	// RetryAfter is how long the API asked to wait; 0 where it did not.
	RetryAfter time.Duration

	Method   string
	Route    string // without ids, except of [Client.Do]
	Attempts int    // how often the request was sent

	unexpected bool // matches ErrUnexpectedResponse
	unknown    bool // matches ErrOutcomeUnknown
	cause      func() error
}

// Error returns one line: the request, the status, what the server said and
// what to check.
func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "diffhook: %s %s: %d", e.Method, e.Route, e.StatusCode)
	if e.Code != "" {
		b.WriteString(" " + e.Code)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if advice := e.advice(); advice != "" {
		b.WriteString("; " + advice)
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, "; retry after %v", e.RetryAfter.Round(time.Millisecond))
	}
	if e.unknown {
		b.WriteString("; " + adviceUnknown)
	}
	return b.String() + attemptsAndID(e.Attempts, e.RequestID)
}

const adviceUnknown = "it may have been carried out: look before repeating it"

func attemptsAndID(attempts int, id string) (s string) {
	if attempts > 1 {
		s = fmt.Sprintf(" (after %d attempts)", attempts)
	}
	if id != "" {
		s += " (request " + id + ")"
	}
	return s
}

// advice follows the troubleshooting section of the platform's page "API Keys".
func (e *APIError) advice() string {
	switch {
	case e.Code == "invalid_client":
		return "check the client id and the client secret"
	case e.Is(ErrUnauthorized):
		return "the key is missing, malformed or revoked: check the credentials that the client was given"
	case e.Is(ErrMonitorLimit):
		return "delete a monitor or change the plan"
	case e.Is(ErrForbidden):
		return "the key is valid but has no access to this resource: check that it belongs to the key's team"
	}
	return ""
}

// Is reports whether the answer is of the kind that target stands for.
func (e *APIError) Is(target error) bool {
	switch target {
	case ErrUnauthorized:
		return e.StatusCode == http.StatusUnauthorized
	case ErrForbidden:
		return e.StatusCode == http.StatusForbidden
	case ErrMonitorLimit:
		// Generation 2 has no codes.
		return e.StatusCode == http.StatusForbidden &&
			(e.Code == codeMonitorLimit || strings.HasPrefix(e.Message, "Your plan allows a maximum of"))
	case ErrNotFound:
		return e.StatusCode == http.StatusNotFound || e.StatusCode == http.StatusGone
	case ErrRateLimited:
		return e.StatusCode == http.StatusTooManyRequests
	case ErrInvalidRequest:
		return e.refusesRequest()
	case ErrServer:
		return e.StatusCode >= 500
	case ErrUnexpectedResponse:
		return e.unexpected
	case ErrOutcomeUnknown:
		return e.unknown
	}
	return e.cause != nil && errors.Is(e.cause(), target)
}

// refusesRequest reports whether the status is a 4xx without a sentinel of its own.
func (e *APIError) refusesRequest() bool {
	switch e.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone, http.StatusTooManyRequests:
		return false
	}
	return e.StatusCode >= 400 && e.StatusCode < 500
}

// As finds target in the error of reading the answer, if there was one. That
// error is not unwrapped, since it may show what this one must not.
func (e *APIError) As(target any) bool { return e.cause != nil && errors.As(e.cause(), target) }

// transportError is a request that got no answer. Its cause, which may show
// what it must not, can be asked for with errors.Is and errors.As only.
type transportError struct {
	method   string
	route    string
	attempts int
	unknown  bool
	cause    func() error
	text     string // of cause, fit to show
}

func (e *transportError) Error() string {
	s := fmt.Sprintf("diffhook: %s %s: %s", e.method, e.route, e.text)
	if e.unknown {
		s += "; " + adviceUnknown
	}
	return s + attemptsAndID(e.attempts, "")
}

func (e *transportError) Is(target error) bool {
	return target == ErrOutcomeUnknown && e.unknown || errors.Is(e.cause(), target)
}

func (e *transportError) As(target any) bool { return errors.As(e.cause(), target) }

// interruptedError is the error of a call that could have been tried again, if
// the context had left time for it. It matches the error of the last attempt and
// that of the context.
type interruptedError struct {
	last  error
	cause func() error // that of the context
	text  string       // of cause, fit to show
}

func (e *interruptedError) Error() string        { return e.last.Error() + "; no further attempt: " + e.text }
func (e *interruptedError) Unwrap() error        { return e.last }
func (e *interruptedError) Is(target error) bool { return errors.Is(e.cause(), target) }
func (e *interruptedError) As(target any) bool   { return errors.As(e.cause(), target) }

// failed is the error of an attempt that was not sent.
func (call *call) failed(ctx context.Context, err error) error {
	var api *APIError
	if errors.As(err, &api) {
		shared := *api // of an exchange for a token, which others waited for too
		return call.interrupted(ctx, &shared)
	}
	e := call.newTransportError(ctx, err, "")
	e.attempts--
	return e
}

func (call *call) newTransportError(ctx context.Context, err error, token string) *transportError {
	err = withContextError(ctx, err)
	return &transportError{
		method: call.method, route: call.route, attempts: call.attempts,
		cause: hide(err), text: call.scrub(strings.TrimPrefix(err.Error(), "diffhook: "), 300, token),
	}
}

// interrupted returns err, which also matches the error of ctx if ctx has ended.
func (call *call) interrupted(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return call.interruptedBy(contextError(ctx), err)
}

// interruptedBy returns the error of the last attempt, which also matches reason:
// the reason why there is no further attempt.
func (call *call) interruptedBy(reason, last error) error {
	text := reason.Error()
	if reason, ok := reason.(*transportError); ok {
		text = reason.text
	}
	return &interruptedError{last: last, cause: hide(reason), text: call.scrub(text, 200, "")}
}
