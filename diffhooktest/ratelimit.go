package diffhooktest

import (
	"net/http"
	"strconv"
	"time"
)

// rateWindow is the time over which requests are counted.
const rateWindow = time.Minute

// rateLog is when the requests of one key, or one address, came that count at
// the moment: those of the last minute. A request no longer counts exactly a
// minute after it came.
type rateLog struct{ times []time.Time }

func (l *rateLog) prune(now time.Time) {
	old := 0
	for old < len(l.times) && !l.times[old].After(now.Add(-rateWindow)) {
		old++
	}
	l.times = l.times[old:]
}

// wait returns how long until the log has room for one more; 0: it has now.
func (l *rateLog) wait(limit int, now time.Time) time.Duration {
	if len(l.times) < limit {
		return 0
	}
	return l.times[len(l.times)-limit].Add(rateWindow).Sub(now)
}

// reset returns how long until the limit is whole again, for a log that is not
// empty.
func (l *rateLog) reset(now time.Time) time.Duration {
	return l.times[len(l.times)-1].Add(rateWindow).Sub(now)
}

// quota is one of the limits that a request is under.
type quota struct {
	log   *rateLog
	limit int
}

func (q quota) remaining() int { return max(0, q.limit-len(q.log.times)) }

// admit counts a request under all quotas, or refuses it where one of them has
// no room; a request that is refused does not count (assumed). The headers are
// those of the quota that leaves the least.
func admit(now time.Time, quotas ...quota) (http.Header, *failure) {
	var wait time.Duration
	for _, q := range quotas {
		q.log.prune(now)
		wait = max(wait, q.log.wait(q.limit, now))
	}
	tightest := quotas[0]
	for _, q := range quotas {
		if wait == 0 {
			q.log.times = append(q.log.times, now)
		}
		if q.remaining() < tightest.remaining() {
			tightest = q
		}
	}
	header := http.Header{}
	header.Set("RateLimit-Limit", strconv.Itoa(tightest.limit))
	header.Set("RateLimit-Remaining", strconv.Itoa(tightest.remaining()))
	header.Set("RateLimit-Reset", strconv.Itoa(seconds(tightest.log.reset(now))))
	if wait > 0 {
		return header, &failure{status: http.StatusTooManyRequests, code: codeRateLimited, message: "Too many requests", retryAfter: wait}
	}
	return header, nil
}
