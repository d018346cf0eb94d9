package diffhook

import (
	"io"
	"slices"
	"sync"
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
	state func() *redaction // behind a function for the reasons given at Secret.key
}

// redaction is what a RedactingWriter holds.
type redaction struct {
	mu      sync.Mutex
	w       io.Writer
	instead [marksEnd]string // by mark, the placeholder
	*matcher

	// Where the text stands.
	held     []byte // its end, which may be the beginning of a match
	marks    []byte // of the bytes of held that are in a match; empty if none is
	answered int    // how much of held is out: it belongs to an earlier match, or was flushed
	redacted bool   // what is out ends within a match, whose placeholder is out

	out []byte // kept for its capacity
}

func newRedaction(w io.Writer, placeholder string) *redaction {
	return &redaction{w: w, instead: [marksEnd]string{markSecret: placeholder, markKey: apiKeyPrefix + "…"}, matcher: newMatcher()}
}

// NewRedactingWriter returns a writer that redacts API keys and the given
// secrets, of which those that are zero are ignored, and writes the rest to w.
// A nil w discards.
func NewRedactingWriter(w io.Writer, secrets ...Secret) *RedactingWriter {
	if w == nil {
		w = io.Discard
	}
	r := newRedaction(w, redactedSecret)
	redacting := &RedactingWriter{state: func() *redaction { return r }}
	redacting.Add(secrets...)
	return redacting
}

// lock returns the state, locked.
func (w *RedactingWriter) lock() *redaction {
	if w.state == nil {
		w = NewRedactingWriter(nil)
	}
	r := w.state()
	r.mu.Lock()
	return r
}

// Add has further secrets redacted from the next write on, as after a rotation.
// Those that are zero or known are ignored. None can be removed: a replaced
// secret may still turn up. Each costs every write a search.
func (w *RedactingWriter) Add(secrets ...Secret) {
	r := w.lock()
	defer r.mu.Unlock()
	for _, s := range secrets {
		if !s.IsZero() {
			r.add(s.Reveal())
		}
	}
	// What is held may be the beginning of one of them.
	before := r.threads
	r.threads = nil
	r.mark(r.held, 0)
	r.merge(before)
}

// Write writes p, redacted, by one write at most: by none where all of p is
// held back or replaced already. It returns len(p) and, where the underlying
// writer fails, its error, or [io.ErrShortWrite] where it gave none. A count
// below len(p) is the underlying writer's; with len(p), an error means that p
// may be lost and should not be written again. p is neither changed nor kept.
func (w *RedactingWriter) Write(p []byte) (int, error) {
	r := w.lock()
	defer r.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if clean := r.redact(p); clean {
		return r.send(p)
	}
	if len(r.out) == 0 {
		return len(p), nil
	}
	// The text has moved on even if this fails. To be offered p again would
	// let the end of a secret pass, whose beginning was held and is lost now.
	_, err := r.send(r.out)
	return len(p), err
}

// Flush writes what is held back, for when no more is to come. In place of the
// beginning of a secret, of 8 bytes of the secret or more, the placeholder is
// written. It does no harm in mid-text: should the secret or key go on
// after all, its rest is still redacted. The underlying writer is not flushed.
func (w *RedactingWriter) Flush() error {
	r := w.lock()
	defer r.mu.Unlock()
	r.redactRest()
	if len(r.out) == 0 {
		return nil
	}
	_, err := r.send(r.out)
	return err
}

// redact sets out to what is to be written of p and of what was held before it,
// and holds the rest. If all of p is to be written, and nothing else, it reports
// that p is clean instead.
func (r *redaction) redact(p []byte) (clean bool) {
	text, seen := p, len(r.held)
	if seen > 0 {
		r.held = append(r.held, p...)
		text = r.held
	}
	r.mark(text, seen)
	hold := r.firstStart(len(text))
	if seen == 0 && len(r.marks) == 0 && hold == len(text) {
		r.redacted = false
		return true
	}
	r.answered = r.replace(text, hold) - hold
	r.keep(text, hold)
	return false
}

// redactRest sets out to what is to be written of what is held. All of that
// stays, to recognise what may follow.
func (r *redaction) redactRest() {
	const least = 8 // fewer bytes of a secret are there by chance, and give little away
	r.growMarks(len(r.held))
	for _, t := range r.threads {
		if n := t.places[0]; n.secret && n.depth >= least {
			r.cover(t.start, len(r.held), markSecret)
		}
	}
	r.answered = r.replace(r.held, len(r.held))
}

// mark marks all that is found in text, of which the first seen bytes are those
// that were held. No marks at all mean that nothing is.
func (r *redaction) mark(text []byte, seen int) {
	if len(r.marks) > 0 {
		r.growMarks(len(text))
	}
	at := seen
	if len(r.threads) == 0 {
		at += r.skip(text[seen:])
	}
	for ; at < len(text); at++ {
		if r.idle(text, at) {
			continue
		}
		r.feed(text[at], at)
		for mark, start := range r.found {
			if start >= 0 {
				r.growMarks(len(text))
				r.cover(start, at+1, byte(mark))
			}
		}
	}
}

// growMarks makes the marks as many as n.
func (r *redaction) growMarks(n int) {
	if more := n - len(r.marks); more > 0 {
		r.marks = slices.Grow(r.marks, more)[:n]
		clear(r.marks[n-more:])
	}
}

// cover marks the bytes from start to end that have no mark: of two matches,
// the first to end decides on the placeholder, however the text is cut.
func (r *redaction) cover(start, end int, mark byte) {
	for i := start; i < end; i++ {
		if r.marks[i] == 0 {
			r.marks[i] = mark
		}
	}
}

// replace sets out to what is to be written of text: what is not out yet, up to
// hold, with one placeholder for marked bytes in a row. It returns where it
// stopped, which is beyond hold where such a row is, for that is settled.
func (r *redaction) replace(text []byte, hold int) (at int) {
	r.growMarks(len(text))
	r.out = spare(r.out)
	for at = r.answered; at < hold || at < len(text) && r.marks[at] != 0; {
		if mark := r.marks[at]; mark != 0 {
			if !r.redacted {
				r.out = append(r.out, r.instead[mark]...)
				r.redacted = true
			}
			at++
			continue
		}
		clean := at
		for at < hold && r.marks[at] == 0 {
			at++
		}
		r.out = append(r.out, text[clean:at]...)
		r.redacted = false
	}
	return at
}

// keep holds text from start on, where the first thread began.
func (r *redaction) keep(text []byte, start int) {
	r.held = append(spare(r.held), text[start:]...)
	r.marks = append(spare(r.marks), r.marks[start:]...)
	if slices.Max(append(r.marks, 0)) == 0 { // as mostly
		r.marks = r.marks[:0]
	}
	for i := range r.threads {
		r.threads[i].start -= start
	}
}

func (r *redaction) send(b []byte) (int, error) {
	n, err := r.w.Write(b)
	if n < len(b) && err == nil {
		err = io.ErrShortWrite
	}
	return n, err
}

// spare returns b, empty, to be filled again, or nothing where a large write
// has made it so large that it is not worth keeping.
func spare(b []byte) []byte {
	const most = 64 << 10
	if cap(b) > most {
		return nil
	}
	return b[:0]
}
