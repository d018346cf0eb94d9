package diffhook_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// TestFieldOfAnotherType: a field is read in the types that a platform may mean it
// in, and is zero otherwise. No field costs its neighbours.
func TestFieldOfAnotherType(t *testing.T) {
	for _, c := range []struct {
		name, field string
		want        diffhook.Monitor
	}{
		{"text: number", `"label":7`, diffhook.Monitor{Label: "7"}},
		{"text: number as it stands", `"label":-59.00`, diffhook.Monitor{Label: "-59.00"}},
		{"text: false", `"label":false`, diffhook.Monitor{}},
		{"text: list", `"label":["x"]`, diffhook.Monitor{}},
		{"text: object", `"label":{"en":"x"}`, diffhook.Monitor{}},
		{"text: escapes", `"label":"a\u00e9\"\\\n\ud83d\ude00"`, diffhook.Monitor{Label: "aé\"\\\n😀"}},
		{"text: not UTF-8", "\"label\":\"a\xffb\"", diffhook.Monitor{Label: "a\ufffdb"}},

		{"integer: text", `"intervalMinutes":"15"`, diffhook.Monitor{IntervalMinutes: 15}},
		{"integer: text with white space", `"intervalMinutes":" 15\n"`, diffhook.Monitor{IntervalMinutes: 15}},
		{"integer: with a fraction of zero", `"interval_minutes":15.0`, diffhook.Monitor{IntervalMinutes: 15}},
		{"integer: with an exponent", `"intervalMinutes":1.5e1`, diffhook.Monitor{IntervalMinutes: 15}},
		{"integer: text with an exponent", `"intervalMinutes":"1.5E+1"`, diffhook.Monitor{IntervalMinutes: 15}},
		{"integer: negative", `"intervalMinutes":-15`, diffhook.Monitor{IntervalMinutes: -15}},
		{"integer: with a fraction", `"intervalMinutes":15.5`, diffhook.Monitor{}},
		{"integer: of more than 32 bits", `"intervalMinutes":4294967311`, diffhook.Monitor{}},
		{"integer: of more than a float64", `"intervalMinutes":1e400`, diffhook.Monitor{}},
		{"integer: empty text", `"intervalMinutes":""`, diffhook.Monitor{}},
		{"integer: text of another kind", `"intervalMinutes":"15m"`, diffhook.Monitor{}},
		{"integer: hexadecimal text", `"intervalMinutes":"0xf"`, diffhook.Monitor{}},
		{"integer: infinite", `"intervalMinutes":"Infinity"`, diffhook.Monitor{}},
		{"integer: list as text", `"intervalMinutes":"[15]"`, diffhook.Monitor{}},
		{"integer: true", `"intervalMinutes":true`, diffhook.Monitor{}},
		{"integer: object", `"intervalMinutes":{"value":15}`, diffhook.Monitor{}},

		{"boolean: text", `"jsRendering":"true"`, diffhook.Monitor{JSRendering: true}},
		{"boolean: text in capitals", `"jsRendering":"TRUE"`, diffhook.Monitor{JSRendering: true}},
		{"boolean: 1", `"js_rendering":1`, diffhook.Monitor{JSRendering: true}},
		{"boolean: 1 as text", `"jsRendering":"1"`, diffhook.Monitor{JSRendering: true}},
		{"boolean: 0", `"jsRendering":0`, diffhook.Monitor{}},
		{"boolean: false as text", `"jsRendering":"false"`, diffhook.Monitor{}},
		{"boolean: another text", `"jsRendering":"on request"`, diffhook.Monitor{}},
		{"boolean: list", `"jsRendering":[true]`, diffhook.Monitor{}},

		{"time: number", `"createdAt":1773670920`, diffhook.Monitor{}},
		{"time: list", `"createdAt":["2026-03-16T14:22:00Z"]`, diffhook.Monitor{}},

		{"object: text", `"notification_config":"x"`, diffhook.Monitor{}},
		{"object: list", `"notification_config":[]`, diffhook.Monitor{}},
		{"object: one field in it", `"notificationConfig":{"webhook_url":["x"],"email":"ops@example.com"}`, diffhook.Monitor{Email: "ops@example.com"}},

		{"twice: the last", `"label":"a","label":"b"`, diffhook.Monitor{Label: "b"}},
		{"twice: the one that can be read", `"intervalMinutes":15,"interval_minutes":"often"`, diffhook.Monitor{IntervalMinutes: 15}},
		{"twice: the one that is set", `"created_at":"2026-03-16T14:22:00Z","createdAt":null`, diffhook.Monitor{CreatedAt: time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC)}},
		{"another name with an underscore", `"_id":"65f5","__v":0,"_label":"x","label_":"y"`, diffhook.Monitor{}},
		{"name with an escape", `"l\u0061bel":"x"`, diffhook.Monitor{Label: "x"}},
		{"brackets in texts", `"tags":["]","}","\\\""],"label":"x{[\"]}"`, diffhook.Monitor{Label: `x{["]}`}},
		{"deep neighbours", `"a":` + strings.Repeat(`[{"label":`, 500) + "1" + strings.Repeat("}]", 500) + `,"label":"x"`, diffhook.Monitor{Label: "x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.ID, c.want.Status = "mon_1", "active"
			var got diffhook.Monitor
			require.NoError(t, json.Unmarshal([]byte(`{"id":"mon_1",`+c.field+`,"status":"active"}`), &got))
			assert.Empty(t, cmp.Diff(c.want, got))
		})
	}
}

// TestTimesInUse: times are read in the forms of ISO 8601 that platforms write.
// Everything else is the zero time.
func TestTimesInUse(t *testing.T) {
	at := time.Date(2026, 3, 16, 14, 22, 5, 0, time.UTC)
	minute := at.Truncate(time.Minute)
	for _, c := range []struct {
		text string
		want time.Time
	}{
		{"2026-03-16T14:22:05Z", at},
		{"2026-03-16T16:22:05+02:00", at},
		{"2026-03-16T14:22:05+0000", at},
		{"2026-03-16T09:22:05-0500", at},
		{"2026-03-16T14:22:05+00", at},
		{"2026-03-16T14:22:05-00:00", at},
		{"2026-03-16T14:22:05", at},
		{"2026-03-16t14:22:05z", at},
		{"2026-03-16 14:22:05", at},
		{"2026-03-16 14:22:05+00", at},
		{"2026-03-16 14:22:05Z", at},
		{"2026-03-16T14:22:05.5Z", at.Add(500 * time.Millisecond)},
		{"2026-03-16T14:22:05,5Z", at.Add(500 * time.Millisecond)},
		{"2026-03-16T14:22:05.500", at.Add(500 * time.Millisecond)},
		{"2026-03-16 14:22:05.500000+00", at.Add(500 * time.Millisecond)},
		{"2026-03-16T14:22:05.123456789987Z", at.Add(123456789)},
		{"2026-03-16T14:22Z", minute},
		{"2026-03-16T14:22", minute},
		{"2026-03-16 14:22", minute},
		{"2026-03-16T16:22+02:00", minute},
		{"2026-03-16T16:22+0200", minute},
		{"2026-03-16T16:22+02", minute},
		{"2026-03-16", time.Date(2026, 3, 16, 0, 0, 0, 0, time.UTC)},
		{"2026-12-31T23:59:60Z", time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"2027-01-01t01:59:60.25+0200", time.Date(2027, 1, 1, 0, 0, 0, 250e6, time.UTC)},
		{"9999-12-31T23:59:59Z", time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},

		{"", time.Time{}},
		{" ", time.Time{}},
		{"yesterday", time.Time{}},
		{"1773670925", time.Time{}},
		{"2026-03", time.Time{}},
		{"2026-02-30", time.Time{}},
		{"2026-03-16T", time.Time{}},
		{"2026-03-16T25:00:00Z", time.Time{}},
		{"2026-03-16T14:22:61Z", time.Time{}},
		{"2026-03-16T14:60:05Z", time.Time{}},
		{"2026-03-16T14:22:05ZZ", time.Time{}},
		{"2026-03-16T14:22:05 CET", time.Time{}},
		{"03/16/2026 14:22:05", time.Time{}},
		{"Mon, 16 Mar 2026 14:22:05 GMT", time.Time{}},
		{"10000-01-01T00:00:00Z", time.Time{}},
		{"9999-12-31T23:59:60Z", time.Time{}},
		{"9999-12-31T23:59:59-00:01", time.Time{}},
		{"0000-01-01T00:00:00+00:01", time.Time{}},
		{"-0001-01-01T00:00:00Z", time.Time{}},
		{"2026-03-16T14:22:05." + strings.Repeat("0", 1000) + "Z", time.Time{}},
	} {
		t.Run(c.text, func(t *testing.T) {
			text, err := json.Marshal(c.text)
			require.NoError(t, err)
			for _, text := range []string{string(text), strings.ReplaceAll(string(text), "+", `\u002B`)} { // as .NET writes it
				var got diffhook.Key
				require.NoError(t, json.Unmarshal([]byte(`{"id":"key_1","lastUsedAt":`+text+`,"label":"L"}`), &got))
				assert.Empty(t, cmp.Diff(diffhook.Key{ID: "key_1", Label: "L", LastUsedAt: c.want}, got))
				assert.Equal(t, time.UTC, got.LastUsedAt.Location())
			}
		})
	}
}

// TestPrefixIsReadExactly: of a wrong prefix MatchesPrefix would be certain.
func TestPrefixIsReadExactly(t *testing.T) {
	for _, prefix := range []string{`7`, `["dh_live_x"]`, `false`, "\"dh_live_\xff\""} {
		var got diffhook.Key
		require.NoError(t, json.Unmarshal([]byte(`{"id":7,"prefix":`+prefix+`}`), &got))
		assert.Empty(t, cmp.Diff(diffhook.Key{ID: "7"}, got), prefix)
		assert.True(t, got.MatchesPrefix(mustAPIKey(t, longKeyText)), prefix)
	}
}
