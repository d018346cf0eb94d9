package scrub

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestScrub: texts from outside with their redacted form, for any secrets.
func TestScrub(t *testing.T) {
	for _, c := range []struct {
		name    string
		text    string
		secrets []string
		want    string
	}{
		{"nothing", "", []string{"secret"}, ""},
		{"no secrets", "a text", nil, "a text"},
		{"no secret", "a text", []string{""}, "a text"},
		{"a secret", "is secret.", []string{"secret"}, "is [REDACTED]."},
		{"a secret in other forms", `is sec%2fret, sec\/ret and sec%252Fret.`, []string{"sec/ret"}, "is [REDACTED], [REDACTED] and [REDACTED]."},
		{"a single-byte secret", "is x, xyz and %78.", []string{"x"}, "is [REDACTED], [REDACTED]yz and [REDACTED]."},
		{"a single-byte secret beside another", "is x, xyz and secret.", []string{"x", "secret"}, "is [REDACTED], [REDACTED]yz and [REDACTED]."},
		{"a key", "is dh_live_abc.", nil, "is dh_live_…."},
		{"a key in other forms", "is dh%5flive%5Fabc.", nil, "is dh_live_…."},
		{"a known key", "is dh_live_abc, dh_live_ab and dh_live_abcd.", []string{"dh_live_abc"}, "is dh_live_…, dh_live_… and dh_live_…."},
		{"a secret that begins as a key", "is dh_live_abc!def, dh_live_abc! and dh_live_xyz!def.", []string{"dh_live_abc!def"}, "is dh_live_…, dh_live_…! and dh_live_…!def."},
		{"two that begin as a key", "is dh_live_abc!def or dh_live_abd!def.", []string{"dh_live_abc!def", "dh_live_abd!def"}, "is dh_live_… or dh_live_…."},
		{"a token", "Authorization: bearer abc.def", nil, "Authorization: Bearer [REDACTED]"},
		{"several lines", "one\r\ntwo\x1b[2J", nil, "one  two [2J"},
		{"a secret behind the shown text", strings.Repeat("a", 90) + strings.Repeat("-", 10) + "secret", []string{"secret"}, strings.Repeat("a", 90) + strings.Repeat("-", 10) + "…"},
		{"a secret across the end of the shown text", strings.Repeat("a", 95) + "secret", []string{"secret"}, strings.Repeat("a", 95) + "[REDA…"},
		{"a secret across the end of the text read", strings.Repeat("s", 100+4<<10-9) + "0123456789abcdef", []string{strings.Repeat("s", 100+4<<10-9) + "0123456789abcdef"}, "[REDACTED]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, Text(c.text, 100, c.secrets...))
		})
	}
}
