package diffhook

import (
	"errors"
	"net/http"
)

// Errors of receiving deliveries. Test for them with [errors.Is]: the error of a
// method may wrap a sentinel together with a cause. [HTTPStatus] returns the status
// for each.
var (
	// ErrNoSignature is returned if a request has no signature header, or only
	// blank signature headers.
	ErrNoSignature = errors.New("diffhook: no signature: the header " + SignatureHeader + " (or " + SignatureHeaderGen2 + ") is missing or empty")

	// ErrMalformedSignature is returned if a signature is not "sha256=" and 64
	// lower-case hex digits, or if the header has several values. Spaces and tabs
	// around a value, and blank values, do not count.
	ErrMalformedSignature = errors.New(`diffhook: malformed signature: want a single value, "sha256=" and 64 lower-case hex digits`)

	// ErrSignatureMismatch is returned if a well-formed signature matches no secret
	// in force.
	ErrSignatureMismatch = errors.New("diffhook: signature mismatch: no signing secret in force signed this body; if every delivery fails, compare the fingerprint of the secret, and look for code that changes the body before the verifier")

	// ErrStale is returned for a correctly signed event if [VerifierOptions].MaxAge is
	// set: the event is older, over 5 minutes in the future, or without a readable
	// time.
	ErrStale = errors.New("diffhook: stale delivery: triggered_at is longer ago than MaxAge, over 5 minutes in the future, or unreadable; if retries fail, raise MaxAge or check the clock")

	// ErrBodyTooLarge is returned if a body is longer than
	// [VerifierOptions].MaxBodyBytes or than a limit before the verifier: the
	// reader returns an *http.MaxBytesError, or an error with the status 413 in an
	// integer field or method Code, Status, StatusCode, HTTPStatus or
	// HTTPStatusCode.
	ErrBodyTooLarge = errors.New("diffhook: body too large: it is longer than MaxBodyBytes; raise the limit if deliveries can be that long")

	// ErrBodyTimeout is returned if a body did not arrive in time. The reader may also
	// return the error of a deadline, or an error with the status 408.
	ErrBodyTimeout = errors.New("diffhook: body timeout: the sender is slow or has stopped")

	// ErrBodyRead is returned if the body broke off or could not be read.
	// [errors.Is] and [errors.As] find the error of the reader.
	ErrBodyRead = errors.New("diffhook: body not read: it broke off before the end, or the reader failed")

	// ErrBodyConsumed is returned if the body is shorter than the Content-Length and
	// did not break off: other code read it first.
	ErrBodyConsumed = errors.New("diffhook: body consumed: other code read or replaced the request's body; mount the verifier before that code")

	// ErrSecretsUnavailable is returned if the source of secrets fails: a secret that
	// only the source names may have signed the delivery. Every method of a zero
	// [Verifier] returns it too.
	ErrSecretsUnavailable = errors.New("diffhook: signing secrets unavailable")

	// ErrHeld is returned by [Verifier.VerifyRequest] if [Verifier.Hold] is on and
	// no known secret signed the delivery: HandleHeld gets the delivery if a secret
	// that signed it comes into force. Answer 202.
	ErrHeld = errors.New("diffhook: delivery held: it is kept until a secret that signed it is in force; answer 202")

	// ErrUnavailable is for an [EventFunc] to return, also wrapped, if the event
	// cannot be handled now: a database is down, or another process is handling
	// the event. [Verifier.EventHandler] then answers 503 and logs a warning, and
	// DiffHook retries.
	ErrUnavailable = errors.New("diffhook: unavailable: the event cannot be handled now")

	// ErrInvalidEvent is returned if a body is not a JSON object. A field that
	// cannot be read is no error: see [Event].Unreadable.
	ErrInvalidEvent = errors.New("diffhook: invalid event: the body is not a JSON object")
)

// Errors of calling the API. Test for them with [errors.Is]. [errors.As] with an
// [*APIError] returns the details of a response.
var (
	// ErrUnauthorized is a 401: the key is missing, malformed or revoked.
	ErrUnauthorized = errors.New("diffhook: unauthorized")

	// ErrForbidden is a 403: the credentials are valid but have no access to the
	// resource, such as a monitor of another team.
	ErrForbidden = errors.New("diffhook: forbidden")

	// ErrMonitorLimit is the 403 of a plan whose monitors are used up. It is
	// ErrForbidden too.
	ErrMonitorLimit = errors.New("diffhook: monitor limit reached")

	// ErrNotFound is a 404 or a 410.
	ErrNotFound = errors.New("diffhook: not found")

	// ErrInvalidRequest is a 400 or another 4xx for a wrong request, and the error
	// of a request that the client does not send.
	ErrInvalidRequest = errors.New("diffhook: invalid request")

	// ErrRateLimited is a 429 after which the client could not wait long enough.
	ErrRateLimited = errors.New("diffhook: rate limited")

	// ErrServer is a 5xx.
	ErrServer = errors.New("diffhook: server error")

	// ErrUnexpectedResponse is a response that the API does not document: not JSON,
	// cut off, too long, empty, without data, or a redirect.
	ErrUnexpectedResponse = errors.New("diffhook: unexpected response")

	// ErrOutcomeUnknown is a further match of the error of a request that may have
	// been carried out and is not safe to send again. Look before you repeat it: to
	// create a key twice leaves a live key that nobody holds.
	ErrOutcomeUnknown = errors.New("diffhook: outcome unknown")

	// ErrInvalidCredentials is returned for credentials that cannot be right.
	ErrInvalidCredentials = errors.New("diffhook: invalid credentials")
)

// Errors of configuring the package.
var (
	// ErrInvalidSecret is returned for a text that cannot be a signing secret: see
	// [NewSecret].
	ErrInvalidSecret = errors.New("diffhook: invalid signing secret")

	// ErrInvalidOptions is returned by constructors and methods for an argument or
	// option out of range. The text names it.
	ErrInvalidOptions = errors.New("diffhook: invalid options")
)

// Result names the verdict on a delivery, in an [Observation] and in logs.
type Result string

// The results. Each but accepted, dropped and error stands for the error of a similar
// name.
const (
	ResultAccepted           Result = "accepted"
	ResultNoSignature        Result = "no_signature"
	ResultMalformedSignature Result = "malformed_signature"
	ResultMismatch           Result = "mismatch"
	ResultStale              Result = "stale"
	ResultBodyTooLarge       Result = "body_too_large"
	ResultBodyTimeout        Result = "body_timeout"
	ResultBodyRead           Result = "body_read"
	ResultBodyConsumed       Result = "body_consumed"
	ResultSecretsUnavailable Result = "secrets_unavailable"
	ResultInvalidEvent       Result = "invalid_event"
	ResultHeld               Result = "held"
	ResultDropped            Result = "dropped" // a held delivery that was not handled
	ResultError              Result = "error"   // any other error
)

// HTTPStatus returns the status with which to answer a delivery: 200 for nil, the
// status in this table for an error of this package, and 500 for any other error.
// [Verifier.Handler] answers so by itself. Call HTTPStatus in a router that writes
// the answers.
//
//	ErrNoSignature, ErrMalformedSignature, ErrSignatureMismatch, ErrStale  401
//	ErrBodyTooLarge                                                        413
//	ErrBodyTimeout                                                         408
//	ErrBodyRead, ErrInvalidEvent                                           400
//	ErrBodyConsumed                                                        500
//	ErrSecretsUnavailable, ErrUnavailable                                  503
//	ErrHeld                                                                202
func HTTPStatus(err error) int {
	if err == nil {
		return http.StatusOK
	}
	row, status := classify(err)
	if row == len(verdicts) && errors.Is(err, ErrUnavailable) {
		return http.StatusServiceUnavailable
	}
	return status
}

// verdicts is the table of verdicts other than accepted: the error, the result in
// observations and logs, and the status of the answer.
var verdicts = [...]struct {
	err    error
	result Result
	status int
}{
	// First, since it may wrap any error of a source.
	{ErrSecretsUnavailable, ResultSecretsUnavailable, http.StatusServiceUnavailable},
	{ErrNoSignature, ResultNoSignature, http.StatusUnauthorized},
	{ErrMalformedSignature, ResultMalformedSignature, http.StatusUnauthorized},
	{ErrSignatureMismatch, ResultMismatch, http.StatusUnauthorized},
	{ErrStale, ResultStale, http.StatusUnauthorized},
	{ErrBodyTooLarge, ResultBodyTooLarge, http.StatusRequestEntityTooLarge},
	{ErrBodyTimeout, ResultBodyTimeout, http.StatusRequestTimeout},
	{ErrBodyRead, ResultBodyRead, http.StatusBadRequest},
	{ErrBodyConsumed, ResultBodyConsumed, http.StatusInternalServerError},
	{ErrInvalidEvent, ResultInvalidEvent, http.StatusBadRequest},
	{ErrHeld, ResultHeld, http.StatusAccepted},
}

// classify returns the index of the row of [verdicts] for err, and the status. The
// index for an unknown error is len(verdicts).
func classify(err error) (row, status int) {
	for i, v := range verdicts {
		if errors.Is(err, v.err) {
			return i, v.status
		}
	}
	return len(verdicts), http.StatusInternalServerError
}

// resultOf returns the result of a verdict.
func resultOf(err error) Result {
	if err == nil {
		return ResultAccepted
	}
	if row, _ := classify(err); row < len(verdicts) {
		return verdicts[row].result
	}
	return ResultError
}
