package diffhook

import (
	"bytes"
	"context"
	"encoding/json"
	"time"
)

// LogService reads the records of webhook deliveries, as [Client.Logs].
type LogService struct{ client *Client }

// Log is the record of an attempt at a delivery. DiffHook documents unchangeable
// records, but not their fields: all of these are assumed. Raw is the record as
// received.
type Log struct {
	ID         string
	MonitorID  string
	Event      string // such as page.changed
	URL        string // of the webhook
	Attempt    int    // from 1
	StatusCode int    // of the answer of your server; 0 without an answer
	Success    bool
	Error      string
	Duration   time.Duration
	CreatedAt  time.Time // in UTC

	Raw json.RawMessage
}

// List returns the records, the newest first. See [ListOptions] for the number of
// records. An unreadable record is in Raw.
func (s *LogService) List(ctx context.Context, opts *ListOptions) ([]Log, error) {
	return list(ctx, s.client, "logs", opts, (*Log).read)
}

// UnmarshalJSON reads a record with field names of either generation. An unreadable
// field is zero.
func (l *Log) UnmarshalJSON(b []byte) error { return unmarshal(b, l) }

func (l *Log) readData(data value) error {
	if err := data.checkObject(); err != nil {
		return err
	}
	*l = Log{}
	l.read(data)
	return nil
}

func (l *Log) read(v value) {
	var milliseconds float64
	v.fill(
		field{"id", &l.ID}, field{"monitor_id", &l.MonitorID}, field{"event", &l.Event}, field{"url", &l.URL},
		field{"attempt", &l.Attempt}, field{"status_code", &l.StatusCode}, field{"success", &l.Success},
		field{"error", &l.Error}, field{"duration_ms", &milliseconds}, field{"created_at", &l.CreatedAt},
	)
	l.Duration = inSeconds(milliseconds / 1000)
	l.Raw = bytes.Clone(v)
}
