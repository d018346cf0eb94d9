package diffhook

import (
	"encoding/json"
	"errors"
	"net/http"
)

// StatusHandler serves the verifier to a rotation: GET returns
// [Verifier.Status] as JSON. POST reads the source anew before that and, with
// the form value reject, first calls [Verifier.Reject] with that fingerprint; the
// answer is 409 if too many unknown fingerprints are rejected already. Requests that
// a browser sends from another site are refused.
//
// Mount it behind your own authentication, and not on the internet: it shows no
// secret, but who can POST to it can have deliveries refused.
func (v *Verifier) StatusHandler() http.Handler {
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(v.serveStatus))
}

const (
	rejectField = "reject"

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
			if err := v.Reject(fingerprint); errors.Is(err, errRejectedFull) { // any other: it is zero, and refuses all
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

// order returns the fingerprint that a POST wants rejected, or "". What cannot be
// read is an error: it may be an order.
func order(r *http.Request) (fingerprint string, err error) {
	if err := r.ParseForm(); err != nil || len(r.PostForm) == 0 && r.ContentLength != 0 {
		return "", errors.New("want a form, application/x-www-form-urlencoded, of at most 64 KiB")
	}
	values := r.PostForm[rejectField]
	if r.URL.Query().Has(rejectField) || len(r.PostForm) > 1 || len(values) != len(r.PostForm) {
		return "", errors.New("want one form value reject, in the body, or nothing")
	}
	if len(values) == 0 {
		return "", nil
	}
	if checkFingerprint(values[0]) != nil {
		return "", errors.New("reject: not a fingerprint")
	}
	return values[0], nil
}
