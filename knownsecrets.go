package diffhook

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// maxKnownSecrets bounds the memory of unused secrets, if a source answers
	// with a new secret each time.
	maxKnownSecrets = 1000

	// maxUnknownRejected bounds the rejected fingerprints of unknown secrets.
	maxUnknownRejected = 1000
)

// usage counts the deliveries that one secret verified, whatever its role. The
// counter outlives the secret's time in force, and remembers a rejection and the
// end of a window.
type usage struct {
	secret   Secret
	uses     atomic.Uint64
	lastUsed atomic.Int64 // since Verifier.since, at least 1; 0: never

	// Guarded by Verifier.mu.
	rejected bool    // by Reject, for good
	window   *window // the last window; nil if the secret was not replaced since it was current
	inForce  uint64  // the number of the last set with this secret
}

// record counts a use. It asks for the time since the verifier was made,
// which takes half as long as asking for the date.
func (u *usage) record(since time.Time) {
	u.uses.Add(1)
	u.lastUsed.Store(max(1, int64(time.Since(since))))
}

// usageOf returns the counter of s, new or known. v.mu is held.
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

// isRejected reports whether Reject refused the secret with the fingerprint,
// known or not. v.mu is held.
func (v *verifierState) isRejected(fingerprint string) bool {
	if u := v.known[fingerprint]; u != nil {
		return u.rejected
	}
	return v.unknownRejected[fingerprint]
}

// forget drops the secrets that left force first, if there are too many. Used
// secrets stay: a status must not show a used secret as unused. v.mu is held.
func (v *verifierState) forget() {
	for len(v.known) > maxKnownSecrets {
		var oldest *usage
		for _, u := range v.known {
			dispensable := !u.rejected && u.inForce < v.sets && u.lastUsed.Load() == 0
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

// Reject refuses the secret with the given fingerprint from now on, whatever
// its role and whatever the source says: after a leak, or once no delivery needs
// a replaced secret any more. If it is the current secret and the source names no
// other, deliveries that the previous secret did not sign are answered 503
// ([ErrSecretsUnavailable]) until the source does.
//
// The verifier forgets it with the process: after a restart only the source
// decides. Other servers have verifiers of their own: RevokeSecret of package
// [github.com/diffhook/diffhook-go/rotation] reaches them, the platform and the
// source too.
//
// Errors, after which nothing has changed:
//
//   - [ErrInvalidOptions]: the text is no fingerprint.
//   - [ErrSecretsUnavailable]: the Verifier is zero.
//   - 1,000 fingerprints of unknown secrets are rejected already. A secret that the
//     verifier has seen can always be rejected.
func (v *Verifier) Reject(fingerprint string) error {
	if err := checkFingerprint(fingerprint); err != nil {
		return err
	}
	return v.live().reject(fingerprint)
}

// errRejectedFull refuses an order rather than forget an earlier one.
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

// checkFingerprint refuses what no [Secret.Fingerprint] can be, without
// repeating it: it may be the secret.
func checkFingerprint(s string) error {
	if len(s) != 2*fingerprintBytes || strings.Trim(s, "0123456789abcdef") != "" {
		return fmt.Errorf("%w: a fingerprint is %d digits of 0-9 and a-f, as Secret.Fingerprint and Verifier.Status have it", ErrInvalidOptions, 2*fingerprintBytes)
	}
	return nil
}
