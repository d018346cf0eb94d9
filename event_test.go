package diffhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

var march16 = time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC)

// A new field of Event or Diff is read leniently too: any field with a value of another
// type, such as an object for a text, is listed as unreadable.
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

// TestParseEventDocumented compares every documented payload with the complete event.
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

		// If a key is repeated, the last value wins, as everywhere in encoding/json. A
		// repeated object is merged into the first.
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

func TestParseEventRejects(t *testing.T) {
	for name, body := range map[string]string{
		// Anything but a single JSON object.
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

// eventErrorTexts matches every text of a ParseEvent error: known words and positions,
// and nothing of the body.
const eventErrorTexts = `\Adiffhook: invalid event: the body is not a JSON object: (` +
	`it does not begin with \{|` +
	`JSON syntax error at byte \d{1,9})\z`

// TestParseEventErrorsShowNoBody: encoding/json and time quote unreadable input, and
// errors are logged. The body is the customer's.
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
	want := "mon_abc123@2026-03-16T14:22:00Z" // stored in databases: the same in every version
	for _, at := range []string{
		"2026-03-16T14:22:00Z", "2026-03-16T14:22:00+00:00", "2026-03-16T14:22:00-00:00", "2026-03-16T14:22:00.000Z",
		"2026-03-16T15:22:00+01:00", "2026-03-15T23:52:00-14:30",
	} {
		assert.Equal(t, want, dedupKey(t, "mon_abc123", at), at)
	}
	local := diffhook.Event{MonitorID: "mon_abc123", TriggeredAt: march16.In(time.FixedZone("", 3600))}
	assert.Equal(t, want, local.DedupKey(), "an event without a parse")

	// Other fields of a retry may differ: the key stands for the change.
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

// TestDedupKeyDiffersBetweenChanges: ids that look like the end of another key must not
// make a change pass for another.
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
				require.Equal(t, other, change, "two changes share a key")
			}
			seen[key] = change
		}
	}
	require.Greater(t, len(seen), 300)
}

// drift is a genuine event with a field of an undocumented type. want is the event
// without the type "t", the URL "u" and the unreadable fields.
type drift struct {
	name, body string
	want       diffhook.Event
	unreadable []string
}

// drifts are readable: each is an event, whatever the fields are.
var drifts = func() (all []drift) {
	add := func(name, fields string, want diffhook.Event, unreadable ...string) {
		want.Type, want.URL = "t", "u"
		all = append(all, drift{name, `{"event":"t",` + fields + `,"url":"u"}`, want, unreadable})
	}
	minutes := func(n int) diffhook.Event { return diffhook.Event{IntervalMinutes: n} }
	diff := func(d diffhook.Diff) diffhook.Event { return diffhook.Event{Diff: &d} }
	none := diffhook.Event{}

	add("text is a number", `"monitor_id":123`, diffhook.Event{MonitorID: "123"})
	add("text is a number as written", `"content":-1.50e3`, diffhook.Event{Content: "-1.50e3"})
	add("text is a huge number", `"label":1e999`, diffhook.Event{Label: "1e999"})
	add("text is an object", `"content":{"price":59}`, none, "content")
	add("text is a list", `"label":[]`, none, "label")
	add("text is false", `"snapshot_url":false`, none, "snapshot_url")
	add("text is null", `"label":null,"content":1`, diffhook.Event{Content: "1"})

	add("integer with a fraction of 0", `"interval_minutes":15.0`, minutes(15))
	add("integer with an exponent", `"interval_minutes":1.5e1`, minutes(15))
	add("integer as text", `"interval_minutes":"15"`, minutes(15))
	add("integer as text, spaces", `"interval_minutes":" 15.0 "`, minutes(15))
	add("negative integer as text", `"interval_minutes":"-15"`, minutes(-15))
	add("integer is empty", `"interval_minutes":""`, none, "interval_minutes")
	add("integer with a half", `"interval_minutes":15.5`, none, "interval_minutes")
	add("integer too big", `"interval_minutes":9223372036854775808`, none, "interval_minutes")
	add("integer is huge", `"interval_minutes":1e999`, none, "interval_minutes")
	add("integer in words", `"interval_minutes":"15 min"`, none, "interval_minutes")
	add("integer in hexadecimal", `"interval_minutes":"0xf"`, none, "interval_minutes")
	add("integer is Inf", `"interval_minutes":"Inf"`, none, "interval_minutes")
	add("integer is true", `"interval_minutes":true`, none, "interval_minutes")
	add("integer is an object", `"interval_minutes":{}`, none, "interval_minutes")

	add("diff is a list, as PHP writes empty objects", `"diff":[]`, none, "diff")
	add("diff is text", `"diff":""`, none, "diff")
	add("diff is false", `"diff":false`, none, "diff")
	add("diff is null", `"diff":null,"label":1`, diffhook.Event{Label: "1"})
	add("list is an object", `"diff":{"summary":"s","added":{"1":"x"}}`, diff(diffhook.Diff{Summary: "s"}), "diff.added")
	add("list is a single text", `"diff":{"added":"x"}`, diff(diffhook.Diff{Added: []string{"x"}}))
	add("list is false", `"diff":{"removed":false}`, diff(diffhook.Diff{}), "diff.removed")
	add("list of numbers", `"diff":{"added":["a",59.0,null]}`, diff(diffhook.Diff{Added: []string{"a", "59.0", ""}}))
	add("list of objects", `"diff":{"added":["a",{"line":1}],"removed":["r"]}`, diff(diffhook.Diff{Removed: []string{"r"}}), "diff.added")
	add("list is empty", `"diff":{"added":[],"summary":1}`, diff(diffhook.Diff{Summary: "1", Added: []string{}}))
	add("texts of a diff", `"diff":{"summary":[],"full_text_before":true,"full_text_after":2}`,
		diff(diffhook.Diff{FullTextAfter: "2"}), "diff.summary", "diff.full_text_before")

	add("several", `"content":{},"monitor_id":[],"diff":{"added":{}}`, diff(diffhook.Diff{}), "monitor_id", "diff.added", "content")
	add("duplicates, the last readable", `"content":{},"content":"c","label":1`, diffhook.Event{Content: "c", Label: "1"})
	add("duplicates, the last unreadable", `"content":"c","CONTENT":{}`, none, "content")
	add("duplicates, the last null", `"content":{},"content":null`, none, "content")
	add("duplicate diffs", `"diff":{"added":{},"summary":"s"},"diff":{"added":["a"]}`, diff(diffhook.Diff{Summary: "s", Added: []string{"a"}}))
	add("duplicate diffs, the last unreadable", `"diff":{"added":{}},"diff":[]`, none, "diff")
	add("duplicate diffs, the first unreadable", `"diff":[],"diff":{"summary":"s"}`, diff(diffhook.Diff{Summary: "s"}))
	add("duplicate diffs, the last null", `"diff":{"summary":"s"},"diff":null,"label":1`, diffhook.Event{Label: "1"})
	add("names chosen by the sender", `"diff":{"<b>":1,"added":{"<i>":1}},"<u>":2`, diff(diffhook.Diff{}), "diff.added")

	for text, want := range map[string]time.Time{
		"2026-03-16T14:22:00+0000":      march16,
		"2026-03-16T15:22:00+0100":      march16,
		"2026-03-16T14:22:00+00":        march16,
		"2026-03-16T09:22:00-05":        march16,
		"2026-03-16T14:22:00":           march16,
		"2026-03-16T14:22":              march16,
		"2026-03-16T14:22Z":             march16,
		"2026-03-16T15:22+01:00":        march16,
		"2026-03-16t14:22:00z":          march16,
		"2026-03-16 14:22:00+00:00":     march16,
		"2026-03-16 14:22:00 +0000":     march16,
		"2026-03-16 14:22:00 UTC":       march16,
		"2026-03-16 14:22:00.5":         march16.Add(time.Second / 2),
		"2026-03-16T14:22:00,5Z":        march16.Add(time.Second / 2),
		"2026-03-16T14:21:60Z":          march16,
		"2026-03-16T14:21:60.25+0000":   march16.Add(time.Second / 4),
		"2026-12-31T23:59:60Z":          time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		"2026-03-16T15:21:60+01:00":     march16,
		"2026-03-16T14:22:00.123456+00": march16.Add(123456 * time.Microsecond),
	} {
		add("time "+text, `"triggered_at":"`+text+`"`, diffhook.Event{TriggeredAt: want})
	}
	for name, value := range map[string]string{
		"empty": `""`, "epoch": `1773670920`, "epoch as text": `"1773670920"`, "false": `false`, "object": `{}`, "null as text": `"null"`,
		"date alone": `"2026-03-16"`, "date and hour": `"2026-03-16T14"`, "clock alone": `"14:22:00Z"`, "no separator": `"2026-03-1614:22:00Z"`,
		"month 13": `"2026-13-16T14:22:00Z"`, "no leap year": `"2026-02-29T14:22:00Z"`, "hour 24": `"2026-03-16T24:00:00Z"`,
		"second 61": `"2026-03-16T14:22:61Z"`, "minute 60": `"2026-03-16T14:60:00Z"`, "two seconds 60": `"2026-03-16T14:22:60:60Z"`,
		"no digits in the fraction": `"2026-03-16T14:22:00.Z"`, "five digits of year": `"12026-03-16T14:22:00Z"`,
		"another zone": `"2026-03-16 14:22:00 CET"`, "RFC 1123": `"Mon, 16 Mar 2026 14:22:00 GMT"`, "rubbish after it": `"2026-03-16T14:22:00Z, and more"`,
		"year −1 in UTC": `"0000-01-01T00:00:00+00:01"`, "year 10000 in UTC": `"9999-12-31T23:59:59-00:01"`, "long": `"2026-03-16T14:22:00.` + strings.Repeat("0", 100) + `+00"`,
		"a letter of two bytes at the separator": `"2026-03-16é4:22:00Z"`,
	} {
		add("not a time: "+name, `"triggered_at":`+value, none, "triggered_at")
	}
	slices.SortFunc(all, func(a, b drift) int { return strings.Compare(a.name, b.name) }) // the order of maps is random
	return all
}()

// An unreadable field does not lose a genuine event.
func TestParseEventReadsOtherTypes(t *testing.T) {
	for _, d := range drifts {
		t.Run(d.name, func(t *testing.T) {
			event, err := diffhook.ParseEvent([]byte(d.body))
			require.NoError(t, err)
			assert.Empty(t, cmp.Diff(&d.want, event, ignoreRaw))
			assert.Equal(t, d.unreadable, event.Unreadable)
			assert.Equal(t, d.body, string(event.Raw))
		})
	}
}

// An EventHandler calls its function for drifts, and MaxAge does not reject them.
func TestEventHandlerTakesOtherTypes(t *testing.T) {
	secret := mustSecret(t, currentText)
	for _, maxAge := range []time.Duration{0, time.Hour} {
		v := newVerifier(t, diffhook.Secrets{Current: secret}, &diffhook.VerifierOptions{MaxAge: maxAge})
		for _, d := range drifts {
			body := d.body
			if maxAge > 0 {
				if strings.Contains(body, "triggered_at") {
					continue
				}
				body = `{"triggered_at":"` + time.Now().UTC().Format("2006-01-02 15:04:05") + `",` + body[1:]
			}
			t.Run(fmt.Sprint(d.name, " ", maxAge), func(t *testing.T) {
				var handled []*diffhook.Event
				h := v.EventHandler(func(_ context.Context, e *diffhook.Event) error {
					handled = append(handled, e)
					return nil
				})
				w := httptest.NewRecorder()
				h.ServeHTTP(w, diffhooktest.NewRequest("/", secret, []byte(body)))
				require.Equal(t, http.StatusNoContent, w.Code)
				require.Len(t, handled, 1)
				require.Equal(t, d.unreadable, handled[0].Unreadable)
			})
		}
	}
}

// MaxAge needs triggered_at alone, also for a handler that parses the body itself.
func TestMaxAgeNeedsTriggeredAtAlone(t *testing.T) {
	for _, tc := range []struct {
		name, fields string // %s is the time of the delivery
		at           time.Duration
		err          error
	}{
		{"other fields unreadable", `"triggered_at":"%s","content":{},"diff":[],"interval_minutes":""`, 0, nil},
		{"other fields unreadable, old", `"triggered_at":"%s","content":{}`, -time.Hour - time.Second, diffhook.ErrStale},
		{"no other field", `"triggered_at":"%s"`, 0, nil},
		{"unreadable", `"triggered_at":["%s"]`, 0, diffhook.ErrStale},
		{"the last of two, new", `"triggered_at":"2001-01-01T00:00:00Z","triggered_at":"%s"`, 0, nil},
		{"the last of two, old", `"content":"%s","triggered_at":"2001-01-01T00:00:00Z"`, 0, diffhook.ErrStale},
		{"as far ahead as a clock may be", `"triggered_at":"%s"`, 5 * time.Minute, nil},
		{"further ahead", `"triggered_at":"%s"`, 5*time.Minute + time.Second, diffhook.ErrStale},
		{"millennia ahead", `"content":"%s","triggered_at":"9999-01-01T00:00:00Z"`, 0, diffhook.ErrStale},
		{"millennia ago", `"content":"%s","triggered_at":"0000-01-01T00:00:00Z"`, 0, diffhook.ErrStale},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{MaxAge: time.Hour})
				body := []byte(fmt.Sprintf("{"+tc.fields+"}", time.Now().Add(tc.at).UTC().Format(time.RFC3339)))
				require.ErrorIs(t, v.Verify(t.Context(), body, mustSecret(t, currentText).Sign(body)), tc.err)
				w := httptest.NewRecorder()
				v.Handler(alive).ServeHTTP(w, diffhooktest.NewRequest("/", mustSecret(t, currentText), body))
				require.Equal(t, diffhook.HTTPStatus(tc.err), w.Code)
			})
		})
	}
}

func TestByteOrderMark(t *testing.T) {
	body := byteOrderMark + `{"url":"u"}`
	event, err := diffhook.ParseEvent([]byte(body))
	require.NoError(t, err)
	assert.Equal(t, "u", event.URL)
	assert.Equal(t, `{"url":"u"}`, string(event.Raw), "the remaining bytes are JSON")
	event, err = diffhook.ParseEvent([]byte(byteOrderMark + `{"label":1}`))
	require.NoError(t, err)
	assert.Equal(t, `{"label":1}`, string(event.Raw))
}

// Unreadable is neither read from JSON nor written to JSON: it is no field of DiffHook.
func TestUnreadableIsNotMarshalled(t *testing.T) {
	event, err := diffhook.ParseEvent([]byte(`{"content":{},"Unreadable":["url"],"unreadable":["label"]}`))
	require.NoError(t, err)
	require.Equal(t, []string{"content"}, event.Unreadable)
	written, err := json.Marshal(event)
	require.NoError(t, err)
	assert.JSONEq(t, `{"event":"","monitor_id":"","url":""}`, string(written))
}

// isZeroField reports whether the field of that name in JSON is zero. The test fails if
// there is no such field.
func isZeroField(t *testing.T, e *diffhook.Event, name string) bool {
	t.Helper()
	value := reflect.ValueOf(*e)
	for part := range strings.SplitSeq(name, ".") {
		value = reflect.Indirect(value)
		i := slices.IndexFunc(slices.Collect(fieldNames(value.Type())), func(field string) bool { return field == part })
		require.NotEqual(t, -1, i, name)
		value = value.Field(i)
	}
	return value.IsZero()
}

// fieldNames yields the JSON names of the fields of a struct.
func fieldNames(typ reflect.Type) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if !yield(name) {
				return
			}
		}
	}
}
