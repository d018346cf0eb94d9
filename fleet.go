package diffhook

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Receiver is the verifier of one server, as a rotation sees it: in this
// process by [LocalReceiver], or elsewhere by way of its
// [Verifier.StatusHandler] as a [RemoteReceiver]. Behind a load balancer, each
// server is a receiver of its own. All methods may be called concurrently; they
// return an error where the server cannot be reached.
type Receiver interface {
	// Status returns the state of the verifier at this moment, not a copy kept.
	Status(ctx context.Context) (RotationStatus, error)

	// Refresh makes it read its source, as [Verifier.Refresh].
	Refresh(ctx context.Context) error

	// Revoke makes it refuse a secret, as [Verifier.Revoke].
	Revoke(ctx context.Context, fingerprint string) error
}

// LocalReceiver returns v as a [Receiver].
func LocalReceiver(v *Verifier) Receiver { return localReceiver{v} }

type localReceiver struct{ v *Verifier }

func (l localReceiver) Status(context.Context) (RotationStatus, error) {
	if l.v == nil {
		return RotationStatus{}, errNilReceiver
	}
	return l.v.Status(), nil
}

func (l localReceiver) Refresh(ctx context.Context) error {
	if l.v == nil {
		return errNilReceiver
	}
	return l.v.Refresh(ctx)
}

func (l localReceiver) Revoke(_ context.Context, fingerprint string) error {
	if l.v == nil {
		return errNilReceiver
	}
	return l.v.Revoke(fingerprint)
}

var errNilReceiver = fmt.Errorf("%w: the Verifier of LocalReceiver is nil", ErrInvalidOptions)

// StatusHandler serves the verifier to a [RemoteReceiver]: GET returns
// [Verifier.Status] as JSON. POST reads the source anew before that and, with
// the form value revoke, first calls [Verifier.Revoke] with that fingerprint.
// Requests that a browser sends from another site are refused.
//
// Mount it behind your own authentication, and not on the internet: it shows no
// secret, but who can POST to it can have deliveries refused.
func (v *Verifier) StatusHandler() http.Handler {
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(v.serveStatus))
}

const (
	revokeField = "revoke"

	// maxStatusBytes bounds what is read of a status or an order. A status has
	// some 700 bytes and an error's text of at most 300 characters.
	maxStatusBytes = 64 << 10
)

func (v *Verifier) serveStatus(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxStatusBytes)
		fingerprints, err := orders(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, fingerprint := range fingerprints {
			_ = v.Revoke(fingerprint) // of a zero Verifier, which refuses all
		}
		_ = v.Refresh(r.Context()) // the status shows where it failed
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v.Status())
}

// orders returns the fingerprints that a POST wants revoked. What cannot be read
// is an error: it may be an order.
func orders(r *http.Request) ([]string, error) {
	if err := r.ParseForm(); err != nil || len(r.PostForm) == 0 && r.ContentLength != 0 {
		return nil, errors.New("want a form, application/x-www-form-urlencoded, of at most 64 KiB")
	}
	fingerprints := r.PostForm[revokeField]
	if r.URL.Query().Has(revokeField) || len(r.PostForm) > 1 || len(r.PostForm) == 1 && len(fingerprints) == 0 {
		return nil, errors.New("want the form value revoke, in the body, or nothing")
	}
	for _, fingerprint := range fingerprints {
		if checkFingerprint(fingerprint) != nil {
			return nil, errors.New("revoke: not a fingerprint")
		}
	}
	return fingerprints, nil
}

// RemoteReceiver is a [Receiver] on another server, at the URL where its
// [Verifier.StatusHandler] is mounted. Only URL is required.
type RemoteReceiver struct {
	// URL should be https wherever Authorize adds a credential.
	URL string

	// Authorize adds what your authentication asks for, such as a header. By
	// default, nothing is added.
	Authorize func(*http.Request)

	// HTTPClient sends the requests. It is copied; redirects are not followed.
	// By default, [http.DefaultClient].
	HTTPClient *http.Client
}

// Status asks for the receiver's status.
func (r *RemoteReceiver) Status(ctx context.Context) (RotationStatus, error) {
	return r.send(ctx, http.MethodGet, nil)
}

// Refresh makes the receiver read its source. It returns an error also where
// that failed.
func (r *RemoteReceiver) Refresh(ctx context.Context) error {
	status, err := r.send(ctx, http.MethodPost, nil)
	if err == nil && status.RefreshError != "" {
		err = fmt.Errorf("%w: the receiver says: %s", ErrSecretsUnavailable, scrub(status.RefreshError, 400))
	}
	return err
}

// Revoke makes the receiver refuse the secret with the given fingerprint.
func (r *RemoteReceiver) Revoke(ctx context.Context, fingerprint string) error {
	if err := checkFingerprint(fingerprint); err != nil {
		return err
	}
	_, err := r.send(ctx, http.MethodPost, url.Values{revokeField: {fingerprint}})
	return err
}

func (r *RemoteReceiver) send(ctx context.Context, method string, form url.Values) (status RotationStatus, err error) {
	if r == nil {
		return status, fmt.Errorf("%w: the RemoteReceiver is nil", ErrInvalidOptions)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.URL, strings.NewReader(form.Encode()))
	if err != nil || req.URL.Scheme != "https" && req.URL.Scheme != "http" || req.URL.Host == "" {
		return status, fmt.Errorf("%w: the RemoteReceiver's URL is not one of https or http", ErrInvalidOptions)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if r.Authorize != nil {
		r.Authorize(req)
	}
	client := *http.DefaultClient
	if r.HTTPClient != nil {
		client = *r.HTTPClient
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		// Not the error itself, which quotes the URL.
		for wrapped := (*url.Error)(nil); errors.As(err, &wrapped); {
			err = wrapped.Err
		}
		return status, fmt.Errorf("diffhook: the receiver does not answer: %w", err)
	}
	defer closeBody(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return status, fmt.Errorf("%w: the receiver answered %d; is its StatusHandler mounted there, and does it accept what Authorize adds?", ErrUnexpectedResponse, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxStatusBytes))
	if err != nil {
		return status, fmt.Errorf("diffhook: the receiver's answer broke off: %w", err)
	}
	if err := json.Unmarshal(body, &status); err != nil || status.At.IsZero() {
		return RotationStatus{}, fmt.Errorf("%w: the receiver did not answer with a RotationStatus", ErrUnexpectedResponse)
	}
	return status, nil
}

// FleetStatus is what the statuses of several receivers say together, secret by
// secret. It holds no secret and marshals to JSON as it is.
type FleetStatus struct {
	// Secrets are those that a receiver has in force, by fingerprint: the ones
	// that most have as current come first.
	Secrets []FleetSecretStatus `json:"secrets"`
}

// FleetSecretStatus is the state of one secret over several receivers.
type FleetSecretStatus struct {
	Fingerprint string `json:"fingerprint"`

	// CurrentAt and PreviousAt name the receivers that accept it in that role.
	CurrentAt  []string `json:"currentAt,omitempty"`
	PreviousAt []string `json:"previousAt,omitempty"`

	// Uses is the sum of the receivers' counts. It falls when one restarts.
	Uses uint64 `json:"uses"`

	// LastUsed is the latest use that is known, by the clock of the receiver
	// which saw it.
	LastUsed time.Time `json:"lastUsed,omitzero"`

	// Unused is for how long it is certain that none of the receivers has used
	// it, in nanoseconds of JSON. Each counts by its own clock. One that began to
	// count a minute ago, or that says nothing of when, leaves a minute or none.
	Unused time.Duration `json:"unused"`
}

// MergeStatuses merges statuses, by the receivers' names, into one. It goes by
// what a status says of each fingerprint and not of roles, since a receiver that
// has not learned of a rotation still has the old secret as its current one.
func MergeStatuses(statuses map[string]RotationStatus) FleetStatus {
	fleet := FleetStatus{Secrets: []FleetSecretStatus{}} // [] in JSON, not null
	for _, status := range statuses {
		for _, s := range []SecretStatus{status.Current, status.Previous} {
			known := slices.ContainsFunc(fleet.Secrets, func(f FleetSecretStatus) bool { return f.Fingerprint == s.Fingerprint })
			if s.Fingerprint != "" && !known {
				fleet.Secrets = append(fleet.Secrets, mergeSecret(s.Fingerprint, statuses))
			}
		}
	}
	slices.SortFunc(fleet.Secrets, func(a, b FleetSecretStatus) int {
		return cmp.Or(len(b.CurrentAt)-len(a.CurrentAt), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return fleet
}

// mergeSecret is MergeStatuses for one secret, whether any receiver has it or not.
func mergeSecret(fingerprint string, statuses map[string]RotationStatus) FleetSecretStatus {
	merged := FleetSecretStatus{Fingerprint: fingerprint}
	first := true
	for name, status := range statuses {
		last := status.Since
		if !status.has(fingerprint) && status.Changed.After(last) {
			last = status.Changed // it may have used it until then
		}
		for _, s := range []SecretStatus{status.Current, status.Previous} {
			if s.Fingerprint != fingerprint {
				continue
			}
			merged.Uses += s.Uses
			if s.LastUsed.After(merged.LastUsed) {
				merged.LastUsed = s.LastUsed
			}
			if s.LastUsed.After(last) {
				last = s.LastUsed
			}
		}
		if status.accepts(fingerprint, status.Current) {
			merged.CurrentAt = append(merged.CurrentAt, name)
		}
		if status.accepts(fingerprint, status.Previous) {
			merged.PreviousAt = append(merged.PreviousAt, name)
		}
		unused := max(0, status.At.Sub(last))
		if last.IsZero() {
			unused = 0
		}
		if first || unused < merged.Unused {
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
func (s RotationStatus) accepts(fingerprint string, role SecretStatus) bool {
	return role.Fingerprint == fingerprint && !role.Revoked && (role.Expires.IsZero() || s.At.Before(role.Expires))
}

// has reports whether the secret with the fingerprint is one of the two, whether
// it is accepted or not.
func (s RotationStatus) has(fingerprint string) bool {
	return s.Current.Fingerprint == fingerprint || s.Previous.Fingerprint == fingerprint
}
