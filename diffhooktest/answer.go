package diffhooktest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// answer is a whole answer before it is sent.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func newAnswer(status int) *answer { return &answer{status: status, header: make(http.Header)} }

// jsonAnswer returns an answer with v as its body.
func jsonAnswer(status int, v any) *answer {
	body, err := json.Marshal(v)
	if err != nil {
		panic("diffhooktest: " + err.Error()) // everything answered can be marshalled
	}
	a := newAnswer(status)
	a.header.Set("Content-Type", "application/json")
	a.body = body
	return a
}

// fields is a JSON object under its generation 2 names.
type fields map[string]any

// in returns the object under the names of a generation.
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

// data returns the answer of success.
func data(status, generation int, f fields) *answer {
	return jsonAnswer(status, map[string]any{"data": f.in(generation)})
}

// list returns the answer of a list.
func list(generation int, items []fields) *answer {
	named := make([]fields, len(items)) // not nil: an empty list is [], not null
	for i, item := range items {
		named[i] = item.in(generation)
	}
	return jsonAnswer(http.StatusOK, map[string]any{"data": named})
}

// timestamp is how the API writes times.
func timestamp(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

// timestampOrNull is timestamp, and null for the zero time.
func timestampOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return timestamp(t)
}

// failure is a refusal, which either generation writes in its own form.
type failure struct {
	status     int
	code       string // generation 1 only
	message    string
	retryAfter time.Duration
	allow      string
}

// The documented codes, and two of the emulator's own.
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

// in returns the answer in the form of a generation.
func (f *failure) in(generation int) *answer {
	var a *answer
	if generation == 2 {
		body := map[string]any{"error": f.message}
		if f.retryAfter > 0 && f.status == http.StatusTooManyRequests {
			body["retry_after_seconds"] = seconds(f.retryAfter)
		}
		a = jsonAnswer(f.status, body)
	} else {
		a = jsonAnswer(f.status, map[string]any{"error": map[string]any{"code": f.code, "message": f.message}})
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
