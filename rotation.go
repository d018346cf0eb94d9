package diffhook

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// secretSet is the secrets in force, as one immutable snapshot. A verification
// loads it once, so it sees the state before a rotation or the one after it,
// and never half of one.
type secretSet struct {
	current, previous Secret    // previous may be zero
	expires           time.Time // of previous; zero: never

	// revoked is matchCurrent where the current secret has been revoked and the
	// source knows no other yet.
	revoked int

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
// takes shows whether a rotation is under way, not which secret matched.
func (s *secretSet) match(body []byte, t *tag) int {
	match := s.current.key().matches(body, t) * matchCurrent
	if s.acceptsPrevious() {
		match |= s.previous.key().matches(body, t) * matchPrevious
	}
	return match &^ s.revoked
}

// acceptsPrevious reports whether there is a previous secret and its time is
// not over. It is asked at every delivery, so that no timer is needed.
func (s *secretSet) acceptsPrevious() bool {
	return !s.previous.IsZero() && (s.expires.IsZero() || time.Now().Before(s.expires))
}

// usage counts the deliveries that one secret verified, whatever its role. It
// outlives the secret's time in force: it is what remembers a revocation.
type usage struct {
	secret   Secret // zero where only its fingerprint is known
	uses     atomic.Uint64
	lastUsed atomic.Int64 // since Verifier.since, at least 1; 0: never

	// Guarded by Verifier.mu.
	replaced bool // by RevokePrevious: not to be previous again
	revoked  bool // by Revoke: not to be accepted again at all
}

// record counts a use. It asks for the time since the verifier was made,
// which takes half as long as asking for the date.
func (u *usage) record(since time.Time) {
	u.uses.Add(1)
	u.lastUsed.Store(max(1, int64(time.Since(since))))
}

// usageOf returns the counter of s, new or known. v.mu is held.
func (v *verifierState) usageOf(s Secret) *usage {
	u := v.usage(s.Fingerprint())
	u.secret = s
	return u
}

func (v *verifierState) usage(fingerprint string) *usage {
	u := v.known[fingerprint]
	if u == nil {
		u = new(usage)
		v.known[fingerprint] = u
	}
	return u
}

// store puts a set in force, without the previous secret if it has been
// revoked or is the current one. v.mu is held.
func (v *verifierState) store(current, previous Secret, expires time.Time) {
	next := &secretSet{current: current}
	u := v.usageOf(current)
	if u.revoked {
		next.revoked = matchCurrent
	}
	next.usages = [4]*usage{matchCurrent: u, matchCurrent | matchPrevious: u}
	if !previous.IsZero() && !previous.Equal(current) {
		if u := v.usageOf(previous); !u.replaced && !u.revoked {
			next.previous, next.expires = previous, expires
			next.usages[matchPrevious] = u
		}
	}
	before := v.set.Load()
	if before != nil && before.equal(next) {
		return
	}
	v.changed = time.Now()
	v.set.Store(next)
	if v.opts.Logger == nil || before == nil {
		return
	}
	attrs := []slog.Attr{slog.String("current", current.Fingerprint())}
	if next.revoked != 0 {
		attrs = append(attrs, slog.Bool("current_revoked", true))
	}
	if !next.previous.IsZero() {
		attrs = append(attrs, slog.String("previous", next.previous.Fingerprint()))
	}
	if !next.expires.IsZero() {
		attrs = append(attrs, slog.Time("previous_expires", next.expires))
	}
	v.note(slog.LevelInfo, "diffhook: signing secrets changed", attrs...)
}

// equal reports whether both accept the same.
func (s *secretSet) equal(t *secretSet) bool {
	return s.current.Equal(t.current) && s.previous.Equal(t.previous) && s.expires.Equal(t.expires) && s.revoked == t.revoked
}

// Rotate makes next the current secret and keeps accepting the one it replaces
// for window. Use it where the new secret is known before the source has it.
//
// A window of 0 refuses the replaced secret at once, and one that an earlier
// rotation left as previous is dropped. Rotating to the current secret changes
// nothing. The change is this verifier's alone and lasts until its source
// brings a new answer: rotate the source as well, or a restart undoes it.
//
// It returns an error that wraps [ErrInvalidSecret] for a next that is zero or
// that [Verifier.Revoke] has revoked, [ErrInvalidOptions] for a negative window,
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
	case v.usageOf(next).revoked:
		return fmt.Errorf("%w: Rotate to %s, which has been revoked", ErrInvalidSecret, next.Fingerprint())
	case next.Equal(set.current):
	case window == 0:
		v.store(next, Secret{}, time.Time{})
	default:
		v.store(next, set.current, time.Now().Add(window))
	}
	return nil
}

// RevokePrevious refuses the previous secret from now on, as after a leak or
// once no delivery needs it any more. A secret so refused never comes back as
// previous in this verifier, whatever its source says. Without a previous
// secret nothing changes.
//
// Other servers have verifiers of their own: revoke it at the platform and in
// the source too.
func (v *Verifier) RevokePrevious() { v.live().revokePrevious() }

func (v *verifierState) revokePrevious() {
	v.mu.Lock()
	defer v.unlock()
	set := v.set.Load()
	if set == nil || set.previous.IsZero() {
		return
	}
	v.usageOf(set.previous).replaced = true
	v.store(set.current, Secret{}, time.Time{})
}

// Revoke refuses the secret with the given fingerprint from now on, whatever
// its role and whatever the source says, as after a leak. Where it is the
// current one and the source knows no other, deliveries that the previous one
// did not sign are answered 503 ([ErrSecretsUnavailable]) until it does.
//
// It is forgotten with the verifier: after a restart only the source decides.
// Other servers have verifiers of their own; [SigningSecretService.Revoke]
// reaches them, the platform and the source too. It returns an error that wraps
// [ErrInvalidOptions] for what is no fingerprint, and [ErrSecretsUnavailable]
// from a zero Verifier.
func (v *Verifier) Revoke(fingerprint string) error {
	if err := checkFingerprint(fingerprint); err != nil {
		return err
	}
	return v.live().revoke(fingerprint)
}

func (v *verifierState) revoke(fingerprint string) error {
	v.mu.Lock()
	defer v.unlock()
	set := v.set.Load()
	if set == nil {
		return errZeroVerifier
	}
	v.usage(fingerprint).revoked = true
	if fingerprint == set.current.Fingerprint() || fingerprint == set.previous.Fingerprint() {
		v.store(set.current, set.previous, set.expires)
	}
	return nil
}

// checkFingerprint refuses what no [Secret.Fingerprint] can be, without
// repeating it: it may be the secret.
func checkFingerprint(s string) error {
	if len(s) != 2*fingerprintBytes || strings.Trim(s, "0123456789abcdef") != "" {
		return fmt.Errorf("%w: a fingerprint is %d digits of 0-9 and a-f, as Secret.Fingerprint and Verifier.Status have it", ErrInvalidOptions, 2*fingerprintBytes)
	}
	return nil
}

var (
	errNoCurrent      = errors.New("the source answered without a current secret")
	errBadExpiry      = errors.New("the source answered with a PreviousExpires outside the years 0 to 9999")
	errRevokedCurrent = errors.New("the current secret has been revoked, and the source knows no other")
)

// apply puts an answer of the source in force. v.mu is held.
func (v *verifierState) apply(answer Secrets) error {
	if answer.Current.IsZero() {
		return errNoCurrent
	}
	if year := answer.PreviousExpires.UTC().Year(); year < 0 || year > 9999 {
		return errBadExpiry // JSON has no such time
	}
	answer = answer.normalized()
	last, set := v.last, v.set.Load()
	if v.usageOf(answer.Current).revoked {
		return errRevokedCurrent // the source is behind
	}
	if set != nil && answer.equal(last) && set.revoked == 0 {
		return nil // so that Rotate and RevokePrevious stand
	}
	v.last = answer
	previous, expires := answer.Previous, answer.PreviousExpires
	if set != nil && previous.IsZero() && !answer.NoPrevious {
		previous, expires = v.keepReplaced(set, last, answer)
	}
	v.store(answer.Current, previous, expires)
	return nil
}

// keepReplaced returns the previous secret to go on with after an answer that
// says nothing of one.
func (v *verifierState) keepReplaced(set *secretSet, last, answer Secrets) (Secret, time.Time) {
	if answer.Current.Equal(set.current) {
		if !last.Previous.IsZero() && last.Previous.Equal(set.previous) {
			return Secret{}, time.Time{} // the source named it and no longer does
		}
		return set.previous, set.expires
	}
	if v.opts.RotationWindow < 0 {
		return Secret{}, time.Time{}
	}
	return set.current, time.Now().Add(v.opts.RotationWindow)
}
