package diffhook

import (
	"io"

	"github.com/diffhook/diffhook-go/internal/redact"
)

// RedactingWriter is an [io.Writer] to put under a logger. It writes on to
// another writer, with dh_live_… in place of each API key and a placeholder in
// place of each of its signing secrets. Each character of a key or secret may be
// plain or escaped in one of these ways, with letters in either case:
//   - in URLs: %2F, and + for a space;
//   - in strings of JSON, Go, C, JavaScript, Rust and shells: \/, \n, \x2F, \057,
//     \u002F, \U0000002F, \u{2F}, and two \u for a character above U+FFFF;
//   - in HTML: &lt; &gt; &amp; &quot; &apos; &#47; and &#x2F; with up to 4 digits or
//     as many as it needs;
//   - for a byte that is not ASCII, U+FFFD.
//
// The characters of an escape may be escaped again, up to three deep, as by JSON
// in JSON in a query. The writer does not know base64, hex, compression, Punycode,
// other character sets, letters in the other case, a secret that line breaks or
// styles divide, nor a secret without its beginning. Matches that overlap or
// touch are replaced by one placeholder.
//
// However the text is cut into writes, the output is the same: the writer holds
// back a possible beginning of a key or a secret until the next writes decide,
// and nothing else. A line that ends in a newline passes at once, unless a secret
// contains a newline.
//
// All methods are safe for concurrent use. A logger that writes its lines in
// parts needs a RedactingWriter of its own, lest another's write come between
// the parts of a key. A RedactingWriter is opaque as a [Secret] is. Its zero
// value discards what is written to it.
type RedactingWriter struct {
	state func() *redact.Redactor // behind a function for the reasons given at Secret.key
}

// NewRedactingWriter returns a writer that redacts API keys and the given
// secrets, of which those that are zero are ignored, and writes the rest to w.
// A nil w discards.
func NewRedactingWriter(w io.Writer, secrets ...Secret) *RedactingWriter {
	if w == nil {
		w = io.Discard
	}
	r := redact.NewRedactor(w, redactedSecret)
	redacting := &RedactingWriter{state: func() *redact.Redactor { return r }}
	redacting.Add(secrets...)
	return redacting
}

// redactor returns the state. The state of a zero RedactingWriter discards.
func (w *RedactingWriter) redactor() *redact.Redactor {
	if w.state == nil {
		w = NewRedactingWriter(nil)
	}
	return w.state()
}

// Add has further secrets redacted from the next write on, as after a rotation.
// Those that are zero or known are ignored. None can be removed: a replaced
// secret may still turn up. Each costs every write a search.
func (w *RedactingWriter) Add(secrets ...Secret) {
	var texts []string
	for _, s := range secrets {
		if !s.IsZero() {
			texts = append(texts, s.Reveal())
		}
	}
	w.redactor().Add(texts...)
}

// Write writes p, redacted, by one write at most: by none where all of p is
// held back or replaced already. It returns len(p) and, where the underlying
// writer fails, its error, or [io.ErrShortWrite] where it gave none. A count
// below len(p) is the underlying writer's; with len(p), an error means that p
// may be lost and should not be written again. p is neither changed nor kept.
func (w *RedactingWriter) Write(p []byte) (int, error) { return w.redactor().Write(p) }

// Flush writes what is held back, for when no more is to come. In place of the
// beginning of a secret, of 8 bytes of the secret or more, the placeholder is
// written. It does no harm in mid-text: should the secret or key go on
// after all, its rest is still redacted. The underlying writer is not flushed.
func (w *RedactingWriter) Flush() error { return w.redactor().Flush() }
