package diffhook

import (
	"strings"
	"time"
)

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
