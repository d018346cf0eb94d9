package diffhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go/internal/scrub"
)

// maxResponseBytes bounds the bytes that are read of a response.
const maxResponseBytes = 16 << 20

// read turns a response into an outcome. began is the time at which the request was
// sent.
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
		e.cause = scrub.NewError("", nil, err)
	}
	return c.rejected(ctx, call, e, resp, body, token)
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

// succeeded returns the outcome of a 2xx.
func (call *call) succeeded(resp *http.Response, body []byte, readErr error, token string) outcome {
	wrong, cause := readSuccess(call, resp, body, readErr, token)
	if wrong == "" {
		return outcome{}
	}
	e := call.newAPIError(resp, token)
	e.Message, e.unexpected, e.unknown, e.cause = wrong, true, !call.repeatable, scrub.NewError("", nil, cause)
	// Another response may arrive whole.
	return outcome{err: e, maybeDone: true, retry: call.repeatable && readErr != nil}
}

// rejected returns the outcome of a response other than 2xx.
func (c *core) rejected(ctx context.Context, call *call, e *APIError, resp *http.Response, body []byte, token string) outcome {
	documented := readError(call, e, resp, body, token)
	o := outcome{err: e, gone: documented && errors.Is(e, ErrNotFound)}
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		o.retry, o.retryAfter = true, e.RetryAfter
		pause := c.gate.rateLimited(e.RetryAfter)
		if shared, ok := c.opts.Limiter.(Pauser); ok && pause > 0 {
			shared.Pause(context.WithoutCancel(ctx), pause)
		}
	case resp.StatusCode >= 500:
		o.maybeDone, o.retryAfter = true, e.RetryAfter
		e.unknown = !call.repeatable
		o.retry = call.repeatable && isTransient(resp.StatusCode)
	case resp.StatusCode < 400:
		o.maybeDone = true // 303 would mean that the request was carried out
		e.unexpected, e.unknown = true, !call.repeatable
		e.Message = "the response is a redirect, never followed, or has another undocumented status; check BaseURL"
	}
	return o
}

// isTransient reports whether a 5xx may pass. The platform calls 500, 502 and 503
// transient. Proxies add others, such as 504 and Cloudflare's 520 to 530. Only 501
// and 505 mean that the request itself cannot be served.
func isTransient(status int) bool {
	return status >= 500 && status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported
}

// readError fills e from a response other than 2xx, and reports whether the response is
// in any of the three documented forms.
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
		e.Message = "the response does not say why"
		if e.foreign = !isJSON(resp.Header); e.foreign {
			e.Message = "the response is not JSON but " + call.scrub(resp.Header.Get("Content-Type"), 60, token) + ": it may come from a proxy"
		}
	}
	e.RetryAfter = retryAfter(resp, wait)
	return documented
}

// readSuccess decodes the response to a call into call.out. It returns the fault of the
// response, or "". The content decides: JSON is read with any Content-Type, and also if
// the connection broke behind it, because no part of a JSON object is an object.
func readSuccess(call *call, resp *http.Response, body []byte, readErr error, token string) (wrong string, cause error) {
	switch {
	case call.out == nil:
		return readDone(body), nil
	case len(body) > maxResponseBytes:
		return fmt.Sprintf("the response is longer than %d bytes", maxResponseBytes), nil
	case resp.StatusCode == http.StatusNoContent:
		return "the response has no content, and data was expected", nil
	}
	response, valid := parseValue(body)
	switch {
	case valid:
		if err := readResponse(response, call.out); err != nil {
			return "the response is undocumented: " + describeResponseError(err), nil
		}
		return "", nil
	case readErr != nil:
		return "the response broke off", readErr
	case strings.TrimSpace(string(body)) == "":
		return "the response is empty", nil
	case !isJSON(resp.Header):
		return "the response is not JSON but " + call.scrub(resp.Header.Get("Content-Type"), 60, token) + "; check BaseURL", nil
	}
	return "the response is not valid JSON", nil
}

// readDone returns the fault of the response to a call without data, or "". A page is
// from another program, and an error means that the call was not carried out. Any other
// response is a success: the status says so.
func readDone(body []byte) string {
	if bytes.HasPrefix(bytes.TrimLeft(body, "\ufeff \t\r\n"), []byte("<")) {
		return "the response is a web page; check BaseURL"
	}
	var data, failure value
	response, _ := parseValue(body)
	response.fill(field{"data", &data}, field{"error", &failure})
	if (len(data) == 0 || data.isNull()) && (failure.isObject() || failure.isText() && !failure.saysNothing()) {
		return "the response contains an error"
	}
	return ""
}

// readResponse decodes a response, or the data in the envelope, into out. Null is an
// empty list, unless the response contains an error. Data without the envelope is not
// read: the API documents no such response, so it may come from another program.
//
// If out is of a caller's own type, every error of encoding/json counts: only the
// caller can say which fields matter.
func readResponse(response value, out any) error {
	if token, ok := out.(*tokenAnswer); ok {
		return token.readResponse(response)
	}
	var data, failure value
	response.fill(field{"data", &data}, field{"error", &failure})
	if data.isNull() && !failure.saysNothing() {
		return errNoDataInResponse
	}
	reader, reads := out.(dataReader)
	switch {
	case len(data) == 0:
		return errNoEnvelope
	case reads:
		return reader.readData(data)
	case data.isNull() && !isList(out):
		return errNoDataInResponse
	}
	return json.Unmarshal(data, out)
}

// isList reports whether out points to a slice, other than of bytes.
func isList(out any) bool {
	t := reflect.TypeOf(out)
	return t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Slice && t.Elem().Elem().Kind() != reflect.Uint8
}

// dataReader is an out that reads the data of a response by itself. Unreadable fields
// stay zero. readData returns an error only if the identity or the secret is missing.
type dataReader interface{ readData(data value) error }

// unmarshal is the UnmarshalJSON of the types of the API's data.
func unmarshal(b []byte, into dataReader) error {
	v, valid := parseValue(b)
	if !valid {
		return errNotJSON
	}
	return into.readData(v)
}

// checkObject returns an error if data is not an object.
func (v value) checkObject() error {
	switch {
	case len(v) == 0, v.isNull():
		return errNoDataInResponse
	case !v.isObject():
		return errNoObjectInResponse
	}
	return nil
}

func list[T any](ctx context.Context, c *Client, resource string, opts *ListOptions, read func(*T, value)) ([]T, error) {
	limit := opts.limit()
	if limit < 1 || limit > MaxListLimit {
		return nil, fmt.Errorf("%w: ListOptions.Limit is %d; want 1 to %d, or 0 for %d", ErrInvalidRequest, opts.Limit, MaxListLimit, MaxListLimit)
	}
	out := &listReader[T]{read: read}
	call := &call{method: http.MethodGet, route: resource, out: out, repeatable: true, query: "limit=" + strconv.Itoa(limit)}
	if err := c.callPath(ctx, call, resource); err != nil {
		return nil, err
	}
	return out.items, nil
}

// maxListItems bounds the memory of a list. A short item takes far more memory than the
// JSON: this many items take about as much as the longest response. The API documents
// lists of at most 200.
const maxListItems = 1 << 16

// listReader is the out of a list.
type listReader[T any] struct {
	items []T
	read  func(*T, value)
}

// readData reads a list of up to maxListItems. An unreadable item stays zero: without
// it, a list of MaxListLimit items would look like a shorter list.
func (l *listReader[T]) readData(data value) error {
	items := []T{}
	if data.isNull() {
		l.items = items
		return nil
	}
	if !data.isList() {
		return errNoListInResponse
	}
	elements := data.elements()
	for v := elements.next(); len(v) > 0; v = elements.next() {
		if len(items) == maxListItems {
			return errLongListInResponse
		}
		var zero T
		items = append(items, zero)
		l.read(&items[len(items)-1], v)
	}
	l.items = items
	return nil
}

// responseError is the fault of a response that is valid JSON.
type responseError string

const (
	errNotJSON            responseError = "it is not valid JSON"
	errNoEnvelope         responseError = `it contains no data: the field "data" is missing`
	errNoDataInResponse   responseError = "it contains no data"
	errNoObjectInResponse responseError = "the data is not an object"
	errNoListInResponse   responseError = "the data is not a list"
	errLongListInResponse responseError = "it contains far more items than the API documents"
	errNoIDInResponse     responseError = "it contains no id"
	errNoKeyInResponse    responseError = "it contains no API key"
	errNoSecretInResponse responseError = "it contains no valid signing secret"
	errNoTokenInResponse  responseError = "it contains no access_token legal in a header"
)

func (e responseError) Error() string {
	return "diffhook: decode: the JSON is undocumented: " + string(e)
}

// describeResponseError describes an error of readResponse without any text of the
// response.
func describeResponseError(err error) string {
	if wrong := responseError(""); errors.As(err, &wrong) {
		return string(wrong)
	}
	return describeJSONError(err, "the UnmarshalJSON of a type in out failed")
}

// isJSON reports whether the Content-Type is of JSON, or missing. Parameters do not
// matter.
func isJSON(h http.Header) bool {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	kind, _, _ = strings.Cut(kind, ",") // two values in one
	kind = strings.ToLower(strings.TrimSpace(kind))
	return kind == "" || kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json")
}
