package diffhook

import (
	"sync/atomic"
	"time"
)

// counter counts the deliveries that a secret verified. It has a lane for each of
// several processors: two that wrote the same memory for every delivery would slow
// each other down. Its sums are exact.
type counter struct{ lanes [counterLanes]lane }

const counterLanes = 16

// lane is a part of a counter. It fills the two cache lines that processors fetch
// together.
type lane struct {
	uses     atomic.Uint64
	lastUsed atomic.Int64 // since Verifier.since, at least 1; 0: never
	_        [112]byte
}

// record counts a use in a lane. It asks for the time since the verifier was made,
// which takes half as long as asking for the date.
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
