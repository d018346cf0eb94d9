package diffhooktest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// response is a complete response before it is sent.
type response struct {
	status int
	header http.Header
	body   []byte
}

func newResponse(status int) *response { return &response{status: status, header: make(http.Header)} }

// jsonResponse returns a response with v as the body.
func jsonResponse(status int, v any) *response {
	body, err := json.Marshal(v)
	if err != nil {
		panic("diffhooktest: " + err.Error()) // every v of this package can be marshalled
	}
	a := newResponse(status)
	a.header.Set("Content-Type", "application/json")
	a.body = body
	return a
}

// fields is a JSON object with the names of generation 2.
type fields map[string]any

// in returns the object with the names of a generation.
func (f fields) in(generation int) fields {
	if generation == 2 {
		return f
	}
	named := make(fields, len(f))
	for name, value := range f {
		if nested, ok := value.(fields); ok {
			value = nested.in(generation)
		}
		named[camelCase(name)] = value
	}
	return named
}

func camelCase(name string) string {
	words := strings.Split(name, "_")
	for i, word := range words[1:] {
		words[i+1] = strings.ToUpper(word[:1]) + word[1:]
	}
	return strings.Join(words, "")
}

// data returns a success with f in the envelope.
func data(status, generation int, f fields) *response {
	return jsonResponse(status, map[string]any{"data": f.in(generation)})
}

// list returns a success with the newest items, as many as the query asks for, in the
// envelope. An item without fields is left out.
func list[T any](c *call, items []T, show func(T) fields) (*response, *failure) {
	most, failed := limitOf(c.query)
	if failed != nil {
		return nil, failed
	}
	named := []fields{} // not nil: JSON needs [], not null
	for _, item := range slices.Backward(items) {
		if f := show(item); f != nil && len(named) < most {
			named = append(named, f.in(c.generation))
		}
	}
	return jsonResponse(http.StatusOK, map[string]any{"data": named}), nil
}

// timestamp returns t in the format of the API.
func timestamp(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

// timestampOrNull returns null for the zero time, and else the timestamp.
func timestampOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return timestamp(t)
}

// failure is the rejection of a request, in a form for both generations.
type failure struct {
	status     int
	code       string // generation 1 only
	message    string
	retryAfter time.Duration
	allow      string
}

// The codes of errors. DiffHook documents all but the last two.
const (
	codeUnauthorized    = "UNAUTHORIZED"
	codeInvalidAPIKey   = "INVALID_API_KEY"
	codeForbidden       = "FORBIDDEN"
	codeMonitorLimit    = "MONITOR_LIMIT"
	codeNotFound        = "NOT_FOUND"
	codeMissingFields   = "MISSING_FIELDS"
	codeInvalidURL      = "INVALID_URL"
	codeInvalidInterval = "INVALID_INTERVAL"
	codeRateLimited     = "RATE_LIMITED"
	codeServerError     = "SERVER_ERROR"

	codeInvalidRequest   = "INVALID_REQUEST"    // the emulator's own
	codeMethodNotAllowed = "METHOD_NOT_ALLOWED" // the emulator's own
)

func invalid(format string, args ...any) *failure {
	return &failure{status: http.StatusBadRequest, code: codeInvalidRequest, message: fmt.Sprintf(format, args...)}
}

// in returns the failure as a response of a generation.
func (f *failure) in(generation int) *response {
	var a *response
	if generation == 2 {
		body := map[string]any{"error": f.message}
		if f.retryAfter > 0 && f.status == http.StatusTooManyRequests {
			body["retry_after_seconds"] = seconds(f.retryAfter)
		}
		a = jsonResponse(f.status, body)
	} else {
		a = jsonResponse(f.status, map[string]any{"error": map[string]any{"code": f.code, "message": f.message}})
	}
	if f.retryAfter > 0 {
		a.header.Set("Retry-After", strconv.Itoa(seconds(f.retryAfter)))
	}
	if f.allow != "" {
		a.header.Set("Allow", f.allow)
	}
	return a
}

// seconds returns d in whole seconds, rounded up.
func seconds(d time.Duration) int {
	return int((d + time.Second - 1) / time.Second)
}
