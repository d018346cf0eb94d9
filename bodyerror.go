package diffhook

import (
	"context"
	"errors"
	"net/http"
	"os"
	"reflect"

	"github.com/diffhook/diffhook-go/internal/redact"
)

// bodyError returns the sentinel for an error of reading a body, with the error
// as the cause. Only errors.Is and errors.As reach the cause, since its text may
// quote the body. A cause that matches a verdict of this package is dropped: an
// error has a single verdict.
func bodyError(cause error) (err error) {
	defer func() {
		if recover() != nil { // a method of the cause panics, such as that of a nil pointer
			err = ErrBodyRead
		}
	}()
	kind := bodyErrorKind(cause)
	if row, _ := classify(cause); row < len(verdicts) {
		return kind
	}
	return redact.WithCause(kind, cause)
}

// bodyErrorKind returns the sentinel for an error of reading a body.
func bodyErrorKind(cause error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(cause, &tooLarge): // a limit set before the verifier
		return ErrBodyTooLarge
	case errors.Is(cause, os.ErrDeadlineExceeded), errors.Is(cause, context.DeadlineExceeded):
		return ErrBodyTimeout
	case errors.Is(cause, http.ErrBodyReadAfterClose):
		return ErrBodyConsumed
	}
	budget := 100
	switch statusIn(cause, &budget) {
	case http.StatusRequestEntityTooLarge:
		return ErrBodyTooLarge
	case http.StatusRequestTimeout:
		return ErrBodyTimeout
	}
	return ErrBodyRead
}

// statusIn returns the first HTTP status 408 or 413 of err and the errors under
// it, or 0. The limits of web frameworks return errors with such a status. It
// reads at most budget errors.
func statusIn(err error, budget *int) int {
	if err == nil || *budget <= 0 {
		return 0
	}
	*budget--
	if status := statusOf(err); status != 0 {
		return status
	}
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		return statusIn(err.Unwrap(), budget)
	case interface{ Unwrap() []error }:
		for _, err := range err.Unwrap() {
			if status := statusIn(err, budget); status != 0 {
				return status
			}
		}
	}
	return 0
}

// statusOf returns the status 408 or 413 in a method or an exported field of
// err, or 0.
func statusOf(err error) int {
	found := []int{statusByMethod(err)}
	for _, name := range [...]string{"Code", "StatusCode", "Status", "HTTPStatus", "HTTPStatusCode"} {
		found = append(found, intField(err, name))
	}
	for _, status := range found {
		if status == http.StatusRequestTimeout || status == http.StatusRequestEntityTooLarge {
			return status
		}
	}
	return 0
}

// statusByMethod returns the result of the method with which err tells its status,
// or 0 if there is none. Programs differ in its name.
func statusByMethod(err error) int {
	switch err := err.(type) {
	case interface{ StatusCode() int }:
		return err.StatusCode()
	case interface{ Status() int }:
		return err.Status()
	case interface{ GetStatus() int }:
		return err.GetStatus()
	case interface{ HTTPStatus() int }:
		return err.HTTPStatus()
	case interface{ HTTPStatusCode() int }:
		return err.HTTPStatusCode()
	case interface{ Code() int }:
		return err.Code()
	case interface{ Code() int32 }:
		return int(err.Code())
	}
	return 0
}

// intField returns the exported integer field of a struct or of a pointer to a
// struct, or 0 if there is no such field.
func intField(err error, name string) int {
	v := reflect.Indirect(reflect.ValueOf(err))
	if v.Kind() != reflect.Struct {
		return 0
	}
	field, ok := v.Type().FieldByName(name)
	if !ok || !field.IsExported() {
		return 0
	}
	v, missing := v.FieldByIndexErr(field.Index)
	switch {
	case missing != nil: // behind a nil pointer
		return 0
	case v.CanInt():
		return int(v.Int())
	case v.CanUint():
		return int(v.Uint())
	}
	return 0
}
