package diffhook

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Rotate makes next the current secret, and accepts the replaced secret for window
// more. Use it if the program learns the new secret before the source does. The next
// new answer of the source replaces the change: rotate the source too, or a restart
// undoes it.
//
// An earlier previous secret is dropped. A window of 0 rejects the replaced secret at
// once. Once the window is over, the replaced secret does not come back as previous
// while the process lives; until then, the source may extend the window. If next is
// current already, nothing changes.
//
// Errors, after which nothing is changed:
//
//   - [ErrInvalidSecret]: next is zero, or was rejected by [Verifier.Reject].
//   - [ErrInvalidOptions]: the window is negative.
//   - [ErrSecretsUnavailable]: the Verifier is zero.
func (v *Verifier) Rotate(next Secret, window time.Duration) error {
	if next.IsZero() {
		return fmt.Errorf("%w: Rotate to a zero Secret; make one with NewSecret", ErrInvalidSecret)
	}
	if window < 0 {
		return fmt.Errorf("%w: the rotation window is negative; 0 rejects the replaced secret at once", ErrInvalidOptions)
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
		return fmt.Errorf("%w: Rotate: the secret %s is rejected; rotate to another secret", ErrInvalidSecret, next.Fingerprint())
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

// Reject rejects the secret with the given fingerprint from now on, in any role, and
// whatever the source says: after a leak, or once no delivery needs the replaced
// secret. If it is the current secret and the source names no other, deliveries that
// the previous secret did not sign are answered 503 ([ErrSecretsUnavailable]).
//
// The rejection ends with the process. Other servers have verifiers of their own:
// RevokeSecret of package [github.com/diffhook/diffhook-go/rotation] also reaches
// them, the platform and the source.
//
// Errors, after which nothing is changed:
//
//   - [ErrInvalidOptions]: the text is not a fingerprint.
//   - [ErrSecretsUnavailable]: the Verifier is zero.
//   - 1,000 fingerprints of unknown secrets are rejected already. A secret seen
//     by the verifier can always be rejected.
func (v *Verifier) Reject(fingerprint string) error {
	if err := checkFingerprint(fingerprint); err != nil {
		return err
	}
	return v.live().reject(fingerprint)
}

// errRejectedFull is the error of an order to reject, rather than forget an earlier
// order.
var errRejectedFull = fmt.Errorf("diffhook: Reject: %d fingerprints of unknown secrets are rejected already; compare the fingerprint with Verifier.Status, and restart the process if it is right", maxUnknownRejected)

func (v *verifierState) reject(fingerprint string) error {
	v.mu.Lock()
	defer v.unlock()
	set := v.set.Load()
	if set == nil {
		return errZeroVerifier
	}
	if u := v.known[fingerprint]; u != nil {
		u.rejected = true
	} else if !v.unknownRejected[fingerprint] {
		if len(v.unknownRejected) >= maxUnknownRejected {
			return errRejectedFull
		}
		v.unknownRejected[fingerprint] = true
	}
	if fingerprint == set.current.Fingerprint() || fingerprint == set.previous.Fingerprint() {
		v.store(set.current, set.previous, set.window)
	}
	return nil
}

var (
	errSealZero      = fmt.Errorf("%w: SealSuccessor: a secret is zero, or both are the same", ErrInvalidSecret)
	errNotSealed     = fmt.Errorf("%w: AcceptSuccessor: the text is not a result of SealSuccessor, or was changed; copy it whole", ErrInvalidSecret)
	errSealedAnother = fmt.Errorf("%w: AcceptSuccessor: the text is not sealed under the current secret; compare Verifier.Status", ErrInvalidSecret)
	errSealedReject  = fmt.Errorf("%w: AcceptSuccessor: the old or the new secret is rejected", ErrInvalidSecret)
)

// AcceptSuccessor makes the sealed secret current and accepts the replaced secret for
// RotationWindow more. sealed is a result of [Secret.SealSuccessor] of the current
// secret. If the successor is current already, nothing changes.
//
// The successor stays current until the source names a new current secret. Until then
// the source is behind, and [VerifierStatus].Source shows the old fingerprint. To
// undo a wrong successor, [Verifier.Reject] it: the next read of the source restores
// the old secret.
//
// Errors, after which nothing is changed, match:
//
//   - [ErrInvalidSecret]: sealed was changed, or is sealed under a secret other than
//     the current secret. So an old text cannot be replayed.
//   - [ErrInvalidSecret]: the old or the new secret is rejected.
//   - [ErrSecretsUnavailable]: the Verifier is zero.
func (v *Verifier) AcceptSuccessor(sealed string) error {
	s, err := parseSealed(sealed)
	if err != nil {
		return err
	}
	return v.live().acceptSuccessor(s)
}

func (v *verifierState) acceptSuccessor(s sealedSuccessor) error {
	v.mu.Lock()
	defer v.unlock()
	set := v.set.Load()
	switch {
	case set == nil:
		return errZeroVerifier
	case v.isRejected(s.old), v.isRejected(s.next):
		return errSealedReject
	case s.next == set.current.Fingerprint():
		return nil
	case s.old != set.current.Fingerprint():
		return errSealedAnother
	}
	next, err := s.open(set.current)
	if err != nil {
		return err
	}
	if v.opts.RotationWindow > 0 {
		v.store(next, set.current, openWindow(time.Now().Add(v.opts.RotationWindow)))
	} else {
		v.store(next, Secret{}, nil)
	}
	v.pushed = true
	return nil
}

// isBehind reports whether the source repeats its current secret after
// AcceptSuccessor. The caller holds v.mu.
func (v *verifierState) isBehind(set *secretSet, answer Secrets) bool {
	return v.pushed && set.rejected == 0 && answer.Current.Equal(v.last.Current)
}

var (
	errNoCurrent       = errors.New("the source answered without a current secret")
	errBadExpiry       = errors.New("the source answered with a PreviousExpires outside the years 0 to 9999")
	errRejectedCurrent = errors.New("the current secret is rejected, and the source names no other")
)

// apply puts an answer of the source in force. If the answer names a rejected current
// secret, apply returns errRejectedCurrent, and follows the answer in the previous
// secret only. The caller holds v.mu.
func (v *verifierState) apply(answer Secrets) error {
	if err := checkAnswer(answer); err != nil {
		return err
	}
	answer = answer.normalized()
	v.source = answer
	if !v.isRejected(answer.Current.Fingerprint()) {
		v.follow(answer)
		return nil
	}
	if answer.Current.Equal(v.set.Load().current) { // otherwise the source is behind
		v.follow(answer)
	}
	return errRejectedCurrent
}

// follow puts a usable answer in force, unless the source repeats itself or is behind.
// The caller holds v.mu.
func (v *verifierState) follow(answer Secrets) {
	last, set := v.last, v.set.Load()
	if set != nil && answer.equal(last) && (set.rejected == 0 || answer.Current.Equal(set.current)) {
		return // so that Rotate and Reject stand
	}
	behind := v.isBehind(set, answer)
	v.last = answer
	if behind {
		return
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
}

// checkAnswer returns an error for an unusable answer of the source.
func checkAnswer(answer Secrets) error {
	if answer.Current.IsZero() {
		return errNoCurrent
	}
	if year := answer.PreviousExpires.UTC().Year(); year < 0 || year > 9999 {
		return errBadExpiry // impossible in JSON
	}
	return nil
}

// namedWindow returns the window of the previous secret in an answer. It returns nil
// if the answer does not name the secret that was replaced last: the answer names no
// previous secret, or a secret that was replaced earlier and is out. A directory that
// is written file by file shows such answers, and also the new previous secret with
// the end of the old secret's window. The caller holds v.mu.
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

// endedAnother reports whether the window of a secret other than u's ended at the same
// moment. The caller holds v.mu.
func (v *verifierState) endedAnother(u *usage, expires time.Time) bool {
	for _, other := range v.known {
		if other != u && other.window != nil && other.window.expires.Equal(expires) {
			return true
		}
	}
	return false
}

// keepReplaced returns the previous secret after an answer without a previous secret.
func (v *verifierState) keepReplaced(set *secretSet, last, answer Secrets) (Secret, *window) {
	if answer.Current.Equal(set.current) {
		if named := last.Previous; !named.IsZero() && named.Equal(set.previous) && !named.Equal(answer.Previous) {
			return Secret{}, nil // the source withdrew the previous secret
		}
		return set.previous, set.window
	}
	if v.opts.RotationWindow < 0 {
		return Secret{}, nil
	}
	return set.current, openWindow(time.Now().Add(v.opts.RotationWindow))
}

// store puts a set in force, without the previous secret if that is rejected or equal
// to the current secret. A secret that is current again begins anew: store forgets a
// window that was over. The caller holds v.mu.
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

// noteChange logs a set that comes into force. The caller holds v.mu.
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
