package diffhook_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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

// A previous secret whose window is over stays rejected, whatever the source answers.
// The source answers only "A" at first.
func TestWindowThatIsOverStaysSo(t *testing.T) {
	const day = 24 * time.Hour
	over := map[string]func(rotationTest){
		"by the source's end":                func(r rotationTest) { r.saysUntil("B", "A", time.Now().Add(time.Hour)); r.later(time.Hour) },
		"before the source named the secret": func(r rotationTest) { r.saysUntil("B", "A", time.Now().Add(-time.Hour)) },
		"by RotationWindow":                  func(r rotationTest) { r.says("B", ""); r.later(day) },
		"by Rotate":                          func(r rotationTest) { r.rotate("B", time.Hour); r.later(time.Hour) },
		"by Rotate with 0":                   func(r rotationTest) { r.rotate("B", 0) },
		"after an extension":                 func(r rotationTest) { r.says("B", ""); r.saysUntil("B", "A", time.Now().Add(2*day)); r.later(2 * day) },
		"while no delivery came":             func(r rotationTest) { r.saysUntil("B", "A", time.Now().Add(time.Hour)); r.later(1000 * day) },
		"after a shorter window": func(r rotationTest) {
			r.says("B", "")
			r.saysUntil("B", "A", time.Now().Add(time.Hour))
			r.later(time.Hour)
		},
		"dropped and named again": func(r rotationTest) {
			r.saysUntil("B", "A", time.Now().Add(time.Hour))
			r.says("B", "")
			r.later(time.Hour)
		},
	}
	for name, end := range over {
		for _, test := range []struct {
			name string
			do   func(rotationTest)
			want string
		}{
			{"named without an end", func(r rotationTest) { r.says("B", "A") }, "B"},
			{"named with a later end", func(r rotationTest) { r.saysUntil("B", "A", time.Now().Add(day)) }, "B"},
			{"named, not named, and named", func(r rotationTest) { r.says("B", "A"); r.says("B", ""); r.says("B", "A") }, "B"},
			{"named after NoPrevious", func(r rotationTest) { r.saysNoPrevious("B", ""); r.says("B", "A") }, "B"},
			{"named beside the next secret", func(r rotationTest) { r.says("C", "A") }, "B!C"},
			{"named beside the next secret, with a later end", func(r rotationTest) { r.saysUntil("C", "A", time.Now().Add(day)) }, "B!C"},
			{"the window of the next secret is over too", func(r rotationTest) { r.says("C", "A"); r.later(day); r.says("C", "B") }, "C"},
			{"named as current, the secret comes back", func(r rotationTest) { r.says("A", "B") }, "AB!"},
			{"after that, a new window opens, without an end", func(r rotationTest) { r.says("A", "B"); r.says("B", "A"); r.later(day) }, "A!B"},
			{"rotated back to by hand", func(r rotationTest) { r.rotate("A", time.Hour); r.rotate("C", time.Hour) }, "A!C"},
		} {
			t.Run(name+", "+test.name, func(t *testing.T) {
				tellStory(t, diffhook.VerifierOptions{}, rotationTest.accepted, storyStep{end, "B"}, storyStep{test.do, test.want})
			})
		}
	}
}

// A directory goes through two rotations. The files are written in every order and read
// after each write. The secret whose window is over never comes back, and the secret in
// use before the second rotation is never lost.
func TestDirectoryWrittenInAnyOrder(t *testing.T) {
	first, second := time.Now().Add(time.Hour), time.Now().Add(100*time.Hour)
	const remove = "(removed)"
	text := func(name string) string { return letter(t, name).Reveal() }
	for name, steps := range map[string][][2]string{
		"with an end":               {{"current", text("C")}, {"previous", text("B")}, {"previous_expires", second.Format(time.RFC3339)}},
		"without an end":            {{"current", text("C")}, {"previous", text("B")}, {"previous_expires", remove}},
		"the end is removed first":  {{"current", text("C")}, {"previous", text("B")}, {"previous_expires", remove}, {"previous_expires", second.Format(time.RFC3339)}},
		"the old secret is removed": {{"current", text("C")}, {"previous", remove}, {"previous", text("B")}, {"previous_expires", second.Format(time.RFC3339)}},
	} {
		for _, order := range permutations(len(steps)) {
			if !keepsOrder(steps, order) {
				continue
			}
			for _, fresh := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					dir := directory{t.TempDir()}
					now := time.Now() // the clock of the bubble
					shift := func(text string) string { return shiftTime(text, first.Add(-time.Hour), now) }
					dir.write(t, "current", text("A"))
					v := newVerifier(t, diffhook.FileSecrets(dir.path), nil)
					dir.write(t, "previous_expires", shift(first.Format(time.RFC3339)))
					dir.write(t, "previous", text("A"))
					dir.write(t, "current", text("B"))
					require.NoError(t, v.Refresh(t.Context()))
					require.NoError(t, verifySigned(t, t.Context(), v, "A"))
					pause(2 * time.Hour)
					if fresh { // a process started after the window
						v = newVerifier(t, diffhook.FileSecrets(dir.path), nil)
					}
					var done []string
					for _, i := range order {
						file, content := steps[i][0], steps[i][1]
						done = append(done, file)
						if content == remove {
							dir.remove(t, file)
						} else {
							dir.write(t, file, shift(content))
						}
						require.NoError(t, v.Refresh(t.Context()))
						require.False(t, acceptsLetter(t, v, "A"), "%s: back after %v", name, done)
						require.True(t, acceptsLetter(t, v, "B"), "%s: lost after %v", name, done)
					}
				})
			}
		}
	}
}

// keepsOrder reports whether order keeps the steps of each file in sequence.
func keepsOrder(steps [][2]string, order []int) bool {
	for i, a := range order {
		for _, b := range order[i:] {
			if steps[a][0] == steps[b][0] && a > b {
				return false
			}
		}
	}
	return true
}

// directory is a plain directory with secrets in files.
type directory struct{ path string }

func (d directory) write(t testing.TB, name, content string) {
	require.NoError(t, os.WriteFile(filepath.Join(d.path, name), []byte(content+"\n"), 0o600))
}

func (d directory) remove(t testing.TB, name string) {
	if err := os.Remove(filepath.Join(d.path, name)); !os.IsNotExist(err) {
		require.NoError(t, err)
	}
}

// shiftTime moves a time from one origin to another. It returns any other text
// unchanged.
func shiftTime(text string, from, to time.Time) string {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return text
	}
	return to.Add(at.Sub(from)).Format(time.RFC3339)
}

// acceptsLetter reports whether v accepts the named secret, in a bubble.
func acceptsLetter(t testing.TB, v *diffhook.Verifier, name string) bool {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a miss does not wait,
	err := verifySigned(t, ctx, v, name)
	synctest.Wait() // but starts a read: it ends before the next write
	return err == nil
}

func permutations(n int) (all [][]int) {
	if n == 0 {
		return [][]int{nil}
	}
	for _, p := range permutations(n - 1) {
		for at := range n {
			q := append(append(append([]int(nil), p[:at]...), n-1), p[at:]...)
			all = append(all, q)
		}
	}
	return all
}

// Reject names a secret by its fingerprint, so an answer just before the call cannot
// redirect it to the new secret.
func TestRejectNamesTheSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rotationTest{T: t, source: &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}}
		r.v = newVerifier(t, r.source, nil)
		r.rotate("B", time.Hour)
		r.says("A", "B") // a stale replica names the new secret as previous
		r.reject("A")
		r.says("B", "A")
		assert.Equal(t, "B", strings.Trim(r.accepted(), "!"))
	})
}

// reject rejects the named secret.
func (r rotationTest) reject(name string) {
	require.NoError(r, r.v.Reject(letter(r, name).Fingerprint()))
}

// saysInVain makes the source return an answer that the verifier must not put in force.
func (r rotationTest) saysInVain(current, previous string) {
	r.source.set(diffhook.Secrets{Current: letter(r, current), Previous: letter(r, previous)}, nil)
	err := r.v.Refresh(r.Context())
	require.ErrorIs(r, err, diffhook.ErrSecretsUnavailable)
	require.Equal(r, err.Error(), r.v.Status().RefreshError)
}

// verdicts returns the accepted secrets, and the status of all others: 401, or 503 for
// all of them.
func (r rotationTest) verdicts() string {
	var accepted strings.Builder
	rejected := map[int]bool{}
	for _, name := range []string{"A", "B", "C", "D"} {
		body := []byte("a body signed by " + name)
		d, err := r.v.VerifyRequest(signedRequest(body, letter(r, name).Sign(body)))
		if err != nil {
			rejected[diffhook.HTTPStatus(err)] = true
			continue
		}
		accepted.WriteString(name)
		if d.SignedByPrevious {
			accepted.WriteString("!")
		}
	}
	require.Len(r, rejected, 1)
	if rejected[http.StatusServiceUnavailable] {
		return accepted.String() + " 503"
	}
	require.True(r, rejected[http.StatusUnauthorized])
	return accepted.String() + " 401"
}

// The promises of Reject as stories: the steps, and the secrets accepted after each.
// The source answers only "A" at first.
func TestReject(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		name  string
		steps []storyStep
	}{
		{"the current secret, until the source names another", []storyStep{
			{func(r rotationTest) { r.reject("A") }, " 503"},
			{func(r rotationTest) { r.saysInVain("A", "") }, " 503"},
			{func(r rotationTest) { r.says("B", "") }, "B 401"},
		}},
		{"the current secret, then named as previous by the source", []storyStep{
			{func(r rotationTest) { r.reject("A") }, " 503"},
			{func(r rotationTest) { r.says("B", "A") }, "B 401"},
			{func(r rotationTest) { r.saysUntil("B", "A", time.Now().Add(day)) }, "B 401"},
		}},
		{"the current secret, while the previous secret stays", []storyStep{
			{func(r rotationTest) { r.says("B", "A"); r.reject("B") }, "A! 503"},
			{func(r rotationTest) { r.later(1000 * day) }, "A! 503"},
			{func(r rotationTest) { r.says("C", "A") }, "A!C 401"},
		}},
		{"the current secret, then the previous secret ends", []storyStep{
			{func(r rotationTest) { r.rotate("B", time.Hour); r.reject("B") }, "A! 503"},
			{func(r rotationTest) { r.later(time.Hour) }, " 503"},
		}},
		{"the current secret, then the source withdraws the previous secret", []storyStep{
			{func(r rotationTest) { r.says("B", "A"); r.reject("B") }, "A! 503"},
			{func(r rotationTest) { r.saysInVain("B", "A") }, "A! 503"},
			{func(r rotationTest) { r.saysInVain("B", "") }, " 503"},
			{func(r rotationTest) { r.saysInVain("B", "C") }, "C! 503"},
		}},
		{"both", []storyStep{
			{func(r rotationTest) { r.says("B", "A"); r.reject("B"); r.reject("A") }, " 503"},
			{func(r rotationTest) { r.says("C", "B") }, "C 401"},
		}},
		{"the previous secret", []storyStep{
			{func(r rotationTest) { r.says("B", "A"); r.reject("A") }, "B 401"},
			{func(r rotationTest) { r.says("B", "") }, "B 401"},
			{func(r rotationTest) { r.says("C", "A") }, "B!C 401"}, // no statement about B
			{func(r rotationTest) { r.says("D", "") }, "C!D 401"},  // other secrets work as before
		}},
		{"an unknown secret, then named as current", []storyStep{
			{func(r rotationTest) { r.reject("B") }, "A 401"},
			{func(r rotationTest) { r.saysInVain("B", "") }, "A 503"}, // the source's true answer is unknown
			{func(r rotationTest) { r.saysInVain("B", "A") }, "A 503"},
			{func(r rotationTest) { r.says("C", "") }, "A!C 401"},
		}},
		{"an unknown secret, then named as previous", []storyStep{
			{func(r rotationTest) { r.reject("B") }, "A 401"},
			{func(r rotationTest) { r.says("A", "B") }, "A 401"},
			{func(r rotationTest) { r.says("C", "B") }, "C 401"},
		}},
		{"the source names the rejected secret again", []storyStep{
			{func(r rotationTest) { r.says("B", "A"); r.reject("A") }, "B 401"},
			{func(r rotationTest) { r.saysInVain("A", "") }, "B 503"},
			{func(r rotationTest) { r.saysInVain("A", "B") }, "B 503"},
			{func(r rotationTest) { r.says("B", "") }, "B 401"},
		}},
		{"Rotate opens no window for a rejected secret", []storyStep{
			{func(r rotationTest) { r.reject("A"); r.rotate("B", time.Hour) }, "B 401"},
		}},
		{"twice", []storyStep{
			{func(r rotationTest) { r.reject("A"); r.reject("A") }, " 503"},
			{func(r rotationTest) { r.says("B", ""); r.reject("A") }, "B 401"},
		}},
		{"the secret stays rejected after any other step", []storyStep{
			{func(r rotationTest) { r.says("B", "A"); r.reject("A"); r.reject("A") }, "B 401"},
			{func(r rotationTest) { r.rotate("C", time.Hour) }, "B!C 401"},
			{func(r rotationTest) { r.later(1000 * day); r.says("D", "A") }, "C!D 401"}, // no statement about C
			{func(r rotationTest) { r.saysInVain("A", "") }, "C!D 503"},
		}},
		{"a running window keeps its end", []storyStep{
			{func(r rotationTest) { r.rotate("B", time.Hour); r.later(59 * time.Minute); r.reject("C") }, "A!B 401"},
			{func(r rotationTest) { r.reject("B") }, "A! 503"},
			{func(r rotationTest) { r.later(time.Minute) }, " 503"},
		}},
		// The leaked secret came by Rotate. The source answered A throughout, and A was
		// not rejected.
		{"the source repeats another secret, not rejected", []storyStep{
			{func(r rotationTest) { r.rotate("B", time.Hour); r.reject("B") }, "A! 503"},
			{func(r rotationTest) { r.says("A", "") }, "A 401"},
			{func(r rotationTest) { r.later(time.Hour) }, "A 401"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			tellStory(t, diffhook.VerifierOptions{}, rotationTest.verdicts, test.steps...)
		})
	}
}

// If the secret in force leaked, no verifier can distinguish a forger from DiffHook:
// both get 503, and DiffHook retries. A retry is accepted as soon as the source has the
// new secret, and the delivery itself makes the verifier read the source.
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
			require.Equal(t, 401, deliver("B"), "the secret is unknown; the source was read and has nothing new")
		}
		require.NoError(t, v.Reject(letter(t, "A").Fingerprint()))
		require.Equal(t, 503, deliver("A"), "and the source, read often enough, is not asked again")
		require.Equal(t, 503, deliver("B"))
		require.Equal(t, 4, source.count())

		pause(10 * time.Second)
		require.Equal(t, 503, deliver("A"), "the source was read and names no other secret")
		require.Equal(t, 5, source.count())
		assert.NotEmpty(t, v.Status().RefreshError)
		assert.Zero(t, v.Status().LastRefresh.Compare(time.Now().Add(-10*time.Second).UTC()), "the read was no success")

		source.set(diffhook.Secrets{Current: letter(t, "B")}, nil)
		pause(10 * time.Second)
		require.Equal(t, 204, deliver("B"))
		require.Equal(t, 401, deliver("A"), "now the verifier can tell a forgery")
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

// A fixed set never names another secret.
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
		require.NoError(t, verifySigned(t, t.Context(), v, "A"), "nothing changed")
		require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSignatureMismatch)
	}
	require.NoError(t, v.Reject(letter(t, "A").Fingerprint()))
	require.ErrorIs(t, v.Rotate(letter(t, "A"), time.Hour), diffhook.ErrInvalidSecret, "also if the secret is current")
	require.True(t, v.Status().Current.Rejected)
}

// A read that began before Reject returns the rejected secret afterwards.
func TestRejectDuringRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{delay: time.Second}
		v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "B"), Previous: letter(t, "A")})
		var wg sync.WaitGroup
		wg.Go(func() {
			assert.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSecretsUnavailable)
		})
		synctest.Wait() // the delivery waits for a read of B
		require.NoError(t, v.Reject(letter(t, "B").Fingerprint()))
		wg.Wait()
		require.NoError(t, verifySigned(t, t.Context(), v, "A"))
		assert.Equal(t, letter(t, "A").Fingerprint(), v.Status().Current.Fingerprint)
	})
}

// The status keeps a rejected secret, with the state and the count of uses.
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

// A text that is no fingerprint may be a secret: Reject returns an error that does not
// repeat the text.
func TestRejectOfBadFingerprints(t *testing.T) {
	secret := letter(t, "A")
	v := newVerifier(t, diffhook.Secrets{Current: secret}, nil)
	for name, text := range map[string]string{
		"empty":                           "",
		"the secret itself":               secret.Reveal(),
		"another text of the same length": "amber-pelican-16",
		"too short":                       secret.Fingerprint()[1:],
		"too long":                        secret.Fingerprint() + "0",
		"upper case":                      "ABCDEF0123456789",
		"a letter too far":                "0123456789abcdeg",
		"in the middle":                   "01234567-9abcdef",
		"white space":                     " " + secret.Fingerprint()[1:],
		"not ASCII":                       strings.Repeat("\u0660", 8),
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

// Once Reject has returned, no new delivery is accepted by the secret, whichever way
// the secret comes back. The other secrets stay accepted throughout.
func TestRejectConcurrently(t *testing.T) {
	a, b, c := letter(t, "A"), letter(t, "B"), letter(t, "C")
	source := &settableSource{answer: diffhook.Secrets{Current: b, Previous: a}}
	v := newVerifier(t, source, nil)
	var ended, stop atomic.Bool
	var accepted, rejected atomic.Int64
	var work, forgeries sync.WaitGroup
	for range 4 {
		forgeries.Go(func() {
			for rejected.Load() < 300 && t.Context().Err() == nil {
				before := ended.Load()
				err := verifySigned(t, t.Context(), v, "A")
				switch {
				case err != nil && before:
					rejected.Add(1)
				case err == nil && !before:
					accepted.Add(1)
				case err == nil:
					assert.Fail(t, "accepted after Reject")
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
	for accepted.Load() < 100 { // the secret is in use
		require.NoError(t, verifySigned(t, t.Context(), v, "B"))
	}
	require.NoError(t, v.Reject(a.Fingerprint()))
	ended.Store(true)
	forgeries.Wait()
	stop.Store(true)
	work.Wait()
	require.NoError(t, verifySigned(t, t.Context(), v, "B"))
	require.Error(t, verifySigned(t, t.Context(), v, "A"))
}

// seal returns the text that transfers the secret next to verifiers with the secret
// old.
func seal(tb testing.TB, old, next string) string {
	tb.Helper()
	sealed, err := letter(tb, old).SealSuccessor(letter(tb, next))
	require.NoError(tb, err)
	return sealed
}

func (r rotationTest) push(old, next string) {
	require.NoError(r, r.v.AcceptSuccessor(seal(r, old, next)))
}

func (r rotationTest) pushInVain(old, next string) {
	before := r.v.Status().Changed
	require.ErrorIs(r, r.v.AcceptSuccessor(seal(r, old, next)), diffhook.ErrInvalidSecret)
	require.Equal(r, before, r.v.Status().Changed)
}

// requireSource requires that the status shows the named secret as the source's.
func (r rotationTest) requireSource(name string) {
	require.Equal(r, letter(r, name).Fingerprint(), r.v.Status().Source)
}

// A pushed successor as stories: the steps, and the secrets accepted after each. The
// source answers only "A" at first.
func TestAcceptSuccessor(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		name  string
		steps []storyStep
	}{
		{"both are accepted, the old secret for the window", []storyStep{
			{func(r rotationTest) { r.push("A", "B"); r.requireSource("A") }, "A!B 401"},
			{func(r rotationTest) { r.later(day - 1) }, "A!B 401"},
			{func(r rotationTest) { r.later(1) }, "B 401"},
		}},
		{"twice is as once", []storyStep{
			{func(r rotationTest) { r.push("A", "B"); r.later(day / 2); r.push("A", "B") }, "A!B 401"},
			{func(r rotationTest) { r.later(day / 2) }, "B 401"},
		}},
		{"the source is behind", []storyStep{
			{func(r rotationTest) { r.push("A", "B"); r.says("A", "") }, "A!B 401"},
			{func(r rotationTest) { r.says("A", "D"); r.requireSource("A") }, "A!B 401"},
			{func(r rotationTest) { r.saysUntil("A", "D", time.Now().Add(time.Hour)) }, "A!B 401"},
			{func(r rotationTest) { r.saysNoPrevious("A", "") }, "A!B 401"},
			{func(r rotationTest) { r.later(day); r.says("A", "D") }, "B 401"},
		}},
		{"the source fails, and is behind", []storyStep{
			{func(r rotationTest) {
				r.push("A", "B")
				r.source.set(diffhook.Secrets{}, errors.New("vault is sealed"))
				require.Error(r, r.v.Refresh(r.Context()))
				r.requireSource("A")
				r.says("A", "D")
			}, "A!B 401"},
		}},
		{"the source has the successor", []storyStep{
			{func(r rotationTest) { r.push("A", "B"); r.says("B", ""); r.requireSource("B") }, "A!B 401"},
			{func(r rotationTest) { r.later(day) }, "B 401"},
		}},
		{"the source has the successor and states no previous secret", []storyStep{
			{func(r rotationTest) { r.push("A", "B"); r.saysNoPrevious("B", "") }, "B 401"},
		}},
		{"the source has the successor, and later states no previous secret", []storyStep{
			{func(r rotationTest) { r.push("A", "B"); r.says("B", "") }, "A!B 401"},
			{func(r rotationTest) { r.saysNoPrevious("B", "") }, "B 401"},
		}},
		{"the source has the successor and the end of the previous secret", []storyStep{
			{func(r rotationTest) { r.push("A", "B"); r.saysUntil("B", "A", time.Now().Add(time.Hour)) }, "A!B 401"},
			{func(r rotationTest) { r.later(time.Hour) }, "B 401"},
		}},
		{"the source had the successor before", []storyStep{
			{func(r rotationTest) { r.says("B", ""); r.push("A", "B") }, "A!B 401"},
			{func(r rotationTest) { r.says("A", "D") }, "AD! 401"}, // the source decides as before
		}},
		{"the source has the successor and goes back", []storyStep{
			{func(r rotationTest) { r.push("A", "B"); r.says("B", ""); r.says("A", "") }, "AB! 401"},
		}},
		{"the source has a third secret", []storyStep{
			{func(r rotationTest) { r.push("A", "B"); r.says("C", "B") }, "B!C 401"},
			{func(r rotationTest) { r.says("A", "") }, "AC! 401"},
		}},
		{"a successor of the successor", []storyStep{
			{func(r rotationTest) { r.push("A", "B"); r.push("B", "C") }, "B!C 401"},
			{func(r rotationTest) { r.says("A", "D") }, "B!C 401"},
			{func(r rotationTest) { r.pushInVain("A", "B") }, "B!C 401"}, // replayed
			{func(r rotationTest) { r.says("C", ""); r.pushInVain("A", "B"); r.pushInVain("B", "A") }, "B!C 401"},
		}},
		{"a wrong successor is corrected", []storyStep{
			{func(r rotationTest) { r.push("A", "B"); r.reject("B") }, "A! 503"},
			{func(r rotationTest) { r.pushInVain("B", "C") }, "A! 503"}, // the wrong text may be public
			{func(r rotationTest) { r.says("A", "") }, "A 401"},
			{func(r rotationTest) { r.push("A", "C"); r.pushInVain("A", "B") }, "A!C 401"},
			{func(r rotationTest) { r.says("A", "D") }, "A!C 401"},
		}},
		{"the old secret is rejected after the push", []storyStep{
			{func(r rotationTest) { r.push("A", "B"); r.reject("A") }, "B 401"},
			{func(r rotationTest) { r.saysInVain("A", ""); r.requireSource("A") }, "B 503"},
			{func(r rotationTest) { r.says("B", "A"); r.requireSource("B") }, "B 401"},
			{func(r rotationTest) { r.saysInVain("A", ""); r.requireSource("A") }, "B 503"}, // the source lost B again
		}},
		{"no rejected successor, and none under a rejected secret", []storyStep{
			{func(r rotationTest) { r.reject("B"); r.pushInVain("A", "B") }, "A 401"},
			{func(r rotationTest) { r.reject("A"); r.pushInVain("A", "C") }, " 503"},
			{func(r rotationTest) { r.says("C", ""); r.pushInVain("A", "C") }, "C 401"},
		}},
		{"not under the previous secret, nor under an unknown one", []storyStep{
			{func(r rotationTest) { r.says("B", "A"); r.pushInVain("A", "C"); r.pushInVain("D", "C") }, "A!B 401"},
		}},
		{"Rotate after the push lasts until the next answer", []storyStep{
			{func(r rotationTest) { r.push("A", "B"); r.rotate("C", time.Hour) }, "B!C 401"},
			{func(r rotationTest) { r.saysNoPrevious("A", "") }, "A 401"},
		}},
		{"after Rotate", []storyStep{
			{func(r rotationTest) { r.rotate("B", time.Hour); r.push("B", "C") }, "B!C 401"},
			{func(r rotationTest) { r.says("A", "D") }, "B!C 401"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			tellStory(t, diffhook.VerifierOptions{}, rotationTest.verdicts, test.steps...)
		})
	}
}

// A negative RotationWindow keeps no replaced secret, pushed or not.
func TestAcceptSuccessorWithoutWindow(t *testing.T) {
	r := rotationTest{T: t, source: &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}}
	r.v = newVerifier(t, r.source, &diffhook.VerifierOptions{RotationWindow: -1, MinRefreshInterval: 1<<63 - 1})
	r.push("A", "B")
	require.Equal(t, "B 401", r.verdicts())
	require.Zero(t, r.v.Status().Previous)
	r.says("A", "D")
	require.Equal(t, "B 401", r.verdicts())
}

func TestAcceptSuccessorOfZeroVerifier(t *testing.T) {
	var v diffhook.Verifier
	require.ErrorIs(t, v.AcceptSuccessor(seal(t, "A", "B")), diffhook.ErrSecretsUnavailable)
	require.ErrorIs(t, v.AcceptSuccessor("no text"), diffhook.ErrInvalidSecret)
}

func TestSealSuccessorErrors(t *testing.T) {
	for name, pair := range map[string][2]string{
		"of a zero secret": {"", "B"},
		"to a zero secret": {"A", ""},
		"of both":          {"", ""},
		"to itself":        {"A", "A"},
	} {
		t.Run(name, func(t *testing.T) {
			sealed, err := letter(t, pair[0]).SealSuccessor(letter(t, pair[1]))
			require.ErrorIs(t, err, diffhook.ErrInvalidSecret)
			require.Empty(t, sealed)
		})
	}
}

// The form is fixed: a verifier of another version may have to open it. Python's
// package cryptography sealed this text by AES-256-GCM, with the nonce 00 to 0b in
// front. The key is HKDF-SHA-256 without salt, with the text before the last dot as
// info.
func TestSealedSuccessorForm(t *testing.T) {
	const sealed = "diffhook-successor-v1.3c01685fd7b8fdff.8298e8d966c9826a." +
		"AAECAwQFBgcICQoL6THG5aCJyCVc9JuxCWEmKNAZtysVxLsF3jXjuMDUlmHzdR28BZjJr47ACYY"
	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, nil)
	require.NoError(t, v.AcceptSuccessor(sealed))
	require.NoError(t, verifySigned(t, t.Context(), v, "B"))
	head, _, _ := strings.Cut(sealed, ".AAEC")
	require.True(t, strings.HasPrefix(seal(t, "A", "B"), head+"."))
	require.Len(t, seal(t, "A", "B"), len(sealed))
}

// A sealed text shows neither secret, and no two are the same.
func TestSealedSuccessorIsOpaque(t *testing.T) {
	detector := newLeakDetector(opaqueText, opaqueText2)
	seen := map[string]bool{}
	for range 100 {
		sealed, err := mustSecret(t, opaqueText).SealSuccessor(mustSecret(t, opaqueText2))
		require.NoError(t, err)
		require.False(t, seen[sealed])
		seen[sealed] = true
		bytes, err := base64.RawURLEncoding.DecodeString(sealed[strings.LastIndexByte(sealed, '.')+1:])
		require.NoError(t, err)
		require.Empty(t, detector.find(sealed+string(bytes)))
	}
}

// Threat: an attacker between the rotation and the server changes the text, or joins
// parts of several. No such text is accepted, and no error shows a secret.
func TestAcceptSuccessorRejectsChangedTexts(t *testing.T) {
	sealed, other := seal(t, "A", "B"), seal(t, "A", "C")
	cut := strings.LastIndexByte(sealed, '.')
	texts := map[string]string{
		"empty":                         "",
		"the secret itself":             letter(t, "B").Reveal(),
		"another version":               strings.Replace(sealed, "v1", "v2", 1),
		"another ciphertext":            sealed[:cut] + other[cut:],
		"another head":                  other[:cut] + sealed[cut:],
		"upper case":                    strings.ToUpper(sealed[:cut]) + sealed[cut:],
		"no ciphertext":                 sealed[:cut+1],
		"a short ciphertext":            sealed[:cut+5],
		"cut off":                       sealed[:len(sealed)-4],
		"a part more":                   sealed + "." + sealed[cut+1:],
		"padded":                        sealed + "=",
		"the beginning of another text": sealed[:cut+10] + other[cut+10:],
		"the old fingerprint in place of the new": strings.Replace(sealed, letter(t, "B").Fingerprint(), letter(t, "A").Fingerprint(), 1) + "A",
	}
	for i := range sealed {
		for _, c := range []byte{'A', 'b', '0', '_'} {
			if changed := sealed[:i] + string(c) + sealed[i+1:]; changed != sealed {
				texts[changed] = changed
			}
		}
	}
	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, nil)
	before := v.Status().Current.Fingerprint
	for name, text := range texts {
		err := v.AcceptSuccessor(text)
		if strings.Contains(name, "old fingerprint") {
			assert.NoError(t, err, "already current: no change")
		} else if !assert.ErrorIs(t, err, diffhook.ErrInvalidSecret, name) {
			continue
		} else {
			assert.NotContains(t, err.Error(), letter(t, "A").Reveal())
			assert.NotContains(t, err.Error(), letter(t, "B").Reveal())
		}
		assert.Equal(t, before, v.Status().Current.Fingerprint, name)
	}
	require.NoError(t, v.AcceptSuccessor(sealed))
}

// Deliveries signed by either secret are accepted throughout, whatever a stale source
// answers.
func TestAcceptSuccessorConcurrently(t *testing.T) {
	source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
	v := newVerifier(t, source, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var work, reads sync.WaitGroup
	reads.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			source.set(diffhook.Secrets{Current: letter(t, "A"), Previous: letter(t, []string{"C", "D"}[i%2])}, nil)
			assert.NoError(t, v.Refresh(t.Context()))
		}
	})
	sealed := seal(t, "A", "B")
	for range 4 {
		work.Go(func() {
			assert.NoError(t, v.AcceptSuccessor(sealed))
			for range 500 {
				assert.NoError(t, verifySigned(t, t.Context(), v, "A"))
				assert.NoError(t, verifySigned(t, t.Context(), v, "B"))
			}
		})
	}
	work.Wait()
	cancel()
	reads.Wait()
	require.Equal(t, letter(t, "B").Fingerprint(), v.Status().Current.Fingerprint)
	require.Equal(t, letter(t, "A").Fingerprint(), v.Status().Source)
}

// A verifier after a restart accepts the previous secret of the source, whatever the
// earlier process rejected. The status names that secret.
func TestStatusNamesThePreviousSecretOfTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "B"), Previous: letter(t, "A")}}
		v, err := diffhook.NewVerifier(t.Context(), source, nil)
		require.NoError(t, err)
		require.NoError(t, v.Reject(letter(t, "A").Fingerprint()))
		require.Empty(t, v.Status().Previous)
		require.Equal(t, letter(t, "A").Fingerprint(), v.Status().SourcePrevious)
		again, err := diffhook.NewVerifier(t.Context(), source, nil)
		require.NoError(t, err)
		require.NoError(t, verifySigned(t, t.Context(), again, "A"))

		for name, answer := range map[string]diffhook.Secrets{
			"none":       {Current: letter(t, "B"), NoPrevious: true},
			"unknown":    {Current: letter(t, "B")},
			"the same":   {Current: letter(t, "B"), Previous: letter(t, "B")},
			"out of use": {Current: letter(t, "B"), Previous: letter(t, "A"), PreviousExpires: time.Now()},
		} {
			source.set(answer, nil)
			require.NoError(t, again.Refresh(t.Context()), name)
			require.Empty(t, again.Status().SourcePrevious, name)
		}
	})
}
