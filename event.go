package diffhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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
