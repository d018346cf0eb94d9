package diffhook

import "time"

// refreshBurst is the number of reads on a miss without a pause. The source may
// lag behind a rotation, and a forgery may use up a read.
const refreshBurst = 3

// maxRefreshInterval keeps sums of intervals within a Duration. It is 36 years.
const maxRefreshInterval = 1 << 60

// budget is a bucket of refreshBurst reads. One read comes back per interval: the
// interval is an average. The zero value is a full bucket.
type budget struct {
	full time.Time // when the bucket is full again
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
