package diffhook

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxResponseBytes bounds what is read of an answer.
const maxResponseBytes = 16 << 20

// read turns an answer into an outcome.
func (c *core) read(call *call, resp *http.Response, token string) outcome {
	e := &APIError{
		StatusCode: resp.StatusCode,
		Method:     call.method,
		Route:      call.route,
		RequestID:  call.scrub(resp.Header.Get("X-Request-Id"), 100, token),
		Attempts:   call.attempts,
	}
	o := outcome{err: e, status: resp.StatusCode}
	call.date, _ = http.ParseTime(resp.Header.Get("Date"))
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponseBytes+1))
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		o.maybeDone = true
		var cause error
		if e.Message, cause = readSuccess(call, resp, body, err, token); e.Message == "" {
			o.err = nil
			return o
		}
		e.unexpected, e.unknown, e.cause = true, !call.repeatable, hide(cause)
		o.retry = call.repeatable && err != nil // it broke off: another may not
		return o
	}
	o.documented = readError(call, e, resp, body, token)
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		o.retry, o.retryAfter = true, e.RetryAfter
		if e.RetryAfter > 0 {
			c.gate.pause(e.RetryAfter)
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

// isTransient reports the statuses that the platform calls transient, and 504,
// which proxies in front of it answer for the same reason.
func isTransient(status int) bool {
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// readError fills e from an answer other than success, in any of the three
// forms that the platform documents. An answer in none of them keeps its
// status. It reports whether the answer has one of them.
func readError(call *call, e *APIError, resp *http.Response, body []byte, token string) (documented bool) {
	var answer struct {
		Error             json.RawMessage `json:"error"`
		Description       string          `json:"error_description"` // RFC 6749, 5.2
		RetryAfterSeconds float64         `json:"retry_after_seconds"`
	}
	_ = json.Unmarshal(body, &answer)
	var detail struct{ Code, Message string }
	if json.Unmarshal(answer.Error, &detail) != nil {
		if json.Unmarshal(answer.Error, &detail.Message) == nil && answer.Description != "" {
			detail.Code, detail.Message = detail.Message, answer.Description
		}
	}
	e.Code, e.Message = call.scrub(detail.Code, 60, token), call.scrub(detail.Message, 300, token)
	documented = e.Code != "" || e.Message != ""
	if !documented {
		e.Message = "the answer does not say why"
		if !isJSON(resp.Header) {
			e.Message = "the answer is not JSON but " + call.scrub(resp.Header.Get("Content-Type"), 60, token) + ": it may come from a proxy"
		}
	}
	e.RetryAfter = retryAfter(resp, answer.RetryAfterSeconds)
	return documented
}

// retryAfter returns how long an answer asks to wait: by Retry-After (seconds
// or a date; RFC 9110, 10.2.3), by retry_after_seconds of generation 2, or, in
// a 429, by the reset of a rate-limit header. The names of the last are not
// documented: the common families are read.
func retryAfter(resp *http.Response, seconds float64) time.Duration {
	h := resp.Header
	if value := h.Get("Retry-After"); value != "" {
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			return inSeconds(n)
		}
		if at, err := http.ParseTime(value); err == nil {
			return inSeconds(time.Until(at).Seconds())
		}
	}
	if seconds > 0 {
		return inSeconds(seconds)
	}
	if resp.StatusCode != http.StatusTooManyRequests {
		return 0
	}
	for _, name := range [...]string{"RateLimit-Reset", "X-RateLimit-Reset"} {
		n, err := strconv.ParseFloat(h.Get(name), 64)
		switch {
		case err != nil:
		case n > 1e11: // a date, in milliseconds since 1970
			return inSeconds(time.Until(time.UnixMilli(int64(min(n, 1e14)))).Seconds())
		case n > 1e9: // a date, in seconds
			return inSeconds(time.Until(time.Unix(int64(min(n, 1e11)), 0)).Seconds())
		default:
			return inSeconds(n)
		}
	}
	return 0
}

// inSeconds converts a number that anybody may have written.
func inSeconds(n float64) time.Duration {
	const most = 365 * 24 * 60 * 60
	if !(n > 0) { // also not a number
		return 0
	}
	return time.Duration(min(n, most) * float64(time.Second))
}
