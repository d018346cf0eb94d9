package diffhook

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// The methods in this file read a value that may be of another type than the
// documented one. They return zero for a value that they cannot read.

// text reads a text. Of a number it returns the digits: 7 is "7".
func (v value) text() string {
	switch {
	case v.isText():
		return string(v.unquoted())
	case v.isNumber():
		return string(v)
	}
	return ""
}

// exactText is a text that is read without any leniency, such as a secret.
type exactText string

// exactText reads a text, and no number. A text with U+FFFD counts as unreadable:
// encoding/json replaces bytes that are not UTF-8 with it, and a secret changed in
// this way looks like a secret and matches nothing.
func (v value) exactText() exactText {
	if !v.isText() {
		return ""
	}
	text := v.unquoted()
	if bytes.ContainsRune(text, utf8.RuneError) {
		return ""
	}
	return exactText(text)
}

// unquoted returns the characters of a JSON text, as encoding/json reads them. The
// result may share the memory of v.
func (v value) unquoted() []byte {
	plain := v[1 : len(v)-1]
	if bytes.IndexByte(plain, '\\') < 0 && utf8.Valid(plain) {
		return plain
	}
	var s string
	_ = json.Unmarshal(v, &s) // the text is valid
	return []byte(s)
}

// number reads a number, or a text with a number in it. A number too large for a
// float64 is infinite.
func (v value) number() float64 {
	if v.isText() {
		if v = bytes.TrimSpace(v.unquoted()); !json.Valid(v) {
			return 0
		}
	}
	if !v.isNumber() {
		return 0
	}
	n, _ := strconv.ParseFloat(string(v), 64) // out of range: infinite
	return n
}

// integer reads a whole number of up to 32 bits in any notation: 15, 15.0, 1.5e1
// and "15" are the same.
func (v value) integer() int {
	n := v.number()
	if n != math.Trunc(n) || math.Abs(n) > math.MaxInt32 {
		return 0
	}
	return int(n)
}

// boolean returns true for true, 1, "true" and "1".
func (v value) boolean() bool {
	if v.isText() {
		v = bytes.TrimSpace(v.unquoted())
	}
	b, _ := strconv.ParseBool(string(v)) // an error: false
	return b
}

// time reads a text with a time: see parseTime. A date alone is its midnight.
func (v value) time() time.Time {
	if !v.isText() {
		return time.Time{}
	}
	text := string(v.unquoted())
	t, ok := parseTime(text)
	if !ok && len(text) == len(time.DateOnly) {
		t, _ = time.Parse(time.DateOnly, text)
	}
	return t
}
