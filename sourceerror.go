package diffhook

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// sourceError is a failure to read the source. It matches ErrSecretsUnavailable
// and the cause. Its text is the text of the cause, bounded, on one line and
// without the secrets that the verifier knows. The cause itself may hold a secret
// and is kept from reflection, and from programs that print what an error wraps.
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

// plainSourceError makes a sourceError of an error with a text of this package's.
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

// foreignSourceError makes a sourceError of an error of the source's. others are
// secrets that may be in the text, beside those that v knows. It calls methods of
// the error, which may do anything: v.mu must not be held.
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

// textOf returns the text of a value whose methods may panic. fmt survives that,
// unless the value of the panic panics too.
func textOf(x any) (text string) {
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("(%T, whose text panics)", x)
		}
	}()
	return fmt.Sprint(x)
}
