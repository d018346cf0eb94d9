package diffhook

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"time"
)

// LogService reads the records of webhook deliveries, as [Client.Logs].
type LogService struct{ client *Client }

// Log is the record of one attempt at a delivery. DiffHook documents that there
// are such records and that they do not change, but not their fields: all of
// these are assumed, and Raw has the record as it came.
type Log struct {
	ID         string
	MonitorID  string
	Event      string // such as page.changed
	URL        string // of the webhook
	Attempt    int    // from 1
	StatusCode int    // of your answer; 0 where there was none
	Success    bool
	Error      string
	Duration   time.Duration
	CreatedAt  time.Time // in UTC

	Raw json.RawMessage
}

// List returns the records, the newest first. See [ListOptions] for how many.
func (s *LogService) List(ctx context.Context, opts *ListOptions) ([]Log, error) {
	return list[Log](ctx, s.client, "logs", opts)
}

// UnmarshalJSON reads a record with field names of either generation.
func (l *Log) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return errNullInAnswer
	}
	var w struct {
		ID, Event, URL, Error string
		Attempt               int
		Success               bool
		MonitorID             string    `json:"monitorId"`
		MonitorID2            string    `json:"monitor_id"`
		StatusCode            int       `json:"statusCode"`
		StatusCode2           int       `json:"status_code"`
		DurationMS            float64   `json:"durationMs"`
		DurationMS2           float64   `json:"duration_ms"`
		CreatedAt             time.Time `json:"createdAt"`
		CreatedAt2            time.Time `json:"created_at"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*l = Log{
		ID: w.ID, Event: w.Event, URL: w.URL, Error: w.Error, Attempt: w.Attempt, Success: w.Success,
		MonitorID:  cmp.Or(w.MonitorID, w.MonitorID2),
		StatusCode: cmp.Or(w.StatusCode, w.StatusCode2),
		Duration:   inSeconds(cmp.Or(w.DurationMS, w.DurationMS2) / 1000),
		CreatedAt:  firstTime(w.CreatedAt, w.CreatedAt2),
		Raw:        bytes.Clone(b),
	}
	return nil
}
