package diffhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
)

// dataReader is an out that reads the data of a response by itself. Fields that
// cannot be read stay zero. readData returns an error only if the identity or the
// secret is missing.
type dataReader interface{ readData(data value) error }

// readSuccess decodes the response to a call into its out. It returns the fault
// of the response, or "". The content decides: JSON is read with any Content-Type,
// and even if the connection broke behind it, because no part of a JSON object is
// an object.
func readSuccess(call *call, resp *http.Response, body []byte, readErr error, token string) (wrong string, cause error) {
	switch {
	case call.out == nil:
		return "", nil
	case len(body) > maxResponseBytes:
		return fmt.Sprintf("the response is longer than %d bytes", maxResponseBytes), nil
	case resp.StatusCode == http.StatusNoContent:
		return "the response has no content, and data was expected", nil
	}
	response, valid := parseValue(body)
	switch {
	case valid:
		if err := readResponse(response, call.plain, call.out); err != nil {
			return "the response is not what the API documents: " + describeResponseError(err), nil
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

// readResponse decodes a response, or the data in its envelope, into out. Null is
// an empty list, unless the response names an error. Data without the envelope is
// not read: the API documents none, so the program that answers may be another.
//
// If out is of a caller's own type, every error of encoding/json counts: only the
// caller knows which fields matter.
func readResponse(response value, plain bool, out any) error {
	data := response
	if !plain {
		var failure value
		data = nil
		response.fill(field{"data", &data}, field{"error", &failure})
		if data.isNull() && !failure.saysNothing() {
			return errNoDataInResponse
		}
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

// unmarshal is the UnmarshalJSON of the types that the API's data is read into.
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

// maxListItems bounds the memory of a list. A short item takes far more memory
// than its JSON; this many items take about as much as the longest response. The
// API documents lists of at most 200.
const maxListItems = 1 << 16

// listReader is the out of a list.
type listReader[T any] struct {
	items []T
	read  func(*T, value)
}

// readData reads a list of up to maxListItems. An item that cannot be read stays
// zero: without it, a list of MaxListLimit items would pass for a shorter one.
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

// tokenAnswer is the response to an exchange (RFC 6749, 5.1).
type tokenAnswer struct {
	token     string
	expiresIn float64 // lifetime in seconds; 0 if unknown
}

func (a *tokenAnswer) readData(data value) error {
	var token exactText
	var expiresIn float64
	data.fill(field{"access_token", &token}, field{"expires_in", &expiresIn})
	if !isToken(string(token)) {
		return errNoTokenInResponse
	}
	*a = tokenAnswer{string(token), expiresIn}
	return nil
}

// responseError is the fault of a response that is valid JSON.
type responseError string

const (
	errNotJSON            responseError = "it is not valid JSON"
	errNoEnvelope         responseError = `it has no data: the field "data" is missing`
	errNoDataInResponse   responseError = "it has no data"
	errNoObjectInResponse responseError = "its data is not an object"
	errNoListInResponse   responseError = "its data is not a list"
	errLongListInResponse responseError = "it has far more items than the API lists"
	errNoIDInResponse     responseError = "it has no id"
	errNoKeyInResponse    responseError = "it has no API key"
	errNoSecretInResponse responseError = "it has no signing secret, or none that can be one"
	errNoTokenInResponse  responseError = "it has no access_token, or none that a header can have"
)

func (e responseError) Error() string {
	return "diffhook: decode: the JSON is not what the API documents: " + string(e)
}

// describeResponseError describes an error of readResponse without any text of the
// response.
func describeResponseError(err error) string {
	if wrong := responseError(""); errors.As(err, &wrong) {
		return string(wrong)
	}
	return describeJSONError(err, "the UnmarshalJSON of a type in out failed")
}

// isJSON reports whether the Content-Type is of JSON, or missing. Its parameters
// do not matter.
func isJSON(h http.Header) bool {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	kind, _, _ = strings.Cut(kind, ",") // two values in one
	kind = strings.ToLower(strings.TrimSpace(kind))
	return kind == "" || kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json")
}
