package diffhook

import "time"

// refreshBurst is how many reads for misses may follow each other at once. The
// source may lag behind a rotation, and a forgery may have used a read up.
const refreshBurst = 3

// maxRefreshInterval keeps sums of intervals within a Duration. It is 36 years.
const maxRefreshInterval = 1 << 60

// budget is a bucket of refreshBurst reads. One read comes back per interval, so
// that the interval is an average. The zero value is a full bucket.
type budget struct {
	full time.Time // when all reads are back
}

// next returns when the next read may begin: in the past if a read is left. An
// interval below zero means no limit.
func (b *budget) next(interval time.Duration) time.Time {
	if interval < 0 {
		return time.Time{}
	}
	return b.full.Add(-(refreshBurst - 1) * min(interval, maxRefreshInterval))
}

// take takes a read at the given time.
func (b *budget) take(now time.Time, interval time.Duration) {
	if b.full.Before(now) {
		b.full = now
	}
	b.full = b.full.Add(min(max(0, interval), maxRefreshInterval))
}
