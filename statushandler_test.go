package diffhook_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
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
// A POST learns what the source has before it answers.
func TestStatusHandlerRefreshes(t *testing.T) {
	s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
	s.source.set(diffhook.Secrets{Current: letter(t, "B")}, nil)
	assert.NotContains(t, s.ask(http.MethodGet, "/status", "").Body.String(), letter(t, "B").Fingerprint())
	assert.Contains(t, s.order("").Body.String(), letter(t, "B").Fingerprint())
}

func TestStatusHandlerRejects(t *testing.T) {
	s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "B"), Previous: letter(t, "A")})
	fingerprint := letter(t, "A").Fingerprint()

	// A link is followed by whoever finds it, and an order belongs in no log.
	require.Equal(t, 200, s.ask(http.MethodGet, "/status?reject="+fingerprint, "").Code)
	require.Equal(t, 400, s.ask(http.MethodPost, "/status?reject="+fingerprint, "").Code)
	require.NoError(t, verifySigned(t, t.Context(), s.v, "A"))

	answer := s.order("reject=" + fingerprint)
	require.Equal(t, 200, answer.Code)
	assert.NotContains(t, answer.Body.String(), fingerprint, "the answer shows the state after it")
	require.ErrorIs(t, verifySigned(t, t.Context(), s.v, "A"), diffhook.ErrSignatureMismatch)
	require.NoError(t, verifySigned(t, t.Context(), s.v, "B"))
}

// Rejected before the source is read, a secret that the source still has as
// current is told to be what it is in the same answer.
func TestStatusHandlerRejectsBeforeItReads(t *testing.T) {
	s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
	var status diffhook.VerifierStatus
	require.NoError(t, json.Unmarshal(s.order("reject="+letter(t, "A").Fingerprint()).Body.Bytes(), &status))
	assert.True(t, status.Current.Rejected)
	assert.Contains(t, status.RefreshError, "has been rejected")
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
			answer := s.order(url.Values{"reject": {text}}.Encode())
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
		"too long":               {form, "filler=" + strings.Repeat("a", 64<<10) + "&reject=" + fingerprint},
		"broken escape":          {form, "reject=" + fingerprint + "%"},
		"broken escape after it": {form, "reject=" + fingerprint + "&filler=%zz"},
		"no value":               {form, "reject="}, // a variable of a script was not set
		"two values":             {form, "reject=" + letter(t, "B").Fingerprint() + "&reject=" + fingerprint},
		"JSON":                   {"application/json", `{"reject":"` + fingerprint + `"}`},
		"no type":                {"", "reject=" + fingerprint},
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
			post := s.ask(http.MethodPost, target, "reject="+letter(t, "A").Fingerprint(), headers...)
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
// Everything at once, for the race detector: every answer is whole.
