package diffhook_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

var march16 = time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC)

// A field that is added to Event or Diff is read leniently too: each field is
// listed as unreadable if its value is an object in place of a text, and so on.
func TestEachFieldIsReadLeniently(t *testing.T) {
	read := func(path, body string) {
		e, err := diffhook.ParseEvent([]byte(body))
		require.NoError(t, err, body)
		assert.Equal(t, []string{path}, e.Unreadable, body)
	}
	names := func(typ reflect.Type) (names []string) {
		for field := range typ.Fields() {
			if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "-" {
				names = append(names, name)
			}
		}
		return names
	}
	for _, name := range names(reflect.TypeFor[diffhook.Event]()) {
		wrong := `{}`
		if name == "diff" {
			wrong = `1`
		}
		read(name, `{"`+name+`":`+wrong+`}`)
	}
	for _, name := range names(reflect.TypeFor[diffhook.Diff]()) {
		read("diff."+name, `{"diff":{"`+name+`":{}}}`)
	}
}

// TestParseEventDocumented compares every documented payload with the whole
// event it stands for.
func TestParseEventDocumented(t *testing.T) {
	gen1 := diffhook.Event{
		Type:            "page.changed",
		MonitorID:       "mon_abc123",
		URL:             "https://example.com/pricing",
		Label:           "Pricing & plans",
		TriggeredAt:     march16,
		IntervalMinutes: 15,
		Diff: &diffhook.Diff{
			Summary:        "The Pro plan went from $49 to $59 a month, and a Team plan was added.",
			Added:          []string{"Pro: $59 / month", "Team: $199 / month (<25 seats)"},
			Removed:        []string{"Pro: $49 / month"},
			FullTextBefore: "Pricing\nStarter: free\nPro: $49 / month\nTerms & conditions apply.",
			FullTextAfter:  "Pricing\nStarter: free\nPro: $59 / month\nTeam: $199 / month (<25 seats)\nTerms & conditions apply.",
		},
		SnapshotURL: "https://example.com/snapshots/mon_abc123/2026-03-16T14:22:00Z",
	}
	unicode := diffhook.Event{
		Type:            "page.changed",
		MonitorID:       "mon_uni456",
		URL:             "https://example.com/caf%C3%A9/%E3%83%8B%E3%83%A5%E3%83%BC%E3%82%B9",
		Label:           "Café / Cafe\u0301 ☕",
		TriggeredAt:     march16.Add(7 * time.Second),
		IntervalMinutes: 60,
		Diff: &diffhook.Diff{
			Summary: "Opening hours changed 🕘 → 🕙; 新しい行が 1 行あります",
			Added: []string{
				"営業時間：10時〜20時", "مفتوح حتى الساعة 20:00",
				"Mascot: \U0001f98a, café, \u200fright-to-left mark, /",
				"👩🏽\u200d💻 Wi-Fi for guests",
			},
			Removed:        []string{"営業時間：9時〜19時", "שעות פתיחה: 9:00–19:00"},
			FullTextBefore: "Cafe\u0301\n営業時間：9時〜19時\nשעות פתיחה: 9:00–19:00",
			FullTextAfter:  "Cafe\u0301\n営業時間：10時〜20時\nمفتوح حتى الساعة 20:00\nZ\u0351\u036bo\u0308e\u0308 👩🏽\u200d💻 \U00020bb7野家",
		},
		SnapshotURL: "https://example.com/snapshots/mon_uni456/2026-03-16T14:22:07Z",
	}
	gen2 := diffhook.Event{
		Type:        "page.changed",
		MonitorID:   "mon_abc123",
		URL:         "https://example.com/changelog?lang=en&sort=new",
		TriggeredAt: march16,
		Content: "Changelog\n\n2.4.0 (16 March 2026)\n- Export to CSV & JSON\n- The \"compare\" view loads in < 1 s\n\n" +
			"2.3.1 (2 March 2026)\n- Fixed the time zone of weekly reports",
	}
	for file, want := range map[string]diffhook.Event{
		"gen1.json": gen1, "gen1-pretty.json": gen1, "gen1-unicode.json": unicode, "gen2.json": gen2,
	} {
		t.Run(file, func(t *testing.T) {
			body := readVectorBody(t, "bodies/"+file)
			want.Raw = body
			event, err := diffhook.ParseEvent(body)
			require.NoError(t, err)
			assert.Empty(t, cmp.Diff(&want, event))

			again, err := json.Marshal(event)
			require.NoError(t, err)
			assert.JSONEq(t, string(body), string(again), "under the documented names")
			read, err := diffhook.ParseEvent(again)
			require.NoError(t, err)
			assert.Empty(t, cmp.Diff(event, read, ignoreRaw), "through a queue and back")
		})
	}
}

func TestEventMarshalsWhatItHas(t *testing.T) {
	written, err := json.Marshal(diffhook.Event{Type: "page.changed", Raw: json.RawMessage(`{"other":1}`)})
	require.NoError(t, err)
	assert.Equal(t, `{"event":"page.changed","monitor_id":"","url":""}`, string(written))
}

var ignoreRaw = cmpopts.IgnoreFields(diffhook.Event{}, "Raw", "Unreadable")

func TestParseEventAccepts(t *testing.T) {
	at := func(text string) string { return `{"triggered_at":"` + text + `"}` }
	date := func(nanosecond int) diffhook.Event {
		return diffhook.Event{TriggeredAt: march16.Add(time.Duration(nanosecond))}
	}
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	for _, c := range []struct {
		name, body string
		want       diffhook.Event
	}{
		{"no field", `{}`, diffhook.Event{}},
		{"white space around", " \t\r\n{}\n ", diffhook.Event{}},
		{"some fields", `{"event":"page.changed","url":"u"}`, diffhook.Event{Type: "page.changed", URL: "u"}},
		{"nulls for every field", `{"event":null,"monitor_id":null,"url":null,"label":null,"triggered_at":null,` +
			`"interval_minutes":null,"diff":null,"snapshot_url":null,"content":null}`, diffhook.Event{}},
		{"empty diff", `{"diff":{}}`, diffhook.Event{Diff: &diffhook.Diff{}}},
		{"empty lists", `{"diff":{"added":[],"removed":null}}`, diffhook.Event{Diff: &diffhook.Diff{Added: []string{}}}},
		{"unknown type", `{"event":"monitor.paused"}`, diffhook.Event{Type: "monitor.paused"}},
		{"unknown fields", `{"delivery_id":"d","diff":{"html":1},"extra":{"a":[1,null]},"url":"u"}`,
			diffhook.Event{URL: "u", Diff: &diffhook.Diff{}}},
		{"unknown field nested 9,000 levels", `{"extra":` + deep + `,"url":"u"}`, diffhook.Event{URL: "u"}},
		{"bytes that are not UTF-8", "{\"url\":\"a\xffb\"}", diffhook.Event{URL: "a\ufffdb"}},
		{"half a surrogate pair", `{"url":"a\ud83eb"}`, diffhook.Event{URL: "a\ufffdb"}},

		// Of a key that stands there twice the last value wins, as everywhere
		// in encoding/json; an object is merged into the one before it.
		{"duplicate keys", `{"monitor_id":"first","monitor_id":"last"}`, diffhook.Event{MonitorID: "last"}},
		{"duplicate keys in other cases", `{"monitor_id":"first","Monitor_ID":"last"}`, diffhook.Event{MonitorID: "last"}},
		{"duplicate objects", `{"diff":{"summary":"a","full_text_after":"b"},"diff":{"summary":"c"}}`,
			diffhook.Event{Diff: &diffhook.Diff{Summary: "c", FullTextAfter: "b"}}},

		{"time in UTC", at("2026-03-16T14:22:00Z"), date(0)},
		{"time east of UTC", at("2026-03-16T23:22:00+09:00"), date(0)},
		{"time west of UTC, another day", at("2026-03-15T23:52:00-14:30"), date(0)},
		{"time at UTC by offset", at("2026-03-16T14:22:00+00:00"), date(0)},
		{"milliseconds", at("2026-03-16T14:22:00.123Z"), date(123_000_000)},
		{"nanoseconds", at("2026-03-16T14:22:00.000000001Z"), date(1)},
		{"finer than nanoseconds", at("2026-03-16T14:22:00.0000000019Z"), date(1)},
		{"the zero time", at("0001-01-01T00:00:00Z"), diffhook.Event{}},
		{"year 0", at("0000-01-01T00:00:00Z"), diffhook.Event{TriggeredAt: time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)}},
		{"year 9999", at("9999-12-31T23:59:59Z"), diffhook.Event{TriggeredAt: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			event, err := diffhook.ParseEvent([]byte(c.body))
			require.NoError(t, err)
			assert.Empty(t, cmp.Diff(&c.want, event, ignoreRaw))
			assert.Empty(t, event.Unreadable)
			assert.Equal(t, time.UTC, event.TriggeredAt.Location())
			assert.Equal(t, c.body, string(event.Raw))
		})
	}
}

func TestParseEventRefuses(t *testing.T) {
	for name, body := range map[string]string{
		// Not one JSON object.
		"nothing":                       ``,
		"white space":                   " \t\r\n",
		"null":                          `null`,
		"true":                          `true`,
		"number":                        `1`,
		"string":                        `"{}"`,
		"array":                         `[{}]`,
		"two objects":                   `{}{}`,
		"two lines":                     "{}\n{}\n",
		"garbage at the end":            `{}x`,
		"NUL at the end":                "{}\x00",
		"two byte order marks":          byteOrderMark + byteOrderMark + `{}`,
		"byte order mark after a space": " " + byteOrderMark + `{}`,
		"byte order mark alone":         byteOrderMark,
		"byte order mark and a list":    byteOrderMark + `[]`,
		"right fields, then garbage":    `{"event":"page.changed","content":1} x`,
		"UTF-16":                        "\xff\xfe{\x00}\x00",
		"no-break space":                "\u00a0{}",
		"vertical tab":                  "\v{}",
		"form encoding":                 `event=page.changed`,
		"half an object":                `{"event":"page.ch`,
		"open brace":                    `{`,
		"comma at the end":              `{"event":"page.changed",}`,
		"single quotes":                 `{'event':'page.changed'}`,
		"comment":                       `{/* no */}`,
		"raw newline":                   "{\"url\":\"a\nb\"}",

		// A stack that grows with the sender's brackets.
		"20,000 levels of arrays":    `{"extra":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`,
		"20,000 levels of objects":   strings.Repeat(`{"diff":`, 20_000) + `{}` + strings.Repeat("}", 20_000),
		"20,000 levels, not closed":  `{"extra":` + strings.Repeat("[", 20_000),
		"20,000 levels of no object": strings.Repeat("[", 20_000),
	} {
		t.Run(name, func(t *testing.T) {
			event, err := diffhook.ParseEvent([]byte(body))
			require.ErrorIs(t, err, diffhook.ErrInvalidEvent)
			require.Nil(t, event, "nothing is returned with an error")
			require.Regexp(t, eventErrorTexts, err.Error())
		})
	}
}

// eventErrorTexts has every text that an error of ParseEvent can have: known
// words and positions, and nothing of the body.
const eventErrorTexts = `\Adiffhook: invalid event: the body is not a JSON object: (` +
	`it does not begin with \{|` +
	`JSON syntax error at byte \d{1,9})\z`

// TestParseEventErrorsShowNoBody: encoding/json and time quote what they
// cannot read, and errors are logged. The body is the customer's.
func TestParseEventErrorsShowNoBody(t *testing.T) {
	const private, number = "salary-of-the-board", "3141592653589793"
	detector := newLeakDetector(private, number)
	for _, body := range []string{
		private, `"` + private + `"`, `{"` + private, `{"` + private + `":x}`, `{}` + private, `{"url":"\u` + private + `"}`,
		`{"triggered_at":"` + private + `"`, `{"triggered_at":` + number + `]`, `{"diff":{"added":"` + private + `"},}`,
	} {
		_, err := diffhook.ParseEvent([]byte(body))
		require.ErrorIs(t, err, diffhook.ErrInvalidEvent, body)
		assertOpaque(t, detector, err, diffhook.ErrInvalidEvent)
	}
}

// dedupKey returns the key of a delivery with these fields.
func dedupKey(t *testing.T, monitorID, triggeredAt string) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"monitor_id": monitorID, "triggered_at": triggeredAt})
	require.NoError(t, err)
	event, err := diffhook.ParseEvent(body)
	require.NoError(t, err)
	return event.DedupKey()
}

func TestDedupKeySameForOneChange(t *testing.T) {
	want := "mon_abc123@2026-03-16T14:22:00Z" // kept in databases: it must not change between versions
	for _, at := range []string{
		"2026-03-16T14:22:00Z", "2026-03-16T14:22:00+00:00", "2026-03-16T14:22:00-00:00", "2026-03-16T14:22:00.000Z",
		"2026-03-16T15:22:00+01:00", "2026-03-15T23:52:00-14:30",
	} {
		assert.Equal(t, want, dedupKey(t, "mon_abc123", at), at)
	}
	local := diffhook.Event{MonitorID: "mon_abc123", TriggeredAt: march16.In(time.FixedZone("", 3600))}
	assert.Equal(t, want, local.DedupKey(), "an event that was not parsed")

	// The rest of a retry may differ: the key is of the change.
	gen1, err := diffhook.ParseEvent(readVectorBody(t, "bodies/gen1.json"))
	require.NoError(t, err)
	gen2, err := diffhook.ParseEvent(readVectorBody(t, "bodies/gen2.json"))
	require.NoError(t, err)
	assert.Equal(t, want, gen1.DedupKey())
	assert.Equal(t, want, gen2.DedupKey())
}

func TestDedupKeyEmpty(t *testing.T) {
	for name, e := range map[string]diffhook.Event{
		"neither":       {},
		"no monitor_id": {TriggeredAt: march16},
		"no time":       {MonitorID: "mon_abc123"},
		"other fields":  {Type: "page.changed", URL: "u", Content: "c", Label: "l"},
	} {
		assert.Empty(t, e.DedupKey(), name)
	}
}

// TestDedupKeyDiffersBetweenChanges: with ids made up to look like the end of
// another key, one change must not pass for one that was handled.
func TestDedupKeyDiffersBetweenChanges(t *testing.T) {
	times := []string{
		"2026-03-16T14:22:00Z", "2026-03-16T14:22:01Z", "2026-03-16T14:22:00.1Z", "2026-03-16T14:22:00.01Z",
		"2026-03-16T14:22:00.000000001Z", "2025-03-16T14:22:00Z", "2026-03-16T14:22:00+01:00",
	}
	ids := []string{"mon_abc123", "mon_abc124", "MON_ABC123", "mon_abc12", " mon_abc123", "mon_abc123\n", "@", "@@", "a@b"}
	for _, at := range times {
		ids = append(ids, at, "@"+at, "mon_abc123@", "mon_abc123@"+at, "mon_abc123@"+at+"@", "mon_abc123"+at)
	}
	seen := make(map[string][2]string)
	for _, id := range ids {
		for _, at := range times {
			key, change := dedupKey(t, id, at), [2]string{id, at}
			if other, ok := seen[key]; ok {
				require.Equal(t, other, change, "two changes have one key")
			}
			seen[key] = change
		}
	}
	require.Greater(t, len(seen), 300)
}
