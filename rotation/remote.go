package rotation

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/scrub"
	"github.com/diffhook/diffhook-go/internal/wait"
)

// maxStatusBytes bounds the read of a status.
const maxStatusBytes = 64 << 10

// Remote is a [Receiver] on another server, at the URL of a mounted
// [diffhook.Verifier.StatusHandler]. Only URL is required.
//
// Errors match their cause: if ctx ended, the error and the cause of ctx. The text of
// an error is a short line. Credentials from Authorize and the URL are redacted, even if
// a response repeats them: values of 4 bytes or more, and in the path of 16 or more.
type Remote struct {
	// URL should be https if Authorize adds a credential.
	URL string

	// Authorize adds your authentication to a request, such as a header. By default,
	// nothing is added.
	Authorize func(*http.Request)

	// HTTPClient is copied and sends the requests. Redirects are not followed. By
	// default, [http.DefaultClient].
	HTTPClient *http.Client
}

// Status asks for the receiver's status.
func (r *Remote) Status(ctx context.Context) (diffhook.VerifierStatus, error) {
	return r.send(ctx, http.MethodGet, nil)
}

// Refresh makes the receiver read the source. If the read failed, the error matches
// [diffhook.ErrSecretsUnavailable].
func (r *Remote) Refresh(ctx context.Context) error {
	status, err := r.send(ctx, http.MethodPost, nil)
	if err == nil && status.RefreshError != "" {
		err = fmt.Errorf("%w: the receiver reports: %s", diffhook.ErrSecretsUnavailable, status.RefreshError)
	}
	return err
}

// Reject makes the receiver reject the secret with the given fingerprint.
func (r *Remote) Reject(ctx context.Context, fingerprint string) error {
	if !isFingerprint(fingerprint) {
		return fmt.Errorf("%w: reject a secret: the text is not a fingerprint: 16 digits 0-9a-f", diffhook.ErrInvalidOptions)
	}
	return r.post(ctx, "reject", fingerprint)
}

// Hold makes the receiver hold deliveries for d.
func (r *Remote) Hold(ctx context.Context, d time.Duration) error {
	return r.post(ctx, "hold", d.String())
}

// AcceptSuccessor sends the receiver a sealed successor.
func (r *Remote) AcceptSuccessor(ctx context.Context, sealed string) error {
	return r.post(ctx, "successor", sealed)
}

func (r *Remote) post(ctx context.Context, field, value string) error {
	_, err := r.send(ctx, http.MethodPost, url.Values{field: {value}})
	return err
}

// send sends a request and returns the status in the response.
func (r *Remote) send(ctx context.Context, method string, form url.Values) (status diffhook.VerifierStatus, err error) {
	req, err := r.newRequest(ctx, method, form)
	if err != nil {
		return status, err
	}
	secrets := credentialsOf(req)
	failed := func(doing string, err error) error {
		if ctx.Err() != nil {
			err = wait.Ended(ctx)
		}
		return scrub.Foreign(doing, err, secrets...)
	}
	resp, err := r.client().Do(req)
	if err != nil {
		// Not the error itself, which quotes the URL.
		for wrapped := (*url.Error)(nil); errors.As(err, &wrapped); {
			err = wrapped.Err
		}
		return status, failed("the receiver does not respond", err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= http.StatusInternalServerError: // perhaps of a proxy before a server that is down
		return status, fmt.Errorf("diffhook: the receiver responded %d", resp.StatusCode)
	case resp.StatusCode == http.StatusConflict: // the verifier refused, and the body is the reason
		reason, _ := io.ReadAll(io.LimitReader(resp.Body, maxStatusBytes))
		text := strings.TrimPrefix(strings.TrimSpace(string(reason)), "diffhook: ")
		return status, fmt.Errorf("%w: the receiver responded 409: %s", diffhook.ErrUnexpectedResponse, scrub.Text(text, 300, secrets...))
	case resp.StatusCode != http.StatusOK:
		return status, fmt.Errorf("%w: the receiver responded %d; mount the status handler there, and compare its authentication with the request", diffhook.ErrUnexpectedResponse, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxStatusBytes))
	if err != nil {
		return status, failed("the response of the receiver broke off", err)
	}
	if err := json.Unmarshal(body, &status); err != nil || !isComplete(status) {
		return diffhook.VerifierStatus{}, fmt.Errorf("%w: the response is not the status of a verifier; mount the status handler there", diffhook.ErrUnexpectedResponse)
	}
	status.RefreshError = scrub.Text(status.RefreshError, 300, secrets...)
	return status, nil
}

// isComplete reports whether a status from another server contains a time, and valid
// fingerprints.
func isComplete(s diffhook.VerifierStatus) bool {
	for _, fingerprint := range []string{s.Source, s.SourcePrevious, s.Current.Fingerprint, s.Previous.Fingerprint} {
		if fingerprint != "" && !isFingerprint(fingerprint) {
			return false
		}
	}
	return !s.At.IsZero()
}

func isFingerprint(s string) bool {
	return len(s) == 16 && strings.Trim(s, "0123456789abcdef") == ""
}

func (r *Remote) newRequest(ctx context.Context, method string, form url.Values) (*http.Request, error) {
	if r == nil {
		return nil, fmt.Errorf("%w: the Remote is nil", diffhook.ErrInvalidOptions)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.URL, strings.NewReader(form.Encode()))
	if err != nil || req.URL.Scheme != "https" && req.URL.Scheme != "http" || req.URL.Host == "" {
		return nil, fmt.Errorf("%w: the URL of the Remote begins with neither https:// nor http://", diffhook.ErrInvalidOptions)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if r.Authorize != nil {
		r.Authorize(req)
	}
	return req, nil
}

func (r *Remote) client() *http.Client {
	client := *http.DefaultClient
	if r.HTTPClient != nil {
		client = *r.HTTPClient
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// credentialsOf returns the texts of a request that no error may show: values of
// headers and cookies, and from the URL the user, the password, the query, and parts of
// the path with the length of a secret.
func credentialsOf(req *http.Request) []string {
	texts := headerTexts(req.Header)
	if name, password, ok := req.BasicAuth(); ok {
		texts = append(texts, name, password)
	}
	if req.URL != nil {
		texts = append(texts, urlTexts(req.URL)...)
	}
	const least = 4 // bytes: a shorter text is no secret, and part of many texts
	return slices.DeleteFunc(texts, func(text string) bool { return len(text) < least })
}

func headerTexts(h http.Header) (texts []string) {
	for name, values := range h {
		if name == "Content-Type" {
			continue
		}
		for _, value := range values {
			texts = append(texts, value)
			texts = append(texts, strings.Fields(value)...)                                                                    // as after Bearer
			texts = append(texts, strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(` ;,="`, r) })...) // as in cookies
		}
	}
	return texts
}

func urlTexts(u *url.URL) (texts []string) {
	if u.User != nil {
		password, _ := u.User.Password()
		texts = append(texts, u.User.Username(), password, base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
	}
	texts = append(texts, u.RawQuery)
	for _, values := range u.Query() {
		texts = append(texts, values...)
	}
	for part := range strings.SplitSeq(u.Path, "/") {
		if len(part) >= 16 {
			texts = append(texts, part)
		}
	}
	return texts
}
