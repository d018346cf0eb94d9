package scrub

import (
	"errors"
	"fmt"
	"strings"
)

// Error is an error with a public text and a hidden cause: a failure of the network, of
// the API or of the customer's code. Only errors.Is and errors.As reach the cause. The
// text and the fields of the cause may contain credentials, so reflection, and programs
// that print wrapped errors, cannot reach the cause.
type Error struct {
	text  string
	kind  error        // result of Unwrap, such as a sentinel; nil: none
	cause func() error // behind a function: fmt and reflection cannot call it
}

// NewError returns an error with the text, which matches kind and cause. Both may be
// nil.
func NewError(text string, kind, cause error) *Error {
	return &Error{text: text, kind: kind, cause: func() error { return cause }}
}

// Foreign returns an error that matches cause. The text is doing and the text of
// cause, without secrets and API keys.
func Foreign(doing string, cause error, secrets ...string) error {
	text := strings.TrimPrefix(Text(TextOf(cause), 300, secrets...), "diffhook: ")
	return NewError("diffhook: "+doing+": "+text, nil, cause)
}

func (e *Error) Error() string        { return e.text }
func (e *Error) Unwrap() error        { return e.kind }
func (e *Error) Is(target error) bool { return errors.Is(e.cause(), target) }
func (e *Error) As(target any) bool   { return errors.As(e.cause(), target) }

// TextOf returns the text of a value whose methods may panic. fmt recovers such a
// panic, but not a second panic in the text of the first.
func TextOf(x any) (text string) {
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("(%T, whose text panics)", x)
		}
	}()
	return fmt.Sprint(x)
}
