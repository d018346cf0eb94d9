package diffhook

import "github.com/diffhook/diffhook-go/internal/redact"

// scrub makes a text from outside fit to show: on one line, about n bytes at
// most, and without anything that looks like a key, or is one of secrets in any
// form that a redact.Writer knows.
func scrub(text string, n int, secrets ...string) string { return redact.Text(text, n, secrets...) }

// bounded cuts s to about n bytes and takes out of it what could make it look
// like something else: control and format characters.
func bounded(s string, n int) string { return redact.Bounded(s, n) }

// hide keeps an error, whose fields may hold a credential, from reflection, as
// a Secret keeps its key.
func hide(err error) func() error { return redact.Hide(err) }
