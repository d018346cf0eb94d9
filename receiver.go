package diffhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
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
	if resp.StatusCode >= http.StatusInternalServerError { // perhaps of a proxy before a server that is down
		return status, fmt.Errorf("diffhook: the receiver answered %d", resp.StatusCode)
	}
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
