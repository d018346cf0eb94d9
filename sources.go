package diffhook

import (
	"context"
	"fmt"
	"os"
	"time"
)

// SecretSource is where a [Verifier] gets its secrets from: the environment, a
// mounted file, a secrets manager, the DiffHook API, or a fixed [Secrets].
//
// Load answers with all that is in force now. A verifier calls it once when it
// is made, and then on [Verifier.Refresh], [Verifier.Watch] and on a delivery
// that no known secret signed; never twice at a time, and after the first time
// with a context that ends after 5 s. An answer without a Current secret counts
// as an error, as does a panic. Its errors are logged and served in
// [VerifierStatus]: keep secrets out of their text. An answer that differs from
// the one before is put in force: a PreviousExpires, if any, must be a fixed
// time, and not one counted from each call.
type SecretSource interface {
	Load(ctx context.Context) (Secrets, error)
}

// SecretSourceFunc is a function that is a [SecretSource].
type SecretSourceFunc func(ctx context.Context) (Secrets, error)

// Load calls f.
func (f SecretSourceFunc) Load(ctx context.Context) (Secrets, error) { return f(ctx) }

// Names of the environment variables that [EnvSecrets] reads. The first is
// that of DiffHook's documentation.
const (
	envSecret          = "DIFFHOOK_SIGNING_SECRET"
	envPrevious        = "DIFFHOOK_SIGNING_SECRET_PREVIOUS"
	envPreviousExpires = "DIFFHOOK_SIGNING_SECRET_PREVIOUS_EXPIRES"
)

// EnvSecrets returns the source that reads the environment:
//
//   - DIFFHOOK_SIGNING_SECRET, the current secret, is required.
//   - DIFFHOOK_SIGNING_SECRET_PREVIOUS, the one before the last rotation, may
//     be unset or empty.
//   - DIFFHOOK_SIGNING_SECRET_PREVIOUS_EXPIRES, the time (RFC 3339) at which
//     the previous one stops being accepted, may be unset or empty: it is then
//     accepted for as long as it is named.
//
// The environment of a running process does not change from outside: rotating
// takes a restart, with the new secret as the current one and the old one as
// the previous one.
//
// Errors name the variable, never its value. They wrap [ErrInvalidSecret]
// where a value is not a secret or not a time.
func EnvSecrets() SecretSource { return envSource{} }

type envSource struct{}

func (envSource) Load(context.Context) (Secrets, error) {
	current := os.Getenv(envSecret)
	if current == "" {
		return Secrets{}, fmt.Errorf("%w: the environment variable %s is not set; set it to the signing secret of App → Settings → API Keys", ErrSecretsUnavailable, envSecret)
	}
	return parseSecrets(
		namedText{"the environment variable " + envSecret, current},
		namedText{"the environment variable " + envPrevious, os.Getenv(envPrevious)},
		namedText{"the environment variable " + envPreviousExpires, os.Getenv(envPreviousExpires)},
	)
}

// namedText is a text with where it was found, for errors.
type namedText struct{ name, text string }

// parseSecrets makes a set of three texts, of which the last two may be empty.
func parseSecrets(current, previous, expires namedText) (s Secrets, err error) {
	if s.Current, err = current.secret(); err != nil {
		return Secrets{}, err
	}
	if previous.text != "" {
		if s.Previous, err = previous.secret(); err != nil {
			return Secrets{}, err
		}
	}
	if expires.text != "" {
		// Not an error of time.Parse, which repeats its input: a secret in
		// the wrong place must not appear in a log.
		if s.PreviousExpires, err = time.Parse(time.RFC3339, expires.text); err != nil {
			return Secrets{}, fmt.Errorf("%w: %s is not a time such as 2026-03-16T14:22:00Z (RFC 3339)", ErrInvalidSecret, expires.name)
		}
	}
	return s, nil
}

func (t namedText) secret() (Secret, error) {
	s, err := NewSecret(t.text)
	if err != nil {
		return Secret{}, fmt.Errorf("%w (read from %s)", err, t.name)
	}
	return s, nil
}
