package diffhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Event is what a delivery says: that a monitored page changed. It has the
// documented fields of both generations; those that a delivery does not have
// are zero.
//
// It marshals to JSON under the documented names, so that it can be put into a
// queue and read back with [ParseEvent].
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

	// Raw is the body the event was read from, for fields that are not here.
	// It shares the memory of the body.
	Raw json.RawMessage `json:"-"`
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
// It returns nil and an error that wraps [ErrInvalidEvent] where body is not
// one JSON object, or a known field has another type than documented.
func ParseEvent(body []byte) (*Event, error) {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, fmt.Errorf("%w: it does not begin with {", ErrInvalidEvent)
	}
	e := new(Event)
	if err := json.Unmarshal(body, e); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrInvalidEvent, describeJSONError(err, "triggered_at is not a time such as 2026-03-16T14:22:00Z"))
	}
	e.TriggeredAt = e.TriggeredAt.UTC()
	if year := e.TriggeredAt.Year(); year < 0 || year > 9999 {
		return nil, fmt.Errorf("%w: triggered_at is outside the years 0 to 9999", ErrInvalidEvent)
	}
	e.Raw = body
	return e, nil
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
// It returns "" where the event lacks either.
func (e *Event) DedupKey() string {
	if e.MonitorID == "" || e.TriggeredAt.IsZero() {
		return ""
	}
	return e.MonitorID + "@" + e.TriggeredAt.UTC().Format(time.RFC3339Nano)
}
