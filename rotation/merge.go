package rotation

import (
	"cmp"
	"slices"
	"time"

	"github.com/diffhook/diffhook-go"
)

// MergedSecret is what several receivers say together of one secret. It does not
// hold the secret and marshals to JSON as it is.
type MergedSecret struct {
	Fingerprint string `json:"fingerprint"`

	// CurrentAt and PreviousAt name the receivers that accept it in that role.
	CurrentAt  []string `json:"currentAt,omitempty"`
	PreviousAt []string `json:"previousAt,omitempty"`

	// Uses is the sum of the receivers' counts. It falls when one restarts.
	Uses uint64 `json:"uses"`

	// LastUsed is the latest use that is known, by the clock of the receiver
	// which saw it.
	LastUsed time.Time `json:"lastUsed,omitzero"`

	// Unused is how long it is certain that no receiver has used it: the
	// shortest time that any of them vouches for, each by its own clock. One that
	// began to count a minute ago vouches for a minute, and one that does not say
	// since when, for none. In JSON it is in nanoseconds.
	Unused time.Duration `json:"unused"`
}

// Merge merges statuses, by the receivers' names, secret by secret: all
// that a receiver has in force, those first that most have as current. It goes by
// what a status says of each fingerprint and not of roles, since a receiver that
// has not learned of a rotation still has the old secret as its current one.
func Merge(statuses map[string]diffhook.VerifierStatus) []MergedSecret {
	merged := []MergedSecret{} // [] in JSON, not null
	for _, status := range statuses {
		for _, s := range []diffhook.SecretStatus{status.Current, status.Previous} {
			known := slices.ContainsFunc(merged, func(m MergedSecret) bool { return m.Fingerprint == s.Fingerprint })
			if s.Fingerprint != "" && !known {
				merged = append(merged, mergeSecret(s.Fingerprint, statuses))
			}
		}
	}
	slices.SortFunc(merged, func(a, b MergedSecret) int {
		return cmp.Or(len(b.CurrentAt)-len(a.CurrentAt), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return merged
}

// mergeSecret is Merge for one secret, whether any receiver has it or not.
func mergeSecret(fingerprint string, statuses map[string]diffhook.VerifierStatus) MergedSecret {
	merged := MergedSecret{Fingerprint: fingerprint}
	first := true
	for name, status := range statuses {
		for _, s := range []diffhook.SecretStatus{status.Current, status.Previous} {
			if s.Fingerprint != fingerprint {
				continue
			}
			merged.Uses += s.Uses
			if s.LastUsed.After(merged.LastUsed) {
				merged.LastUsed = s.LastUsed
			}
		}
		if accepts(status, fingerprint, status.Current) {
			merged.CurrentAt = append(merged.CurrentAt, name)
		}
		if accepts(status, fingerprint, status.Previous) {
			merged.PreviousAt = append(merged.PreviousAt, name)
		}
		if unused := unusedFor(status, fingerprint); first || unused < merged.Unused {
			merged.Unused = unused
		}
		first = false
	}
	slices.Sort(merged.CurrentAt)
	slices.Sort(merged.PreviousAt)
	return merged
}

// accepts reports whether the secret of the given role, when the status was
// taken, was the one with the fingerprint and was accepted.
func accepts(s diffhook.VerifierStatus, fingerprint string, role diffhook.SecretStatus) bool {
	return role.Fingerprint == fingerprint && !role.Rejected && (role.Expires.IsZero() || s.At.Before(role.Expires))
}

// unusedFor returns for how long the receiver vouches that it has not used a secret,
// by its own clock.
func unusedFor(s diffhook.VerifierStatus, fingerprint string) time.Duration {
	last := mayHaveUsed(s, fingerprint)
	if last.IsZero() {
		return 0
	}
	return max(0, s.At.Sub(last))
}

// mayHaveUsed returns the latest time at which the receiver may have used a
// secret.
func mayHaveUsed(s diffhook.VerifierStatus, fingerprint string) (last time.Time) {
	last = s.Since // what was before that it has not counted
	known := false
	for _, role := range []diffhook.SecretStatus{s.Current, s.Previous} {
		if role.Fingerprint != fingerprint {
			continue
		}
		known = true
		if role.LastUsed.After(last) {
			last = role.LastUsed
		}
	}
	if !known && s.Changed.After(last) {
		last = s.Changed // until when it may have had it
	}
	return last
}
