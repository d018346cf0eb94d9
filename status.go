package diffhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// VerifierStatus is the state of a verifier's secrets. It holds no secret and
// marshals to JSON.
type VerifierStatus struct {
	// At is the time of this status, by the clock of the verifier's server. Since is
	// when the verifier began to count: a use before Since is not counted.
	At    time.Time `json:"at"`
	Since time.Time `json:"since"`

	// Changed is when the secrets in force last changed. Until then, a secret that is
	// not in force any more may have been used.
	Changed time.Time `json:"changed,omitzero"`

	// Source is the fingerprint of the current secret in the source's last answer. It
	// differs from Current's while the source is behind [Verifier.AcceptSuccessor] or
	// [Verifier.Rotate].
	Source string `json:"source,omitempty"`

	// SourcePrevious is the fingerprint of the previous secret in the source's last
	// answer, unless the window is over. A verifier that starts now accepts the secret,
	// even if this verifier rejected it.
	SourcePrevious string `json:"sourcePrevious,omitempty"`

	// Current and Previous are the secrets in force. Without a previous secret,
	// Previous is the zero value.
	Current  SecretStatus `json:"current,omitzero"`
	Previous SecretStatus `json:"previous,omitzero"`

	// LastRefresh is when the source was last read with success, and RefreshError the
	// error of the last read, if it failed.
	LastRefresh  time.Time `json:"lastRefresh,omitzero"`
	RefreshError string    `json:"refreshError,omitempty"`

	Hold HoldStatus `json:"hold,omitzero"`
}

// HoldStatus is the state of [Verifier.Hold]. Handled, Dropped and Full are counted
// since the verifier began to count.
type HoldStatus struct {
	// CanHold reports whether deliveries can be held: by an EventHandler, or by
	// HandleHeld.
	CanHold bool `json:"canHold"`

	// Until is when the hold ends. The zero time means no hold.
	Until time.Time `json:"until,omitzero"`

	// Held counts the deliveries signed by no secret in force, and Pending the verified
	// deliveries still to be handled.
	Held    int `json:"held"`
	Pending int `json:"pending"`

	// Handled counts the handled deliveries. Dropped counts the deliveries signed by no
	// secret in force at the end of a hold, and deliveries whose handling failed. Full
	// counts the deliveries that did not fit into MaxHeldBytes.
	Handled uint64 `json:"handled"`
	Dropped uint64 `json:"dropped"`
	Full    uint64 `json:"full"`
}

// SecretStatus is the state of a secret. A secret keeps Uses and LastUsed when it
// becomes previous.
type SecretStatus struct {
	Fingerprint string    `json:"fingerprint"`
	Uses        uint64    `json:"uses"`
	LastUsed    time.Time `json:"lastUsed,omitzero"`

	// Expires is the time from which a previous secret is, or was, rejected. The zero
	// time means: once it is removed.
	Expires time.Time `json:"expires,omitzero"`

	// Rejected reports whether [Verifier.Reject] rejected a current secret.
	Rejected bool `json:"rejected,omitempty"`
}

// Status returns the state of the verifier's secrets: the secrets in force, the
// number and the time of their uses, and the state of the source. An old secret that
// was not used for longer than DiffHook retries is safe to reject. All times are in
// UTC.
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

// lastUse returns the time of the last use as a date, counted back from now: if the
// clock was set meanwhile, the age is still right. It is too short if the machine was
// suspended, so a secret never seems to be unused for longer than it was.
func (u *usage) lastUse(since, now time.Time) time.Time {
	at := u.lastUsed()
	if at == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(at) - now.Sub(since)).UTC()
}

// begin returns an earlier time, such as the beginning of a count, as a date of now's
// clock: the clock may have been set since.
func begin(since, now time.Time) time.Time {
	counted := now.Sub(since)
	if set := now.Round(0).Sub(since.Round(0)) - counted; set.Abs() > time.Second {
		return now.Add(-counted).UTC()
	}
	return since.UTC()
}

// StatusHandler serves the verifier to a rotation. GET returns [Verifier.Status] as
// JSON. POST applies the optional values of a form in this order, reads the source
// and returns the status:
//
//   - reject: a fingerprint for [Verifier.Reject]
//   - successor: a text for [Verifier.AcceptSuccessor]
//   - hold: a duration for [Verifier.Hold], such as 10m or 0s
//
// The status is 400 for an invalid value, and nothing is done. The status is 409 with
// the text of the error if a method fails, and the later values are not applied.
// Requests of a browser from another site are rejected.
//
// Mount the handler behind your own authentication, and not on the internet. A GET
// shows no secret, but a POST can make the verifier reject deliveries, or answer them
// with 202 and drop them.
func (v *Verifier) StatusHandler() http.Handler {
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(v.serveStatus))
}

// maxStatusBytes bounds a form.
const maxStatusBytes = 64 << 10

func (v *Verifier) serveStatus(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxStatusBytes)
		order, err := readOrder(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := v.carryOut(order); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		_ = v.Refresh(r.Context()) // the status shows a failure
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v.Status())
}

// statusOrder is the form of a POST. Zero values are absent.
type statusOrder struct {
	reject, successor string
	hold              *time.Duration
}

func (v *Verifier) carryOut(o statusOrder) error {
	if o.reject != "" {
		if err := v.Reject(o.reject); err != nil {
			return err
		}
	}
	if o.successor != "" {
		if err := v.AcceptSuccessor(o.successor); err != nil {
			return err
		}
	}
	if o.hold != nil {
		return v.Hold(*o.hold)
	}
	return nil
}

// readOrder reads the form of a POST. An unreadable form is an error, not an empty
// order. Errors do not repeat a value, which may be a secret.
func readOrder(r *http.Request) (o statusOrder, err error) {
	if err := r.ParseForm(); err != nil || len(r.PostForm) == 0 && r.ContentLength != 0 {
		return o, errors.New("want a form, application/x-www-form-urlencoded, of at most 64 KiB")
	}
	query := r.URL.Query()
	if query.Has("reject") || query.Has("successor") || query.Has("hold") {
		return o, errOrderFields
	}
	for name, values := range r.PostForm {
		if len(values) != 1 {
			return o, errOrderFields
		}
		if err := o.set(name, values[0]); err != nil {
			return o, err
		}
	}
	return o, nil
}

var errOrderFields = errors.New("want each of the form values reject, successor and hold once or not at all, in the body, and no other")

func (o *statusOrder) set(name, value string) error {
	switch name {
	case "reject":
		o.reject = value
		if checkFingerprint(value) != nil {
			return errors.New("reject: not a fingerprint")
		}
	case "successor":
		o.successor = value
		if _, err := parseSealed(value); err != nil {
			return errors.New("successor: not a text of SealSuccessor")
		}
	case "hold":
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 || d > longestHold {
			return fmt.Errorf("hold: not a duration from 0s to %v", longestHold)
		}
		o.hold = &d
	default:
		return errOrderFields
	}
	return nil
}
