package rotation

import (
	"cmp"
	"slices"
	"time"

	"github.com/diffhook/diffhook-go"
)

// MergedSecret is the status of a secret over several receivers. A MergedSecret does
// not contain the secret, and marshals to JSON as it is.
type MergedSecret struct {
	Fingerprint string `json:"fingerprint"`

	// CurrentAt and PreviousAt name the receivers that accept the secret in this role.
	CurrentAt  []string `json:"currentAt,omitempty"`
	PreviousAt []string `json:"previousAt,omitempty"`

	// Uses is the sum of the receivers' counts. The sum falls when a receiver restarts.
	Uses uint64 `json:"uses"`

	// Unused is the time for which certainly no receiver used the secret: the shortest
	// over all receivers, each by the clock of the receiver. The time of a receiver
	// begins with the last use or with Since. Without both, Unused is 0. In JSON, Unused
	// is in nanoseconds.
	Unused time.Duration `json:"unused"`
}

// Merge merges the statuses of receivers, by name, into a list of their current and
// previous secrets. The secret that is current at most receivers comes first. Merge
// compares fingerprints and not roles: at a receiver behind a rotation, the old secret
// is still current.
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

// mergeSecret is Merge for a single secret, perhaps unknown to the receivers.
func mergeSecret(fingerprint string, statuses map[string]diffhook.VerifierStatus) MergedSecret {
	merged := MergedSecret{Fingerprint: fingerprint}
	first := true
	for name, status := range statuses {
		for _, s := range []diffhook.SecretStatus{status.Current, status.Previous} {
			if s.Fingerprint == fingerprint {
				merged.Uses += s.Uses
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

// accepts reports whether the receiver accepted the secret in this role at the time of
// the status.
func accepts(s diffhook.VerifierStatus, fingerprint string, role diffhook.SecretStatus) bool {
	return role.Fingerprint == fingerprint && !role.Rejected && (role.Expires.IsZero() || s.At.Before(role.Expires))
}

// unusedFor returns the time for which the receiver certainly did not use a secret, by
// the clock of the receiver.
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
	last = s.Since // earlier uses are not counted
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
		last = s.Changed // until then the secret may have been in force
	}
	return last
}
