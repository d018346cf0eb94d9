package diffhook

import (
	"sync/atomic"
	"time"
)

// counter counts the deliveries of a secret, in a lane for each of several
// processors. Two processors that wrote the same memory for every delivery would
// slow each other down. The sums are exact.
type counter struct{ lanes [counterLanes]lane }

const counterLanes = 16

// lane is a part of a counter. A lane fills two cache lines, which processors fetch
// together.
type lane struct {
	uses     atomic.Uint64
	lastUsed atomic.Int64 // since Verifier.since, at least 1; 0: never
	_        [112]byte
}

// record counts a use in a lane. The time since the verifier was made takes half as
// long to read as the date.
func (c *counter) record(lane uint32, since time.Time) {
	l := &c.lanes[lane%counterLanes]
	l.uses.Add(1)
	l.lastUsed.Store(max(1, int64(time.Since(since))))
}

func (c *counter) uses() (n uint64) {
	for i := range c.lanes {
		n += c.lanes[i].uses.Load()
	}
	return n
}

// lastUsed returns the time of the last use, counted from Verifier.since, or 0.
func (c *counter) lastUsed() (last int64) {
	for i := range c.lanes {
		last = max(last, c.lanes[i].lastUsed.Load())
	}
	return last
}
