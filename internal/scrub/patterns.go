package scrub

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// node is a place in a secret, a key or an escape.
type node struct {
	edges   []edge   // in the order of their symbols
	escapes *node    // the tree of the escapes of the symbols of edges; nil until needed
	stands  []symbol // symbols whose escapes end here
	match   byte     // mark of the pattern that ends here, if any
	depth   int      // number of bytes up to here
	turn    uint64   // last turn of a thread here, outside escapes,
	thread  int      // and the index of the thread in next
	secret  bool     // whether the bytes are of a secret
}

type edge struct {
	by symbol
	to *node
}

// find returns the place of the edge by the symbol, present or not.
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

// link adds an edge, unless there is an edge by that symbol.
func (n *node) link(by symbol, to *node) {
	if i, found := n.find(by); !found {
		n.edges = slices.Insert(n.edges, i, edge{by, to})
		n.escapes = nil // outdated: the new symbol is missing
	}
}

// child returns the node behind an edge, and adds the edge if missing. If the node is
// run, shared by other nodes, a copy replaces the node.
func (m *matcher) child(n *node, by symbol) *node {
	i, found := n.find(by)
	if !found {
		n.link(by, &node{depth: n.depth + 1})
	} else if n.edges[i].to == m.run {
		n.edges[i].to = &node{match: markKey, depth: n.depth + 1, edges: slices.Clone(m.run.edges)}
	}
	return n.edges[i].to
}

// newMatcher returns a matcher of API keys.
func newMatcher() *matcher {
	m := &matcher{root: new(node), run: &node{match: markKey}, escapes: make(map[string]*node)}
	for _, b := range []byte(starters) {
		m.addStarter(b)
	}
	for b := range byte(utf8.RuneSelf) {
		if IsKeyRune(rune(b)) {
			m.run.edges = append(m.run.edges, edge{byteSymbol(b), m.run})
		}
	}
	m.insert(KeyPrefix, false).edges = slices.Clone(m.run.edges)
	m.addLiteral(KeyPrefix)
	m.inside[KeyPrefix[len(KeyPrefix)-1]] = true // a key goes on
	return m
}

// add adds a secret.
func (m *matcher) add(secret string) {
	end := m.insert(secret, true)
	if end.match != 0 {
		return // known already
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

// insert returns the node at the end of text in the tree of patterns.
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

// escapesAt returns the tree of escapes of the possible next symbols at n.
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
