package diffhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
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

// letter returns a secret that tables name by a letter.
func letter(tb testing.TB, name string) diffhook.Secret {
	tb.Helper()
	if name == "" {
		return diffhook.Secret{}
	}
	return mustSecret(tb, "test-signing-secret-"+strings.Repeat(name, 8))
}

// signedRequest returns a request with the body and the signature.
func signedRequest(body []byte, signature string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/webhooks/diffhook", bytes.NewReader(body))
	r.Header.Set(diffhook.SignatureHeader, signature)
	return r
}

// settableSource returns the answer that was set last.
type settableSource struct {
	mu     sync.Mutex
	answer diffhook.Secrets
	err    error
	at     []time.Time // times of the calls
}

func (s *settableSource) Load(context.Context) (diffhook.Secrets, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, time.Now())
	return s.answer, s.err
}

func (s *settableSource) set(answer diffhook.Secrets, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer, s.err = answer, err
}

func (s *settableSource) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.at)
}

// rotationTest is a verifier with its source, in a synctest bubble.
type rotationTest struct {
	*testing.T
	source *settableSource
	v      *diffhook.Verifier
}

// says makes the source answer with the named secrets and refreshes the verifier.
func (r rotationTest) says(current, previous string) { r.saysUntil(current, previous, time.Time{}) }

func (r rotationTest) saysUntil(current, previous string, expires time.Time) {
	r.source.set(diffhook.Secrets{Current: letter(r, current), Previous: letter(r, previous), PreviousExpires: expires}, nil)
	require.NoError(r, r.v.Refresh(r.Context()))
}

func (r rotationTest) saysNoPrevious(current, ignored string) {
	r.source.set(diffhook.Secrets{Current: letter(r, current), Previous: letter(r, ignored), NoPrevious: true}, nil)
	require.NoError(r, r.v.Refresh(r.Context()))
}

func (r rotationTest) rotate(next string, window time.Duration) {
	require.NoError(r, r.v.Rotate(letter(r, next), window))
}

func (r rotationTest) later(d time.Duration) { <-time.After(d) }

// accepted returns the letters of the accepted secrets, with "!" behind the previous
// secret.
func (r rotationTest) accepted() string {
	var accepted string
	for _, name := range []string{"A", "B", "C", "D"} {
		body := []byte("a body signed by " + name)
		d, err := r.v.VerifyRequest(signedRequest(body, letter(r, name).Sign(body)))
		if err != nil {
			require.ErrorIs(r, err, diffhook.ErrSignatureMismatch)
			continue
		}
		accepted += name
		if d.SignedByPrevious {
			accepted += "!"
		}
	}
	return accepted
}

// storyStep is a step of a story, and the verdicts after it.
type storyStep struct {
	do   func(rotationTest)
	want string
}

// tellStory runs the steps in a bubble, and compares the verdicts after each. The source
// answers only "A" at first.
func tellStory(t *testing.T, opts diffhook.VerifierOptions, verdicts func(rotationTest) string, steps ...storyStep) {
	synctest.Test(t, func(t *testing.T) {
		r := rotationTest{T: t, source: &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}}
		// No refresh on a miss, so that only the step changes the verdicts.
		opts.MinRefreshInterval = 1<<63 - 1
		r.v = newVerifier(t, r.source, &opts)
		verdicts(r) // uses up the refreshes on a miss
		for i, step := range steps {
			step.do(r)
			require.Equal(t, step.want, verdicts(r), "after step %d", i+1)
		}
	})
}

// Every promise about the window as a story: the steps, and the secrets accepted after
// each. The source answers only "A" at first.
func TestRotationWindow(t *testing.T) {
	const day = 24 * time.Hour
	tests := []struct {
		name  string
		opts  diffhook.VerifierOptions
		steps []storyStep
	}{
		{"a replaced secret is kept for the default window, to the instant", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.says("B", "") }, "A!B"},
			{func(r rotationTest) { r.later(day - time.Nanosecond) }, "A!B"},
			{func(r rotationTest) { r.later(time.Nanosecond) }, "B"},
		}},
		{"a window of another length", diffhook.VerifierOptions{RotationWindow: time.Minute}, []storyStep{
			{func(r rotationTest) { r.says("B", "") }, "A!B"},
			{func(r rotationTest) { r.later(time.Minute) }, "B"},
		}},
		{"a negative window keeps nothing", diffhook.VerifierOptions{RotationWindow: -1}, []storyStep{
			{func(r rotationTest) { r.says("B", "") }, "B"},
		}},
		{"the same answer again does not prolong the window", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.says("B", "") }, "A!B"},
			{func(r rotationTest) { r.later(20 * time.Hour); r.says("B", "") }, "A!B"},
			{func(r rotationTest) { r.later(4 * time.Hour) }, "B"},
		}},
		{"the source names the previous secret without an end", diffhook.VerifierOptions{RotationWindow: time.Minute}, []storyStep{
			{func(r rotationTest) { r.says("B", "A") }, "A!B"},
			{func(r rotationTest) { r.later(1000 * day) }, "A!B"},
			{func(r rotationTest) { r.says("B", "") }, "B"}, // no longer named
		}},
		{"the source's end counts, without a refresh", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.saysUntil("B", "A", time.Now().Add(time.Hour)) }, "A!B"},
			{func(r rotationTest) { r.later(time.Hour - 1) }, "A!B"},
			{func(r rotationTest) { r.later(1) }, "B"},
		}},
		{"an end in the past", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.saysUntil("B", "A", time.Now().Add(-time.Hour)) }, "B"},
		}},
		{"the source moves the end", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.saysUntil("B", "A", time.Now().Add(time.Hour)) }, "A!B"},
			{func(r rotationTest) { r.saysUntil("B", "A", time.Now().Add(day)) }, "A!B"},
			{func(r rotationTest) { r.later(2 * time.Hour) }, "A!B"},
		}},
		{"the source names a previous secret that was never current here", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.says("C", "B") }, "B!C"}, // the verifier missed a rotation: A is two behind
		}},
		{"no longer named while the current secret changes: the replaced secret gets a window", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.says("B", "A") }, "A!B"},
			{func(r rotationTest) { r.says("C", "") }, "B!C"},
		}},
		{"NoPrevious rejects the replaced secret at once", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.saysNoPrevious("B", "") }, "B"},
		}},
		{"NoPrevious ends a window", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.says("B", "") }, "A!B"},
			{func(r rotationTest) { r.saysNoPrevious("B", "") }, "B"},
			{func(r rotationTest) { r.says("B", "") }, "B"},
		}},
		{"NoPrevious wins over a previous secret in the same answer", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.saysNoPrevious("B", "A") }, "B"},
		}},
		{"previous equal to current counts as none", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.says("B", "B") }, "A!B"}, // so B replaced A
		}},
		{"previous equal to current, with nothing replaced", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.says("A", "A") }, "A"},
		}},
		{"a rotation is taken back", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.says("B", "") }, "A!B"},
			{func(r rotationTest) { r.says("A", "") }, "AB!"},
		}},
		{"a second rotation inside a window drops the older secret", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.says("B", "") }, "A!B"},
			{func(r rotationTest) { r.says("C", "") }, "B!C"},
		}},

		{"Rotate keeps the old secret for the window", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.rotate("B", time.Hour) }, "A!B"},
			{func(r rotationTest) { r.later(time.Hour) }, "B"},
		}},
		{"Rotate with a window of 0 rejects the old secret at once", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.rotate("B", 0) }, "B"},
		}},
		{"Rotate to the current secret changes nothing, also with 0", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.rotate("B", time.Hour) }, "A!B"},
			{func(r rotationTest) { r.rotate("B", 0) }, "A!B"},
			{func(r rotationTest) { r.later(59 * time.Minute); r.rotate("B", time.Hour) }, "A!B"},
			{func(r rotationTest) { r.later(time.Minute) }, "B"},
		}},
		{"a second Rotate inside a window drops the older secret", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.rotate("B", time.Hour); r.rotate("C", time.Hour) }, "B!C"},
		}},
		{"a window without an end in sight", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.rotate("B", 1<<63-1) }, "A!B"},
		}},
		{"manual steps stand while the source repeats itself", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.rotate("B", time.Hour); r.says("A", "") }, "A!B"},
			{func(r rotationTest) { r.says("C", "") }, "B!C"},
			{func(r rotationTest) { r.reject("B"); r.says("C", "") }, "C"},
		}},
		{"the source catches up with a manual rotation", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.rotate("B", time.Hour); r.says("B", "") }, "A!B"},
			{func(r rotationTest) { r.later(time.Hour) }, "B"},
		}},
		{"the source overtakes a manual rotation", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.rotate("B", time.Hour); r.says("C", "") }, "B!C"},
		}},

		{"Reject takes effect at once", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.says("B", ""); r.reject("A") }, "B"},
		}},
		{"a rejected secret does not come back by the source's word", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.says("B", "A"); r.reject("A") }, "B"},
			{func(r rotationTest) { r.says("B", "") }, "B"},
			{func(r rotationTest) { r.says("B", "A") }, "B"},
			{func(r rotationTest) { r.saysUntil("B", "A", time.Now().Add(day)) }, "B"},
			{func(r rotationTest) { r.says("C", "A") }, "B!C"}, // no statement about B
		}},
		{"a rejected secret does not come back by being replaced", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.says("B", ""); r.reject("B"); r.says("C", "") }, "C"},
		}},
		{"Reject counts for a secret whose window is over, too", diffhook.VerifierOptions{}, []storyStep{
			{func(r rotationTest) { r.rotate("B", time.Hour); r.later(2 * time.Hour); r.reject("A") }, "B"},
			{func(r rotationTest) { r.says("B", "A") }, "B"},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tellStory(t, test.opts, rotationTest.accepted, test.steps...)
		})
	}
}

func TestRotateErrors(t *testing.T) {
	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, nil)
	before := v.Status().Current.Fingerprint
	require.ErrorIs(t, v.Rotate(diffhook.Secret{}, time.Hour), diffhook.ErrInvalidSecret)
	require.ErrorIs(t, v.Rotate(letter(t, "B"), -1), diffhook.ErrInvalidOptions)
	require.ErrorIs(t, v.Rotate(letter(t, "A"), -1), diffhook.ErrInvalidOptions)
	assert.Equal(t, before, v.Status().Current.Fingerprint)
	assert.Zero(t, v.Status().Previous)
}

// An empty answer or a failure of the source leaves the secrets in force.
func TestFailedRefreshKeepsSecrets(t *testing.T) {
	boom := errors.New("vault: connection refused")
	for name, failure := range map[string]struct {
		answer diffhook.Secrets
		err    error
	}{
		"error":         {err: boom},
		"empty set":     {},
		"previous only": {answer: diffhook.Secrets{Previous: letter(t, "B")}},
		"answer beside an error is not looked at": {answer: diffhook.Secrets{Current: letter(t, "B")}, err: boom},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rotationTest{T: t, source: &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}}
				r.v = newVerifier(t, r.source, nil)
				first := r.v.Status().LastRefresh
				<-time.After(time.Second)

				r.source.set(failure.answer, failure.err)
				err := r.v.Refresh(t.Context())
				require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
				if failure.err != nil {
					require.ErrorIs(t, err, failure.err, "the cause can be asked for")
				}
				body := []byte("body")
				require.NoError(t, r.v.Verify(t.Context(), body, letter(t, "A").Sign(body)))
				assert.Equal(t, err.Error(), r.v.Status().RefreshError)
				assert.Equal(t, first, r.v.Status().LastRefresh)

				r.says("A", "")
				assert.Empty(t, r.v.Status().RefreshError)
				assert.Equal(t, first.Add(time.Second), r.v.Status().LastRefresh)
			})
		})
	}
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rotationTest{T: t, source: &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}}
		r.v = newVerifier(t, r.source, nil)
		began := time.Now().UTC()
		body := []byte("body")
		use := func(name string, times int) {
			for range times {
				require.NoError(t, r.v.Verify(t.Context(), body, letter(t, name).Sign(body)))
			}
		}
		use("A", 3)
		r.later(time.Hour)
		r.says("B", "")
		r.later(time.Minute)
		use("A", 2) // as the previous secret, with the same count
		use("B", 1)
		r.later(time.Minute)

		want := diffhook.VerifierStatus{
			At:          began.Add(62 * time.Minute),
			Since:       began,
			Changed:     began.Add(time.Hour),
			LastRefresh: began.Add(time.Hour),
			Source:      letter(t, "B").Fingerprint(),
			Current:     diffhook.SecretStatus{Fingerprint: letter(t, "B").Fingerprint(), Uses: 1, LastUsed: began.Add(61 * time.Minute)},
			Previous: diffhook.SecretStatus{Fingerprint: letter(t, "A").Fingerprint(), Uses: 5, LastUsed: began.Add(61 * time.Minute),
				Expires: began.Add(25 * time.Hour)},
		}
		// A use is recorded to the nanosecond, but never as 0.
		assert.Empty(t, cmp.Diff(want, r.v.Status()))

		encoded, err := json.Marshal(r.v.Status())
		require.NoError(t, err)
		var decoded diffhook.VerifierStatus
		require.NoError(t, json.Unmarshal(encoded, &decoded))
		assert.Empty(t, cmp.Diff(want, decoded))

		// Current again, the secret goes on from the earlier count.
		r.says("A", "")
		use("A", 1)
		assert.EqualValues(t, 6, r.v.Status().Current.Uses)
		assert.EqualValues(t, 1, r.v.Status().Previous.Uses)

		r.reject("B")
		encoded, err = json.Marshal(r.v.Status())
		require.NoError(t, err)
		assert.NotContains(t, string(encoded), "previous")
	})
}

// A rejected delivery is not a use of any secret.
func TestStatusDoesNotCountRejections(t *testing.T) {
	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A"), Previous: letter(t, "B")}, nil)
	body := []byte("body")
	require.ErrorIs(t, v.Verify(t.Context(), body, letter(t, "C").Sign(body)), diffhook.ErrSignatureMismatch)
	require.ErrorIs(t, v.Verify(t.Context(), body, ""), diffhook.ErrNoSignature)
	status := v.Status()
	assert.Zero(t, status.Current.Uses+status.Previous.Uses)
	assert.True(t, status.Current.LastUsed.IsZero() && status.Previous.LastUsed.IsZero())
}

// The zero Verifier of a forgotten constructor fails closed.
func TestZeroVerifier(t *testing.T) {
	var v diffhook.Verifier
	body := []byte("body")
	signature := letter(t, "A").Sign(body)
	require.ErrorIs(t, v.Verify(t.Context(), body, signature), diffhook.ErrSecretsUnavailable)
	require.ErrorIs(t, v.Verify(t.Context(), body, ""), diffhook.ErrSecretsUnavailable)
	require.ErrorIs(t, v.VerifyHeader(t.Context(), body, nil), diffhook.ErrSecretsUnavailable)
	_, err := v.VerifyRequest(signedRequest(body, signature))
	require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
	require.ErrorIs(t, v.Rotate(letter(t, "A"), time.Hour), diffhook.ErrSecretsUnavailable)
	require.ErrorIs(t, v.Refresh(t.Context()), diffhook.ErrSecretsUnavailable)
	assert.Zero(t, v.Status().Current)
}

func TestNewVerifierErrors(t *testing.T) {
	good := diffhook.Secrets{Current: letter(t, "A")}
	boom := errors.New("boom")
	tests := []struct {
		name string
		src  diffhook.SecretSource
		opts *diffhook.VerifierOptions
		want error
	}{
		{"no source", nil, nil, diffhook.ErrInvalidOptions},
		{"negative MaxBodyBytes", good, &diffhook.VerifierOptions{MaxBodyBytes: -1}, diffhook.ErrInvalidOptions},
		{"negative MaxAge", good, &diffhook.VerifierOptions{MaxAge: -1}, diffhook.ErrInvalidOptions},
		{"empty set", diffhook.Secrets{}, nil, diffhook.ErrSecretsUnavailable},
		{"no current secret", diffhook.Secrets{Previous: letter(t, "A")}, nil, diffhook.ErrSecretsUnavailable},
		{"failing source", &settableSource{err: boom}, nil, diffhook.ErrSecretsUnavailable},
		{"a cause", &settableSource{err: boom}, nil, boom},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v, err := diffhook.NewVerifier(t.Context(), test.src, test.opts)
			require.ErrorIs(t, err, test.want)
			assert.Nil(t, v)
		})
	}
}

// TestCountsAreExact: under any number of goroutines, no use is lost or counted twice,
// and the counts of a status never go back.
func TestCountsAreExact(t *testing.T) {
	const goroutines, each = 40, 500
	current, previous := mustSecret(t, currentText), mustSecret(t, previousText)
	v := newVerifier(t, diffhook.Secrets{Current: current, Previous: previous, PreviousExpires: time.Now().Add(time.Hour)}, nil)
	body := []byte(`{"event":"page.changed"}`)
	signatures := []string{current.Sign(body), previous.Sign(body)}
	began := time.Now()
	done := make(chan struct{})
	var watching, verifying sync.WaitGroup
	watching.Go(func() {
		var before uint64
		for {
			uses := v.Status().Current.Uses
			assert.GreaterOrEqual(t, uses, before)
			before = uses
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for i := range goroutines {
		verifying.Go(func() {
			for range each {
				assert.NoError(t, v.Verify(t.Context(), body, signatures[i%2]))
			}
		})
	}
	verifying.Wait()
	close(done)
	watching.Wait()
	status := v.Status()
	require.EqualValues(t, goroutines/2*each, status.Current.Uses)
	require.EqualValues(t, goroutines/2*each, status.Previous.Uses)
	for _, s := range []diffhook.SecretStatus{status.Current, status.Previous} {
		assert.WithinRange(t, s.LastUsed, began.Add(-time.Second), status.At)
	}
}
