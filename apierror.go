package diffhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go/internal/scrub"
)

// Error codes of generation 1.
const (
	codeInvalidAPIKey = "INVALID_API_KEY"
	codeMonitorLimit  = "MONITOR_LIMIT"
	codeRateLimited   = "RATE_LIMITED"
)

// APIError is a response of the API other than success. With Attempts 0, it is a 429
// for an unsent request: an earlier response asked for a longer wait than MaxRetryWait.
// The text names the remedy, and never holds a credential: texts of the server are
// bounded, and cleared of control characters and of possible keys.
type APIError struct {
	StatusCode int
	Code       string // such as NOT_FOUND; generation 1, and the token endpoint
	Message    string // the message of the server, or the fault of the response
	RequestID  string // the X-Request-Id header, for DiffHook's support; assumed

	// RetryAfter is the wait in the response. 0: none.
	RetryAfter time.Duration

	Method   string
	Route    string // the path, without ids except in [Client.Do]
	Attempts int    // number of times the request was sent

	foreign    bool  // not JSON, maybe from a proxy
	unexpected bool  // matches ErrUnexpectedResponse
	unknown    bool  // matches ErrOutcomeUnknown
	cause      error // hidden in a scrub.Error; nil: none
}

// Error returns a line with the request, the status, the message of the server and
// the remedy.
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

// advice returns the remedy, from the troubleshooting section of the platform's page
// "API Keys".
func (e *APIError) advice() string {
	switch {
	case e.foreign:
		return ""
	case e.Code == "invalid_client":
		return "check the client id and the client secret"
	case e.Is(ErrUnauthorized):
		return "the key is missing, malformed or revoked: check the credentials of the client"
	case e.Is(ErrMonitorLimit):
		return "delete a monitor or change the plan"
	case e.Is(ErrForbidden):
		return "the key is valid but has no access to this resource: check that it belongs to the key's team"
	}
	return ""
}

// Is reports whether the response is of the kind of target.
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
		return e.isInvalidRequest()
	case ErrServer:
		return e.StatusCode >= 500
	case ErrUnexpectedResponse:
		return e.unexpected
	case ErrOutcomeUnknown:
		return e.unknown
	}
	return errors.Is(e.cause, target)
}

// namesRevokedKey reports whether a 401 says that the API key, or the client, is
// revoked. Generation 2 sends no codes.
func (e *APIError) namesRevokedKey() bool {
	return e.Code == codeInvalidAPIKey || strings.Contains(strings.ToLower(e.Message), "invalid api key")
}

// isInvalidRequest reports whether the status is a 4xx without another sentinel.
func (e *APIError) isInvalidRequest() bool {
	switch e.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone, http.StatusTooManyRequests:
		return false
	}
	return e.StatusCode >= 400 && e.StatusCode < 500
}

// As finds target in the error of reading the response, if any. The error is not
// unwrapped: the text may show a credential.
func (e *APIError) As(target any) bool { return errors.As(e.cause, target) }

// transportError returns the error of a request without a response. The text shows
// the text of err, scrubbed. If unknown is true, it matches ErrOutcomeUnknown.
func (call *call) transportError(err error, token string, attempts int, unknown bool) error {
	text := fmt.Sprintf("diffhook: %s %s: %s", call.method, call.route, call.textOf(err, 300, token))
	var kind error
	if unknown {
		kind = ErrOutcomeUnknown
		text += "; " + adviceUnknown
	}
	return scrub.NewError(text+attemptsAndID(attempts, ""), kind, err)
}

// unsentError returns the error of a call whose last attempt was not sent for the
// given reason. before is the error of the attempt before: if ctx left no time for
// another attempt, before says more than reason.
func (call *call) unsentError(ctx context.Context, reason, before error) error {
	reason = withContextError(ctx, reason)
	var api *APIError
	switch {
	case before != nil && matchesContext(reason):
		return call.interruptedBy(reason, before)
	case errors.As(reason, &api):
		own := *api // an exchange for a token shares the error with other calls
		if ctx.Err() != nil {
			return call.interruptedBy(contextError(ctx), &own)
		}
		return &own
	}
	return call.transportError(reason, "", call.attempts-1, false)
}

// interruptedBy returns the error of the last attempt, which also matches reason:
// the reason why there is no further attempt.
func (call *call) interruptedBy(reason, last error) error {
	return scrub.NewError(last.Error()+"; no further attempt: "+call.textOf(reason, 200, ""), last, reason)
}

// textOf returns the text of an error, fit for an error of the call.
func (call *call) textOf(err error, n int, token string) string {
	return call.scrub(strings.TrimPrefix(err.Error(), "diffhook: "), n, token)
}
