package diffhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Event is the content of a delivery: a monitored page changed. It has the
// documented fields of both generations. A field that is absent, null or
// unreadable is zero.
//
// It marshals to JSON under the documented names, so that it can be put into a
// queue and read back with [ParseEvent]. Raw and Unreadable are not marshalled.
type Event struct {
	// Type is the "event" field: "page.changed" is the one documented value.
	// Expect others in time.
	Type string `json:"event"`

	MonitorID string `json:"monitor_id"`
	URL       string `json:"url"`

	// TriggeredAt is when the change was detected, in UTC. Every attempt to
	// deliver one change has the same.
	TriggeredAt time.Time `json:"triggered_at,omitzero"`

	// Generation 1 only.
	Label           string `json:"label,omitempty"`
	IntervalMinutes int    `json:"interval_minutes,omitempty"`
	Diff            *Diff  `json:"diff,omitempty"`
	SnapshotURL     string `json:"snapshot_url,omitempty"`

	// Content is the new text of the page. Generation 2 only.
	Content string `json:"content,omitempty"`

	// Raw is the body without a byte order mark, for fields that are not here.
	// It shares the memory of the body.
	Raw json.RawMessage `json:"-"`

	// Unreadable lists the fields that are zero because their value cannot be
	// read, in the order of this struct and by their names in JSON, such as
	// interval_minutes or diff.added. Raw shows the values. It is nil if
	// everything was read. Absent fields and null are not listed.
	Unreadable []string `json:"-"`
}

// Diff is the difference that a generation 1 event reports.
type Diff struct {
	Summary        string   `json:"summary"`
	Added          []string `json:"added"`
	Removed        []string `json:"removed"`
	FullTextBefore string   `json:"full_text_before"`
	FullTextAfter  string   `json:"full_text_after"`
}

// DedupKey returns a key that is the same for every attempt to deliver one
// change, and differs between changes: keep it with what you have handled, and
// a retry after an answer that was lost is not handled twice. The platform
// sends no id of its own; monitor_id and triggered_at together name a change.
// It returns "" if the event lacks either: handle such an event each time that
// it comes, since "" is the key of every one.
func (e *Event) DedupKey() string {
	if e.MonitorID == "" || e.TriggeredAt.IsZero() {
		return ""
	}
	return e.MonitorID + "@" + e.TriggeredAt.UTC().Format(time.RFC3339Nano)
}

// ParseEvent reads the event in the body of a delivery of either generation.
// Verify the body first. Unknown types of events and unknown fields are no
// error, and no field is required. Names and repeated fields are read as
// encoding/json reads them: in any case, and the last one counts.
//
// A field of another type than documented is read if its meaning is clear: a
// number for a text, a text for a number, a text for a list, a time in another
// form of ISO 8601. Otherwise the field is zero and in [Event].Unreadable.
//
// ParseEvent returns nil and an error that wraps [ErrInvalidEvent] if body is
// not one JSON object.
func ParseEvent(body []byte) (*Event, error) {
	object := bytes.TrimPrefix(body, []byte("\ufeff")) // the byte order mark
	if trimmed := bytes.TrimLeft(object, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, fmt.Errorf("%w: it does not begin with {", ErrInvalidEvent)
	}
	// Ordinary events are read in one pass.
	e := new(Event)
	err := json.Unmarshal(object, e)
	e.TriggeredAt = e.TriggeredAt.UTC()
	if isNoSyntaxError(err) || err == nil && !fitsJSON(e.TriggeredAt) {
		e, err = parseLeniently(object)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrInvalidEvent, describeJSONError(err, "it cannot be read"))
	}
	e.Raw = object
	return e, nil
}

// isNoSyntaxError reports whether err is about the value of a field, and not
// about the JSON.
func isNoSyntaxError(err error) bool {
	if err == nil {
		return false
	}
	var syntax *json.SyntaxError
	return !errors.As(err, &syntax)
}

// describeJSONError says what is wrong without a piece of the JSON, which the
// errors of encoding/json and time quote. other describes an error of any other
// kind.
func describeJSONError(err error, other string) string {
	var syntax *json.SyntaxError
	var mistyped *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("JSON syntax error at byte %d", syntax.Offset)
	case errors.As(err, &mistyped):
		return fmt.Sprintf("the field %s must not be a JSON %s", mistyped.Field, jsonKind(mistyped.Value))
	}
	return other
}

// jsonKind is the kind of a JSON value in the words of encoding/json, which
// puts the value behind it for numbers.
func jsonKind(value string) string {
	kind, _, _ := strings.Cut(value, " ")
	return kind
}

// wireEvent splits an event into fields and reads no field, so that a field of
// an unexpected type does not stop the decoding of the others.
type wireEvent struct {
	Type            wireValue `json:"event"`
	MonitorID       wireValue `json:"monitor_id"`
	URL             wireValue `json:"url"`
	TriggeredAt     wireValue `json:"triggered_at"`
	Label           wireValue `json:"label"`
	IntervalMinutes wireValue `json:"interval_minutes"`
	Diff            wireDiff  `json:"diff"`
	SnapshotURL     wireValue `json:"snapshot_url"`
	Content         wireValue `json:"content"`
}

// wireDiff is the diff of an event. fields is nil unless the diff is an object.
type wireDiff struct {
	fields     *wireDiffFields
	unreadable bool
}

type wireDiffFields struct {
	Summary        wireValue `json:"summary"`
	Added          wireValue `json:"added"`
	Removed        wireValue `json:"removed"`
	FullTextBefore wireValue `json:"full_text_before"`
	FullTextAfter  wireValue `json:"full_text_after"`
}

// wireValue is the JSON of a field. It is nil if the field is absent or null.
type wireValue []byte

// UnmarshalJSON keeps the last value of a repeated field. Like encoding/json
// for a string, it ignores null.
func (v *wireValue) UnmarshalJSON(raw []byte) error {
	if string(raw) != "null" {
		*v = bytes.Clone(raw)
	}
	return nil
}

// UnmarshalJSON merges repeated objects, and null removes them: encoding/json
// does both for a pointer to a struct.
func (d *wireDiff) UnmarshalJSON(raw []byte) error {
	if raw[0] != '{' {
		*d = wireDiff{unreadable: string(raw) != "null"}
		return nil
	}
	d.unreadable = false
	if d.fields == nil {
		d.fields = new(wireDiffFields)
	}
	return json.Unmarshal(raw, d.fields)
}

// parseLeniently reads an event field by field and lists the fields without a
// readable value. It fails only if body is not a JSON object.
func parseLeniently(body []byte) (*Event, error) {
	var wire wireEvent
	if err := json.Unmarshal(body, &wire); err != nil {
		return nil, err
	}
	var r lenientReader
	e := &Event{
		Type:            r.text("event", wire.Type),
		MonitorID:       r.text("monitor_id", wire.MonitorID),
		URL:             r.text("url", wire.URL),
		TriggeredAt:     r.time("triggered_at", wire.TriggeredAt),
		Label:           r.text("label", wire.Label),
		IntervalMinutes: r.integer("interval_minutes", wire.IntervalMinutes),
		Diff:            r.diff("diff", wire.Diff),
		SnapshotURL:     r.text("snapshot_url", wire.SnapshotURL),
		Content:         r.text("content", wire.Content),
	}
	e.Unreadable = r.unreadable
	return e, nil
}

// lenientReader reads values and collects the names of the unreadable ones.
type lenientReader struct{ unreadable []string }

// note notes the field name as unreadable unless ok is true.
func (r *lenientReader) note(name string, ok bool) {
	if !ok {
		r.unreadable = append(r.unreadable, name)
	}
}

func (r *lenientReader) text(name string, v wireValue) string {
	s, ok := v.text()
	r.note(name, ok)
	return s
}

func (r *lenientReader) integer(name string, v wireValue) int {
	if v == nil {
		return 0
	}
	s, _ := v.text() // empty for other types, and no integer then
	n, ok := parseInteger(s)
	r.note(name, ok)
	return n
}

func (r *lenientReader) time(name string, v wireValue) time.Time {
	if v == nil {
		return time.Time{}
	}
	var t time.Time
	s, ok := v.text()
	if ok = ok && v[0] == '"'; ok { // a number has no unit
		t, ok = parseTime(s)
	}
	r.note(name, ok)
	return t
}

func (r *lenientReader) list(name string, v wireValue) []string {
	list, ok := v.list()
	r.note(name, ok)
	return list
}

func (r *lenientReader) diff(name string, d wireDiff) *Diff {
	r.note(name, !d.unreadable)
	if d.fields == nil {
		return nil
	}
	return &Diff{
		Summary:        r.text(name+".summary", d.fields.Summary),
		Added:          r.list(name+".added", d.fields.Added),
		Removed:        r.list(name+".removed", d.fields.Removed),
		FullTextBefore: r.text(name+".full_text_before", d.fields.FullTextBefore),
		FullTextAfter:  r.text(name+".full_text_after", d.fields.FullTextAfter),
	}
}

// text returns the text of v: of a number the literal, of an absent value
// nothing. ok is false for other types.
func (v wireValue) text() (s string, ok bool) {
	switch {
	case v == nil:
		return "", true
	case v[0] == '"':
		err := json.Unmarshal(v, &s)
		return s, err == nil
	case v[0] == '-', '0' <= v[0] && v[0] <= '9':
		return string(v), true
	}
	return "", false
}

// list returns the texts of the list v. A single text is a list of length 1, and
// null in a list is an empty text. ok is false if an element has no text.
func (v wireValue) list() (list []string, ok bool) {
	if v == nil {
		return nil, true
	}
	if v[0] != '[' {
		s, ok := v.text()
		if !ok {
			return nil, false
		}
		return []string{s}, true
	}
	var elements []wireValue
	if json.Unmarshal(v, &elements) != nil {
		return nil, false
	}
	list = make([]string, len(elements))
	for i, element := range elements {
		if list[i], ok = element.text(); !ok {
			return nil, false
		}
	}
	return list, true
}

// parseInteger parses an integer in any form of a JSON number, such as 15,
// 15.0 or 1.5e1.
func parseInteger(s string) (n int, ok bool) {
	s = strings.TrimSpace(s)
	if n, err := strconv.Atoi(s); err == nil {
		return n, true
	}
	if !json.Valid([]byte(s)) { // ParseFloat also takes Inf and hexadecimal
		return 0, false
	}
	const exact = 1 << 53 // beyond it, a float64 skips integers
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < -exact || f > exact || f != float64(int(f)) {
		return 0, false
	}
	return int(f), true
}

// timeLayouts are the forms of ISO 8601 in use. time.Parse accepts a fraction
// behind the seconds of each.
var timeLayouts = [...]string{
	time.RFC3339,
	"2006-01-02T15:04:05Z0700",
	"2006-01-02T15:04:05Z07",
	"2006-01-02T15:04:05",
	"2006-01-02T15:04Z07:00",
	"2006-01-02T15:04Z0700",
	"2006-01-02T15:04Z07",
	"2006-01-02T15:04",
}

// parseTime reads a time in the forms of timeLayouts, also in lower case, with a
// space for the T or before the zone, and with UTC for Z. Second 60 is the first
// second of the next minute. A time without a zone is in UTC, and so is the result.
// parseTime reports whether s is such a time, in the years 0 to 9999, which JSON
// can hold.
func parseTime(s string) (time.Time, bool) {
	const day, minute = len("2006-01-02"), len("2006-01-02T15:04")
	if len(s) < minute || len(s) > 64 || !strings.Contains("Tt ", s[day:day+1]) { // the errors of time.Parse would copy a long text
		return time.Time{}, false
	}
	s = s[:day] + "T" + strings.ReplaceAll(strings.ToUpper(s[day+1:]), " ", "")
	if before, found := strings.CutSuffix(s, "UTC"); found {
		s = before + "Z"
	}
	var leap time.Duration
	if before, after, found := strings.Cut(s, ":60"); found && len(before) == minute {
		s, leap = before+":59"+after, time.Second
	}
	for _, layout := range timeLayouts {
		t, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		if t = t.Add(leap).UTC(); fitsJSON(t) {
			return t, true
		}
		break
	}
	return time.Time{}, false
}

// fitsJSON reports whether time.Time can marshal the year of t.
func fitsJSON(t time.Time) bool { return 0 <= t.Year() && t.Year() <= 9999 }
