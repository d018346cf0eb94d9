package diffhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Event is the content of a delivery: a watched page changed. It has the documented
// fields of both generations. A field that is absent, null or unreadable is zero.
//
// An Event marshals to JSON under the documented names, so that it can wait in a
// queue and be read back with [ParseEvent]. Raw and Unreadable are not marshalled.
type Event struct {
	// Type is the "event" field. "page.changed" is the only documented value: expect
	// others in time.
	Type string `json:"event"`

	MonitorID string `json:"monitor_id"`
	URL       string `json:"url"`

	// TriggeredAt is the time of the change, in UTC. It is the same in every attempt
	// to deliver the change.
	TriggeredAt time.Time `json:"triggered_at,omitzero"`

	// Generation 1 only.
	Label           string `json:"label,omitempty"`
	IntervalMinutes int    `json:"interval_minutes,omitempty"`
	Diff            *Diff  `json:"diff,omitempty"`
	SnapshotURL     string `json:"snapshot_url,omitempty"`

	// Content is the new text of the page. Generation 2 only.
	Content string `json:"content,omitempty"`

	// Raw is the body without a byte order mark, for further fields. It shares the
	// memory of the body.
	Raw json.RawMessage `json:"-"`

	// Unreadable lists the fields that are zero because the value cannot be read. They
	// have the order of this struct and the names in JSON, such as interval_minutes or
	// diff.added. Raw shows the values. Absent fields and null are not listed. It is
	// nil if all fields were read.
	Unreadable []string `json:"-"`
}

// Diff is the difference in an event of generation 1.
type Diff struct {
	Summary        string   `json:"summary"`
	Added          []string `json:"added"`
	Removed        []string `json:"removed"`
	FullTextBefore string   `json:"full_text_before"`
	FullTextAfter  string   `json:"full_text_after"`
}

// DedupKey returns a key that is the same for every attempt to deliver a change, and
// differs between changes. To handle a change once, save the keys of the handled
// events. The platform sends no id: monitor_id and triggered_at together name a
// change. DedupKey returns "" if the event lacks either field: handle such an event
// each time, since "" is the key of all such events.
func (e *Event) DedupKey() string {
	if e.MonitorID == "" || e.TriggeredAt.IsZero() {
		return ""
	}
	return e.MonitorID + "@" + e.TriggeredAt.UTC().Format(time.RFC3339Nano)
}

// ParseEvent reads the event in the body of a delivery of either generation. Verify
// the body first. Unknown types of events and unknown fields are no error, and no
// field is required. Names match in any case, and the last of repeated fields counts,
// as in encoding/json.
//
// A field of another type than documented is read if the meaning is clear: a number
// for a text, a text for a number, a text for a list, a time in another form of ISO
// 8601. Otherwise the field is zero and in [Event].Unreadable.
//
// If body is not a single JSON object, ParseEvent returns nil and an error that
// matches [ErrInvalidEvent].
func ParseEvent(body []byte) (*Event, error) {
	raw := bytes.TrimPrefix(body, []byte("\ufeff")) // the byte order mark
	object := value(bytes.TrimLeft(raw, " \t\r\n"))
	if !object.isObject() {
		return nil, fmt.Errorf("%w: it does not begin with {", ErrInvalidEvent)
	}
	// Ordinary events are read in one pass.
	e := new(Event)
	err := json.Unmarshal(raw, e)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return nil, fmt.Errorf("%w: %s", ErrInvalidEvent, describeJSONError(err, ""))
	}
	if e.TriggeredAt = e.TriggeredAt.UTC(); err != nil || !fitsJSON(e.TriggeredAt) {
		e = parseLeniently(object)
	}
	e.Raw = json.RawMessage(raw)
	return e, nil
}

// describeJSONError describes an error without a piece of the JSON, which the errors
// of encoding/json and time quote. other describes an error of another kind.
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

// jsonKind returns the kind of a JSON value from a text of encoding/json, in which
// the value of a number follows.
func jsonKind(value string) string {
	kind, _, _ := strings.Cut(value, " ")
	return kind
}

// eventFields and diffFields are the documented members of an event and of its diff.
var (
	eventFields = []string{"event", "monitor_id", "url", "triggered_at", "label", "interval_minutes", "diff", "snapshot_url", "content"}
	diffFields  = []string{"summary", "added", "removed", "full_text_before", "full_text_after"}
)

// parseLeniently reads an event field by field, so that a field of an unexpected type
// does not stop the reading of its neighbours.
func parseLeniently(object value) *Event {
	r := lenientReader{fields: make(map[string]value)}
	r.collect("", eventFields, object)
	e := &Event{
		Type:            r.text("event"),
		MonitorID:       r.text("monitor_id"),
		URL:             r.text("url"),
		TriggeredAt:     r.time("triggered_at"),
		Label:           r.text("label"),
		IntervalMinutes: r.integer("interval_minutes"),
		Diff:            r.diff("diff"),
		SnapshotURL:     r.text("snapshot_url"),
		Content:         r.text("content"),
	}
	e.Unreadable = r.unreadable
	return e
}

// lenientReader reads the fields of an event, and collects the names of the
// unreadable fields.
type lenientReader struct {
	fields     map[string]value // by name, such as event or diff.summary
	unreadable []string
}

// collect keeps the last value of each documented member of object, as encoding/json
// does: null keeps the value before, except of the diff, and repeated diffs merge.
func (r *lenientReader) collect(prefix string, names []string, object value) {
	members := object.elements()
	for text := members.next(); len(text) > 0; text = members.next() {
		member, spelled := members.next(), string(text.unquoted())
		i := slices.IndexFunc(names, func(name string) bool { return strings.EqualFold(name, spelled) })
		if i < 0 {
			continue
		}
		name := prefix + names[i]
		if name == "diff" && !member.isObject() {
			maps.DeleteFunc(r.fields, func(name string, _ value) bool { return strings.HasPrefix(name, "diff") })
		}
		if !member.isNull() {
			r.fields[name] = member
		}
		if name == "diff" && member.isObject() {
			r.collect("diff.", diffFields, member)
		}
	}
}

// note notes the field as unreadable unless ok is true.
func (r *lenientReader) note(name string, ok bool) {
	if !ok {
		r.unreadable = append(r.unreadable, name)
	}
}

func (r *lenientReader) text(name string) string {
	v := r.fields[name]
	r.note(name, len(v) == 0 || v.isText() || v.isNumber())
	return v.text()
}

func (r *lenientReader) integer(name string) int {
	v := r.fields[name]
	n, ok := parseInteger(v.text())
	r.note(name, ok || len(v) == 0)
	return n
}

func (r *lenientReader) time(name string) (t time.Time) {
	v, ok := r.fields[name], false
	if v.isText() { // a number has no unit
		t, ok = parseTime(v.text())
	}
	r.note(name, ok || len(v) == 0)
	return t
}

// list reads a list of texts. A text alone is a list of length 1, and null in a list
// is an empty text.
func (r *lenientReader) list(name string) []string {
	v := r.fields[name]
	switch {
	case len(v) == 0:
		return nil
	case v.isText(), v.isNumber():
		return []string{v.text()}
	case !v.isList():
		r.note(name, false)
		return nil
	}
	list := []string{}
	elements := v.elements()
	for v := elements.next(); len(v) > 0; v = elements.next() {
		if !v.isText() && !v.isNumber() && !v.isNull() {
			r.note(name, false)
			return nil
		}
		list = append(list, v.text())
	}
	return list
}

func (r *lenientReader) diff(name string) *Diff {
	v := r.fields[name]
	if !v.isObject() {
		r.note(name, len(v) == 0)
		return nil
	}
	return &Diff{
		Summary:        r.text("diff.summary"),
		Added:          r.list("diff.added"),
		Removed:        r.list("diff.removed"),
		FullTextBefore: r.text("diff.full_text_before"),
		FullTextAfter:  r.text("diff.full_text_after"),
	}
}

// parseInteger parses an integer in any form of a JSON number, such as 15, 15.0 or
// 1.5e1.
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

// timeLayouts are the forms of ISO 8601 in use. time.Parse accepts a fraction after
// the seconds of each form.
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

// parseTime reads a time in the forms of timeLayouts. Lower case, a space for the T or
// before the zone, and UTC for Z are legal too. Second 60 is the first second of the
// next minute. A time without a zone is in UTC, and so is the result. parseTime reports
// whether s is such a time, in the years 0 to 9999, which JSON can hold.
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
