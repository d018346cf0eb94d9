package diffhook_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// reject rejects the named secret.
func (r rotationTest) reject(name string) {
	require.NoError(r, r.v.Reject(letter(r, name).Fingerprint()))
}

// saysInVain makes the source answer with what the verifier must not put in
// force.
func (r rotationTest) saysInVain(current, previous string) {
	r.source.set(diffhook.Secrets{Current: letter(r, current), Previous: letter(r, previous)}, nil)
	err := r.v.Refresh(r.Context())
	require.ErrorIs(r, err, diffhook.ErrSecretsUnavailable)
	require.ErrorContains(r, err, "has been rejected")
	require.Equal(r, err.Error(), r.v.Status().RefreshError)
}

// verdicts is what accepted returns, and how the others are refused: with 401
// or, all of them, with 503.
func (r rotationTest) verdicts() string {
	var accepted strings.Builder
	refused := map[int]bool{}
	for _, name := range []string{"A", "B", "C", "D"} {
		body := []byte("a body signed by " + name)
		d, err := r.v.VerifyRequest(signedRequest(body, letter(r, name).Sign(body)))
		if err != nil {
			refused[diffhook.HTTPStatus(err)] = true
			continue
		}
		accepted.WriteString(name)
		if d.SignedByPrevious {
			accepted.WriteString("!")
		}
	}
	require.Len(r, refused, 1)
	if refused[http.StatusServiceUnavailable] {
		return accepted.String() + " 503"
	}
	require.True(r, refused[http.StatusUnauthorized])
	return accepted.String() + " 401"
}

// What Reject promises, as stories: what is done, and which secrets are accepted
// after it. The source says only "A" at first.
func TestReject(t *testing.T) {
	const day = 24 * time.Hour
	type step struct {
		do   func(rotationTest)
		want string
	}
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"the current one, until the source knows another", []step{
			{func(r rotationTest) { r.reject("A") }, " 503"},
			{func(r rotationTest) { r.saysInVain("A", "") }, " 503"},
			{func(r rotationTest) { r.says("B", "") }, "B 401"},
		}},
		{"the current one, and a source that names it as previous next", []step{
			{func(r rotationTest) { r.reject("A") }, " 503"},
			{func(r rotationTest) { r.says("B", "A") }, "B 401"},
			{func(r rotationTest) { r.saysUntil("B", "A", time.Now().Add(day)) }, "B 401"},
		}},
		{"the current one, while the previous one goes on", []step{
			{func(r rotationTest) { r.says("B", "A"); r.reject("B") }, "A! 503"},
			{func(r rotationTest) { r.later(1000 * day) }, "A! 503"},
			{func(r rotationTest) { r.says("C", "A") }, "A!C 401"},
		}},
		{"the current one, and then the previous one ends", []step{
			{func(r rotationTest) { r.rotate("B", time.Hour); r.reject("B") }, "A! 503"},
			{func(r rotationTest) { r.later(time.Hour) }, " 503"},
		}},
		{"both", []step{
			{func(r rotationTest) { r.says("B", "A"); r.reject("B"); r.reject("A") }, " 503"},
			{func(r rotationTest) { r.says("C", "B") }, "C 401"},
		}},
		{"the previous one", []step{
			{func(r rotationTest) { r.says("B", "A"); r.reject("A") }, "B 401"},
			{func(r rotationTest) { r.says("B", "") }, "B 401"},
			{func(r rotationTest) { r.says("C", "A") }, "B!C 401"}, // which says nothing of B
			{func(r rotationTest) { r.says("D", "") }, "C!D 401"},  // others go on as ever
		}},
		{"one that is not known, and comes as current", []step{
			{func(r rotationTest) { r.reject("B") }, "A 401"},
			{func(r rotationTest) { r.saysInVain("B", "") }, "A 503"}, // who knows what it should have said
			{func(r rotationTest) { r.saysInVain("B", "A") }, "A 503"},
			{func(r rotationTest) { r.says("C", "") }, "A!C 401"},
		}},
		{"one that is not known, and comes as previous", []step{
			{func(r rotationTest) { r.reject("B") }, "A 401"},
			{func(r rotationTest) { r.says("A", "B") }, "A 401"},
			{func(r rotationTest) { r.says("C", "B") }, "C 401"},
		}},
		{"the source goes back to it", []step{
			{func(r rotationTest) { r.says("B", "A"); r.reject("A") }, "B 401"},
			{func(r rotationTest) { r.saysInVain("A", "") }, "B 503"},
			{func(r rotationTest) { r.saysInVain("A", "B") }, "B 503"},
			{func(r rotationTest) { r.says("B", "") }, "B 401"},
		}},
		{"Rotate away from it does not keep it for the window", []step{
			{func(r rotationTest) { r.reject("A"); r.rotate("B", time.Hour) }, "B 401"},
		}},
		{"twice", []step{
			{func(r rotationTest) { r.reject("A"); r.reject("A") }, " 503"},
			{func(r rotationTest) { r.says("B", ""); r.reject("A") }, "B 401"},
		}},
		{"it stays so, whatever else is done", []step{
			{func(r rotationTest) { r.says("B", "A"); r.reject("A"); r.reject("A") }, "B 401"},
			{func(r rotationTest) { r.rotate("C", time.Hour) }, "B!C 401"},
			{func(r rotationTest) { r.later(1000 * day); r.says("D", "A") }, "C!D 401"}, // which says nothing of C
			{func(r rotationTest) { r.saysInVain("A", "") }, "C!D 503"},
		}},
		{"a window that is running keeps its end", []step{
			{func(r rotationTest) { r.rotate("B", time.Hour); r.later(59 * time.Minute); r.reject("C") }, "A!B 401"},
			{func(r rotationTest) { r.reject("B") }, "A! 503"},
			{func(r rotationTest) { r.later(time.Minute) }, " 503"},
		}},
		// The secret that was rotated to by hand is the one that leaked. The source
		// has said A all the time, and A has not been rejected.
		{"the source repeats another, which nobody has rejected", []step{
			{func(r rotationTest) { r.rotate("B", time.Hour); r.reject("B") }, "A! 503"},
			{func(r rotationTest) { r.says("A", "") }, "A 401"},
			{func(r rotationTest) { r.later(time.Hour) }, "A 401"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rotationTest{T: t, source: &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}}
				// Without refreshes on a miss: what changes is what the step does.
				r.v = newVerifier(t, r.source, &diffhook.VerifierOptions{MinRefreshInterval: 1<<63 - 1})
				r.verdicts() // spends the one refresh on a miss there is
				for i, step := range test.steps {
					step.do(r)
					assert.Equal(t, step.want, r.verdicts(), "after step %d", i+1)
				}
			})
		})
	}
}

// Where the secret in force has leaked, a forger and DiffHook are told apart by
// nobody: both are answered 503, and DiffHook comes again. It is let in as soon
// as the source knows what it signs with, which its delivery brings about.
func TestRejectedCurrentIsAnswered503(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
		var seen []diffhook.Observation
		v := newVerifier(t, source, &diffhook.VerifierOptions{
			Observe: func(_ context.Context, o diffhook.Observation) { seen = append(seen, o) },
		})
		h := v.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
		deliver := func(name string) int {
			body := []byte("a body")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, signedRequest(body, letter(t, name).Sign(body)))
			return w.Code
		}
		require.Equal(t, 204, deliver("A"))
		for range 3 {
			require.Equal(t, 401, deliver("B"), "not known yet; the source is read, and has nothing new")
		}
		require.NoError(t, v.Reject(letter(t, "A").Fingerprint()))
		require.Equal(t, 503, deliver("A"), "and the source, read often enough, is not asked again")
		require.Equal(t, 503, deliver("B"))
		require.Equal(t, 4, source.count())

		pause(10 * time.Second)
		require.Equal(t, 503, deliver("A"), "it is asked, and knows no other")
		require.Equal(t, 5, source.count())
		assert.Contains(t, v.Status().RefreshError, "has been rejected, and the source names no other")
		assert.Zero(t, v.Status().LastRefresh.Compare(time.Now().Add(-10*time.Second).UTC()), "that is no success")

		source.set(diffhook.Secrets{Current: letter(t, "B")}, nil)
		pause(10 * time.Second)
		require.Equal(t, 204, deliver("B"))
		require.Equal(t, 401, deliver("A"), "now it is known to be a forgery")
		assert.Empty(t, v.Status().RefreshError)

		var results []string
		for _, o := range seen {
			results = append(results, string(o.Result))
			if o.Result == "secrets_unavailable" {
				require.ErrorIs(t, o.Err, diffhook.ErrSecretsUnavailable)
			}
		}
		assert.Equal(t, []string{"accepted", "mismatch", "mismatch", "mismatch", "secrets_unavailable", "secrets_unavailable", "secrets_unavailable", "accepted", "mismatch"}, results)
	})
}

// A fixed set knows no other, for ever.
func TestRejectOfFixedSecrets(t *testing.T) {
	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "B"), Previous: letter(t, "A")}, nil)
	require.NoError(t, v.Reject(letter(t, "B").Fingerprint()))
	require.NoError(t, verifySigned(t, t.Context(), v, "A"))
	require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSecretsUnavailable)
	require.ErrorIs(t, v.Refresh(t.Context()), diffhook.ErrSecretsUnavailable)
	require.NoError(t, v.Rotate(letter(t, "C"), 0))
	require.NoError(t, verifySigned(t, t.Context(), v, "C"))
	require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSignatureMismatch)
}

func TestRotateToRejected(t *testing.T) {
	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, nil)
	require.NoError(t, v.Reject(letter(t, "B").Fingerprint()))
	for _, window := range []time.Duration{0, time.Hour} {
		require.ErrorIs(t, v.Rotate(letter(t, "B"), window), diffhook.ErrInvalidSecret)
		require.NoError(t, verifySigned(t, t.Context(), v, "A"), "nothing has changed")
		require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSignatureMismatch)
	}
	require.NoError(t, v.Reject(letter(t, "A").Fingerprint()))
	require.ErrorIs(t, v.Rotate(letter(t, "A"), time.Hour), diffhook.ErrInvalidSecret, "to the current one is no exception")
	require.True(t, v.Status().Current.Rejected)
}

// A read that began before the secret was rejected brings it afterwards.
func TestRejectDuringRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{delay: time.Second}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "B"), Previous: letter(t, "A")})
		var wg sync.WaitGroup
		wg.Go(func() {
			assert.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSecretsUnavailable)
		})
		synctest.Wait() // the delivery waits for the read that knows B
		require.NoError(t, v.Reject(letter(t, "B").Fingerprint()))
		wg.Wait()
		require.NoError(t, verifySigned(t, t.Context(), v, "A"))
		assert.Equal(t, letter(t, "A").Fingerprint(), v.Status().Current.Fingerprint)
	})
}

// The status goes on showing what it was, for those who ask whether it is still
// accepted, and how often it was.
func TestRejectInStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rotationTest{T: t, source: &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}}
		r.v = newVerifier(t, r.source, nil)
		r.later(time.Minute)
		require.NoError(t, verifySigned(t, t.Context(), r.v, "A"))
		used := time.Now().UTC()
		r.later(time.Minute)
		r.reject("A")
		require.ErrorIs(t, verifySigned(t, t.Context(), r.v, "A"), diffhook.ErrSecretsUnavailable)
		assert.Equal(t, diffhook.SecretStatus{Fingerprint: letter(t, "A").Fingerprint(), Uses: 1, LastUsed: used, Rejected: true}, r.v.Status().Current)
		encoded, err := json.Marshal(r.v.Status())
		require.NoError(t, err)
		assert.Contains(t, string(encoded), `"rejected":true`)

		r.says("B", "A")
		assert.Zero(t, r.v.Status().Previous)
		encoded, err = json.Marshal(r.v.Status())
		require.NoError(t, err)
		assert.NotContains(t, string(encoded), "rejected")
	})
}

// A text that is no fingerprint may be the secret: it is refused, and the error
// does not repeat it.
func TestRejectRefusesBadFingerprints(t *testing.T) {
	secret := letter(t, "A")
	v := newVerifier(t, diffhook.Secrets{Current: secret}, nil)
	for name, text := range map[string]string{
		"empty":                      "",
		"the secret itself":          secret.Reveal(),
		"another text of its length": "amber-pelican-16",
		"too short":                  secret.Fingerprint()[1:],
		"too long":                   secret.Fingerprint() + "0",
		"upper case":                 "ABCDEF0123456789",
		"a letter too far":           "0123456789abcdeg",
		"in the middle":              "01234567-9abcdef",
		"white space":                " " + secret.Fingerprint()[1:],
		"not ASCII":                  strings.Repeat("\u0660", 8),
	} {
		t.Run(name, func(t *testing.T) {
			err := v.Reject(text)
			require.ErrorIs(t, err, diffhook.ErrInvalidOptions)
			if text != "" {
				assert.NotContains(t, err.Error(), text)
			}
			require.NoError(t, verifySigned(t, t.Context(), v, "A"))
		})
	}
}

func TestRejectOfZeroVerifier(t *testing.T) {
	var v diffhook.Verifier
	require.ErrorIs(t, v.Reject(letter(t, "A").Fingerprint()), diffhook.ErrSecretsUnavailable)
	require.ErrorIs(t, v.Reject("no fingerprint"), diffhook.ErrInvalidOptions)
}

// Once Reject has returned, no delivery that comes is accepted by the secret, on
// whatever way it comes back; the others go on being accepted all the while.
func TestRejectConcurrently(t *testing.T) {
	a, b, c := letter(t, "A"), letter(t, "B"), letter(t, "C")
	source := &settableSource{answer: diffhook.Secrets{Current: b, Previous: a}}
	v := newVerifier(t, source, nil)
	var rejected, stop atomic.Bool
	var accepted, refused atomic.Int64
	var work, forgeries sync.WaitGroup
	for range 4 {
		forgeries.Go(func() {
			for refused.Load() < 300 && t.Context().Err() == nil {
				before := rejected.Load()
				err := verifySigned(t, t.Context(), v, "A")
				switch {
				case err != nil && before:
					refused.Add(1)
				case err == nil && !before:
					accepted.Add(1)
				case err == nil:
					assert.Fail(t, "accepted after it was rejected")
					return
				}
			}
		})
	}
	until := func(do func()) {
		work.Go(func() {
			for !stop.Load() {
				do()
			}
		})
	}
	until(func() { assert.NoError(t, verifySigned(t, t.Context(), v, "B")) })
	until(func() {
		source.set(diffhook.Secrets{Current: b, Previous: a}, nil)
		_ = v.Refresh(t.Context())
		source.set(diffhook.Secrets{Current: b, Previous: c}, nil)
		_ = v.Refresh(t.Context())
	})
	until(func() { _ = v.Rotate(b, time.Hour) })
	until(func() {
		assert.NoError(t, v.Reject(c.Fingerprint()))
		assert.NotEqual(t, c.Fingerprint(), v.Status().Current.Fingerprint)
	})
	for accepted.Load() < 100 { // it has been in use
		require.NoError(t, verifySigned(t, t.Context(), v, "B"))
	}
	require.NoError(t, v.Reject(a.Fingerprint()))
	rejected.Store(true)
	forgeries.Wait()
	stop.Store(true)
	work.Wait()
	require.NoError(t, verifySigned(t, t.Context(), v, "B"))
	require.Error(t, verifySigned(t, t.Context(), v, "A"))
}
