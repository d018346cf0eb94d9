package redact

import (
	"io"
	"slices"
	"sync"
)

// Redactor is an [io.Writer] that writes on to another writer, with a placeholder in
// place of each API key and of each secret. Package redact of the root lists the
// escaped forms that a Redactor finds. All methods are safe for concurrent use.
type Redactor struct {
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

// NewRedactor returns a Redactor of API keys, with the placeholder for secrets.
func NewRedactor(w io.Writer, placeholder string) *Redactor {
	return &Redactor{w: w, instead: [marksEnd]string{markSecret: placeholder, markKey: KeyPrefix + "…"}, matcher: newMatcher()}
}

// Add adds secrets, which are redacted from the next write on.
func (r *Redactor) Add(secrets ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, secret := range secrets {
		r.add(secret)
	}
	// What is held may be the beginning of one of them.
	before := r.threads
	r.threads = nil
	r.mark(r.held, 0)
	r.merge(before)
}

// Write writes p, redacted, by one write at most. It returns len(p) and the error
// of the underlying writer, or [io.ErrShortWrite]. A count below len(p) is that of
// the underlying writer. p is neither changed nor kept.
func (r *Redactor) Write(p []byte) (int, error) {
	r.mu.Lock()
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

// Flush writes the text that Write holds back.
func (r *Redactor) Flush() error {
	r.mu.Lock()
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
func (r *Redactor) redact(p []byte) (clean bool) {
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
func (r *Redactor) redactRest() {
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
func (r *Redactor) mark(text []byte, seen int) {
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
func (r *Redactor) growMarks(n int) {
	if more := n - len(r.marks); more > 0 {
		r.marks = slices.Grow(r.marks, more)[:n]
		clear(r.marks[n-more:])
	}
}

// cover marks the bytes from start to end that have no mark: of two matches,
// the first to end decides on the placeholder, however the text is cut.
func (r *Redactor) cover(start, end int, mark byte) {
	for i := start; i < end; i++ {
		if r.marks[i] == 0 {
			r.marks[i] = mark
		}
	}
}

// replace sets out to what is to be written of text: what is not out yet, up to
// hold, with one placeholder for marked bytes in a row. It returns where it
// stopped, which is beyond hold where such a row is, for that is settled.
func (r *Redactor) replace(text []byte, hold int) (at int) {
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
func (r *Redactor) keep(text []byte, start int) {
	r.held = append(spare(r.held), text[start:]...)
	r.marks = append(spare(r.marks), r.marks[start:]...)
	if slices.Max(append(r.marks, 0)) == 0 { // as mostly
		r.marks = r.marks[:0]
	}
	for i := range r.threads {
		r.threads[i].start -= start
	}
}

func (r *Redactor) send(b []byte) (int, error) {
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
