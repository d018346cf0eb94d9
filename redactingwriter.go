package diffhook

import (
	"bytes"
	"io"
	"slices"
	"sync"
)

// RedactingWriter is an [io.Writer] to put under a logger. What is written to
// it goes on to another writer, with dh_live_… in place of each API key and a
// placeholder in place of each of the signing secrets that it is given: as they
// are, and as JSON, %q, %+q and the paths and queries of URLs have them, but not
// in base64 or the like.
// Matches that overlap or touch are replaced as one.
//
// However the text is cut into writes, the same comes out: what may be the
// beginning of a key or a secret is held back until that is known, and nothing
// else is. A line that ends in a newline passes at once, unless a secret has a
// newline in it.
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
	mu     sync.Mutex
	w      io.Writer
	forms  [][]byte  // of all secrets
	inside [256]bool // whether a byte stands in a form, other than last, or in a key's prefix

	// Where the text stands.
	held     []byte // its end, which may be the beginning of a match
	answered int    // how much of held is out: it belongs to an earlier match, or was flushed
	redacted bool   // what is out ends within a match, whose placeholder is out
	inKey    bool   // that match is a key, and has not been seen to end

	marks, out []byte // kept for their capacity
}

// NewRedactingWriter returns a writer that redacts API keys and the given
// secrets, of which those that are zero are ignored, and writes the rest to w.
// A nil w discards.
func NewRedactingWriter(w io.Writer, secrets ...Secret) *RedactingWriter {
	if w == nil {
		w = io.Discard
	}
	r := &redaction{w: w}
	for _, b := range []byte(apiKeyPrefix) {
		r.inside[b] = true
	}
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
// secret may still turn up. Each costs every write a search, and several where
// it has characters that are quoted or escaped.
func (w *RedactingWriter) Add(secrets ...Secret) {
	r := w.lock()
	defer r.mu.Unlock()
	for _, s := range secrets {
		if s.IsZero() {
			continue
		}
		for _, text := range secretForms(s.Reveal()) {
			form := []byte(text)
			if slices.ContainsFunc(r.forms, func(known []byte) bool { return bytes.Equal(known, form) }) {
				continue
			}
			r.forms = append(r.forms, form)
			for _, b := range form[:len(form)-1] {
				r.inside[b] = true
			}
		}
	}
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
	text := p
	if len(r.held) > 0 {
		r.held = append(r.held, p...)
		text = r.held
	}
	endsInKey := r.mark(text, len(text)-len(p))
	hold := r.holdFrom(text)
	if len(r.held) == 0 && len(r.marks) == 0 && hold == len(p) {
		r.redacted = false
		return r.send(p)
	}
	at := r.replace(text, hold)
	r.answered, r.inKey = at-hold, endsInKey && at == len(text)
	r.held = append(spare(r.held), text[hold:]...)
	if len(r.out) == 0 {
		return len(p), nil
	}
	// The text has moved on even if this fails. To be offered p again would
	// let the end of a secret pass, whose beginning was held and is lost now.
	_, err := r.send(r.out)
	return len(p), err
}

// Flush writes what is held back, for when no more is to come. Where that is
// the beginning of a secret, and has 8 bytes or more, the placeholder is
// written instead. It does no harm in mid-text: should the secret or key go on
// after all, its rest is still redacted. The underlying writer is not flushed.
func (w *RedactingWriter) Flush() error {
	r := w.lock()
	defer r.mu.Unlock()
	rest := r.held[r.answered:]
	if len(rest) == 0 {
		return nil
	}
	r.answered = len(r.held) // which stays, to recognise what may follow
	const least = 8          // fewer bytes are there by chance, and give little away
	secret := len(r.held) >= least && string(r.held) != apiKeyPrefix
	if secret && r.redacted {
		return nil
	}
	if r.redacted = secret; secret {
		rest = []byte(redactedSecret)
	}
	_, err := r.send(rest)
	return err
}

// The marks of bytes that are not to be shown, and what stands in their place.
const (
	markSecret = iota + 1
	markKey
)

var placeholders = [...]string{markSecret: redactedSecret, markKey: apiKeyPrefix + "…"}

// mark marks all that matches in text, of which the first seen bytes are those
// that were held. No marks at all mean that nothing does. It reports whether
// text ends in a key, which may go on.
func (r *redaction) mark(text []byte, seen int) (endsInKey bool) {
	r.marks = spare(r.marks)
	mark := func(start, end int, with byte) {
		r.growMarks(len(text))
		for i := start; i < end; i++ {
			r.marks[i] = with
		}
	}
	if r.inKey {
		end := seen + keyRun(text[seen:])
		mark(0, end, markKey)
		endsInKey = end == len(text)
	}
	for start, end := nextKey(text, 0); start >= 0; start, end = nextKey(text, end) {
		mark(start, end, markKey)
		endsInKey = end == len(text)
	}
	for _, form := range r.forms {
		for next, marked := 0, 0; ; {
			i := bytes.Index(text[next:], form)
			if i < 0 {
				break
			}
			start, end := next+i, next+i+len(form)
			mark(max(start, marked), end, markSecret) // it may overlap itself
			next, marked = start+1, end
		}
	}
	return endsInKey
}

// growMarks makes the marks as many as n, where there are none yet.
func (r *redaction) growMarks(n int) {
	if len(r.marks) == 0 {
		r.marks = slices.Grow(r.marks, n)[:n]
		clear(r.marks)
	}
}

// holdFrom returns where in text the longest beginning of a key or a secret
// starts that the text ends with. All that matches from before there is known,
// but for the end of a key.
func (r *redaction) holdFrom(text []byte) int {
	if !r.inside[text[len(text)-1]] {
		return len(text) // as after a newline
	}
	longest := overlap(text, []byte(apiKeyPrefix))
	for _, form := range r.forms {
		longest = max(longest, overlap(text, form[:len(form)-1]))
	}
	return len(text) - longest
}

// overlap returns how much of beginning, at most, text ends with.
func overlap(text, beginning []byte) int {
	tail := text[max(0, len(text)-len(beginning)):]
	for {
		i := bytes.IndexByte(tail, beginning[0])
		if i < 0 {
			return 0
		}
		if tail = tail[i:]; bytes.HasPrefix(beginning, tail) {
			return len(tail)
		}
		tail = tail[1:]
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
				r.out = append(r.out, placeholders[mark]...)
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
