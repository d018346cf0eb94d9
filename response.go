package diffhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
)

// utf8BOM is the byte order mark that some servers put before JSON.
var utf8BOM = []byte("\ufeff")

// maxResponseBytes bounds what is read of an answer.
const maxResponseBytes = 16 << 20

// read turns an answer into an outcome. began is when the request was sent.
func (c *core) read(ctx context.Context, call *call, resp *http.Response, token string, began time.Time) outcome {
	e := &APIError{
		StatusCode: resp.StatusCode,
		Method:     call.method,
		Route:      call.route,
		RequestID:  call.scrub(resp.Header.Get("X-Request-Id"), 100, token),
		Attempts:   call.attempts,
	}
	call.date = resp.Header.Get("Date")
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponseBytes+1))
	if err != nil {
		err = withContextError(ctx, err)
	}
	if resp.StatusCode != http.StatusTooManyRequests {
		c.gate.pass(began)
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return call.succeeded(e, resp, body, err, token)
	}
	if ctx.Err() != nil && err != nil {
		e.cause = hide(err)
	}
	return c.refused(call, e, resp, body, token)
}

// succeeded is the outcome of an answer of success.
func (call *call) succeeded(e *APIError, resp *http.Response, body []byte, readErr error, token string) outcome {
	var cause error
	if e.Message, cause = readSuccess(call, resp, body, readErr, token); e.Message == "" {
		return outcome{status: resp.StatusCode}
	}
	e.unexpected, e.unknown, e.cause = true, !call.repeatable, hide(cause)
	// Another answer may arrive whole.
	return outcome{err: e, status: resp.StatusCode, maybeDone: true, retry: call.repeatable && readErr != nil}
}

// refused is the outcome of an answer other than success.
func (c *core) refused(call *call, e *APIError, resp *http.Response, body []byte, token string) outcome {
	o := outcome{err: e, status: resp.StatusCode}
	o.documented = readError(call, e, resp, body, token)
	o.revoked = e.Code == codeInvalidAPIKey || strings.Contains(strings.ToLower(e.Message), "invalid api key")
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		o.retry, o.retryAfter = true, e.RetryAfter
		c.gate.refuse(e.RetryAfter)
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

// readSuccess decodes the answer to a call into its out. It returns what is
// wrong with the answer, or "".
func readSuccess(call *call, resp *http.Response, body []byte, readErr error, token string) (wrong string, cause error) {
	if call.out == nil {
		return "", nil
	}
	switch {
	case readErr != nil:
		return "the answer broke off", readErr
	case len(body) > maxResponseBytes:
		return fmt.Sprintf("the answer is longer than %d bytes", maxResponseBytes), nil
	case resp.StatusCode == http.StatusNoContent:
		return "the answer has no content where data was expected", nil
	case len(bytes.TrimSpace(body)) == 0:
		return "the answer is empty", nil
	case !isJSON(resp.Header):
		return "the answer is not JSON but " + call.scrub(resp.Header.Get("Content-Type"), 60, token) + "; check BaseURL", nil
	}
	var err error
	if call.plain {
		err = json.Unmarshal(body, call.out)
	} else {
		var envelope struct{ Data dataField }
		envelope.Data.out = call.out
		if err = json.Unmarshal(body, &envelope); err == nil && !envelope.Data.filled {
			return "the answer has no data", nil
		}
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return "the answer is not valid JSON", nil
	}
	if err != nil {
		other := "a time in it is not ISO 8601"
		var lacks answerError
		if errors.As(err, &lacks) {
			other = string(lacks)
		}
		return "the answer is not what the API documents: " + describeJSONError(err, other), nil
	}
	return "", nil
}

// dataField decodes the data of an answer where it stands, into out.
type dataField struct {
	out    any
	filled bool
}

func (d *dataField) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	d.filled = true
	if out, ok := d.out.(json.Unmarshaler); ok {
		return out.UnmarshalJSON(b)
	}
	return json.Unmarshal(b, d.out)
}

// answerError is what an answer lacks that could be decoded as such.
type answerError string

func (e answerError) Error() string { return string(e) }

// isJSON reports what an answer says of itself. One that says nothing is
// judged by its content.
func isJSON(h http.Header) bool {
	value := h.Get("Content-Type")
	if value == "" {
		return true
	}
	kind, _, err := mime.ParseMediaType(value)
	return err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json"))
}

// readError fills e from an answer other than success, in any of the three
// forms that the platform documents. An answer in none of them keeps its
// status. It reports whether the answer has one of them.
func readError(call *call, e *APIError, resp *http.Response, body []byte, token string) (documented bool) {
	var answer struct {
		Error             json.RawMessage `json:"error"`
		Description       string          `json:"error_description"` // RFC 6749, 5.2
		RetryAfterSeconds json.RawMessage `json:"retry_after_seconds"`
	}
	_ = json.Unmarshal(bytes.TrimPrefix(body, utf8BOM), &answer)
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
	e.RetryAfter = retryAfter(resp, strings.Trim(string(answer.RetryAfterSeconds), `"`))
	return documented
}
