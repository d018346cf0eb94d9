package diffhooktest

import "time"

// logRecord is the record of an attempt, and outlives the monitor.
type logRecord struct {
	id, monitorID, url string
	number             int // of the attempt, from 1
	attempt            Attempt
	at                 time.Time
}

func (l *logRecord) fields() fields {
	reason := ""
	if l.attempt.Err != nil {
		reason = l.attempt.Err.Error()
	}
	return fields{
		"id":          l.id,
		"monitor_id":  l.monitorID,
		"event":       "page.changed",
		"url":         l.url,
		"attempt":     l.number,
		"status_code": l.attempt.StatusCode,
		"success":     l.attempt.Succeeded(),
		"error":       reason,
		"duration_ms": l.attempt.Took.Milliseconds(),
		"created_at":  timestamp(l.at),
	}
}

func (c *call) listLogs() (*response, *failure) {
	return list(c, c.team.logs, func(l logRecord) fields { return l.fields() })
}
