package diffhook

import (
	"time"
)

// VerifierStatus is the state of a verifier's secrets. It holds no secret and
// marshals to JSON as it is.
type VerifierStatus struct {
	// At is when this status was taken, by the clock of the verifier's server,
	// and Since when the verifier began to count: that it was not used says
	// nothing of what was before.
	At    time.Time `json:"at"`
	Since time.Time `json:"since"`

	// Changed is when the secrets in force last changed. Until then, one that
	// is not in force any more may have been used.
	Changed time.Time `json:"changed,omitzero"`

	// Source is the fingerprint of the secret that the source named as current in
	// its last answer. It differs from that of Current while the source is behind
	// [Verifier.AcceptSuccessor] or [Verifier.Rotate].
	Source string `json:"source,omitempty"`

	// SourcePrevious is the fingerprint of the secret that the source named as
	// previous in that answer, unless its window is over. A verifier that starts now
	// accepts that secret, even if this verifier has rejected it.
	SourcePrevious string `json:"sourcePrevious,omitempty"`

	// Current and Previous are the secrets in force. Previous is the zero
	// value where there is none.
	Current  SecretStatus `json:"current,omitzero"`
	Previous SecretStatus `json:"previous,omitzero"`

	// LastRefresh is when the source was last read with success, and
	// RefreshError why the last read failed, if it did.
	LastRefresh  time.Time `json:"lastRefresh,omitzero"`
	RefreshError string    `json:"refreshError,omitempty"`

	Hold HoldStatus `json:"hold,omitzero"`
}

// HoldStatus is the state of [Verifier.Hold]. Handled, Dropped and Full are counted
// since the verifier began to count.
type HoldStatus struct {
	// CanHold reports whether anything can hold: an EventHandler, or HandleHeld.
	CanHold bool `json:"canHold"`

	// Until is when the hold ends; the zero time: no hold is on.
	Until time.Time `json:"until,omitzero"`

	// Held counts the deliveries that no secret in force signed, and Pending those
	// that a secret in force signed and that are not handled yet.
	Held    int `json:"held"`
	Pending int `json:"pending"`

	// Handled counts the deliveries that were handled, and Dropped those that no
	// secret had signed when a hold ended and those whose handling failed. Full
	// counts the deliveries that did not fit into MaxHeldBytes.
	Handled uint64 `json:"handled"`
	Dropped uint64 `json:"dropped"`
	Full    uint64 `json:"full"`
}

// SecretStatus is the state of one secret. Uses and LastUsed are counted per
// secret, not per role: a secret keeps its count when it becomes previous.
type SecretStatus struct {
	Fingerprint string    `json:"fingerprint"`
	Uses        uint64    `json:"uses"`
	LastUsed    time.Time `json:"lastUsed,omitzero"`

	// Expires is when a previous secret stops, or stopped, being accepted.
	// The zero time means when it is removed.
	Expires time.Time `json:"expires,omitzero"`

	// Rejected reports a current secret that [Verifier.Reject] has rejected.
	Rejected bool `json:"rejected,omitempty"`
}

// Status returns the state of the verifier's secrets: which are in force, how
// often and when last each verified a delivery, and how the source does. An
// old secret unused for longer than DiffHook retries is safe to reject. All
// times are in UTC.
func (v *Verifier) Status() VerifierStatus {
	return v.live().status()
}

func (v *verifierState) status() VerifierStatus {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	status := VerifierStatus{
		At:           now.UTC(),
		Since:        begin(v.since, now),
		Changed:      begin(v.changed, now),
		LastRefresh:  v.read.lastSuccess.UTC(),
		RefreshError: errorText(v.read.err),
		Source:       v.source.Current.Fingerprint(),
		Hold: HoldStatus{
			CanHold: v.hold.canHold.Load(), Until: v.hold.until.UTC(), Held: len(v.hold.held), Pending: v.hold.pending,
			Handled: v.hold.handled, Dropped: v.hold.dropped, Full: v.hold.full,
		},
	}
	if end := v.source.PreviousExpires; end.IsZero() || now.Before(end) {
		status.SourcePrevious = v.source.Previous.Fingerprint()
	}
	if set := v.set.Load(); set != nil {
		status.Current = v.statusOf(set.current, set.usages[matchCurrent], now)
		status.Current.Rejected = set.rejected != 0
		if !set.previous.IsZero() {
			status.Previous = v.statusOf(set.previous, set.usages[matchPrevious], now)
			status.Previous.Expires = set.window.end(now)
		}
	}
	return status
}

func (v *verifierState) statusOf(s Secret, u *usage, now time.Time) SecretStatus {
	return SecretStatus{Fingerprint: s.Fingerprint(), Uses: u.uses(), LastUsed: u.lastUse(v.since, now)}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// lastUse turns the time back into a date, counting from now: whatever has
// been done to the clock meanwhile, the age of the last use is right, or less
// than right where the machine was suspended. A secret never seems to have
// been unused for longer than it was.
func (u *usage) lastUse(since, now time.Time) time.Time {
	at := u.lastUsed()
	if at == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(at) - now.Sub(since)).UTC()
}

// begin turns a time that was taken earlier, such as the beginning of a count,
// back into a date in the same way, where the clock has been set since.
func begin(since, now time.Time) time.Time {
	counted := now.Sub(since)
	if set := now.Round(0).Sub(since.Round(0)) - counted; set.Abs() > time.Second {
		return now.Add(-counted).UTC()
	}
	return since.UTC()
}
