package redact_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// reference finds secrets and keys in a complete text: it tries each place, each
// character and each escape. reference is slow, and shares no code and no method with
// the library.
type reference struct {
	text string
	memo map[formAt]formEnds
}

type formAt struct {
	at     int
	char   string
	nested int
}

// formEnds are the ends of the forms of a character. cut reports whether the text is
// cut off in or before a form.
type formEnds struct {
	ends []int
	cut  bool
}

// nesting is how many times a character may be escaped.
const nesting = 3

// forms returns the ends of the forms of a character at a place.
func (r *reference) forms(at int, char string, nested int) formEnds {
	key := formAt{at, char, nested}
	if found, ok := r.memo[key]; ok {
		return found
	}
	rest := r.text[at:]
	var found formEnds
	if strings.HasPrefix(rest, char) {
		found.ends = append(found.ends, at+len(char))
	} else if strings.HasPrefix(char, rest) {
		found.cut = true
	}
	if nested > 0 && (rest == "" || strings.Contains("\\%&+\uFFFD", rest[:1])) {
		for _, escape := range escapesOf(char) {
			escaped := r.sequence(at, escape, nested-1)
			found.ends = append(found.ends, escaped.ends...)
			found.cut = found.cut || escaped.cut
		}
	}
	slices.Sort(found.ends)
	found.ends = slices.Compact(found.ends)
	r.memo[key] = found
	return found
}

// sequence returns the ends of an escape. Letters may be in either case, except after a
// backslash.
func (r *reference) sequence(at int, escape string, nested int) (found formEnds) {
	found.ends = []int{at}
	for i := range len(escape) {
		chars := []string{escape[i : i+1]}
		if i > 0 && escape[i-1] != '\\' {
			chars = []string{strings.ToLower(chars[0]), strings.ToUpper(chars[0])}
		}
		var next []int
		for _, end := range found.ends {
			for _, char := range chars {
				forms := r.forms(end, char, nested)
				next = append(next, forms.ends...)
				found.cut = found.cut || forms.cut
			}
		}
		slices.Sort(next)
		found.ends = slices.Compact(next)
	}
	return found
}

// escapesOf returns the documented escapes of a byte or of a character of
// several bytes.
func escapesOf(char string) (escapes []string) {
	r, size := utf8.DecodeRuneInString(char)
	if len(char) == 1 {
		escapes = append(escapes, fmt.Sprintf("%%%X", []byte(char)), fmt.Sprintf(`\x%X`, []byte(char)), fmt.Sprintf(`\%03o`, char[0]))
	}
	if r == utf8.RuneError && size == 1 {
		return append(append(escapes, "\uFFFD"), escapesOf("\uFFFD")...)
	}
	if i := strings.Index("\aa\bb\ff\nn\rr\tt\vv", char); i >= 0 && i%2 == 0 {
		escapes = append(escapes, `\`+"\aa\bb\ff\nn\rr\tt\vv"[i+1:i+2])
	}
	if strings.Contains(" !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", char) {
		escapes = append(escapes, `\`+char)
	}
	if named := map[string]string{" ": "+", "<": "&lt;", ">": "&gt;", "&": "&amp;", `"`: "&quot;", "'": "&apos;"}[char]; named != "" {
		escapes = append(escapes, named)
	}
	var units string
	for _, unit := range utf16.Encode([]rune{r}) {
		units += fmt.Sprintf(`\u%04X`, unit)
	}
	return append(escapes, units, fmt.Sprintf(`\U%08X`, r), fmt.Sprintf(`\u{%X}`, r),
		fmt.Sprintf("&#%d;", r), fmt.Sprintf("&#%02d;", r), fmt.Sprintf("&#%03d;", r), fmt.Sprintf("&#%04d;", r),
		fmt.Sprintf("&#x%X;", r), fmt.Sprintf("&#x%02X;", r), fmt.Sprintf("&#x%03X;", r), fmt.Sprintf("&#x%04X;", r))
}

// secret returns the ends of the forms of a secret at a place. If the text cuts a form
// off, cut is the number of bytes before the cut, and otherwise -1.
func (r *reference) secret(at int, secret string) (ends []int, cut int) {
	cut = -1
	reached := make([][]int, len(secret)+1) // places by the number of bytes of the secret so far
	reached[0] = []int{at}
	for i := range len(secret) {
		_, size := utf8.DecodeRuneInString(secret[i:])
		slices.Sort(reached[i])
		for _, end := range slices.Compact(reached[i]) {
			one := r.forms(end, secret[i:i+1], nesting)
			reached[i+1] = append(reached[i+1], one.ends...)
			whole := formEnds{}
			if size > 1 {
				whole = r.forms(end, secret[i:i+size], nesting)
				reached[i+size] = append(reached[i+size], whole.ends...)
			}
			if one.cut || whole.cut {
				cut = i
			}
		}
	}
	return reached[len(secret)], cut
}

// keyCharacters may stand in a key.
const keyCharacters = "0123456789-_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// key returns the ends of the keys at a place: a key may end after each character.
func (r *reference) key(at int) (ends []int) {
	next, _ := r.secret(at, "dh_live_")
	for len(next) > 0 {
		end := next[0]
		next = next[1:]
		for _, char := range keyCharacters {
			for _, end := range r.forms(end, string(char), nesting).ends {
				if !slices.Contains(ends, end) {
					ends, next = append(ends, end), append(next, end)
				}
			}
		}
	}
	return ends
}

// referenceRedaction returns the output for text with a Flush at the end. A byte is
// hidden if a match covers it, or if it may belong to a secret that is cut off after 8
// bytes or more. A run of hidden bytes has the placeholder of the first byte, set by
// the first match to end.
func referenceRedaction(text string, secrets ...string) string {
	type match struct {
		start, end  int
		placeholder string
	}
	var matches, cuts []match
	r := &reference{text: text, memo: make(map[formAt]formEnds)}
	for at := range len(text) {
		for _, secret := range secrets {
			ends, cut := r.secret(at, secret)
			for _, end := range ends {
				matches = append(matches, match{at, end, hiddenSecret})
			}
			if cut >= 8 {
				cuts = append(cuts, match{at, len(text), hiddenSecret})
			}
		}
		for _, end := range r.key(at) {
			matches = append(matches, match{at, end, hiddenKey})
		}
	}
	slices.SortStableFunc(matches, func(a, b match) int { return cmp.Compare(a.end, b.end) })
	instead := make([]string, len(text))
	for _, m := range append(matches, cuts...) {
		for i := m.start; i < m.end; i++ {
			if instead[i] == "" {
				instead[i] = m.placeholder
			}
		}
	}
	var out strings.Builder
	for i := range len(text) {
		switch {
		case instead[i] == "":
			out.WriteByte(text[i])
		case i == 0 || instead[i-1] == "":
			out.WriteString(instead[i])
		}
	}
	return out.String()
}
