package scrub

import (
	"io"
	"slices"
	"sync"
)

// Redactor is an [io.Writer] that passes a text on to another writer, with a
// placeholder in place of each API key and each secret. Package redact of the root
// lists the escaped forms that a Redactor finds. All methods are safe for concurrent
// use.
type Redactor struct {
	mu      sync.Mutex
	w       io.Writer
	instead [marksEnd]string // placeholders by mark
	*matcher

	// The state of the text.
	held     []byte // end of the text, perhaps the beginning of a match
	marks    []byte // marks of the bytes of held; empty without a match
	answered int    // length of the written part of held, in an earlier match or by Flush
	redacted bool   // the written text ends within a match, whose placeholder is written

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
	// The held text may begin a new secret.
	before := r.threads
	r.threads = nil
	r.mark(r.held, 0)
	r.merge(before)
}

// Write writes p, redacted, with at most one write. It returns len(p) and the error of
// the underlying writer, or [io.ErrShortWrite]. A count below len(p) comes from the
// underlying writer. p is neither changed nor kept.
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
	// The state has moved on, also after an error, and so the count is len(p). In a
	// second write of p, the end of a secret could pass without the held beginning.
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

// redact sets out to the text to write now, from p and the held text before it, and
// holds the rest. If exactly p is to be written, redact sets nothing, and reports p as
// clean.
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

// redactRest sets out to the held text. All of the text stays held, to recognize the
// rest of a secret.
func (r *Redactor) redactRest() {
	const least = 8 // fewer bytes of a secret occur by chance, and reveal little
	r.growMarks(len(r.held))
	for _, t := range r.threads {
		if n := t.places[0]; n.secret && n.depth >= least {
			r.cover(t.start, len(r.held), markSecret)
		}
	}
	r.answered = r.replace(r.held, len(r.held))
}

// mark marks all matches in text, whose first seen bytes were held. No marks at all
// mean no match.
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

// growMarks makes n marks.
func (r *Redactor) growMarks(n int) {
	if more := n - len(r.marks); more > 0 {
		r.marks = slices.Grow(r.marks, more)[:n]
		clear(r.marks[n-more:])
	}
}

// cover marks the unmarked bytes from start to end. Of two matches, the first to end
// decides the placeholder, wherever the text is cut.
func (r *Redactor) cover(start, end int, mark byte) {
	for i := start; i < end; i++ {
		if r.marks[i] == 0 {
			r.marks[i] = mark
		}
	}
}

// replace sets out to the text to write up to hold, with a placeholder for each run of
// marked bytes, and returns the end. A run at hold is replaced in full, so the end may
// be beyond hold.
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

// keep holds text from start on, the beginning of the first thread.
func (r *Redactor) keep(text []byte, start int) {
	r.held = append(spare(r.held), text[start:]...)
	r.marks = append(spare(r.marks), r.marks[start:]...)
	if slices.Max(append(r.marks, 0)) == 0 { // the usual case
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

// spare returns b, empty, to fill again, or nil if a large write made b too large to
// keep.
func spare(b []byte) []byte {
	const most = 64 << 10
	if cap(b) > most {
		return nil
	}
	return b[:0]
}
