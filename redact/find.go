package redact

import (
	"bytes"
	"iter"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/scrub"
)

// Find yields every text that looks like an API key, and the offset in bytes: dh_live_
// followed by letters, digits, - and _, at least a single character. Client ids of
// generation 2 look the same. Printing the [diffhook.APIKey] does not leak the key
// again. text must not change during the iteration.
//
// DiffHook's page "API Keys" says: "If a key appears in a public repository or log,
// revoke it immediately". [diffhook.Key.MatchesPrefix] reports whether a key of the
// team may be the key in the text, and [diffhook.KeyService.Delete] revokes the key.
func Find(text []byte) iter.Seq2[int, diffhook.APIKey] {
	return func(yield func(int, diffhook.APIKey) bool) {
		for start, end := nextKey(text, 0); start >= 0; start, end = nextKey(text, end) {
			key, err := diffhook.NewAPIKey(string(text[start:end]))
			if err == nil && !yield(start, key) {
				return
			}
		}
	}
}

// nextKey returns the place of the first key at or after from. start is negative if
// there is no key.
func nextKey(text []byte, from int) (start, end int) {
	for {
		i := bytes.Index(text[from:], []byte(scrub.KeyPrefix))
		if i < 0 {
			return -1, -1
		}
		start, end = from+i, from+i+len(scrub.KeyPrefix)
		if n := keyRun(text[end:]); n > 0 {
			return start, end + n
		}
		from = end
	}
}

// keyRun returns the number of bytes at the beginning of text that can be in a key.
func keyRun(text []byte) int {
	for i, b := range text {
		if !scrub.IsKeyRune(rune(b)) {
			return i
		}
	}
	return len(text)
}
