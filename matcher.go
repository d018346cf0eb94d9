package diffhook

import (
	"bytes"
	"fmt"
	"slices"
	"unicode/utf8"
)

// maxNested is how often a character may be escaped, once more each time: as
// by %q in a string in JSON in a query.
const maxNested = 3

// matcher finds patterns, which are secrets and API keys, in a text that it
// reads byte by byte. Each character of a pattern may stand in the text as it is
// or escaped by any of escapesOf, in which each character may be escaped again.
//
// It is a state machine that is in several states at once, which are threads:
// one for each place where a match may have begun, and each way to read the text
// since.
type matcher struct {
	root    *node            // of the tree of patterns
	run     *node            // in an API key, which has no end: leads back to itself
	escapes map[string]*node // trees of escapes, by the symbols that they stand for

	threads, next []thread
	turn          uint64        // the number of bytes fed
	found         [marksEnd]int // by mark, where the first match begins that the last byte ended, or -1

	// For skip.
	literals [][]byte
	longest  int       // of literals
	starters []byte    // of escapes
	starts   [256]bool // the bytes of starters
	begins   [256]bool // those that begin a literal or an escape
	second   [256]bool // those that may follow the first of a literal
	inside   [256]bool // those in a literal, in any place but its last
}

// The marks of bytes in a match.
const (
	markSecret = 1 + iota
	markKey
	marksEnd
)

// node is a place in a secret, a key or an escape.
type node struct {
	edges   []edge   // in the order of their symbols
	escapes *node    // the tree of the escapes of the symbols of edges; nil until needed
	stands  []symbol // whose escapes end here
	match   byte     // the mark of the pattern that ends here, if one does
	depth   int      // how many bytes lead here
	turn    uint64   // the last turn in which a thread came here, not in an escape,
	thread  int      // and which of next that is
	secret  bool     // whether those are of a secret
}

type edge struct {
	by symbol
	to *node
}

// find returns where the edge by the symbol is, or would be.
func (n *node) find(by symbol) (i int, found bool) {
	low, high := 0, len(n.edges)
	for low < high {
		if middle := (low + high) / 2; n.edges[middle].by < by {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(n.edges) && n.edges[low].by == by
}

func (n *node) follow(by symbol) *node {
	if i, found := n.find(by); found {
		return n.edges[i].to
	}
	return nil
}

// link adds an edge, if there is none by that symbol.
func (n *node) link(by symbol, to *node) {
	if i, found := n.find(by); !found {
		n.edges = slices.Insert(n.edges, i, edge{by, to})
		n.escapes = nil // which lack this one
	}
}

// child returns the node that an edge leads to, which it adds if need be. If
// that is run, which others share, a copy takes its place.
func (m *matcher) child(n *node, by symbol) *node {
	i, found := n.find(by)
	if !found {
		n.link(by, &node{depth: n.depth + 1})
	} else if n.edges[i].to == m.run {
		n.edges[i].to = &node{match: markKey, depth: n.depth + 1, edges: slices.Clone(m.run.edges)}
	}
	return n.edges[i].to
}

// thread is one reading of the text from start on. places[0] is how far it is in
// the tree of patterns; if it is within an escape, places[1] is how far in that;
// if it is within an escape of a character of that escape, places[2]; and so on.
type thread struct {
	start  int
	inside int // the last of places in use; those behind it are nil
	places [1 + maxNested]*node
}

// newMatcher returns a matcher of API keys.
func newMatcher() *matcher {
	m := &matcher{root: new(node), run: &node{match: markKey}, escapes: make(map[string]*node)}
	for _, b := range []byte(starters) {
		m.addStarter(b)
	}
	for b := range byte(utf8.RuneSelf) {
		if isKeyRune(rune(b)) {
			m.run.edges = append(m.run.edges, edge{byteSymbol(b), m.run})
		}
	}
	m.insert(apiKeyPrefix, false).edges = slices.Clone(m.run.edges)
	m.addLiteral(apiKeyPrefix)
	m.inside[apiKeyPrefix[len(apiKeyPrefix)-1]] = true // a key goes on
	return m
}

// add adds a secret.
func (m *matcher) add(secret string) {
	end := m.insert(secret, true)
	if end.match != 0 {
		return // known
	}
	end.match = markSecret
	m.addLiteral(secret)
	for _, b := range []byte(secret) {
		switch {
		case b == ' ':
			m.addStarter(spaceStarter)
		case b >= utf8.RuneSelf:
			m.addStarter(nonASCIIStarter)
		}
	}
}

func (m *matcher) addStarter(b byte) {
	if !m.starts[b] {
		m.starters = append(m.starters, b)
		m.starts[b], m.begins[b], m.second[b] = true, true, true
	}
}

// insert returns the node where text ends in the tree of patterns.
func (m *matcher) insert(text string, secret bool) *node {
	n := m.root
	for i, r := range text {
		_, size := utf8.DecodeRuneInString(text[i:])
		from := n
		for _, b := range []byte(text[i : i+size]) {
			n = m.child(n, byteSymbol(b))
			n.secret = n.secret || secret
		}
		if size > 1 {
			from.link(runeSymbol(r), n)
		}
	}
	return n
}

func (m *matcher) addLiteral(text string) {
	m.literals = append(m.literals, []byte(text))
	m.longest = max(m.longest, len(text))
	m.begins[text[0]] = true
	for b := range len(m.second) {
		m.second[b] = m.second[b] || len(text) == 1 || text[1] == byte(b)
	}
	for _, b := range []byte(text[:len(text)-1]) {
		m.inside[b] = true
	}
}

// skip returns how many of the first bytes of text are in no match, nor in the
// beginning of one. No thread may be running.
func (m *matcher) skip(text []byte) int {
	plain := len(text) // where the first escape may begin
	for _, b := range m.starters {
		if i := bytes.IndexByte(text[:plain], b); i >= 0 {
			plain = i
		}
	}
	first := max(0, plain-m.longest+1) // of the bytes from which a match may go on beyond plain
	if plain == len(text) && plain > 0 && !m.inside[text[plain-1]] {
		first = plain // as after a newline
	}
	for _, literal := range m.literals {
		end := min(plain, first+len(literal)-1)
		if i := bytes.Index(text[:end], literal); i >= 0 {
			first = i
		}
	}
	return first
}

// idle reports that no thread is running, and none begins at that place in text.
func (m *matcher) idle(text []byte, at int) bool {
	if len(m.threads) > 0 {
		return false
	}
	b := text[at]
	return !m.begins[b] || at+1 < len(text) && !m.second[text[at+1]] && !m.starts[b]
}

// feed goes on by a byte, which is at the given place in the text.
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

// step adds to next what becomes of t: b is the next character where t is, or it
// begins an escape of it.
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

// arrive adds to next what becomes of t when its place at level is moved to a
// node. At the end of an escape, the place at the level before it is moved on by
// what the escape stands for.
func (m *matcher) arrive(t *thread, level int, to *node, at int) {
	start := t.start
	if to.match != 0 {
		if from := &m.found[to.match]; *from < 0 || start < *from {
			*from = start
		}
		start = at + 1 // what is found need not be found again, with what follows
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

// runOn adds t to next. Of two threads in the same places the first begun will
// do: it finds more.
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

// merge adds threads to those that are running.
func (m *matcher) merge(others []thread) {
	all := slices.Concat(m.threads, others)
	m.next = nil
	m.turn++
	for i := range all {
		m.runOn(&all[i])
	}
	m.threads, m.next = m.next, nil
}

// same returns the thread of next that is in the same places as t. Only those
// in escapes are searched for: they are few.
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

// firstStart returns where the first thread began, or end if there is none.
func (m *matcher) firstStart(end int) int {
	for _, t := range m.threads {
		end = min(end, t.start)
	}
	return end
}

// escapesAt returns the tree of the escapes of the symbols that may be next at n.
func (m *matcher) escapesAt(n *node) *node {
	if n.escapes != nil {
		return n.escapes
	}
	symbols := make([]symbol, len(n.edges))
	for i, e := range n.edges {
		symbols[i] = e.by
	}
	name := fmt.Sprint(symbols)
	if m.escapes[name] == nil {
		m.escapes[name] = m.escapeTree(symbols)
	}
	n.escapes = m.escapes[name]
	return n.escapes
}

func (m *matcher) escapeTree(symbols []symbol) *node {
	root := new(node)
	for _, s := range symbols {
		for _, escape := range escapesOf(s) {
			n := root
			for i := range len(escape) {
				c, other := eitherCase(escape, i)
				from := n
				n = m.child(from, byteSymbol(c))
				from.link(byteSymbol(other), n)
			}
			if !slices.Contains(n.stands, s) {
				n.stands = append(n.stands, s)
			}
		}
	}
	return root
}
