package diffhook

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// value is a JSON value: a part of a valid JSON text, without white space around it.
// An empty value is a missing member.
//
// Responses are read through values and not by encoding/json, for three reasons:
//   - An unreadable member spoils neither other members nor the list.
//   - A field has one name in the code, and two in JSON.
//   - The items of a list are counted before they take memory.
type value []byte

// parseValue returns the value in a JSON text, which may begin with a byte order
// mark, and whether the text is a valid JSON value. The methods of value rely on
// valid JSON, and panic without it.
func parseValue(text []byte) (value, bool) {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if !json.Valid(text) {
		return nil, false
	}
	return bytes.Trim(text, " \t\r\n"), true
}

func (v value) isNull() bool   { return string(v) == "null" }
func (v value) isObject() bool { return len(v) > 0 && v[0] == '{' }
func (v value) isList() bool   { return len(v) > 0 && v[0] == '[' }
func (v value) isText() bool   { return len(v) > 0 && v[0] == '"' }
func (v value) isNumber() bool { return len(v) > 0 && (v[0] == '-' || '0' <= v[0] && v[0] <= '9') }

// saysNothing reports whether v is missing, null or the empty text.
func (v value) saysNothing() bool { return len(v) == 0 || v.isNull() || string(v) == `""` }

// field is a member to read from an object.
type field struct {
	name string // in snake_case
	into any    // pointer to a variable of a type in value.set
}

// fill reads members of an object into the variables of fields. The case of a name
// and the underscores do not matter: webhookUrl and webhook_url are the same name. A
// member that is unreadable, null or zero leaves the variable as it is. So of several
// members with the same name, the last with a value counts.
func (v value) fill(fields ...field) {
	if !v.isObject() {
		return
	}
	members := v.elements()
	for name := members.next(); len(name) > 0; name = members.next() {
		member, text := members.next(), name.unquoted()
		if i := slices.IndexFunc(fields, func(f field) bool { return isName(text, f.name) }); i >= 0 {
			member.set(fields[i].into)
		}
	}
}

// set reads v into a variable, unless v reads as zero.
func (v value) set(into any) {
	switch into := into.(type) {
	case *string:
		setUnlessZero(into, v.text())
	case *exactText:
		setUnlessZero(into, v.exactText())
	case *int:
		setUnlessZero(into, v.integer())
	case *float64:
		setUnlessZero(into, v.number())
	case *bool:
		setUnlessZero(into, v.boolean())
	case *time.Time:
		setUnlessZero(into, v.time())
	case *value:
		if len(*into) == 0 || !v.isNull() {
			*into = v
		}
	}
}

func setUnlessZero[T comparable](into *T, got T) {
	var zero T
	if got != zero {
		*into = got
	}
}

// isName reports whether member is a name in any case, with or without the
// underscores within the name: _id is not id. name is in lower case.
func isName(member []byte, name string) bool {
	i := 0
	for _, c := range member {
		if c == '_' && 0 < i && i < len(name) {
			continue
		}
		if i < len(name) && name[i] == '_' {
			i++
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if i == len(name) || c != name[i] {
			return false
		}
		i++
	}
	return i == len(name)
}

// elements is a walk over the items of a list, or over the members of an object,
// name and value in turn.
type elements struct{ rest []byte }

// elements starts a walk. v must be a list or an object.
func (v value) elements() elements { return elements{v[1:]} }

// next returns the next value, or an empty value after the last.
func (e *elements) next() value {
	e.rest = bytes.TrimLeft(e.rest, " \t\r\n,:")
	n := valueLength(e.rest)
	v := value(e.rest[:n])
	e.rest = e.rest[n:]
	return v
}

// valueLength returns the length of the value that text begins with, and 0 if
// text begins with the end of a list or an object.
func valueLength(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			if i += textLength(text[i:]) - 1; depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // behind a number, true, false or null
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(text)
}

// textLength returns the length of the JSON text that s begins with, quotes included.
func textLength(s []byte) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// The methods below read a value of another type than the documented type. They return
// zero for a value that they cannot read.

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

// exactText is a text that is read without leniency, such as a secret.
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

// integer reads a whole number of up to 32 bits in any notation: 15, 15.0, 1.5e1 and
// "15" are the same.
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
