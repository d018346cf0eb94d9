package diffhook

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// RemoteReceiver is a [Receiver] on another server, at the URL where its
// [Verifier.StatusHandler] is mounted. Only URL is required.
//
// Errors match their cause. If ctx ended, that is its error and its own cause.
// The text of an error is short, on one line, and without values of 4 bytes or
// more that Authorize added or that are in the URL, even if an answer repeats
// them.
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
		err = fmt.Errorf("%w: the receiver says: %s", ErrSecretsUnavailable, status.RefreshError)
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

// send sends a request and returns the status that answers it.
func (r *RemoteReceiver) send(ctx context.Context, method string, form url.Values) (status RotationStatus, err error) {
	req, err := r.newRequest(ctx, method, form)
	if err != nil {
		return status, err
	}
	secrets := credentialsOf(req)
	failed := func(doing string, err error) error {
		if ctx.Err() != nil {
			err = contextError(ctx)
		}
		return newForeignError(doing, err, secrets...)
	}
	resp, err := r.client().Do(req)
	if err != nil {
		// Not the error itself, which quotes the URL.
		for wrapped := (*url.Error)(nil); errors.As(err, &wrapped); {
			err = wrapped.Err
		}
		return status, failed("the receiver does not answer", err)
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
		return status, failed("the receiver's answer broke off", err)
	}
	if err := json.Unmarshal(body, &status); err != nil || !status.isComplete() {
		return RotationStatus{}, fmt.Errorf("%w: the receiver did not answer with a RotationStatus", ErrUnexpectedResponse)
	}
	status.RefreshError = scrub(status.RefreshError, 300, secrets...)
	return status, nil
}

// isComplete reports whether a status from elsewhere has a time, and nothing but
// fingerprints for fingerprints.
func (s RotationStatus) isComplete() bool {
	for _, fingerprint := range []string{s.Current.Fingerprint, s.Previous.Fingerprint} {
		if fingerprint != "" && checkFingerprint(fingerprint) != nil {
			return false
		}
	}
	return !s.At.IsZero()
}

func (r *RemoteReceiver) newRequest(ctx context.Context, method string, form url.Values) (*http.Request, error) {
	if r == nil {
		return nil, fmt.Errorf("%w: the RemoteReceiver is nil", ErrInvalidOptions)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.URL, strings.NewReader(form.Encode()))
	if err != nil || req.URL.Scheme != "https" && req.URL.Scheme != "http" || req.URL.Host == "" {
		return nil, fmt.Errorf("%w: the RemoteReceiver's URL is not one of https or http", ErrInvalidOptions)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if r.Authorize != nil {
		r.Authorize(req)
	}
	return req, nil
}

func (r *RemoteReceiver) client() *http.Client {
	client := *http.DefaultClient
	if r.HTTPClient != nil {
		client = *r.HTTPClient
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// credentialsOf returns what no error may show of a request: the values of its
// headers and cookies, and of its URL the user, the password, the query, and
// parts of the path that are as long as a secret.
func credentialsOf(req *http.Request) (secrets []string) {
	const least = 4 // what is shorter is no secret, and in every text
	add := func(texts ...string) {
		for _, text := range texts {
			if len(text) >= least {
				secrets = append(secrets, text)
			}
		}
	}
	for name, values := range req.Header {
		if name == "Content-Type" {
			continue
		}
		for _, value := range values {
			add(value)
			add(strings.Fields(value)...)                                                                    // as after Bearer
			add(strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(` ;,="`, r) })...) // as in cookies
		}
	}
	if name, password, ok := req.BasicAuth(); ok {
		add(name, password)
	}
	if req.URL == nil {
		return secrets
	}
	if user := req.URL.User; user != nil {
		password, _ := user.Password()
		add(user.Username(), password, base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	add(req.URL.RawQuery)
	for _, values := range req.URL.Query() {
		add(values...)
	}
	for part := range strings.SplitSeq(req.URL.Path, "/") {
		if len(part) >= minSecretBytes {
			add(part)
		}
	}
	return secrets
}
