package diffhook

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

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
