package redact

import (
	"fmt"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// symbol is an item of a pattern: a byte or, above all bytes, a character of
// several bytes, of which some escapes stand for the whole. Zero is none.
type symbol int32

const firstRune symbol = 1 << 8

func byteSymbol(b byte) symbol { return 1 + symbol(b) }
func runeSymbol(r rune) symbol { return 1 + firstRune + symbol(r) }

// The first bytes of all escapes, of those of a space, and of those of bytes
// that are not ASCII.
const (
	starters        = `\%&`
	spaceStarter    = '+'
	nonASCIIStarter = 0xEF // of U+FFFD
)

// escapesOf returns the ways to escape s: those of URLs, of strings in JSON, Go,
// C, JavaScript and shells, and of HTML. Hex digits are in lower case.
func escapesOf(s symbol) []string {
	if s > firstRune {
		return runeEscapes(rune(s - firstRune - 1))
	}
	return byteEscapes()[s-1]
}

var byteEscapes = sync.OnceValue(func() *[256][]string {
	var table [256][]string
	for i := range table {
		table[i] = []string{fmt.Sprintf("%%%02x", i), fmt.Sprintf(`\x%02x`, i), fmt.Sprintf(`\%03o`, i)}
		if i < utf8.RuneSelf {
			table[i] = append(table[i], runeEscapes(rune(i))...)
		} else { // as encoders write it that take it for no UTF-8
			table[i] = append(append(table[i], runeEscapes(utf8.RuneError)...), string(utf8.RuneError))
		}
		if ' ' <= i && i <= '~' && !isLetterOrDigit(byte(i)) {
			table[i] = append(table[i], `\`+string(rune(i)))
		}
	}
	for b, escape := range map[byte]string{
		'\a': `\a`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\v': `\v`,
		'<': "&lt;", '>': "&gt;", '&': "&amp;", '"': "&quot;", '\'': "&apos;",
		' ': "+",
	} {
		table[b] = append(table[b], escape)
	}
	return &table
})

// runeEscapes returns the ways to escape the whole of r by its number.
func runeEscapes(r rune) []string {
	escapes := []string{fmt.Sprintf(`\U%08x`, r), fmt.Sprintf(`\u{%x}`, r)}
	if high, low := utf16.EncodeRune(r); r > 0xffff {
		escapes = append(escapes, fmt.Sprintf(`\u%04x\u%04x`, high, low))
	} else {
		escapes = append(escapes, fmt.Sprintf(`\u%04x`, r))
	}
	for digits := 1; digits <= 4; digits++ { // with zeros before it, or without
		escapes = append(escapes, fmt.Sprintf("&#%0*d;", digits, r), fmt.Sprintf("&#x%0*x;", digits, r))
	}
	return escapes
}

// eitherCase returns c and, if the letter at i of an escape may be in either
// case, its other case: in every place but after a backslash, so that \u is not
// \U, and \n not \N.
func eitherCase(escape string, i int) (c, other byte) {
	c = escape[i]
	isLetter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	if !isLetter || escape[i-1] == '\\' {
		return c, c
	}
	return c, c ^ ('a' - 'A')
}

func isLetterOrDigit(b byte) bool { return IsKeyRune(rune(b)) && b != '-' && b != '_' }
