package diffhooktest

import (
	"context"
	"sync"
	"time"
)

// clock is real time, or within a testing/synctest bubble the bubble's, moved
// by an offset that only grows. It can be made to stand still.
type clock struct {
	origin time.Time // real, with its monotonic reading

	mu    sync.Mutex
	base  time.Time     // what the clock showed at origin, plus all moves; UTC, no monotonic reading
	still time.Time     // what it shows while it stands still; zero while it runs
	moved chan struct{} // closed at the next move, stop or start
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

// stop makes the clock stand still until start.
func (c *clock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.still = c.nowLocked()
	c.wake()
}

// start lets the clock run on from where it stands.
func (c *clock) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base = c.still.Add(-time.Since(c.origin))
	c.still = time.Time{}
	c.wake()
}

// move turns a clock that stands still to t, never back.
func (c *clock) move(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.still) {
		c.still = t
		c.wake()
	}
}

// set turns a running clock to t, back too.
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

// sleep returns when d has passed on the clock, or with the error of ctx.
func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	until := c.now().Add(d)
	for {
		c.mu.Lock()
		left, still, moved := until.Sub(c.nowLocked()), !c.still.IsZero(), c.moved
		c.mu.Unlock()
		if left <= 0 {
			return nil
		}
		var passed <-chan time.Time // never, while the clock stands still
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
