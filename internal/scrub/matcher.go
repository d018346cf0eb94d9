package scrub

import (
	"bytes"
	"slices"
)

// maxNested is how many times a character may be escaped, such as by %q in a string in
// JSON in a query.
const maxNested = 3

// matcher finds patterns, which are secrets and API keys, in a text read byte by byte.
// Each character of a pattern may be plain or escaped by any of escapesOf, and each
// character of an escape may be escaped again.
//
// A matcher is a state machine in several states at once, the threads: a thread for
// each possible beginning of a match, and for each way to read the text since.
type matcher struct {
	root    *node            // of the tree of patterns
	run     *node            // within an API key of any length: leads back to itself
	escapes map[string]*node // trees of escapes by their symbols

	threads, next []thread
	turn          uint64        // the number of bytes fed
	found         [marksEnd]int // by mark, the beginning of the first match ended by the last byte, or -1

	// For skip.
	literals [][]byte
	longest  int       // length of the longest literal
	starters []byte    // first bytes of escapes
	starts   [256]bool // the bytes of starters
	begins   [256]bool // bytes that begin a literal or an escape
	second   [256]bool // second bytes of literals
	inside   [256]bool // bytes of literals, except the last
}

// The marks of bytes in a match.
const (
	markSecret = 1 + iota
	markKey
	marksEnd
)

// thread is a reading of the text from start on. places[0] is the place in the tree of
// patterns, places[1] the place in an escape, places[2] the place in an escape of a
// character of that escape, and so on.
type thread struct {
	start  int
	inside int // index of the last place in use; later places are nil
	places [1 + maxNested]*node
}

// skip returns the number of bytes at the beginning of text outside matches and
// beginnings of matches. No thread may be running.
func (m *matcher) skip(text []byte) int {
	plain := len(text) // the first place of an escape
	for _, b := range m.starters {
		if i := bytes.IndexByte(text[:plain], b); i >= 0 {
			plain = i
		}
	}
	first := max(0, plain-m.longest+1) // first byte of a match that may extend beyond plain
	if plain == len(text) && plain > 0 && !m.inside[text[plain-1]] {
		first = plain // such as after a newline
	}
	for _, literal := range m.literals {
		end := min(plain, first+len(literal)-1)
		if i := bytes.Index(text[:end], literal); i >= 0 {
			first = i
		}
	}
	return first
}

// idle reports whether no thread is running, and no thread begins at that place in
// text.
func (m *matcher) idle(text []byte, at int) bool {
	if len(m.threads) > 0 {
		return false
	}
	b := text[at]
	return !m.begins[b] || at+1 < len(text) && !m.second[text[at+1]] && !m.starts[b]
}

// feed reads a byte at the given place in the text.
func (m *matcher) feed(b byte, at int) {
	m.found = [marksEnd]int{-1, -1, -1}
	m.next = m.next[:0]
	m.turn++
	for i := range m.threads {
		m.step(&m.threads[i], b, at)
	}
	if m.begins[b] {
		m.step(&thread{start: at, places: [1 + maxNested]*node{m.root}}, b, at)
	}
	m.threads, m.next = m.next, m.threads
}

// step adds to next the threads that follow t: b is the next character at the place of
// t, or begins or continues an escape.
func (m *matcher) step(t *thread, b byte, at int) {
	if to := t.places[t.inside].follow(byteSymbol(b)); to != nil {
		m.arrive(t, t.inside, to, at)
	}
	if t.inside < maxNested && m.starts[b] {
		deeper := *t
		deeper.inside++
		deeper.places[deeper.inside] = m.escapesAt(t.places[t.inside])
		m.step(&deeper, b, at)
	}
}

// arrive adds to next the threads that follow when the place of t at level moves to a
// node. At the end of an escape, the place at the level before moves on by the escaped
// symbol.
func (m *matcher) arrive(t *thread, level int, to *node, at int) {
	start := t.start
	if to.match != 0 {
		if from := &m.found[to.match]; *from < 0 || start < *from {
			*from = start
		}
		start = at + 1 // later bytes need not find the match again
	}
	if len(to.edges) > 0 {
		moved := thread{start: start, inside: level}
		copy(moved.places[:level], t.places[:level])
		moved.places[level] = to
		m.runOn(&moved)
	}
	for _, s := range to.stands {
		m.arrive(t, level-1, t.places[level-1].follow(s), at)
	}
}

// runOn adds t to next. Of two threads in the same places, the thread that began first
// suffices: it finds more.
func (m *matcher) runOn(t *thread) {
	if same := m.same(t); same != nil {
		same.start = min(same.start, t.start)
		return
	}
	if t.inside == 0 {
		t.places[0].turn, t.places[0].thread = m.turn, len(m.next)
	}
	m.next = append(m.next, *t)
}

// merge adds threads to the running threads.
func (m *matcher) merge(others []thread) {
	all := slices.Concat(m.threads, others)
	m.next = nil
	m.turn++
	for i := range all {
		m.runOn(&all[i])
	}
	m.threads, m.next = m.next, nil
}

// same returns the thread of next in the same places as t. Only threads in escapes,
// which are few, need a search.
func (m *matcher) same(t *thread) *thread {
	if t.inside == 0 {
		if n := t.places[0]; n.turn == m.turn {
			return &m.next[n.thread]
		}
		return nil
	}
	for i := range m.next {
		if m.next[i].places == t.places {
			return &m.next[i]
		}
	}
	return nil
}

// firstStart returns the beginning of the first thread, or end without a thread.
func (m *matcher) firstStart(end int) int {
	for _, t := range m.threads {
		end = min(end, t.start)
	}
	return end
}
