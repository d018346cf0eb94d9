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

// SecretSource supplies the secrets of a [Verifier]: from the environment, a mounted
// file, a secrets manager, the DiffHook API, or a fixed [Secrets].
//
// Load returns all secrets in force now. A verifier calls Load when it is made, on
// [Verifier.Refresh] and [Verifier.Watch], and after a delivery that no known secret
// signed. Two calls never overlap, and the context of each call but the first ends
// after 5 s. An answer without a Current secret counts as an error, as does a panic.
// Errors are logged and shown in [VerifierStatus]: keep secrets out of the text. A new
// answer comes into force if it differs from the last answer, so PreviousExpires must
// be a fixed time, not counted from each call.
type SecretSource interface {
	Load(ctx context.Context) (Secrets, error)
}

// SecretSourceFunc is an adapter: a function as a [SecretSource].
type SecretSourceFunc func(ctx context.Context) (Secrets, error)

// Load calls f.
func (f SecretSourceFunc) Load(ctx context.Context) (Secrets, error) { return f(ctx) }

// Secrets is the answer of a [SecretSource]: the secrets in force at one moment. Only
// Current is required.
type Secrets struct {
	// Current is the secret that DiffHook signs with now.
	Current Secret

	// Previous is the secret before the last rotation. Deliveries in flight may still
	// carry its signatures. A Previous equal to Current counts as absent.
	Previous Secret

	// PreviousExpires is the time from which Previous is rejected. The zero time
	// means: once the source no longer names Previous.
	PreviousExpires time.Time

	// NoPrevious states that no previous secret is valid: a replaced secret is
	// rejected at once, and Previous is ignored. By default, a verifier keeps a
	// replaced secret for [VerifierOptions].RotationWindow if the source does not
	// name it.
	NoPrevious bool
}

// Load returns s itself: a fixed set is a [SecretSource].
func (s Secrets) Load(context.Context) (Secrets, error) { return s, nil }

// normalized returns the canonical form of s.
func (s Secrets) normalized() Secrets {
	if s.NoPrevious || s.Previous.Equal(s.Current) {
		s.Previous = Secret{}
	}
	if s.Previous.IsZero() {
		s.PreviousExpires = time.Time{}
	}
	return s
}

// equal reports whether two normalized answers are the same.
func (s Secrets) equal(t Secrets) bool {
	return s.Current.Equal(t.Current) && s.Previous.Equal(t.Previous) &&
		s.PreviousExpires.Equal(t.PreviousExpires) && s.NoPrevious == t.NoPrevious
}

// Names of the environment variables of [EnvSecrets]. The first is from DiffHook's
// documentation.
const (
	envSecret          = "DIFFHOOK_SIGNING_SECRET"
	envPrevious        = "DIFFHOOK_SIGNING_SECRET_PREVIOUS"
	envPreviousExpires = "DIFFHOOK_SIGNING_SECRET_PREVIOUS_EXPIRES"
)

// EnvSecrets returns the source that reads the environment:
//
//   - DIFFHOOK_SIGNING_SECRET, the current secret, is required.
//   - DIFFHOOK_SIGNING_SECRET_PREVIOUS, the secret before the last rotation, may be
//     unset or empty.
//   - DIFFHOOK_SIGNING_SECRET_PREVIOUS_EXPIRES, the time (RFC 3339) from which the
//     previous secret is rejected, may be unset or empty: the previous secret is then
//     accepted while the variable names it.
//
// The environment of a running process does not change from outside: a rotation takes
// a restart, with the new secret as the current and the old secret as the previous
// secret.
//
// Errors name the variable, never the value. They match [ErrInvalidSecret] if a value
// is not a secret or not a time.
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

// namedText is a text and the place of origin, for errors.
type namedText struct{ name, text string }

// parseSecrets returns the secrets in three texts. The last two may be empty.
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
		// Not an error of time.Parse, which repeats the input: a secret in the wrong
		// place must not appear in a log.
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

// FileSecrets returns the source that reads path: a file with the current secret, or
// a directory with
//   - current, the current secret;
//   - previous, the secret before, or the word none ([Secrets].NoPrevious). Without
//     this file, a verifier keeps a replaced secret for
//     [VerifierOptions].RotationWindow;
//   - previous_expires, the end of the window (RFC 3339). Without this file, previous
//     is accepted until its removal.
//
// A newline at the end of a file does not count. An empty file is an error: somebody
// may be writing it.
//
// To replace all files at once, swap a symbolic link: path, or ..data in path as
// Kubernetes does. In a plain directory, write previous, then previous_expires, then
// current.
//
// Errors name the file, never the content. They match [ErrInvalidSecret],
// [ErrSecretsUnavailable] for a pipe, socket or device, or the file system's error.
func FileSecrets(path string) SecretSource { return fileSource{path} }

// Files of a directory for [FileSecrets]. noPrevious is the content of filePrevious
// that states no previous secret.
const (
	fileCurrent         = "current"
	filePrevious        = "previous"
	filePreviousExpires = "previous_expires"
	noPrevious          = "none"
)

// ifNone is how to state that a file is empty on purpose.
var ifNone = map[string]string{
	filePrevious:        ", the word " + noPrevious + " if no previous secret is valid, or remove the file",
	filePreviousExpires: ", or remove the file",
}

// fileSource is the source of FileSecrets. The file may also be /dev/fd/3, and
// deleted, if it can be opened again. A pipe, a socket or a device can be read only
// once. To end the window in a plain directory, remove previous or write none into
// it, then remove previous_expires.
type fileSource struct{ path string }

// maxSecretFileBytes bounds the read of a wrong file.
const maxSecretFileBytes = 64 << 10

// Load reads until the same version is in place before and after the read. A replaced
// version is removed, so a missing file may mean a removal under way, not an absence.
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

// version returns the file, or the directory with the files, in place now, with every
// symbolic link resolved.
func (s fileSource) version() (string, error) {
	path := s.path
	// Kubernetes: current → ..data/current, and ..data → ..2026_11_23_…/.
	if data := filepath.Join(s.path, "..data"); exists(data) {
		path = data
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err == nil {
		return resolved, nil
	}
	// The links in /dev/fd lead to the open file, not to a path: its name there,
	// such as "/memfd:secret (deleted)", does not exist. A directory that is not
	// found is being replaced.
	if info, statErr := os.Stat(s.path); statErr == nil && !info.IsDir() {
		return s.path, nil
	}
	return "", fmt.Errorf("diffhook: read the signing secret %s: %w", s.path, err)
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
	if info.IsDir() {
		return s.readDirectory(path)
	}
	text, err := readSecretFile(path)
	if err != nil {
		return Secrets{}, err
	}
	return parseSecrets(namedText{s.path, text}, namedText{}, namedText{})
}

// readDirectory reads the files of the version in path. Errors name the files in
// s.path.
func (s fileSource) readDirectory(path string) (Secrets, error) {
	read := func(name string) (namedText, error) {
		text, err := readSecretFile(filepath.Join(path, name))
		named := namedText{filepath.Join(s.path, name), text}
		if err == nil && strings.TrimSpace(text) == "" {
			err = fmt.Errorf("%w: %s is empty, as in the middle of a write; write the content%s", ErrInvalidSecret, named.name, ifNone[name])
		}
		return named, err
	}
	current, err := read(fileCurrent)
	if err != nil {
		return Secrets{}, err
	}
	previous, err := read(filePrevious)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Secrets{}, err
	}
	expires, err := read(filePreviousExpires)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Secrets{}, err
	}
	none := previous.text == noPrevious
	if none {
		previous.text = ""
	}
	secrets, err := parseSecrets(current, previous, expires)
	secrets.NoPrevious = none && err == nil
	return secrets, err
}

// readSecretFile returns the content of a regular file without the newline at the
// end. It opens no pipe: that blocks until somebody writes, and the read takes the
// content away from the next read.
func readSecretFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("diffhook: read the signing secret: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%w: %s is %s; name a file that can be read again and again", ErrSecretsUnavailable, path, irregular(info.Mode()))
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("diffhook: read the signing secret: %w", err)
	}
	defer f.Close()
	// From the start, wherever another reader of /dev/fd has left the offset.
	content, err := io.ReadAll(io.NewSectionReader(f, 0, maxSecretFileBytes+1))
	if err != nil {
		return "", fmt.Errorf("diffhook: read the signing secret: %w", err)
	}
	if len(content) > maxSecretFileBytes {
		return "", fmt.Errorf("%w: %s is longer than %d bytes; name a file with the secret alone", ErrInvalidSecret, path, maxSecretFileBytes)
	}
	text, newline := strings.CutSuffix(string(content), "\n")
	if newline {
		text = strings.TrimSuffix(text, "\r")
	}
	return text, nil
}

// irregular names the kind of an irregular file.
func irregular(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe, which can be read only once"
	case mode&fs.ModeSocket != 0:
		return "a socket, which can be read only once"
	}
	return "a device"
}
