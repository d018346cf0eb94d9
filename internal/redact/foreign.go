package redact

import (
	"errors"
	"fmt"
	"strings"
)

// Hide keeps an error, whose fields may contain a credential, from reflection:
// neither fmt nor reflection can call the function.
func Hide(err error) func() error { return func() error { return err } }

// foreignError is a failure of the customer's code: a store, a receiver, or the
// reader of a body. Only errors.Is and errors.As reach the cause, since its text
// and its fields may contain credentials.
type foreignError struct {
	kind  error // a sentinel that it also is, or nil
	text  string
	cause func() error
}

// WithCause returns an error with the text of kind. It matches kind and cause.
func WithCause(kind, cause error) error {
	return &foreignError{kind: kind, text: kind.Error(), cause: Hide(cause)}
}

// Foreign returns an error that matches cause. Its text is doing and the text of
// cause without secrets and API keys.
func Foreign(doing string, cause error, secrets ...string) error {
	text := strings.TrimPrefix(Text(textOf(cause), 300, secrets...), "diffhook: ")
	return &foreignError{text: "diffhook: " + doing + ": " + text, cause: Hide(cause)}
}

func (e *foreignError) Error() string      { return e.text }
func (e *foreignError) As(target any) bool { return errors.As(e.cause(), target) }
func (e *foreignError) Is(target error) bool {
	return errors.Is(e.kind, target) || errors.Is(e.cause(), target)
}

// textOf returns the text of an error, whose methods may panic. fmt recovers such a
// panic, but not a second panic in the text of the first.
func textOf(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("(%T, whose text panics)", err)
		}
	}()
	return fmt.Sprint(err)
}
