// Package redact keeps credentials out of logs: a [Writer] replaces API keys and
// signing secrets in the output of a logger, and [Find] finds API keys in a text.
//
// # Recognized forms
//
// Each character of a key or a secret may be plain or escaped in any of these ways,
// with letters in either case:
//   - in URLs: %2F, and + for a space;
//   - in strings of JSON, Go, C, JavaScript, Rust and shells: \/, \n, \x2F, \057,
//     \u002F, \U0000002F, \u{2F}, and two \u for a character above U+FFFF;
//   - in HTML: &lt; &gt; &amp; &quot; &apos; &#47; and &#x2F; with up to 4 digits or
//     as many as the character needs;
//   - for a byte that is not ASCII, U+FFFD.
//
// The characters of an escape may be escaped again, up to three deep, as by JSON in
// JSON in a query. Matches that overlap or touch are replaced by a single placeholder.
//
// A Writer does not recognize base64, hex, compression, Punycode, other character
// sets, letters in the other case, a secret that line breaks or styles divide, nor a
// secret without its beginning.
package redact

import (
	"io"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/scrub"
)

// Writer is an [io.Writer] to put under a logger. It passes the text on with dh_live_…
// in place of each API key, and a placeholder in place of each signing secret. The
// package comment lists the escaped forms that a Writer recognizes.
//
// The output does not depend on the cuts between writes: the beginning of a key or a
// secret waits for the next write. A line that ends in a newline passes at once, unless
// a secret contains a newline.
//
// All methods are safe for concurrent use. A logger that writes a line in several parts
// needs a Writer of its own. Like a [diffhook.Secret], a Writer is opaque. The zero
// value discards all text.
type Writer struct {
	state func() *scrub.Redactor // behind a function, like the key of a Secret
}

// NewWriter returns a writer that redacts API keys and the given secrets, and writes
// to w. Zero secrets are ignored. A nil w discards all text.
func NewWriter(w io.Writer, secrets ...diffhook.Secret) *Writer {
	if w == nil {
		w = io.Discard
	}
	r := scrub.NewRedactor(w, scrub.SecretPlaceholder)
	redacting := &Writer{state: func() *scrub.Redactor { return r }}
	redacting.Add(secrets...)
	return redacting
}

// redactor returns the state. The state of a zero Writer discards all text.
func (w *Writer) redactor() *scrub.Redactor {
	if w.state == nil {
		w = NewWriter(nil)
	}
	return w.state()
}

// Add adds secrets, for example after a rotation. They are redacted from the next write
// on. Zero and known secrets are ignored. No secret can be removed, because a replaced
// secret may still turn up. Each secret slows down every write.
func (w *Writer) Add(secrets ...diffhook.Secret) {
	var texts []string
	for _, s := range secrets {
		if !s.IsZero() {
			texts = append(texts, s.Reveal())
		}
	}
	w.redactor().Add(texts...)
}

// Write writes p, redacted, with at most one write to the underlying writer, and
// with none if all of p waits or is replaced already. It returns len(p) and the
// error of the underlying writer, or [io.ErrShortWrite] if that wrote too little
// without an error. A count below len(p) comes from the underlying writer. After an
// error with len(p), p may be lost: do not write p again. p is neither changed nor
// kept.
func (w *Writer) Write(p []byte) (int, error) { return w.redactor().Write(p) }

// Flush writes the text that waits for the next write. It replaces the beginning of
// a secret by the placeholder, from 8 bytes of the secret on. Flush is safe in
// mid-text: if the secret or key goes on, the rest is redacted too. The underlying
// writer is not flushed.
func (w *Writer) Flush() error { return w.redactor().Flush() }
