package diffhook

import (
	"sync/atomic"
	"time"
)

// secretSet is the secrets in force, as an immutable snapshot. A verification loads
// the set once: it sees the state before a rotation or the state after it.
type secretSet struct {
	current, previous Secret  // previous may be zero
	window            *window // of previous; nil: it never ends

	// rejected is matchCurrent if the current secret is rejected and the source names
	// no newer secret.
	rejected int

	// usages holds the usage of the secret for each result of match.
	usages [4]*usage
}

// Results of secretSet.match: a bit for each secret that matched.
const (
	matchCurrent  = 1
	matchPrevious = 2
)

// match computes the HMAC of body under every secret in force and combines the
// comparisons without a branch: the time shows whether a rotation is under way, and
// not which secret matched. lane is the lane to count the use in.
func (s *secretSet) match(body []byte, t *tag) (match int, lane uint32) {
	match, lane = s.current.key().matches(body, t)
	match *= matchCurrent
	if s.acceptsPrevious() {
		previous, _ := s.previous.key().matches(body, t)
		match |= previous * matchPrevious
	}
	return match &^ s.rejected, lane
}

// acceptsPrevious reports whether there is a previous secret whose window is not
// over.
func (s *secretSet) acceptsPrevious() bool { return !s.previous.IsZero() && !s.window.isOver() }

// equal reports whether both sets accept the same secrets.
func (s *secretSet) equal(t *secretSet) bool {
	return s.current.Equal(t.current) && s.previous.Equal(t.previous) && s.window == t.window && s.rejected == t.rejected
}

// window is the time in which a previous secret is accepted. The end is fixed
// by both clocks, and the earlier end counts: the wall clock may be set back, and
// the monotonic clock may stop while a machine is suspended.
type window struct {
	expires time.Time   // by the wall clock; zero: never
	closes  time.Time   // the same end by the monotonic clock, counted from the opening
	over    atomic.Bool // set at the first look after an end, and never reset
}

// openWindow returns a window that ends at expires. The zero time means never.
func openWindow(expires time.Time) *window {
	w := new(window)
	if !expires.IsZero() {
		now := time.Now()
		w.expires = expires.Round(0)
		w.closes = now.Add(w.expires.Sub(now))
	}
	return w
}

// isOver reports whether the window is over. Every delivery asks, so no timer is
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

// usage counts the deliveries that a secret verified, in any role. It outlives the
// time in force, and keeps a rejection and the end of a window.
type usage struct {
	counter
	secret Secret

	// Guarded by Verifier.mu.
	rejected bool    // by Reject, for good
	window   *window // the last window; nil if the secret was not replaced since it was current
	inForce  uint64  // the number of the last set with this secret
}

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

const (
	// maxKnownSecrets bounds the memory of unused secrets, if a source answers
	// with a new secret each time.
	maxKnownSecrets = 1000

	// maxUnknownRejected bounds the rejected fingerprints of unknown secrets.
	maxUnknownRejected = 1000
)

// usageOf returns the usage of s, new or known. The caller holds v.mu.
func (v *verifierState) usageOf(s Secret) *usage {
	fingerprint := s.Fingerprint()
	u := v.known[fingerprint]
	if u == nil {
		u = &usage{secret: s, rejected: v.unknownRejected[fingerprint]}
		v.known[fingerprint] = u
		delete(v.unknownRejected, fingerprint)
	}
	return u
}

// isRejected reports whether the secret with the fingerprint, known or not, is
// rejected. The caller holds v.mu.
func (v *verifierState) isRejected(fingerprint string) bool {
	if u := v.known[fingerprint]; u != nil {
		return u.rejected
	}
	return v.unknownRejected[fingerprint]
}

// forget drops the secrets that left force first, if there are too many. Used secrets
// stay: a status must not show a used secret as unused. The caller holds v.mu.
func (v *verifierState) forget() {
	for len(v.known) > maxKnownSecrets {
		var oldest *usage
		for _, u := range v.known {
			dispensable := !u.rejected && u.inForce < v.sets && u.lastUsed() == 0
			if dispensable && (oldest == nil || u.inForce < oldest.inForce) {
				oldest = u
			}
		}
		if oldest == nil {
			return
		}
		delete(v.known, oldest.secret.Fingerprint())
	}
}
