package diffhook

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
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

// LocalReceiver returns v as a [Receiver]; nil, which a rotation refuses, for a
// nil v.
func LocalReceiver(v *Verifier) Receiver {
	if v == nil {
		return nil
	}
	return localReceiver{v}
}

type localReceiver struct{ v *Verifier }

func (l localReceiver) Status(context.Context) (RotationStatus, error) { return l.v.Status(), nil }

func (l localReceiver) Refresh(ctx context.Context) error { return l.v.Refresh(ctx) }

func (l localReceiver) Revoke(_ context.Context, fingerprint string) error {
	return l.v.Revoke(fingerprint)
}

// StatusHandler serves the verifier to a [RemoteReceiver]: GET returns
// [Verifier.Status] as JSON. POST reads the source anew before that and, with
// the form value revoke, first calls [Verifier.Revoke] with that fingerprint; the
// answer is 409 if too many unknown fingerprints are revoked already. Requests that
// a browser sends from another site are refused.
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
		fingerprint, err := order(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if fingerprint != "" {
			if err := v.Revoke(fingerprint); errors.Is(err, errRevokedFull) { // any other: it is zero, and refuses all
				http.Error(w, err.Error(), http.StatusConflict)
				return
			}
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

// order returns the fingerprint that a POST wants revoked, or "". What cannot be
// read is an error: it may be an order.
func order(r *http.Request) (fingerprint string, err error) {
	if err := r.ParseForm(); err != nil || len(r.PostForm) == 0 && r.ContentLength != 0 {
		return "", errors.New("want a form, application/x-www-form-urlencoded, of at most 64 KiB")
	}
	values := r.PostForm[revokeField]
	if r.URL.Query().Has(revokeField) || len(r.PostForm) > 1 || len(values) != len(r.PostForm) {
		return "", errors.New("want one form value revoke, in the body, or nothing")
	}
	if len(values) == 0 {
		return "", nil
	}
	if checkFingerprint(values[0]) != nil {
		return "", errors.New("revoke: not a fingerprint")
	}
	return values[0], nil
}
