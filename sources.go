package diffhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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
// [RotationStatus]: keep secrets out of their text. An answer that differs from
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

// FileSecrets returns the source that reads path, which is one of two things:
//
//   - a file that holds the current secret;
//   - a directory with the files current, and optionally previous and
//     previous_expires (RFC 3339), as a mounted Kubernetes secret has them.
//
// Without the file previous it is not known whether there is a previous secret,
// and a verifier keeps a replaced one for [VerifierOptions].RotationWindow. An
// empty file previous states that there is none ([Secrets].NoPrevious).
//
// One newline at the end of a file is not part of the secret. All files of a
// directory are read from one version of it where versions are swapped by a
// symbolic link, as Kubernetes does (..data), or where path itself is such a
// link; a [SecretStore] does that, see examples/rotate-secret. In a plain
// directory that is written file by file, write previous_expires, then previous,
// and then current; to take them away any order will do.
//
// Errors name the file, never its content. They wrap [ErrInvalidSecret] where
// a content is not a secret or not a time, and the error of the file system,
// such as [fs.ErrNotExist].
func FileSecrets(path string) SecretSource { return fileSource{path} }

type fileSource struct{ path string }

// maxSecretFileBytes bounds what is read of a file that is no secret at all.
const maxSecretFileBytes = 64 << 10

// Load reads until the version that it began with is still the one in place
// at the end. A version is removed once it has been replaced, so a file missing
// from it may mean a removal under way, not an absence.
func (s fileSource) Load(ctx context.Context) (secrets Secrets, err error) {
	const tries = 10
	for range tries {
		if err := ctx.Err(); err != nil {
			return Secrets{}, err
		}
		var before, after string
		if before, err = s.version(); err != nil {
			continue
		}
		secrets, err = s.readVersion(before)
		if after, _ = s.version(); after == before {
			return secrets, err
		}
		err = fmt.Errorf("%w: %s was replaced again and again while it was read", ErrSecretsUnavailable, s.path)
	}
	return Secrets{}, err
}

// version returns the file, or the directory with the files, that is in place
// at this moment, with every symbolic link resolved.
func (s fileSource) version() (string, error) {
	path := s.path
	// Kubernetes: current → ..data/current, and ..data → ..2026_11_23_…/.
	if data := filepath.Join(s.path, "..data"); exists(data) {
		path = data
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("diffhook: read the signing secret %s: %w", s.path, err)
	}
	return path, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (s fileSource) readVersion(path string) (Secrets, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Secrets{}, fmt.Errorf("diffhook: read the signing secret: %w", err)
	}
	if !info.IsDir() {
		text, err := readSecretFile(path)
		if err != nil {
			return Secrets{}, err
		}
		return parseSecrets(namedText{s.path, text}, namedText{}, namedText{})
	}
	var texts [3]namedText
	none := false // previous is there, and empty
	for i, name := range [...]string{"current", "previous", "previous_expires"} {
		text, err := readSecretFile(filepath.Join(path, name))
		if err != nil && !(i > 0 && errors.Is(err, fs.ErrNotExist)) {
			return Secrets{}, err
		}
		texts[i] = namedText{filepath.Join(s.path, name), text}
		none = none || i == 1 && err == nil && text == ""
	}
	secrets, err := parseSecrets(texts[0], texts[1], texts[2])
	secrets.NoPrevious = none && err == nil
	return secrets, err
}

func readSecretFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("diffhook: read the signing secret: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxSecretFileBytes+1))
	if err != nil {
		return "", fmt.Errorf("diffhook: read the signing secret: %w", err)
	}
	if len(content) > maxSecretFileBytes {
		return "", fmt.Errorf("%w: %s is longer than %d bytes", ErrInvalidSecret, path, maxSecretFileBytes)
	}
	text, _ := strings.CutSuffix(string(content), "\n")
	text, _ = strings.CutSuffix(text, "\r")
	return text, nil
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
