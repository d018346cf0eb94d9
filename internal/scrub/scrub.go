// Package scrub keeps credentials out of texts: out of a text written in parts
// ([Redactor]), out of a text from outside ([Text]), and out of the text of an error
// ([Foreign]).
package scrub

import (
	"regexp"
	"strings"
	"unicode"
)

// KeyPrefix begins every API key.
const KeyPrefix = "dh_live_"

// SecretPlaceholder replaces a signing secret in a text.
const SecretPlaceholder = "[REDACTED SIGNING SECRET]"

// IsKeyRune reports whether r may follow the prefix in an API key.
func IsKeyRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}

var (
	looksLikeKey   = regexp.MustCompile(KeyPrefix + `[0-9A-Za-z_-]*…?`)
	looksLikeToken = regexp.MustCompile(`(?i)bearer\s+[^\s"',;]+`)
)

// Text returns a text from outside, fit to show: on a single line, about n bytes at
// most, without keys, bearer tokens, and secrets in any form that a Redactor finds.
func Text(text string, n int, secrets ...string) string {
	if text == "" {
		return ""
	}
	// Text far behind the end is not shown, and not worth the work.
	const margin = 4 << 10
	text = redactAll(text[:min(len(text), n+margin)], secrets)
	text = looksLikeKey.ReplaceAllString(text, KeyPrefix+"…")
	text = looksLikeToken.ReplaceAllString(text, "Bearer [REDACTED]")
	return Bounded(text, n)
}

// redactAll redacts API keys and secrets in text, and a secret cut off at the end.
func redactAll(text string, secrets []string) string {
	var out strings.Builder
	r := NewRedactor(&out, "[REDACTED]")
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

// Bounded cuts s to about n bytes and replaces control and format characters, which
// could make the text look like another text.
func Bounded(s string, n int) string {
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
