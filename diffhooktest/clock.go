package diffhooktest

import (
	"context"
	"sync"
	"time"
)

// clock is the real time, or the time of a testing/synctest bubble, plus an offset.
// It can stand still.
type clock struct {
	origin time.Time // real, with a monotonic reading

	mu    sync.Mutex
	base  time.Time     // the clock's time at origin, plus all moves; UTC, without a monotonic reading
	still time.Time     // the time of a halted clock; zero while the clock runs
	moved chan struct{} // closed and replaced at each move, stop or start
}

func newClock() *clock {
	now := time.Now()
	return &clock{origin: now, base: now.UTC().Round(0), moved: make(chan struct{})}
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nowLocked()
}

func (c *clock) nowLocked() time.Time {
	if !c.still.IsZero() {
		return c.still
	}
	return c.base.Add(time.Since(c.origin))
}

// stop halts the clock until start.
func (c *clock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.still = c.nowLocked()
	c.wake()
}

// start lets a halted clock run on.
func (c *clock) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base = c.still.Add(-time.Since(c.origin))
	c.still = time.Time{}
	c.wake()
}

// move sets a halted clock to t, but never back.
func (c *clock) move(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.still) {
		c.still = t
		c.wake()
	}
}

// set sets a running clock to t, also back.
func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base = t.UTC().Round(0).Add(-time.Since(c.origin))
	c.wake()
}

func (c *clock) wake() {
	close(c.moved)
	c.moved = make(chan struct{})
}

// sleep waits for d on the clock, or returns the error of ctx.
func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	until := c.now().Add(d)
	for {
		c.mu.Lock()
		left, still, moved := until.Sub(c.nowLocked()), !c.still.IsZero(), c.moved
		c.mu.Unlock()
		if left <= 0 {
			return nil
		}
		var passed <-chan time.Time // nil while the clock stands still
		if !still {
			passed = time.After(left)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-passed:
		case <-moved:
		}
	}
}
