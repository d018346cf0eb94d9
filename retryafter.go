package diffhook

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Headers with the time at which a limit is reset. DiffHook documents such headers
// without their names: these are the common names.
var resetHeaders = [...]string{"RateLimit-Reset", "X-RateLimit-Reset", "X-Rate-Limit-Reset", "X-RateLimit-Reset-After"}

// retryAfter returns how long a response asks to wait, or 0. It reads Retry-After
// (seconds or a date; RFC 9110, 10.2.3), then inBody, which is the
// retry_after_seconds of generation 2, and then the reset headers of a 429.
//
// A date is compared with the Date of the response, since the clock of this
// machine may differ.
func retryAfter(resp *http.Response, inBody string) time.Duration {
	now, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	for _, text := range [...]string{resp.Header.Get("Retry-After"), inBody} {
		if wait, ok := parseWait(text, now); ok {
			return wait
		}
	}
	if resp.StatusCode != http.StatusTooManyRequests {
		return 0
	}
	for _, name := range resetHeaders {
		if wait, ok := parseWait(resp.Header.Get(name), now); ok {
			return wait
		}
	}
	return 0
}

// parseWait reads a number of seconds or a date. It reports false if text is
// neither.
func parseWait(text string, now time.Time) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	at, err := http.ParseTime(text)
	isDate := err == nil
	if !isDate {
		at, isDate = parseTime(text) // as in some reset headers
	}
	if isDate {
		return inSeconds(at.Sub(now).Seconds()), true
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, false
	}
	switch {
	case n > 1e11: // a date, in milliseconds since 1970
		return inSeconds(time.UnixMilli(int64(min(n, 1e14))).Sub(now).Seconds()), true
	case n > 1e9: // a date, in seconds since 1970
		return inSeconds(time.Unix(int64(n), 0).Sub(now).Seconds()), true
	}
	return inSeconds(n), true
}

// inSeconds converts a number from anybody, up to a year.
func inSeconds(n float64) time.Duration {
	const most = 365 * 24 * 60 * 60
	if !(n > 0) { // also not a number
		return 0
	}
	return time.Duration(min(n, most) * float64(time.Second))
}
