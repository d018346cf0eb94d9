package diffhook

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxResponseBytes bounds what is read of an answer.
const maxResponseBytes = 16 << 20

// read turns an answer into an outcome. began is when the request was sent.
func (c *core) read(ctx context.Context, call *call, resp *http.Response, token string, began time.Time) outcome {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponseBytes+1))
	if err != nil {
		err = withContextError(ctx, err)
	}
	if resp.StatusCode != http.StatusTooManyRequests {
		c.gate.pass(began)
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return call.succeeded(resp, body, err, token)
	}
	e := call.newAPIError(resp, token)
	if ctx.Err() != nil && err != nil {
		e.cause = hide(err)
	}
	return c.refused(ctx, call, e, resp, body, token)
}

func (call *call) newAPIError(resp *http.Response, token string) *APIError {
	return &APIError{
		StatusCode: resp.StatusCode,
		Method:     call.method,
		Route:      call.route,
		RequestID:  call.scrub(resp.Header.Get("X-Request-Id"), 100, token),
		Attempts:   call.attempts,
	}
}

// succeeded is the outcome of an answer of success.
func (call *call) succeeded(resp *http.Response, body []byte, readErr error, token string) outcome {
	wrong, cause := readSuccess(call, resp, body, readErr, token)
	if wrong == "" {
		return outcome{status: resp.StatusCode}
	}
	e := call.newAPIError(resp, token)
	e.Message, e.unexpected, e.unknown, e.cause = wrong, true, !call.repeatable, hide(cause)
	// Another answer may arrive whole.
	return outcome{err: e, status: resp.StatusCode, maybeDone: true, retry: call.repeatable && readErr != nil}
}

// refused is the outcome of an answer other than success.
func (c *core) refused(ctx context.Context, call *call, e *APIError, resp *http.Response, body []byte, token string) outcome {
	o := outcome{err: e, status: resp.StatusCode}
	o.documented = readError(call, e, resp, body, token)
	o.revoked = e.Code == codeInvalidAPIKey || strings.Contains(strings.ToLower(e.Message), "invalid api key")
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		o.retry, o.retryAfter = true, e.RetryAfter
		pause := c.gate.refuse(e.RetryAfter)
		if shared, ok := c.opts.Limiter.(Pauser); ok && pause > 0 {
			shared.Pause(context.WithoutCancel(ctx), pause)
		}
	case resp.StatusCode >= 500:
		o.maybeDone, o.retryAfter = true, e.RetryAfter
		e.unknown = !call.repeatable
		o.retry = call.repeatable && isTransient(resp.StatusCode)
	case resp.StatusCode < 400:
		o.maybeDone = true // "303 See Other" would say that it was carried out
		e.unexpected, e.unknown = true, !call.repeatable
		e.Message = "the API answered with a redirect or another status that it does not document, which is not followed; check BaseURL"
	}
	return o
}

// isTransient reports whether a 5xx may pass. The platform calls 500, 502 and 503
// transient. Proxies add others, such as 504 and Cloudflare's 520 to 530. Only
// 501 and 505 say that the request itself cannot be served.
func isTransient(status int) bool {
	return status >= 500 && status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported
}

// readError fills e from an answer other than success, in any of the three
// forms that the platform documents. An answer in none of them keeps its
// status. It reports whether the answer has one of them.
func readError(call *call, e *APIError, resp *http.Response, body []byte, token string) (documented bool) {
	var failure value
	var description, wait string
	response, _ := parseValue(body)
	response.fill(field{"error", &failure}, field{"error_description", &description}, field{"retry_after_seconds", &wait})
	code, message := "", ""
	if failure.isText() {
		message = failure.text()
	}
	failure.fill(field{"code", &code}, field{"message", &message})
	if message != "" && description != "" { // RFC 6749, 5.2
		code, message = message, description
	}
	e.Code, e.Message = call.scrub(code, 60, token), call.scrub(message, 300, token)
	documented = e.Code != "" || e.Message != ""
	if !documented {
		e.Message = "the answer does not say why"
		if !isJSON(resp.Header) {
			e.Message = "the answer is not JSON but " + call.scrub(resp.Header.Get("Content-Type"), 60, token) + ": it may come from a proxy"
		}
	}
	e.RetryAfter = retryAfter(resp, wait)
	return documented
}
