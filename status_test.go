package diffhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// statusServer is a verifier with a source and a status handler.
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

// ask sends a request. The pairs are headers.
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
		reads  int // further reads of the source
	}{
		{http.MethodGet, 200, 0}, // a monitoring system may ask at any rate
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

// The handler serves the same status as Status, through JSON and back.
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
		h := s.v.EventHandler(func(context.Context, *diffhook.Event) error { return nil })
		require.NoError(t, s.v.Hold(time.Hour))
		h.ServeHTTP(httptest.NewRecorder(), signedRequest([]byte("{}"), letter(t, "C").Sign([]byte("{}"))))
		require.NoError(t, s.v.Reject(letter(t, "B").Fingerprint()))
		pause(time.Minute)

		want := s.v.Status()
		require.NotZero(t, want.Previous.Expires)
		require.True(t, want.Current.Rejected)
		require.NotEmpty(t, want.RefreshError)
		require.Equal(t, letter(t, "B").Fingerprint(), want.Source)
		require.Equal(t, 1, want.Hold.Held)
		for _, method := range []string{http.MethodGet, http.MethodPost} { // the source fails as before
			var got diffhook.VerifierStatus
			require.NoError(t, json.Unmarshal(s.ask(method, "/status", "").Body.Bytes(), &got))
			assert.Empty(t, cmp.Diff(want, got), method)
		}
		require.NoError(t, s.v.Hold(0))
	})
}

// A POST reads the source before the answer.
func TestStatusHandlerRefreshes(t *testing.T) {
	s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
	s.source.set(diffhook.Secrets{Current: letter(t, "B")}, nil)
	assert.NotContains(t, s.ask(http.MethodGet, "/status", "").Body.String(), letter(t, "B").Fingerprint())
	assert.Contains(t, s.order("").Body.String(), letter(t, "B").Fingerprint())
}

func TestStatusHandlerRejects(t *testing.T) {
	s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "B"), Previous: letter(t, "A")})
	fingerprint := letter(t, "A").Fingerprint()

	// Anybody who finds a link may follow it, and an order must not be in logs.
	require.Equal(t, 200, s.ask(http.MethodGet, "/status?reject="+fingerprint, "").Code)
	require.Equal(t, 400, s.ask(http.MethodPost, "/status?reject="+fingerprint, "").Code)
	require.NoError(t, verifySigned(t, t.Context(), s.v, "A"))

	answer := s.order("reject=" + fingerprint)
	require.Equal(t, 200, answer.Code)
	var after diffhook.VerifierStatus
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &after))
	assert.Empty(t, after.Previous, "the answer shows the state after the order")
	assert.Equal(t, fingerprint, after.SourcePrevious)
	require.ErrorIs(t, verifySigned(t, t.Context(), s.v, "A"), diffhook.ErrSignatureMismatch)
	require.NoError(t, verifySigned(t, t.Context(), s.v, "B"))
}

// The secret is rejected before the source is read. If the source still names it as
// current, the same answer says so.
func TestStatusHandlerRejectsBeforeItReads(t *testing.T) {
	s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
	var status diffhook.VerifierStatus
	require.NoError(t, json.Unmarshal(s.order("reject="+letter(t, "A").Fingerprint()).Body.Bytes(), &status))
	assert.True(t, status.Current.Rejected)
	assert.NotEmpty(t, status.RefreshError)
}

// A text that cannot be a fingerprint may be a pasted secret.
func TestStatusHandlerRejectsBadFingerprints(t *testing.T) {
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
			assert.Equal(t, 1, s.source.count(), "a rejected order does nothing")
			require.NoError(t, verifySigned(t, t.Context(), s.v, "A"))
		})
	}
}

// In an emergency, the answer to a mere refresh must not look like the confirmation of
// an order.
func TestStatusHandlerTakesNoOrderForRefresh(t *testing.T) {
	fingerprint := letter(t, "A").Fingerprint()
	const form = "application/x-www-form-urlencoded"
	for name, order := range map[string]struct{ contentType, body string }{
		"too long":              {form, "filler=" + strings.Repeat("a", 64<<10) + "&reject=" + fingerprint},
		"broken escape":         {form, "reject=" + fingerprint + "%"},
		"broken escape behind":  {form, "reject=" + fingerprint + "&filler=%zz"},
		"no value":              {form, "reject="}, // an unset variable of a script
		"two values":            {form, "reject=" + letter(t, "B").Fingerprint() + "&reject=" + fingerprint},
		"JSON":                  {"application/json", `{"reject":"` + fingerprint + `"}`},
		"no type":               {"", "reject=" + fingerprint},
		"no successor":          {form, "successor="},
		"a secret as successor": {form, "successor=" + letter(t, "B").Reveal()},
		"two successors":        {form, "successor=" + seal(t, "A", "B") + "&successor=" + seal(t, "A", "C")},
		"no time to hold":       {form, "hold="},
		"a time without a unit": {form, "hold=10"},
		"a negative time":       {form, "hold=-1s"},
		"too long a time":       {form, "hold=1h1ns"},
		"another name":          {form, "revoke=" + fingerprint},
		"another name besides":  {form, "hold=1m&revoke=" + fingerprint},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
			answer := s.ask(http.MethodPost, "/status", order.body, "Content-Type", order.contentType)
			assert.Equal(t, http.StatusBadRequest, answer.Code)
			assert.Equal(t, 1, s.source.count(), "a rejected order does nothing")
		})
	}
}

// Threat: another site's page, in the browser of a logged-in person, sends the order.
func TestStatusHandlerRejectsOtherSites(t *testing.T) {
	for _, test := range []struct {
		name     string
		headers  []string
		rejected bool
	}{
		{"not a browser", nil, false},
		{"typed into the browser", []string{"Sec-Fetch-Site", "none"}, false},
		{"own page", []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://web-1.internal"}, false},
		{"own page, old browser", []string{"Origin", "https://web-1.internal"}, false},
		{"other site", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, true},
		{"other site, not named", []string{"Sec-Fetch-Site", "cross-site"}, true},
		{"hijacked neighbour", []string{"Sec-Fetch-Site", "same-site"}, true},
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
			assert.Equal(t, 200, get.Code, "a GET changes nothing, and the other site cannot read the answer")
			if !test.rejected {
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

// A POST passes the successor on before it reads the source.
func TestStatusHandlerAcceptsSuccessors(t *testing.T) {
	s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
	sealed := seal(t, "A", "B")
	require.Equal(t, 200, s.ask(http.MethodGet, "/status?successor="+sealed, "").Code)
	require.Equal(t, 400, s.ask(http.MethodPost, "/status?successor="+sealed, "").Code)
	require.Error(t, verifySigned(t, t.Context(), s.v, "B"))
	for range 2 { // again, as after a lost answer
		var status diffhook.VerifierStatus
		require.NoError(t, json.Unmarshal(s.order("successor="+sealed).Body.Bytes(), &status))
		assert.Equal(t, letter(t, "B").Fingerprint(), status.Current.Fingerprint)
		assert.Equal(t, letter(t, "A").Fingerprint(), status.Previous.Fingerprint)
		assert.Equal(t, letter(t, "A").Fingerprint(), status.Source)
	}
	s.source.set(diffhook.Secrets{Current: letter(t, "B")}, nil)
	assert.Contains(t, s.order("successor="+sealed).Body.String(), `"source":"`+letter(t, "B").Fingerprint())
}

// A POST begins and ends a hold.
func TestStatusHandlerHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
		require.Equal(t, http.StatusConflict, s.order("hold=10m").Code, "nothing can hold")
		require.Equal(t, http.StatusOK, s.order("hold=0s").Code, "and so there is nothing to end")
		s.v.EventHandler(func(context.Context, *diffhook.Event) error { return nil })
		for hold, want := range map[string]time.Duration{"10m": 10 * time.Minute, "1h": time.Hour, "1.5s": 1500 * time.Millisecond} {
			require.Equal(t, http.StatusOK, s.order("hold="+hold).Code)
			require.Equal(t, time.Now().Add(want).UTC(), s.v.Status().Hold.Until)
		}
		require.Equal(t, 400, s.ask(http.MethodPost, "/status?hold=0s", "").Code)
		require.False(t, s.v.Status().Hold.Until.IsZero())
		require.Equal(t, http.StatusOK, s.order("hold=0").Code)
		require.True(t, s.v.Status().Hold.Until.IsZero())
	})
}

// The orders of a POST run in the order of a rotation: a rejected secret is not
// accepted, and a failure skips the other orders.
func TestStatusHandlerOrders(t *testing.T) {
	for _, test := range []struct {
		name, order string
		status      int
		accepted    string
		reads       int
	}{
		{"all", "hold=1m&successor=" + seal(t, "A", "B") + "&reject=" + letter(t, "D").Fingerprint(), 200, "A!B", 1},
		{"the successor is rejected", "hold=1m&successor=" + seal(t, "A", "B") + "&reject=" + letter(t, "B").Fingerprint(), 409, "A", 0},
		{"sealed under another secret", "hold=1m&successor=" + seal(t, "C", "B"), 409, "A", 0},
		{"a malformed value", "hold=1&successor=" + seal(t, "A", "B"), 400, "A", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A")})
			s.v.EventHandler(func(context.Context, *diffhook.Event) error { return nil })
			require.Equal(t, test.status, s.order(test.order).Code)
			assert.Equal(t, test.reads, s.source.count()-1)
			assert.Equal(t, test.status != 200, s.v.Status().Hold.Until.IsZero())
			assert.Equal(t, test.accepted, rotationTest{T: t, v: s.v}.accepted())
		})
	}
}

// The source's errors quote secrets, and an operator sends a secret in place of the
// fingerprint: no answer shows a secret.
func TestStatusHandlerShowsNoSecret(t *testing.T) {
	current, previous, next := mustSecret(t, opaqueText), mustSecret(t, opaqueText2), mustSecret(t, "jasmine.otter.under-a-birch-tree")
	detector := newLeakDetector(current.Reveal(), previous.Reveal(), next.Reveal())
	s := newStatusServer(t, diffhook.Secrets{Current: current, Previous: previous})
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
		return shown.String()
	}
	sealed, err := current.SealSuccessor(next)
	require.NoError(t, err)
	text := url.QueryEscape(current.Reveal())
	shown := show("", "reject="+text, "successor="+text, "hold="+text, text+"=1", opaqueText,
		"successor="+sealed, "reject="+current.Fingerprint(), "successor="+sealed)
	assert.Contains(t, shown, "vault: bad answer", "the answer names the cause")
	assert.Empty(t, detector.find(shown))

	// Nor does an answer show a secret out of force, which other servers may still
	// accept.
	assert.Empty(t, detector.find(show("reject="+previous.Fingerprint())), "rejected")
	s.source.set(diffhook.Secrets{Current: next, NoPrevious: true}, nil)
	require.NoError(t, s.v.Refresh(t.Context()))
	s.source.set(diffhook.Secrets{}, quoting)
	assert.Empty(t, detector.find(show("")), "replaced")
}

// All orders at once, for the race detector: every answer is complete.
func TestStatusHandlerConcurrently(t *testing.T) {
	s := newStatusServer(t, diffhook.Secrets{Current: letter(t, "A"), Previous: letter(t, "B")})
	s.v.EventHandler(func(context.Context, *diffhook.Event) error { return nil })
	orders := []string{"", "reject=" + letter(t, "B").Fingerprint(), "hold=1h", "hold=0s", "successor=" + seal(t, "A", "C")}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 20 {
				for _, answer := range []*httptest.ResponseRecorder{s.ask(http.MethodGet, "/status", ""), s.order(orders[i%len(orders)])} {
					var status diffhook.VerifierStatus
					assert.Equal(t, http.StatusOK, answer.Code)
					assert.NoError(t, json.Unmarshal(answer.Body.Bytes(), &status))
					assert.False(t, status.At.IsZero())
				}
				assert.NoError(t, verifySigned(t, t.Context(), s.v, "A"))
			}
		})
	}
	wg.Wait()
	require.NoError(t, s.v.Hold(0))
	require.ErrorIs(t, verifySigned(t, t.Context(), s.v, "B"), diffhook.ErrSignatureMismatch)
	require.NoError(t, verifySigned(t, t.Context(), s.v, "C"))
	assert.EqualValues(t, 160, s.v.Status().Previous.Uses)
}
