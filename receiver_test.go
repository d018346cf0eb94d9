package diffhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// statusServer is a verifier at a source, and the handler that shows its status.
type statusServer struct {
	source  *settableSource
	v       *diffhook.Verifier
	handler http.Handler
}

func newStatusServer(t testing.TB, secrets diffhook.Secrets) statusServer {
	t.Helper()
	s := statusServer{source: &settableSource{answer: secrets}}
	s.v = newVerifier(t, s.source, nil)
	s.handler = s.v.StatusHandler()
	return s
}

// ask sends one request. The pairs are headers.
func (s statusServer) ask(method, target, body string, pairs ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(pairs); i += 2 {
		r.Header.Set(pairs[i], pairs[i+1])
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// order sends the form of a POST.
func (s statusServer) order(body string) *httptest.ResponseRecorder {
	return s.ask(http.MethodPost, "/status", body, "Content-Type", "application/x-www-form-urlencoded")
}

// remote returns the server as another sees it, without sockets.
func (s statusServer) remote() *diffhook.RemoteReceiver {
	return &diffhook.RemoteReceiver{
		URL:        "http://web-1.internal/status",
		HTTPClient: &http.Client{Transport: diffhooktest.Transport(s.handler)},
	}
}

func TestStatusHandlerMethods(t *testing.T) {
	for _, test := range []struct {
		method string
		status int
		reads  int // of the source, beside the first
	}{
		{http.MethodGet, 200, 0}, // a monitoring system may ask as often as it likes
		{http.MethodHead, 200, 0},
		{http.MethodPost, 200, 1},
		{http.MethodPut, 405, 0},
		{http.MethodPatch, 405, 0},
		{http.MethodDelete, 405, 0},
		{http.MethodOptions, 405, 0},
		{http.MethodTrace, 405, 0},
		{"REVOKE", 405, 0},
	} {
		t.Run(test.method, func(t *testing.T) {
			s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
			answer := s.ask(test.method, "/status", "")
			assert.Equal(t, test.status, answer.Code)
			assert.Equal(t, test.reads, s.source.count()-1)
			assert.Equal(t, "no-store", answer.Header().Get("Cache-Control"))
			if test.status == http.StatusOK {
				assert.Equal(t, "application/json", answer.Header().Get("Content-Type"))
				return
			}
			assert.Equal(t, "GET, HEAD, POST", answer.Header().Get("Allow"))
			assert.NotContains(t, answer.Body.String(), letter(t, "A").Fingerprint())
		})
	}
}

// What is served is what Status returns, on the way to JSON and back.
func TestStatusHandlerServesStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
		require.NoError(t, verifySigned(t, t.Context(), s.v, "A"))
		pause(time.Hour + time.Nanosecond)
		s.source.set(diffhook.Secrets{Current: letter(t, "B"), Previous: letter(t, "A"), PreviousExpires: time.Now().Add(time.Hour)}, nil)
		require.NoError(t, s.v.Refresh(t.Context()))
		require.NoError(t, verifySigned(t, t.Context(), s.v, "B"))
		s.source.set(diffhook.Secrets{}, errors.New("vault is sealed"))
		require.Error(t, s.v.Refresh(t.Context()))
		require.NoError(t, s.v.Revoke(letter(t, "B").Fingerprint()))
		pause(time.Minute)

		want := s.v.Status()
		require.NotZero(t, want.Previous.Expires)
		require.True(t, want.Current.Revoked)
		require.NotEmpty(t, want.RefreshError)
		for _, method := range []string{http.MethodGet, http.MethodPost} { // the source fails as before
			var got diffhook.RotationStatus
			require.NoError(t, json.Unmarshal(s.ask(method, "/status", "").Body.Bytes(), &got))
			assert.Empty(t, cmp.Diff(want, got), method)
		}
		got, err := s.remote().Status(t.Context())
		require.NoError(t, err)
		assert.Empty(t, cmp.Diff(want, got))
	})
}

// A POST learns what the source has before it answers.
func TestStatusHandlerRefreshes(t *testing.T) {
	s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
	s.source.set(diffhook.Secrets{Current: letter(t, "B")}, nil)
	assert.NotContains(t, s.ask(http.MethodGet, "/status", "").Body.String(), letter(t, "B").Fingerprint())
	assert.Contains(t, s.order("").Body.String(), letter(t, "B").Fingerprint())
}

func TestStatusHandlerRevokes(t *testing.T) {
	s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "B"), Previous: letter(t, "A")})
	fingerprint := letter(t, "A").Fingerprint()

	// A link is followed by whoever finds it, and an order belongs in no log.
	require.Equal(t, 200, s.ask(http.MethodGet, "/status?revoke="+fingerprint, "").Code)
	require.Equal(t, 400, s.ask(http.MethodPost, "/status?revoke="+fingerprint, "").Code)
	require.NoError(t, verifySigned(t, t.Context(), s.v, "A"))

	answer := s.order("revoke=" + fingerprint)
	require.Equal(t, 200, answer.Code)
	assert.NotContains(t, answer.Body.String(), fingerprint, "the answer shows the state after it")
	require.ErrorIs(t, verifySigned(t, t.Context(), s.v, "A"), diffhook.ErrSignatureMismatch)
	require.NoError(t, verifySigned(t, t.Context(), s.v, "B"))
}

// Revoked before the source is read, a secret that the source still has as
// current is told to be what it is in the same answer.
func TestStatusHandlerRevokesBeforeItReads(t *testing.T) {
	s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
	var status diffhook.RotationStatus
	require.NoError(t, json.Unmarshal(s.order("revoke="+letter(t, "A").Fingerprint()).Body.Bytes(), &status))
	assert.True(t, status.Current.Revoked)
	assert.Contains(t, status.RefreshError, "has been revoked")
}

// What cannot be meant as a fingerprint may be a secret that somebody pasted.
func TestStatusHandlerRefusesBadFingerprints(t *testing.T) {
	for name, text := range map[string]string{
		"the secret itself": letter(t, "A").Reveal(),
		"too short":         letter(t, "A").Fingerprint()[1:],
		"too long":          letter(t, "A").Fingerprint() + "0",
		"upper case":        strings.ToUpper(letter(t, "A").Fingerprint()),
		"white space":       letter(t, "A").Fingerprint() + "\n",
		"other digits":      strings.Repeat("\u0660", 8),
		"markup":            "<script>alert(1)",
	} {
		t.Run(name, func(t *testing.T) {
			s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
			answer := s.order(url.Values{"revoke": {text}}.Encode())
			require.Equal(t, http.StatusBadRequest, answer.Code)
			assert.NotContains(t, answer.Body.String(), text)
			assert.Equal(t, "text/plain; charset=utf-8", answer.Header().Get("Content-Type"))
			assert.Equal(t, "no-store", answer.Header().Get("Cache-Control"))
			assert.Equal(t, 1, s.source.count(), "an order that is refused does nothing")
			require.NoError(t, verifySigned(t, t.Context(), s.v, "A"))
		})
	}
}

// Who sends an order in an emergency must not take the answer to a mere refresh
// for its confirmation.
func TestStatusHandlerTakesNoOrderForRefresh(t *testing.T) {
	fingerprint := letter(t, "A").Fingerprint()
	const form = "application/x-www-form-urlencoded"
	for name, order := range map[string]struct{ contentType, body string }{
		"too long":               {form, "filler=" + strings.Repeat("a", 64<<10) + "&revoke=" + fingerprint},
		"broken escape":          {form, "revoke=" + fingerprint + "%"},
		"broken escape after it": {form, "revoke=" + fingerprint + "&filler=%zz"},
		"no value":               {form, "revoke="}, // a variable of a script was not set
		"two values":             {form, "revoke=" + letter(t, "B").Fingerprint() + "&revoke=" + fingerprint},
		"JSON":                   {"application/json", `{"revoke":"` + fingerprint + `"}`},
		"no type":                {"", "revoke=" + fingerprint},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
			answer := s.ask(http.MethodPost, "/status", order.body, "Content-Type", order.contentType)
			assert.Equal(t, http.StatusBadRequest, answer.Code)
			assert.Equal(t, 1, s.source.count(), "an order that is refused does nothing")
		})
	}
}

// Threat: a page in the browser of somebody who is logged in sends the order.
func TestStatusHandlerRefusesOtherSites(t *testing.T) {
	for _, test := range []struct {
		name    string
		headers []string
		refused bool
	}{
		{"not a browser", nil, false},
		{"typed into the browser", []string{"Sec-Fetch-Site", "none"}, false},
		{"own page", []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://web-1.internal"}, false},
		{"own page, old browser", []string{"Origin", "https://web-1.internal"}, false},
		{"other site", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, true},
		{"other site without its name", []string{"Sec-Fetch-Site", "cross-site"}, true},
		{"neighbour that was taken over", []string{"Sec-Fetch-Site", "same-site"}, true},
		{"other site, old browser", []string{"Origin", "https://evil.example"}, true},
		{"other port, old browser", []string{"Origin", "https://web-1.internal:8443"}, true},
		{"sandboxed frame, old browser", []string{"Origin", "null"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "B"), Previous: letter(t, "A")})
			headers := append([]string{"Content-Type", "application/x-www-form-urlencoded"}, test.headers...)
			const target = "https://web-1.internal/status"
			post := s.ask(http.MethodPost, target, "revoke="+letter(t, "A").Fingerprint(), headers...)
			get := s.ask(http.MethodGet, target, "", test.headers...)
			assert.Equal(t, 200, get.Code, "it changes nothing, and its answer cannot be read from there")
			if !test.refused {
				assert.Equal(t, 200, post.Code)
				require.ErrorIs(t, verifySigned(t, t.Context(), s.v, "A"), diffhook.ErrSignatureMismatch)
				return
			}
			assert.Equal(t, http.StatusForbidden, post.Code)
			assert.NotContains(t, post.Body.String(), letter(t, "B").Fingerprint())
			assert.Equal(t, 1, s.source.count())
			require.NoError(t, verifySigned(t, t.Context(), s.v, "A"))
		})
	}
}

// A source whose errors quote what it has, and an operator who sends the secret
// instead of its fingerprint: no answer shows it, to a friend or a stranger.
func TestStatusHandlerShowsNoSecret(t *testing.T) {
	current, previous, next := mustSecret(t, opaqueText), mustSecret(t, opaqueText2), mustSecret(t, "jasmine.otter.under-a-birch-tree")
	detector := newLeakDetector(current.Reveal(), previous.Reveal(), next.Reveal())
	s := newStatusServer(t, diffhook.Secrets{Current: current, Previous: previous})
	remote := s.remote()
	quoting := fmt.Errorf("vault: bad answer {%q: %q, %q: %s} %v", current.Reveal(), next.Reveal(), "old", previous.Reveal(), current)
	s.source.set(diffhook.Secrets{Current: next}, quoting)

	show := func(orders ...string) string {
		var shown strings.Builder
		for _, order := range orders {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut} {
				answer := s.ask(method, "/status", order, "Content-Type", "application/x-www-form-urlencoded")
				fmt.Fprintln(&shown, answer.Header(), answer.Body)
			}
		}
		fmt.Fprintln(&shown, remote.Refresh(t.Context()), remote.Revoke(t.Context(), current.Reveal()))
		return shown.String()
	}
	shown := show("", "revoke="+url.QueryEscape(current.Reveal()), "revoke="+current.Fingerprint(), opaqueText)
	assert.Contains(t, shown, "vault: bad answer", "the cause is told")
	assert.Empty(t, detector.find(shown))

	// Nor one that is not in force any more, which other servers may yet accept.
	assert.Empty(t, detector.find(show("revoke="+previous.Fingerprint())), "revoked")
	s.source.set(diffhook.Secrets{Current: next, NoPrevious: true}, nil)
	require.NoError(t, s.v.Refresh(t.Context()))
	s.source.set(diffhook.Secrets{}, quoting)
	assert.Empty(t, detector.find(show("")), "replaced")
}

// Everything at once, for the race detector: every answer is whole.
func TestStatusHandlerConcurrently(t *testing.T) {
	s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A"), Previous: letter(t, "B")})
	remote := s.remote()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				status, err := remote.Status(t.Context())
				assert.NoError(t, err)
				assert.False(t, status.At.IsZero())
				assert.NoError(t, remote.Refresh(t.Context()))
				assert.NoError(t, remote.Revoke(t.Context(), letter(t, "B").Fingerprint()))
				assert.NoError(t, verifySigned(t, t.Context(), s.v, "A"))
			}
		})
	}
	wg.Wait()
	require.ErrorIs(t, verifySigned(t, t.Context(), s.v, "B"), diffhook.ErrSignatureMismatch)
	assert.EqualValues(t, 160, s.v.Status().Current.Uses)
}

// A verifier is the same receiver in this process and elsewhere.
func TestReceivers(t *testing.T) {
	for name, receiverOf := range map[string]func(statusServer) diffhook.Receiver{
		"local":  func(s statusServer) diffhook.Receiver { return diffhook.LocalReceiver(s.v) },
		"remote": func(s statusServer) diffhook.Receiver { return s.remote() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
				receiver := receiverOf(s)
				s.source.set(diffhook.Secrets{Current: letter(t, "B"), Previous: letter(t, "A")}, nil)
				status, err := receiver.Status(t.Context())
				require.NoError(t, err)
				assert.Equal(t, letter(t, "A").Fingerprint(), status.Current.Fingerprint, "as it is, without a read")

				pause(time.Minute)
				require.NoError(t, receiver.Refresh(t.Context()))
				status, err = receiver.Status(t.Context())
				require.NoError(t, err)
				assert.Empty(t, cmp.Diff(s.v.Status(), status), "at this moment, not a copy kept")
				assert.Equal(t, letter(t, "B").Fingerprint(), status.Current.Fingerprint)

				require.NoError(t, receiver.Revoke(t.Context(), letter(t, "A").Fingerprint()))
				require.ErrorIs(t, verifySigned(t, t.Context(), s.v, "A"), diffhook.ErrSignatureMismatch)
				require.NoError(t, receiver.Revoke(t.Context(), letter(t, "C").Fingerprint()), "one that is not known yet")

				s.source.set(diffhook.Secrets{}, errors.New("vault is sealed"))
				err = receiver.Refresh(t.Context())
				require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
				assert.ErrorContains(t, err, "vault is sealed")
			})
		})
	}
}

// Both refuse what is no fingerprint, before it goes anywhere: an operator who
// passes the secret must not send it through the network, and one who passes
// nothing, as Fingerprint of a zero Secret gives, must not be told that it is done.
func TestReceiversRefuseBadFingerprints(t *testing.T) {
	s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
	var sent atomic.Int64
	remote := s.remote()
	remote.HTTPClient.Transport = diffhooktest.Transport(counting(&sent, s.handler))
	for name, text := range map[string]string{
		"empty":             "",
		"the secret itself": letter(t, "A").Reveal(),
		"upper case":        strings.ToUpper(letter(t, "A").Fingerprint()),
	} {
		t.Run(name, func(t *testing.T) {
			for receiver, revoke := range map[string]func(context.Context, string) error{
				"local": diffhook.LocalReceiver(s.v).Revoke, "remote": remote.Revoke,
			} {
				err := revoke(t.Context(), text)
				if assert.ErrorIs(t, err, diffhook.ErrInvalidOptions, receiver) && text != "" {
					assert.NotContains(t, err.Error(), text)
				}
			}
			assert.Zero(t, sent.Load(), "requests")
		})
	}
}

// authorized lets requests with the bearer token pass.
func authorized(token string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// authorize is what a RemoteReceiver needs for that.
func authorize(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func TestRemoteReceiverAuthorizes(t *testing.T) {
	s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
	mux := http.NewServeMux()
	mux.Handle("/internal/diffhook", authorized(opaqueText[:6], s.handler))
	srv := serve(t, mux, nil)

	all := func(r *diffhook.RemoteReceiver, check func(error)) {
		_, err := r.Status(t.Context())
		check(err)
		check(r.Refresh(t.Context()))
		check(r.Revoke(t.Context(), letter(t, "C").Fingerprint()))
	}
	all(&diffhook.RemoteReceiver{URL: srv.URL + "/internal/diffhook?team=1", Authorize: authorize(opaqueText[:6])}, func(err error) { require.NoError(t, err) })
	all(&diffhook.RemoteReceiver{URL: srv.URL + "/internal/diffhook"}, func(err error) {
		require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
		assert.ErrorContains(t, err, "401")
	})
	all(&diffhook.RemoteReceiver{URL: srv.URL + "/", Authorize: authorize(opaqueText[:6])}, func(err error) {
		require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
		assert.ErrorContains(t, err, "404")
	})
}

// Threat: a login page, or an attacker, redirects, and the credential that
// Authorize adds goes with the request.
func TestRemoteReceiverFollowsNoRedirect(t *testing.T) {
	var elsewhere atomic.Int64
	s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
	target := serve(t, counting(&elsewhere, s.handler), nil)
	for _, status := range []int{301, 302, 303, 307, 308} {
		redirecting := serve(t, http.RedirectHandler(target.URL, status), nil)
		follow := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
		for name, client := range map[string]*http.Client{"default client": nil, "a client that follows": follow} {
			r := &diffhook.RemoteReceiver{URL: redirecting.URL, HTTPClient: client, Authorize: authorize("token")}
			_, err := r.Status(t.Context())
			require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse, name)
			assert.ErrorContains(t, err, fmt.Sprint(status))
			require.ErrorIs(t, r.Revoke(t.Context(), letter(t, "A").Fingerprint()), diffhook.ErrUnexpectedResponse, name)
		}
	}
	assert.Zero(t, elsewhere.Load())
}

// A server that is down behind a proxy is one to wait for, and not a wrong URL.
func TestRemoteReceiverBehindProxy(t *testing.T) {
	for _, code := range []int{500, 502, 503, 504} {
		r := &diffhook.RemoteReceiver{URL: serve(t, answering(code, "application/json", `{"at":"2026-03-16T14:22:00Z"}`), nil).URL}
		status, err := r.Status(t.Context())
		require.EqualError(t, err, fmt.Sprintf("diffhook: the receiver answered %d", code))
		require.NotErrorIs(t, err, diffhook.ErrUnexpectedResponse)
		assert.Zero(t, status)
	}
}

// A receiver that is not one, or broken, or hostile.
func TestRemoteReceiverRefusesAnswers(t *testing.T) {
	whole := `{"at":"2026-03-16T14:22:00Z","since":"2026-03-16T14:00:00Z"}`
	for name, answer := range map[string]http.HandlerFunc{
		"not found":              answering(404, "text/plain", "404 page not found\n"),
		"an error with a status": answering(400, "application/json", whole),
		"created":                answering(201, "application/json", whole),
		"no content":             answering(204, "", ""),
		"a login page":           answering(200, "text/html", "<!doctype html><title>Log in</title>"),
		"empty":                  answering(200, "application/json", ""),
		"null":                   answering(200, "application/json", "null"),
		"another JSON":           answering(200, "application/json", `{"status":"ok"}`),
		"no object":              answering(200, "application/json", `["at"]`),
		"without at":             answering(200, "application/json", `{"since":"2026-03-16T14:00:00Z"}`),
		"at is null":             answering(200, "application/json", `{"at":null}`),
		"at is no time":          answering(200, "application/json", `{"at":"yesterday"}`),
		"a count below zero":     answering(200, "application/json", `{"at":"2026-03-16T14:22:00Z","current":{"uses":-1}}`),
		"cut off":                answering(200, "application/json", whole[:len(whole)-1]),
		"huge":                   answering(200, "application/json", `{"pad":"`+strings.Repeat("a", 1<<20)+`",`+whole[1:]),
		"huge white space":       answering(200, "application/json", strings.Repeat(" ", 1<<20)+whole),
	} {
		t.Run(name, func(t *testing.T) {
			r := &diffhook.RemoteReceiver{URL: serve(t, answer, nil).URL}
			status, err := r.Status(t.Context())
			require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
			assert.Zero(t, status, "nothing is returned with an error")
			require.ErrorIs(t, r.Refresh(t.Context()), diffhook.ErrUnexpectedResponse)
			require.ErrorIs(t, r.Revoke(t.Context(), letter(t, "A").Fingerprint()), diffhook.ErrUnexpectedResponse)
			assert.NotContains(t, err.Error(), "Log in", "what a stranger says is not repeated")
		})
	}
	good := &diffhook.RemoteReceiver{URL: serve(t, answering(200, "application/json", whole), nil).URL}
	_, err := good.Status(t.Context())
	require.NoError(t, err, "else none of these shows anything")
}

// A receiver's own words are shown on one line and in part.
func TestRemoteReceiverBoundsRefreshError(t *testing.T) {
	said, err := json.Marshal(map[string]string{"at": "2026-03-16T14:22:00Z", "refreshError": "\x1b[2Jfine\n2026 ERROR fake " + strings.Repeat("é", 5000)})
	require.NoError(t, err)
	r := &diffhook.RemoteReceiver{URL: serve(t, answering(200, "application/json", string(said)), nil).URL}
	err = r.Refresh(t.Context())
	require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
	assert.NotContains(t, err.Error(), "\n")
	assert.NotContains(t, err.Error(), "\x1b")
	assert.Less(t, len(err.Error()), 600)
}

// A receiver that is slow holds nobody up for longer than the context says, and
// the error says that it was the context.
func TestRemoteReceiverEndsWithContext(t *testing.T) {
	for name, transport := range map[string]respond{
		"before the answer": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
		"in the middle of the answer": func(r *http.Request) (*http.Response, error) {
			hangs := readerFunc(func([]byte) (int, error) {
				<-r.Context().Done()
				return 0, r.Context().Err()
			})
			resp := reply(200, "application/json", "")
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"at":"2026-03-16T14:22:00Z",`), hangs))
			return resp, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &diffhook.RemoteReceiver{URL: "http://web-1.internal/", HTTPClient: &http.Client{Transport: transport}}
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				began := time.Now()
				_, err := r.Status(ctx)
				assert.Equal(t, 3*time.Second, time.Since(began))
				require.ErrorIs(t, err, context.DeadlineExceeded)
			})
		})
	}
}

// URLs may have credentials in them, which no error repeats.
func TestRemoteReceiverErrorsShowNoURL(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	breaks := serve(t, http.HandlerFunc(brokenOff), nil)
	const user, password, query = "walrus-user", "quartz-password", "violet-token"
	for name, test := range map[string]struct {
		url  string
		want error
	}{
		"nobody listens":     {"http://" + user + ":" + password + "@" + closed.Addr().String() + "/?token=" + query, syscall.ECONNREFUSED},
		"breaks off":         {"http://" + user + ":" + password + "@" + breaks.Listener.Addr().String() + "/?token=" + query, io.EOF},
		"not a URL":          {"http://" + user + ":" + password + "@[::1/?token=" + query, diffhook.ErrInvalidOptions},
		"bad escape":         {"https://" + user + ":" + password + "@host/%zz?token=" + query, diffhook.ErrInvalidOptions},
		"control characters": {"https://" + user + ":" + password + "@host/\n?token=" + query, diffhook.ErrInvalidOptions},
	} {
		t.Run(name, func(t *testing.T) {
			r := &diffhook.RemoteReceiver{URL: test.url}
			_, err := r.Status(t.Context())
			require.ErrorIs(t, err, test.want, "the cause is told")
			for _, shown := range []string{err.Error(), r.Refresh(t.Context()).Error(), fmt.Sprintf("%+v", err)} {
				assert.NotContains(t, shown, user)
				assert.NotContains(t, shown, password)
				assert.NotContains(t, shown, query)
			}
		})
	}
}

// A receiver without a URL, or with one that is none of http, is not one that
// does not answer: waiting for it helps nobody.
func TestRemoteReceiverNeedsURL(t *testing.T) {
	for _, text := range []string{"", "web-1.internal/status", "ftp://web-1.internal/", "https://", "//web-1.internal/"} {
		t.Run(text, func(t *testing.T) {
			r := &diffhook.RemoteReceiver{URL: text}
			_, err := r.Status(t.Context())
			assert.ErrorIs(t, err, diffhook.ErrInvalidOptions)
			assert.ErrorIs(t, r.Refresh(t.Context()), diffhook.ErrInvalidOptions)
			assert.ErrorIs(t, r.Revoke(t.Context(), letter(t, "A").Fingerprint()), diffhook.ErrInvalidOptions)
		})
	}
}

// The caller's client is used as it is, and left as it was, by many at once.
func TestRemoteReceiverCopiesHTTPClient(t *testing.T) {
	s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
	var sent atomic.Int64
	client := &http.Client{Transport: diffhooktest.Transport(counting(&sent, s.handler)), Timeout: time.Minute}
	for _, r := range []*diffhook.RemoteReceiver{{URL: "http://web-1.internal", HTTPClient: client}, {URL: serve(t, s.handler, nil).URL}} {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				_, err := r.Status(t.Context())
				assert.NoError(t, err)
			})
		}
		wg.Wait()
	}
	assert.EqualValues(t, 4, sent.Load())
	assert.Nil(t, client.CheckRedirect)
	assert.Equal(t, time.Minute, client.Timeout)
	assert.Nil(t, http.DefaultClient.CheckRedirect)
}

// Its Timeout counts, too.
func TestRemoteReceiverHonoursHTTPClientTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		r := &diffhook.RemoteReceiver{URL: "http://web-1.internal", HTTPClient: &http.Client{Transport: diffhooktest.Transport(hangs), Timeout: time.Second}}
		_, err := r.Status(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}
