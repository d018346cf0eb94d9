package diffhook

import (
	"bytes"
	"iter"
)

// FindAPIKeys yields everything in text that looks like an API key, with its
// offset in bytes: dh_live_ and all letters, digits, - and _ that follow, of
// which there must be one. Client ids of generation 2 look the same.
//
// "If a key appears in a public repository or log, revoke it immediately", says
// DiffHook's page "API Keys". [Key.MatchesPrefix] tells which of the keys that
// [KeyService.List] returns it may be, and [KeyService.Delete] revokes that.
// Printing the [APIKey] does not leak it again. text is read during the
// iteration and must not change until its end.
func FindAPIKeys(text []byte) iter.Seq2[int, APIKey] {
	return func(yield func(int, APIKey) bool) {
		for start, end := nextKey(text, 0); start >= 0; start, end = nextKey(text, end) {
			key := string(text[start:end])
			if !yield(start, APIKey{text: func() string { return key }}) {
				return
			}
		}
	}
}

// nextKey returns where the first key at or after from is; start is negative
// where there is none.
func nextKey(text []byte, from int) (start, end int) {
	for {
		i := bytes.Index(text[from:], []byte(apiKeyPrefix))
		if i < 0 {
			return -1, -1
		}
		start, end = from+i, from+i+len(apiKeyPrefix)
		if n := keyRun(text[end:]); n > 0 {
			return start, end + n
		}
		from = end
	}
}

// keyRun returns how many of the first bytes of text may stand in a key.
func keyRun(text []byte) int {
	for i, b := range text {
		if !isKeyRune(rune(b)) {
			return i
		}
	}
	return len(text)
}
