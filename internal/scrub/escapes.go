package scrub

import (
	"fmt"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// symbol is an item of a pattern: a byte, or a character of several bytes if escapes
// stand for the whole character. Characters come above all bytes. Zero is none.
type symbol int32

const firstRune symbol = 1 << 8

func byteSymbol(b byte) symbol { return 1 + symbol(b) }
func runeSymbol(r rune) symbol { return 1 + firstRune + symbol(r) }

// The first bytes of all escapes, of escapes of a space, and of escapes of bytes that
// are not ASCII.
const (
	starters        = `\%&`
	spaceStarter    = '+'
	nonASCIIStarter = 0xEF // first byte of U+FFFD
)

// escapesOf returns the escapes of s in URLs, in strings of JSON, Go, C, JavaScript and
// shells, and in HTML. Hex digits are in lower case.
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
		} else { // the form of encoders for invalid UTF-8
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

// runeEscapes returns the escapes of r by number.
func runeEscapes(r rune) []string {
	escapes := []string{fmt.Sprintf(`\U%08x`, r), fmt.Sprintf(`\u{%x}`, r)}
	if high, low := utf16.EncodeRune(r); r > 0xffff {
		escapes = append(escapes, fmt.Sprintf(`\u%04x\u%04x`, high, low))
	} else {
		escapes = append(escapes, fmt.Sprintf(`\u%04x`, r))
	}
	for digits := 1; digits <= 4; digits++ { // with or without leading zeros
		escapes = append(escapes, fmt.Sprintf("&#%0*d;", digits, r), fmt.Sprintf("&#x%0*x;", digits, r))
	}
	return escapes
}

// eitherCase returns c, and the other case if the letter at i of an escape may be in
// either case. A letter after a backslash may not: \u is not \U, and \n is not \N.
func eitherCase(escape string, i int) (c, other byte) {
	c = escape[i]
	isLetter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	if !isLetter || escape[i-1] == '\\' {
		return c, c
	}
	return c, c ^ ('a' - 'A')
}

func isLetterOrDigit(b byte) bool { return IsKeyRune(rune(b)) && b != '-' && b != '_' }
