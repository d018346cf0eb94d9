package diffhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

var (
	looksLikeKey   = regexp.MustCompile(apiKeyPrefix + `[0-9A-Za-z_-]*…?`)
	looksLikeToken = regexp.MustCompile(`(?i)bearer\s+[^\s"',;]+`)
)

// scrub makes a text from outside fit to show: on one line, about n bytes at
// most, and without anything that looks like a key, or is one of secrets, as it
// is or as URLs and quoted strings have it.
func scrub(text string, n int, secrets ...string) string {
	if text == "" {
		return ""
	}
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		for _, form := range secretForms(secret) {
			text = strings.ReplaceAll(text, form, "[REDACTED]")
		}
	}
	// What is far behind the end is not shown, and not worth the work. The
	// secrets are out of it already: none is cut in two.
	const margin = 4 << 10
	text = text[:min(len(text), n+margin)]
	text = looksLikeKey.ReplaceAllString(text, apiKeyPrefix+"…")
	text = looksLikeToken.ReplaceAllString(text, "Bearer [REDACTED]")
	return bounded(text, n)
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

// secretForms returns text as it is and as it may stand in a log: in a URL, and
// quoted up to twice, like an error made with %q in a line of JSON. No form is
// shorter than text, and for one of letters and digits there is one.
func secretForms(text string) []string {
	if !strings.ContainsFunc(text, func(r rune) bool { return !isKeyRune(r) }) {
		return []string{text}
	}
	forms := []string{text, url.QueryEscape(text), url.PathEscape(text), (&url.URL{Path: text}).EscapedPath()}
	for range 2 {
		for _, form := range forms {
			forms = append(forms, quotings(form)...)
		}
		slices.Sort(forms)
		forms = slices.Compact(forms)
	}
	return forms
}

// In these an escaped backslash comes first, lest its second half be taken for
// the beginning of another escape.
var (
	unescapeHTML = strings.NewReplacer(`\\`, `\\`, `\u003c`, "<", `\u003e`, ">", `\u0026`, "&")
	escapeAsSlog = strings.NewReplacer(`\\`, `\\`, `\b`, `\u0008`, `\f`, `\u000c`)
)

// quotings returns text as it stands within quotes: by %q, %+q, json.Marshal, a
// json.Encoder that does not escape HTML, and log/slog.
func quotings(text string) []string {
	forHTML, _ := json.Marshal(text) // which has no error for a string
	asJSON := unescapeHTML.Replace(string(forHTML))
	quoted := []string{strconv.Quote(text), strconv.QuoteToASCII(text), string(forHTML), asJSON, escapeAsSlog.Replace(asJSON)}
	for i, q := range quoted {
		quoted[i] = q[1 : len(q)-1]
	}
	return quoted
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
