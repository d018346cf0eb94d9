package diffhooktest

import (
	"net/http"
	"strconv"
	"time"
)

// rateWindow is the period of a rate limit.
const rateWindow = time.Minute

// rateLog contains the times of the counted requests of a key or an address in the
// last minute. At exactly a minute of age, a request no longer counts.
type rateLog struct{ times []time.Time }

func (l *rateLog) prune(now time.Time) {
	old := 0
	for old < len(l.times) && !l.times[old].After(now.Add(-rateWindow)) {
		old++
	}
	l.times = l.times[old:]
}

// wait returns the time until a request fits into the limit; 0 means now.
func (l *rateLog) wait(limit int, now time.Time) time.Duration {
	if len(l.times) < limit {
		return 0
	}
	return l.times[len(l.times)-limit].Add(rateWindow).Sub(now)
}

// reset returns the time until the limit is fully available. The log must not be
// empty.
func (l *rateLog) reset(now time.Time) time.Duration {
	return l.times[len(l.times)-1].Add(rateWindow).Sub(now)
}

// quota is a limit with the log of the counted requests.
type quota struct {
	log   *rateLog
	limit int
}

func (q quota) remaining() int { return max(0, q.limit-len(q.log.times)) }

// admit counts a request in all quotas, or rejects it if a quota is used up. A
// rejected request does not count (assumed). The headers describe the quota with
// the least left.
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
