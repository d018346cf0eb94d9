package rotation_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

func authorize(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// serve serves h on loopback until the test ends.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(srv.Close)
	return srv.URL
}

func answering(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

type respond func(*http.Request) (*http.Response, error)

func (f respond) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// credential is the credential of Authorize. Its characters can be encoded in many forms.
const credential = `quartz+violet=walrus<"&>`

// credentialForms are forms of the credential in a response.
var credentialForms = []string{
	credential, url.QueryEscape(credential), strings.ToLower(url.QueryEscape(credential)),
	`quartz+violet=walrus\u003C\"\u0026\u003e`,
}

// basicCredential is the credential with a user, as net/http encodes it.
var basicCredential = base64.StdEncoding.EncodeToString([]byte("operator:" + credential))

// authorizations are the ways to add the credential.
var authorizations = map[string]func(*http.Request){
	"bearer":      authorize(credential),
	"basic":       func(r *http.Request) { r.SetBasicAuth("operator", credential) },
	"a header":    func(r *http.Request) { r.Header.Set("X-Internal-Token", credential) },
	"a parameter": func(r *http.Request) { r.Header.Set("Authorization", `Token value="`+credential+`", more`) },
	"a query":     func(r *http.Request) { r.URL.RawQuery = url.Values{"token": {credential}}.Encode() },
	"a user":      func(r *http.Request) { r.URL.User = url.UserPassword("operator", credential) },
	"a path":      func(r *http.Request) { r.URL.Path = "/internal/" + credential },
}

// requireSafe requires a short error, on a single line, and without the credential.
func requireSafe(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	for _, shown := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		for _, part := range []string{"violet", "walrus", basicCredential} {
			require.NotContains(t, shown, part)
		}
	}
	require.Less(t, len(err.Error()), 400)
	require.NotContains(t, err.Error(), "\n")
}

// Threat: another server, or a broken receiver, repeats the request in a malformed
// response. net/http quotes the response in errors.
func TestRemoteErrorsShowNoCredential(t *testing.T) {
	for name, answer := range map[string]func(repeated string) string{
		"a protocol":          func(s string) string { return s + " 200 OK\r\n\r\n" },
		"a status code":       func(s string) string { return "HTTP/1.1 200" + s + " OK\r\n\r\n" },
		"a long status line":  func(s string) string { return "HTTP/1.1 " + strings.Repeat(s, 512<<10/len(s)) + "\r\n\r\n" },
		"a header":            func(s string) string { return "HTTP/1.1 200 OK\r\n" + s + "\r\n\r\n" },
		"a content length":    func(s string) string { return "HTTP/1.1 200 OK\r\nContent-Length: " + s + "\r\n\r\n" },
		"a transfer encoding": func(s string) string { return "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + s + "\r\n\r\n" },
		"a redirect":          func(s string) string { return "HTTP/1.1 302 Found\r\nLocation: ://" + s + "\r\n\r\n" },
		"a chunk": func(s string) string {
			return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + s + "\r\n"
		},
	} {
		t.Run(name, func(t *testing.T) {
			var repeated string
			srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if assert.NoError(t, err) {
					_, _ = io.WriteString(conn, answer(repeated))
					_ = conn.Close()
				}
			}))
			for way, authorization := range authorizations {
				forms := credentialForms
				if way == "basic" || way == "a user" {
					forms = append(slices.Clone(forms), basicCredential)
				}
				for _, repeated = range forms {
					r := &rotation.Remote{URL: srv, Authorize: authorization}
					_, err := r.Status(t.Context())
					requireSafe(t, err)
				}
			}
		})
	}
}

// The same for the texts of a verifier: an error's text in a status, the reason of a
// refusal, and a fingerprint, which errors of a rotation name.
func TestRemoteStatusShowsNoCredential(t *testing.T) {
	r := &rotation.Remote{Authorize: authorize(credential)}
	r.URL = serve(t, answering(200, `{"at":"2026-03-16T14:22:00Z","refreshError":"refused quartz+violet=walrus\u003C\"&>\n"}`))
	status, err := r.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, "refused [REDACTED] ", status.RefreshError)
	err = r.Refresh(t.Context())
	require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
	requireSafe(t, err)

	r.URL = serve(t, answering(409, "diffhook: refused quartz+violet=walrus\u003C\"&>\n"+strings.Repeat("x", 1000)))
	err = r.Hold(t.Context(), time.Hour)
	require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
	require.ErrorContains(t, err, "409: refused [REDACTED]")
	requireSafe(t, err)

	for _, role := range []string{"current", "previous"} {
		r.URL = serve(t, answering(200, `{"at":"2026-03-16T14:22:00Z","`+role+`":{"fingerprint":"quartz violet walrus"}}`))
		status, err := r.Status(t.Context())
		require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse, role)
		requireSafe(t, err)
		require.Zero(t, status)
	}
}

// The cause of an error is hidden, and errors.Is finds the cause.
func TestRemoteErrorsMatchTheirCause(t *testing.T) {
	broken := errors.New("the cable is cut")
	r := &rotation.Remote{
		URL: "http://web-1.internal/", Authorize: authorize(credential),
		HTTPClient: &http.Client{Transport: respond(func(r *http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "send\n" + r.Header.Get("Authorization"), Err: broken}
		})},
	}
	for name, ask := range remoteRequests(r) {
		err := ask(t.Context())
		require.ErrorIs(t, err, broken, name)
		var op *net.OpError
		require.ErrorAs(t, err, &op, name)
		require.ErrorContains(t, err, "the cable is cut")
		requireSafe(t, err)
	}
}

// remoteRequests are the requests of r.
func remoteRequests(r *rotation.Remote) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"status": func(ctx context.Context) error {
			_, err := r.Status(ctx)
			return err
		},
		"refresh": r.Refresh,
		"reject":  func(ctx context.Context) error { return r.Reject(ctx, strings.Repeat("0", 16)) },
		"hold":    func(ctx context.Context) error { return r.Hold(ctx, time.Hour) },
		"push":    func(ctx context.Context) error { return r.AcceptSuccessor(ctx, "sealed") },
	}
}

// At any point of a request, the end of the context leads to an error that matches the
// context's error and the cause, whichever the transport returns.
func TestRemoteErrorsMatchContextAndCause(t *testing.T) {
	cause := errors.New("the deployment is rolled back")
	contexts := map[string]struct {
		want error
		new  func(context.Context) (context.Context, context.CancelFunc)
	}{
		"canceled": {context.Canceled, func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(cause) })
			return ctx, func() { cancel(nil) }
		}},
		"deadline": {context.DeadlineExceeded, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(ctx, time.Second, cause)
		}},
	}
	why := map[string]func(context.Context) error{
		"the error": context.Context.Err, "the cause": context.Cause,
		"neither": func(context.Context) error { return errors.New("net/http: request canceled") },
	}
	stages := map[string]func(why func(context.Context) error) respond{
		"before the answer": func(why func(context.Context) error) respond {
			return func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, why(r.Context())
			}
		},
		"in the middle of the answer": func(why func(context.Context) error) respond {
			return func(r *http.Request) (*http.Response, error) {
				resp := &http.Response{StatusCode: 200, Header: http.Header{}}
				resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"at":`), readerFunc(func([]byte) (int, error) {
					<-r.Context().Done()
					return 0, why(r.Context())
				})))
				return resp, nil
			}
		},
	}
	for contextName, c := range contexts {
		for stage, transport := range stages {
			for whyName, why := range why {
				t.Run(contextName+" "+stage+", "+whyName, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						r := &rotation.Remote{URL: "http://web-1.internal/", HTTPClient: &http.Client{Transport: transport(why)}}
						for name, ask := range remoteRequests(r) {
							ctx, cancel := c.new(t.Context())
							defer cancel()
							for _, err := range []error{ask(ctx), ask(ctx)} { // the second begins after the end of the context
								require.ErrorIs(t, err, c.want, name)
								require.ErrorIs(t, err, cause, name)
							}
						}
					})
				})
			}
		}
	}
}

// Over HTTP, to a StatusHandler behind authentication.
func TestRemote(t *testing.T) {
	first, next := diffhooktest.NewSecret(), diffhooktest.NewSecret()
	v, err := diffhook.NewVerifier(t.Context(), diffhook.Secrets{Current: first}, &diffhook.VerifierOptions{
		HandleHeld: func(context.Context, *diffhook.Delivery) error { return nil },
	})
	require.NoError(t, err)
	h := v.StatusHandler()
	r := &rotation.Remote{Authorize: authorize(credential), URL: serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+credential {
			http.Error(w, "", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	}))}
	status, err := r.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, first.Fingerprint(), status.Current.Fingerprint)
	require.True(t, status.Hold.CanHold)

	require.NoError(t, r.Hold(t.Context(), time.Hour))
	require.False(t, v.Status().Hold.Until.IsZero())
	require.NoError(t, r.Hold(t.Context(), 0))
	require.True(t, v.Status().Hold.Until.IsZero())
	sealed, err := first.SealSuccessor(next)
	require.NoError(t, err)
	require.NoError(t, r.AcceptSuccessor(t.Context(), sealed))
	require.Equal(t, next.Fingerprint(), v.Status().Current.Fingerprint)
	require.NoError(t, r.Refresh(t.Context()))
	require.NoError(t, r.Reject(t.Context(), first.Fingerprint()))
	body := diffhooktest.PageChanged()
	require.ErrorIs(t, v.Verify(t.Context(), body, first.Sign(body)), diffhook.ErrSignatureMismatch)

	require.ErrorContains(t, r.AcceptSuccessor(t.Context(), sealed), "is rejected", "the reason of the verifier")
	require.ErrorIs(t, r.Reject(t.Context(), first.Reveal()), diffhook.ErrInvalidOptions)
	r.Authorize = nil
	_, err = r.Status(t.Context())
	require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
	for _, bad := range []*rotation.Remote{nil, {}, {URL: "ftp://example.com/"}, {URL: "https:///x"}} {
		_, err := bad.Status(t.Context())
		require.ErrorIs(t, err, diffhook.ErrInvalidOptions)
	}
}
