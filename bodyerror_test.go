package diffhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// Errors of readers that are not net/http's.

type codeError struct { // of the form of several web frameworks
	Code    int
	Message any
}

func (*codeError) Error() string { return "too much " + pageText }

type codeValueError struct{ Status int32 }

func (codeValueError) Error() string { return "a value" }

type (
	statusCodeError   int
	statusError       int
	embeddedError     struct{ *codeError }
	textCodeError     struct{ Code string }
	unexportedError   struct{ code int }
	panickingError    struct{}
	panickingIsError  struct{}
	brokenUnwrapError struct{}
)

type (
	getStatusError      struct{ httpError }
	httpStatusError     struct{ httpError }
	httpStatusCodeError struct{ httpError }
	codeMethodError     struct{ httpError }
	smallCodeError      struct{ httpError }
	unsignedError       struct{ Status uint16 }
	fieldError          struct{ HTTPStatus int }
)

// httpError is the text and the status of errors that differ in a method.
type httpError int

func (httpError) Error() string                   { return "by another method" }
func (unsignedError) Error() string               { return "unsigned" }
func (fieldError) Error() string                  { return "another field" }
func (e getStatusError) GetStatus() int           { return int(e.httpError) }
func (e httpStatusError) HTTPStatus() int         { return int(e.httpError) }
func (e httpStatusCodeError) HTTPStatusCode() int { return int(e.httpError) }
func (e codeMethodError) Code() int               { return int(e.httpError) }
func (e smallCodeError) Code() int32              { return int32(e.httpError) }

func (statusCodeError) Error() string     { return "by a method" }
func (e statusCodeError) StatusCode() int { return int(e) }
func (statusError) Error() string         { return "by a shorter method" }
func (e statusError) Status() int         { return int(e) }
func (embeddedError) Error() string       { return "embedded" }
func (textCodeError) Error() string       { return "a text" }
func (unexportedError) Error() string     { return "a field of its own" }
func (panickingError) Error() string      { return "panics" }
func (panickingError) StatusCode() int    { panic("no status") }
func (panickingIsError) Error() string    { return "panics" }
func (panickingIsError) Is(error) bool    { panic("not comparable") }
func (brokenUnwrapError) Error() string   { return "wraps nothing" }
func (brokenUnwrapError) Unwrap() []error { return []error{nil, nil} }

// failingRequest is signed, and its body fails with err after a few bytes.
func failingRequest(t *testing.T, err error) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, io.MultiReader(strings.NewReader("{"), iotest.ErrReader(err)))
	r.ContentLength = -1
	r.Header.Set(diffhook.SignatureHeader, mustSecret(t, currentText).Sign([]byte("{")))
	return r
}

// TestBodyErrorKinds: a reader in front may have a limit or a clock of its own.
func TestBodyErrorKinds(t *testing.T) {
	var nilPointer *codeError
	tooLarge := &codeError{Code: http.StatusRequestEntityTooLarge}
	long := make([]error, 1000)
	for i := range long {
		long[i] = errors.New("one of many")
	}
	for _, tc := range []struct {
		name  string
		cause error
		kind  error
	}{
		{"pointer to a struct with Code", tooLarge, diffhook.ErrBodyTooLarge},
		{"struct with Status", codeValueError{http.StatusRequestEntityTooLarge}, diffhook.ErrBodyTooLarge},
		{"method StatusCode", statusCodeError(http.StatusRequestEntityTooLarge), diffhook.ErrBodyTooLarge},
		{"method Status", statusError(http.StatusRequestEntityTooLarge), diffhook.ErrBodyTooLarge},
		{"method GetStatus", getStatusError{413}, diffhook.ErrBodyTooLarge},
		{"method HTTPStatus", httpStatusError{413}, diffhook.ErrBodyTooLarge},
		{"method HTTPStatusCode", httpStatusCodeError{413}, diffhook.ErrBodyTooLarge},
		{"method Code", codeMethodError{413}, diffhook.ErrBodyTooLarge},
		{"method Code of 32 bits", smallCodeError{413}, diffhook.ErrBodyTooLarge},
		{"unsigned field", unsignedError{413}, diffhook.ErrBodyTooLarge},
		{"field HTTPStatus", fieldError{413}, diffhook.ErrBodyTooLarge},
		{"wrapped", fmt.Errorf("limit: %w", fmt.Errorf("read: %w", tooLarge)), diffhook.ErrBodyTooLarge},
		{"joined", errors.Join(io.ErrUnexpectedEOF, tooLarge), diffhook.ErrBodyTooLarge},
		{"embedded", embeddedError{tooLarge}, diffhook.ErrBodyTooLarge},
		{"408", &codeError{Code: http.StatusRequestTimeout}, diffhook.ErrBodyTimeout},
		{"the end of a context's time", fmt.Errorf("read: %w", context.DeadlineExceeded), diffhook.ErrBodyTimeout},
		{"deadline", os.ErrDeadlineExceeded, diffhook.ErrBodyTimeout},
		{"net/http's limit", fmt.Errorf("read: %w", &http.MaxBytesError{Limit: 1}), diffhook.ErrBodyTooLarge},

		{"another status", &codeError{Code: http.StatusBadGateway}, diffhook.ErrBodyRead},
		{"another status around 413", fmt.Errorf("%w: %w", statusError(http.StatusBadRequest), tooLarge), diffhook.ErrBodyTooLarge},
		{"no status", errors.New("gzip: invalid header"), diffhook.ErrBodyRead},
		{"canceled", context.Canceled, diffhook.ErrBodyRead},
		{"nil pointer", nilPointer, diffhook.ErrBodyRead},
		{"embedded nil pointer", embeddedError{}, diffhook.ErrBodyRead},
		{"Code is text", textCodeError{"413"}, diffhook.ErrBodyRead},
		{"unexported field", unexportedError{http.StatusRequestEntityTooLarge}, diffhook.ErrBodyRead},
		{"a method that panics", panickingError{}, diffhook.ErrBodyRead},
		{"Is that panics", panickingIsError{}, diffhook.ErrBodyRead},
		{"wraps nil", brokenUnwrapError{}, diffhook.ErrBodyRead},
		{"behind more than anybody looks at", errors.Join(append(long, tooLarge)...), diffhook.ErrBodyRead},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
			_, err := v.VerifyRequest(failingRequest(t, tc.cause))
			requireRefused(t, err, tc.kind)
			w := httptest.NewRecorder()
			v.Handler(alive).ServeHTTP(w, failingRequest(t, tc.cause))
			require.Equal(t, diffhook.HTTPStatus(tc.kind), w.Code)
		})
	}
}

// TestBodyErrorKeepsCause: Deny and Observe can tell what the reader said by
// errors.Is and errors.As. It is shown nowhere, since it may quote the body.
func TestBodyErrorKeepsCause(t *testing.T) {
	for _, cause := range []error{
		&codeError{http.StatusRequestEntityTooLarge, pageText},
		&codeError{http.StatusRequestTimeout, pageText},
		&codeError{http.StatusTeapot, pageText},
		fmt.Errorf("%s: %w", pageText, http.ErrBodyReadAfterClose),
	} {
		logs := new(logged)
		var got []error
		v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{
			Logger:  logs.logger(),
			Observe: func(_ context.Context, o diffhook.Observation) { got = append(got, o.Err) },
			Deny:    func(_ http.ResponseWriter, _ *http.Request, err error) { got = append(got, err) },
		})
		_, err := v.VerifyRequest(failingRequest(t, cause))
		v.Handler(alive).ServeHTTP(httptest.NewRecorder(), failingRequest(t, cause))

		detector := newLeakDetector(pageText)
		for _, err := range append(got, err) {
			require.ErrorIs(t, err, cause)
			var own *codeError
			if errors.As(cause, &own) {
				own = nil
				require.ErrorAs(t, err, &own)
				require.Equal(t, pageText, own.Message)
			}
			assertOpaque(t, detector, err, io.EOF)
		}
		require.Len(t, got, 3)
		require.Len(t, logs.lines(), 2)
		for _, line := range logs.lines() {
			assert.Empty(t, detector.find(fmt.Sprintf("%v %+v %#v", line, line, line)))
		}
	}
}

// A reader that is built on this package does not decide the verdict.
func TestBodyErrorHasOneVerdict(t *testing.T) {
	for other := range receiveErrors {
		v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
		_, err := v.VerifyRequest(failingRequest(t, fmt.Errorf("a verifier before: %w", other)))
		requireRefused(t, err, diffhook.ErrBodyRead)
	}
}
