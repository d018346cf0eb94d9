package diffhook

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// sourceError is a failure to read the source. It matches ErrSecretsUnavailable
// and the cause. The text is the text of the cause, bounded, on one line and
// without known secrets. The cause may hold a secret in a field: it is kept from
// reflection, and from programs that print all wrapped errors.
type sourceError struct {
	text  string
	cause func() error
}

func newSourceError(text string, cause error) error {
	return &sourceError{text: text, cause: hide(cause)}
}

func (e *sourceError) Error() string        { return ErrSecretsUnavailable.Error() + ": " + e.text }
func (e *sourceError) Unwrap() error        { return ErrSecretsUnavailable }
func (e *sourceError) Is(target error) bool { return errors.Is(e.cause(), target) }
func (e *sourceError) As(target any) bool   { return errors.As(e.cause(), target) }

// plainSourceError makes a sourceError of an error of this package.
func plainSourceError(err error) error {
	if err == nil {
		return nil
	}
	return newSourceError(err.Error(), err)
}

// endedError makes a sourceError of the end of ctx. It matches the error of ctx and
// the cause.
func endedError(ctx context.Context, when string) error {
	return newSourceError("the context ended "+when, contextError(ctx))
}

// foreignSourceError makes a sourceError of an error of the source. The text may
// contain others, beside the known secrets. The methods of the error may do
// anything: the caller must not hold v.mu.
func (v *verifierState) foreignSourceError(cause error, others ...Secret) error {
	v.mu.Lock()
	secrets := others
	for _, u := range v.known {
		secrets = append(secrets, u.secret)
	}
	v.mu.Unlock()
	texts := make([]string, 0, len(secrets))
	for _, s := range secrets {
		texts = append(texts, s.Reveal())
	}
	text := strings.TrimPrefix(textOf(cause), ErrSecretsUnavailable.Error()+": ")
	return newSourceError(scrub(strings.TrimPrefix(text, "diffhook: "), 300, texts...), cause)
}

// textOf returns the text of a value whose methods may panic. fmt recovers such a
// panic, but not a second panic in the text of the first.
func textOf(x any) (text string) {
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("(%T, whose text panics)", x)
		}
	}()
	return fmt.Sprint(x)
}
