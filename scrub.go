package diffhook

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

var (
	looksLikeKey   = regexp.MustCompile(apiKeyPrefix + `[0-9A-Za-z_-]*…?`)
	looksLikeToken = regexp.MustCompile(`(?i)bearer\s+[^\s"',;]+`)
)

// scrub makes a text from outside fit to show: on one line, about n bytes at
// most, and without anything that looks like a key, or is one of secrets in any
// form that a RedactingWriter knows.
func scrub(text string, n int, secrets ...string) string {
	if text == "" {
		return ""
	}
	// What is far behind the end is not shown, and not worth the work.
	const margin = 4 << 10
	text = redactAll(text[:min(len(text), n+margin)], secrets)
	text = looksLikeKey.ReplaceAllString(text, apiKeyPrefix+"…")
	text = looksLikeToken.ReplaceAllString(text, "Bearer [REDACTED]")
	return bounded(text, n)
}

// redactAll redacts API keys and secrets in text, and a secret that its end
// cuts off.
func redactAll(text string, secrets []string) string {
	var out strings.Builder
	r := newRedaction(&out, "[REDACTED]")
	for _, secret := range secrets {
		if secret != "" {
			r.add(secret)
		}
	}
	if r.redact([]byte(text)) {
		return text
	}
	out.Write(r.out)
	r.redactRest()
	out.Write(r.out)
	return out.String()
}

// bounded cuts s to about n bytes and takes out of it what could make it look
// like something else: control and format characters.
func bounded(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}

// hide keeps an error, whose fields may hold a credential, from reflection, as
// a Secret keeps its key.
func hide(err error) func() error { return func() error { return err } }

// foreignError is a failure of something that is the customer's: a store, a
// check, credentials, or the reader of a body. Its text is without the secrets
// and keys in their hands, which its cause, kept from reflection, may have.
type foreignError struct {
	kind  error // a sentinel that it also is, or nil
	text  string
	cause func() error
}

func newForeignError(doing string, cause error, secrets ...string) error {
	return &foreignError{text: "diffhook: " + doing + ": " + scrub(fmt.Sprint(cause), 300, secrets...), cause: hide(cause)}
}

func (e *foreignError) Error() string      { return e.text }
func (e *foreignError) As(target any) bool { return errors.As(e.cause(), target) }
func (e *foreignError) Is(target error) bool {
	return errors.Is(e.kind, target) || errors.Is(e.cause(), target)
}
