package diffhook

import (
	"sync/atomic"
	"time"
)

// window is the time in which a previous secret is accepted. The end is fixed
// by both clocks, and the earlier end counts: the wall clock may be set back, and
// the monotonic clock may stop while a machine is suspended.
type window struct {
	expires time.Time   // by the wall clock; zero: never
	closes  time.Time   // the same end by the monotonic clock, counted from the opening
	over    atomic.Bool // set at the first look after an end, and never reset
}

// openWindow returns a window that ends at expires; zero means never.
func openWindow(expires time.Time) *window {
	w := new(window)
	if !expires.IsZero() {
		now := time.Now()
		w.expires = expires.Round(0)
		w.closes = now.Add(w.expires.Sub(now))
	}
	return w
}

// isOver reports whether the window is over. Every delivery asks: no timer is
// needed. A nil window never ends.
func (w *window) isOver() bool {
	if w == nil || w.expires.IsZero() {
		return false
	}
	if w.over.Load() {
		return true
	}
	now := time.Now()
	if now.Before(w.closes) && now.Round(0).Before(w.expires) {
		return false
	}
	w.over.Store(true)
	return true
}

// end returns the end of the window for a status taken at now, by the wall clock
// of now. The end is not after now if the window is over, and zero if the window
// never ends.
func (w *window) end(now time.Time) time.Time {
	if w == nil || w.expires.IsZero() {
		return time.Time{}
	}
	end := w.expires
	if closes := begin(w.closes, now); closes.Before(end) {
		end = closes
	}
	if today := now.Round(0); w.isOver() && end.After(today) {
		end = today
	}
	return end.UTC()
}
