package diffhook

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// secretSet is the secrets in force, as one immutable snapshot. A verification
// loads it once, so it sees the state before a rotation or the one after it,
// and never half of one.
type secretSet struct {
	current, previous Secret  // previous may be zero
	window            *window // of previous; nil: it never ends

	// rejected is matchCurrent where the current secret has been rejected and the
	// source knows no other yet.
	rejected int

	// usages has the counter of the secret that each result of match names.
	usages [4]*usage
}

// Results of secretSet.match: a bit for each secret that matched.
const (
	matchCurrent  = 1
	matchPrevious = 2
)

// match computes the HMAC of body under every secret in force, always all of
// them, and combines the comparisons without branching on any: how long it
// takes shows whether a rotation is under way, not which secret matched. lane is
// one to count the use in.
func (s *secretSet) match(body []byte, t *tag) (match int, lane uint32) {
	match, lane = s.current.key().matches(body, t)
	match *= matchCurrent
	if s.acceptsPrevious() {
		previous, _ := s.previous.key().matches(body, t)
		match |= previous * matchPrevious
	}
	return match &^ s.rejected, lane
}

// acceptsPrevious reports whether there is a previous secret and its window is
// not over.
func (s *secretSet) acceptsPrevious() bool { return !s.previous.IsZero() && !s.window.isOver() }

// store puts a set in force, without the previous secret if that is rejected or
// is the current one. A secret that is current again begins anew: a window that
// was over is forgotten. v.mu is held.
func (v *verifierState) store(current, previous Secret, window *window) {
	v.sets++
	next := &secretSet{current: current}
	u := v.usageOf(current)
	u.window, u.inForce = nil, v.sets
	if u.rejected {
		next.rejected = matchCurrent
	}
	next.usages = [4]*usage{matchCurrent: u, matchCurrent | matchPrevious: u}
	if !previous.IsZero() && !previous.Equal(current) && !v.isRejected(previous.Fingerprint()) {
		u := v.usageOf(previous)
		u.window, u.inForce = window, v.sets
		next.previous, next.window = previous, window
		next.usages[matchPrevious] = u
	}
	v.forget()
	before := v.set.Load()
	if before != nil && before.equal(next) {
		return
	}
	v.changed = time.Now()
	v.set.Store(next)
	v.verifyHeld(next)
	if before != nil {
		v.noteChange(next)
	}
}

// noteChange logs the set that is in force from now on. v.mu is held.
func (v *verifierState) noteChange(set *secretSet) {
	if v.opts.Logger == nil {
		return
	}
	attrs := []slog.Attr{slog.String("current", set.current.Fingerprint())}
	if set.rejected != 0 {
		attrs = append(attrs, slog.Bool("current_rejected", true))
	}
	if !set.previous.IsZero() {
		attrs = append(attrs, slog.String("previous", set.previous.Fingerprint()))
	}
	if end := set.window.end(time.Now()); !end.IsZero() {
		attrs = append(attrs, slog.Time("previous_expires", end))
	}
	v.note(slog.LevelInfo, "diffhook: signing secrets changed", attrs...)
}

// equal reports whether both accept the same.
func (s *secretSet) equal(t *secretSet) bool {
	return s.current.Equal(t.current) && s.previous.Equal(t.previous) && s.window == t.window && s.rejected == t.rejected
}

// Rotate makes next the current secret and keeps accepting the one it replaces
// for window. Use it where the new secret is known before the source has it.
//
// A window of 0 refuses the replaced secret at once, and an earlier previous
// secret is dropped. Once the window is over, the replaced secret does not come
// back as previous while the process lives, whatever the source says and the
// clock is set to; as current it does. Before that, the source may extend the
// window. Rotating to the current secret changes nothing.
//
// The change is this verifier's alone and lasts until its source brings a new
// answer: rotate the source as well, or a restart undoes it.
//
// It returns an error that wraps [ErrInvalidSecret] for a next that is zero or
// that [Verifier.Reject] has rejected, [ErrInvalidOptions] for a negative window,
// and [ErrSecretsUnavailable] from a zero Verifier; nothing has changed then.
func (v *Verifier) Rotate(next Secret, window time.Duration) error {
	if next.IsZero() {
		return fmt.Errorf("%w: Rotate to a zero Secret; make one with NewSecret", ErrInvalidSecret)
	}
	if window < 0 {
		return fmt.Errorf("%w: the rotation window is negative; 0 refuses the replaced secret at once", ErrInvalidOptions)
	}
	return v.live().rotate(next, window)
}

func (v *verifierState) rotate(next Secret, window time.Duration) error {
	v.mu.Lock()
	defer v.unlock()
	set := v.set.Load()
	switch {
	case set == nil:
		return errZeroVerifier
	case v.isRejected(next.Fingerprint()):
		return fmt.Errorf("%w: Rotate to %s, which has been rejected", ErrInvalidSecret, next.Fingerprint())
	case next.Equal(set.current):
		return nil
	}
	v.pushed = false
	if window == 0 {
		v.usageOf(set.current).window = openWindow(time.Now())
		v.store(next, Secret{}, nil)
		return nil
	}
	v.store(next, set.current, openWindow(time.Now().Add(window)))
	return nil
}

var (
	errNoCurrent       = errors.New("the source answered without a current secret")
	errBadExpiry       = errors.New("the source answered with a PreviousExpires outside the years 0 to 9999")
	errRejectedCurrent = errors.New("the current secret has been rejected, and the source knows no other")
)

// apply puts an answer of the source in force. v.mu is held.
func (v *verifierState) apply(answer Secrets) error {
	if err := checkAnswer(answer); err != nil {
		return err
	}
	answer = answer.normalized()
	v.source = answer
	last, set := v.last, v.set.Load()
	if v.isRejected(answer.Current.Fingerprint()) {
		return errRejectedCurrent // the source is behind
	}
	if set != nil && answer.equal(last) && set.rejected == 0 {
		return nil // so that Rotate and Reject stand
	}
	behind := v.isBehind(set, answer)
	v.last = answer
	if behind {
		return nil
	}
	v.pushed = false
	previous, window := answer.Previous, v.namedWindow(answer)
	if window == nil {
		previous = Secret{}
	}
	if previous.IsZero() && !answer.NoPrevious && set != nil {
		previous, window = v.keepReplaced(set, last, answer)
	}
	v.store(answer.Current, previous, window)
	return nil
}

// checkAnswer refuses an answer of the source that no verifier can use.
func checkAnswer(answer Secrets) error {
	if answer.Current.IsZero() {
		return errNoCurrent
	}
	if year := answer.PreviousExpires.UTC().Year(); year < 0 || year > 9999 {
		return errBadExpiry // JSON has no such time
	}
	return nil
}

// namedWindow returns the window of the previous secret that an answer names. It
// returns nil if the answer says nothing of the secret that was replaced last: it
// names no previous secret, or a secret that was replaced earlier and is out. A
// directory that is written file by file shows such answers, and also the new
// previous secret with the end of the old secret's window. v.mu is held.
func (v *verifierState) namedWindow(answer Secrets) *window {
	if answer.Previous.IsZero() {
		return nil
	}
	u := v.usageOf(answer.Previous)
	if u.window != nil && (u.rejected || u.window.isOver()) {
		return nil
	}
	if u.window != nil && u.window.expires.Equal(answer.PreviousExpires) {
		return u.window // counted from its opening
	}
	window := openWindow(answer.PreviousExpires)
	if window.isOver() && v.endedAnother(u, window.expires) {
		return nil
	}
	return window
}

// endedAnother reports whether the window of another secret than u ended at the
// same moment. v.mu is held.
func (v *verifierState) endedAnother(u *usage, expires time.Time) bool {
	for _, other := range v.known {
		if other != u && other.window != nil && other.window.expires.Equal(expires) {
			return true
		}
	}
	return false
}

// keepReplaced returns the previous secret to go on with after an answer that
// says nothing of one.
func (v *verifierState) keepReplaced(set *secretSet, last, answer Secrets) (Secret, *window) {
	if answer.Current.Equal(set.current) {
		if named := last.Previous; !named.IsZero() && named.Equal(set.previous) && !named.Equal(answer.Previous) {
			return Secret{}, nil // the source named it and no longer does
		}
		return set.previous, set.window
	}
	if v.opts.RotationWindow < 0 {
		return Secret{}, nil
	}
	return set.current, openWindow(time.Now().Add(v.opts.RotationWindow))
}
