package redact_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/redact"
)

func TestFind(t *testing.T) {
	other := "dh_live_" + strings.Repeat("0-_Z", 8)
	for _, c := range []struct {
		name, text string
		want       map[int]string
	}{
		{"nothing", "", nil},
		{"clean", "dh_test_abc, dh_live, DH_LIVE_ABC, dh-live-abc\n", nil},
		{"the prefix alone", "keys begin with dh_live_, followed by", nil},
		{"the prefix alone, at the end", "keys begin with dh_live_", nil},
		{"as an APIKey prints", "dh_live_…wxyz", nil},
		{"all of the text", testKeyText, map[int]string{0: testKeyText}},
		{"a single character", "dh_live_x", map[int]string{0: "dh_live_x"}},
		{"in a header", "Authorization: Bearer " + testKeyText + "\r\n", map[int]string{22: testKeyText}},
		{"in JSON, twice", `["` + testKeyText + `","` + other + `"]`, map[int]string{2: testKeyText, 37: other}},
		{"within a word", "KEY" + testKeyText, map[int]string{3: testKeyText}},
		{"the prefix twice", "dh_live_dh_live_", map[int]string{0: "dh_live_dh_live_"}},
		{"two keys in a row", testKeyText + other, map[int]string{0: testKeyText + other}},
		{"the prefix alone, then a key", "dh_live_ " + other, map[int]string{9: other}},
		{"a beginning, then a key", "dh_dh_live" + testKeyText, map[int]string{10: testKeyText}},
		{"in bytes that are not UTF-8", "\xff" + testKeyText + "\xe2\x80", map[int]string{1: testKeyText}},
		{"before a letter outside keys", testKeyText + "é", map[int]string{0: testKeyText}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := make(map[int]string)
			for at, key := range redact.Find([]byte(c.text)) {
				got[at] = key.Reveal()
				same, err := diffhook.NewAPIKey(key.Reveal())
				assert.NoError(t, err)
				assert.True(t, key.Equal(same))
				// The report of a leak must not be the next leak.
				assert.NotContains(t, fmt.Sprintf("%v %+v %#v", key, key, key), key.Reveal())
			}
			if c.want == nil {
				c.want = map[int]string{}
			}
			assert.Empty(t, cmp.Diff(c.want, got))
		})
	}
}

func TestFindStops(t *testing.T) {
	text := []byte(testKeyText + " " + testKeyText)
	keys := redact.Find(text)
	for range 2 { // each iteration starts at the beginning
		n := 0
		for at, key := range keys {
			n++
			assert.Zero(t, at)
			clear(text[at : at+8]) // the key is a copy
			assert.Equal(t, testKeyText, key.Reveal())
			copy(text, "dh_live_")
			break
		}
		assert.Equal(t, 1, n)
	}
}

// BenchmarkFind compares the search in a clean text with the floor, a search for the
// prefix alone, and with a regular expression.
func BenchmarkFind(b *testing.B) {
	text := bytes.Repeat(benchLine, 1<<20/len(benchLine)+1)[:1<<20]
	run := func(name string, find func() bool) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if find() {
					b.Fatal("found")
				}
			}
		})
	}
	run("floor", func() bool { return bytes.Contains(text, []byte("dh_live_")) })
	run("byhand", func() bool { return anyKey.FindAllIndex(text, -1) != nil })
	run("find", func() bool {
		for range redact.Find(text) {
			return true
		}
		return false
	})
}
