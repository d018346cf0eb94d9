package diffhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// beforeClockSet returns t as read from a clock that was set by the given duration
// afterwards: the wall time differs, and the monotonic time, which time.Since uses, is
// the same. No function of package time makes such a time.
func beforeClockSet(tb testing.TB, t time.Time, by time.Duration) time.Time {
	tb.Helper()
	moved := t
	// time.Time is a word of nanoseconds and seconds, and the monotonic time.
	(*struct {
		wall uint64
		mono int64
		loc  *time.Location
	})(unsafe.Pointer(&moved)).mono += int64(by)
	moved = moved.Add(-by)
	require.Zero(tb, moved.Sub(t), "the monotonic time changed")
	require.Equal(tb, -by, moved.Round(0).Sub(t.Round(0)), "the wall time did not change")
	return moved
}

func TestBegin(t *testing.T) {
	now := time.Now()
	since := now.Add(-10 * time.Minute)
	for _, test := range []struct {
		name string
		by   time.Duration // by which the clock was set since
		want time.Duration // from the beginning to now
	}{
		{"left alone", 0, 10 * time.Minute},
		{"set forward", 3 * time.Hour, 10 * time.Minute},
		{"set back", -3 * time.Hour, 10 * time.Minute},
		{"set forward by a day, or the machine was suspended for a day", 24 * time.Hour, 10 * time.Minute},
		{"corrected by more than a second", 1001 * time.Millisecond, 10 * time.Minute},
		// A drift corrected by NTP must not change the date each time.
		{"corrected by a second", time.Second, 10*time.Minute + time.Second},
		{"corrected back", -time.Second, 10*time.Minute - time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := begin(beforeClockSet(t, since, test.by), now)
			assert.Equal(t, time.UTC, began.Location())
			assert.Equal(t, test.want, now.Round(0).Sub(began.Round(0)), "as dates, as in JSON")
		})
	}
}

// The clock of a server is set while the server counts. The status shows dates of the
// new clock, so that readers elsewhere count right.
func TestStatusAfterClockWasSet(t *testing.T) {
	for name, by := range map[string]time.Duration{"forward": 3 * time.Hour, "back": -3 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			v, a, _ := inWindow(t)
			// The verifier began 15 minutes ago and used the old secret 5 minutes ago.
			v.live().since = beforeClockSet(t, time.Now().Add(-15*time.Minute), by)
			v.live().known[a.Fingerprint()].lanes[0].lastUsed.Store(int64(10 * time.Minute))

			status := throughJSON(t, v.Status())
			assert.WithinDuration(t, time.Now(), status.At, time.Minute)
			assert.InDelta(t, 15*time.Minute, status.At.Sub(status.Since), float64(time.Minute))
			assert.InDelta(t, 5*time.Minute, status.At.Sub(status.Previous.LastUsed), float64(time.Minute))
		})
	}
}

// Readers elsewhere see from At and Expires whether the previous secret is accepted:
// both must be of the same clock.
func TestStatusTellsWindowAfterClockWasSet(t *testing.T) {
	for name, by := range map[string]time.Duration{"forward": 3 * time.Hour, "back": -3 * time.Hour, "left alone": 0} {
		for _, left := range []time.Duration{30 * time.Minute, -30 * time.Minute} {
			t.Run(fmt.Sprint(name, " with ", left, " left"), func(t *testing.T) {
				accepted := left > 0 && by <= 0 // by both clocks
				v, a, _ := inWindow(t)
				set := *v.live().set.Load()
				closes := beforeClockSet(t, time.Now().Add(left), by)
				set.window = &window{expires: closes.Round(0), closes: closes}
				v.live().set.Store(&set)
				body := []byte("{}")
				require.Equal(t, accepted, v.Verify(t.Context(), body, a.Sign(body)) == nil)
				status := throughJSON(t, v.Status())
				assert.Equal(t, accepted, status.accepts(status.Previous))
			})
		}
	}
}

// A rejected secret is left out of the verdict, not of the work: the time taken does
// not show which secret is rejected, or whether any is.
func TestMatchComputesRejectedSecrets(t *testing.T) {
	_, a, b := inWindow(t)
	computed := map[string]int{}
	counting := func(s Secret) Secret {
		return Secret{key: func() *signingKey {
			computed[s.Fingerprint()]++
			return s.key()
		}}
	}
	body := []byte("{}")
	for _, signer := range []Secret{a, b} {
		var signature tag
		require.NoError(t, signature.parse(signer.Sign(body)))
		clear(computed)
		set := &secretSet{current: counting(b), previous: counting(a), rejected: matchCurrent}
		match := matchOf(set, body, &signature)
		assert.Equal(t, signer.Equal(a), match == matchPrevious)
		assert.Equal(t, signer.Equal(b), match == 0)
		assert.Equal(t, map[string]int{a.Fingerprint(): 1, b.Fingerprint(): 1}, computed)
	}
}

// inWindow returns a verifier after a rotation to b, with a as the previous secret for
// an hour.
func inWindow(t testing.TB) (v *Verifier, a, b Secret) {
	t.Helper()
	a, err := NewSecret("test-signing-secret-A-0000000001")
	require.NoError(t, err)
	b, err = NewSecret("test-signing-secret-B-0000000001")
	require.NoError(t, err)
	v, err = NewVerifier(t.Context(), Secrets{Current: a}, nil)
	require.NoError(t, err)
	require.NoError(t, v.Rotate(b, time.Hour))
	return v, a, b
}

// throughJSON returns the status as another server reads it.
func throughJSON(t testing.TB, status VerifierStatus) (read VerifierStatus) {
	t.Helper()
	encoded, err := json.Marshal(status)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(encoded, &read))
	return read
}

// accepts reports whether the secret in the given role was accepted when the status was
// taken.
func (s VerifierStatus) accepts(role SecretStatus) bool {
	return !role.Rejected && (role.Expires.IsZero() || s.At.Before(role.Expires))
}

// A sender to the status handler can reject fingerprints of no secret. They are
// bounded: beyond the bound, Reject returns an error, and none is forgotten. Secrets
// seen by the verifier do not count.
func TestUnknownRejectedIsBounded(t *testing.T) {
	a, b := testSecret(t, "A"), testSecret(t, "B")
	answer := Secrets{Current: b, Previous: a}
	v, err := NewVerifier(t.Context(), SecretSourceFunc(func(context.Context) (Secrets, error) { return answer, nil }), nil)
	require.NoError(t, err)
	fingerprint := func(i int) string { return fmt.Sprintf("%016x", i) }
	for i := range maxUnknownRejected {
		require.NoError(t, v.Reject(fingerprint(i)))
	}
	require.ErrorIs(t, v.Reject(fingerprint(maxUnknownRejected)), errRejectedFull)
	require.NoError(t, v.Reject(fingerprint(0)), "a repeated order")
	require.NoError(t, v.Reject(a.Fingerprint()), "a known secret")
	require.False(t, accepts(t, v, a))
	assert.Len(t, v.live().unknownRejected, maxUnknownRejected)
	assert.Len(t, v.live().known, 2)

	order := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("reject="+fingerprint(maxUnknownRejected)))
	order.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	v.StatusHandler().ServeHTTP(w, order)
	assert.Equal(t, http.StatusConflict, w.Code)
	assert.Contains(t, w.Body.String(), "rejected already")
}

// A rejected fingerprint leaves the bounded set when the verifier sees the secret, and
// stays rejected.
func TestUnknownRejectedBecomesKnown(t *testing.T) {
	a, b, c := testSecret(t, "A"), testSecret(t, "B"), testSecret(t, "C")
	answer := Secrets{Current: a}
	v, err := NewVerifier(t.Context(), SecretSourceFunc(func(context.Context) (Secrets, error) { return answer, nil }), nil)
	require.NoError(t, err)
	require.NoError(t, v.Reject(b.Fingerprint()))
	answer = Secrets{Current: c, Previous: b}
	require.NoError(t, v.Refresh(t.Context()))
	assert.Empty(t, v.live().unknownRejected)
	assert.False(t, accepts(t, v, b))
	answer = Secrets{Current: b}
	require.ErrorIs(t, v.Refresh(t.Context()), errRejectedCurrent)
}

// A source with a new secret in each answer does not fill the memory. Secrets that were
// used or rejected are kept.
func TestKnownSecretsAreBounded(t *testing.T) {
	used, rejected := testSecret(t, "used"), testSecret(t, "rejected")
	answer := Secrets{Current: used}
	v, err := NewVerifier(t.Context(), SecretSourceFunc(func(context.Context) (Secrets, error) { return answer, nil }), nil)
	require.NoError(t, err)
	require.True(t, accepts(t, v, used))
	answer = Secrets{Current: rejected}
	require.NoError(t, v.Refresh(t.Context()))
	require.NoError(t, v.Reject(rejected.Fingerprint()))
	for i := range 2 * maxKnownSecrets {
		answer = Secrets{Current: testSecret(t, fmt.Sprint("current", i)), Previous: testSecret(t, fmt.Sprint("previous", i))}
		require.NoError(t, v.Refresh(t.Context()))
		require.LessOrEqual(t, len(v.live().known), maxKnownSecrets)
	}
	assert.Contains(t, v.live().known, used.Fingerprint())
	answer = Secrets{Current: used, Previous: rejected}
	require.NoError(t, v.Refresh(t.Context()))
	assert.False(t, accepts(t, v, rejected))
	assert.EqualValues(t, 1, v.Status().Current.Uses)
}

// The first clock to reach the end ends a window, and setting the wall clock back does
// not open it again.
func TestWindowEndsByBothClocks(t *testing.T) {
	const hour = time.Hour
	for _, test := range []struct {
		name     string
		by       time.Duration // by which the wall clock was set since the window opened
		left     time.Duration // by the monotonic clock
		accepted bool
	}{
		{"left alone, open", 0, hour, true},
		{"left alone, over", 0, -hour, false},
		{"set back, open", -3 * hour, hour, true},
		{"set back, over, and open by the wall clock", -3 * hour, -hour, false},
		{"stepped forward a little, open", hour / 2, hour, true},
		{"stepped forward, and open by the monotonic clock", 3 * hour, hour, false},
		{"stepped forward, over", 3 * hour, -hour, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, a, _ := inWindow(t)
			end := beforeClockSet(t, time.Now().Add(test.left), test.by)
			moveWindow(v, &window{expires: end.Round(0), closes: end})
			assert.Equal(t, test.accepted, accepts(t, v, a))

			status := throughJSON(t, v.Status())
			assert.Equal(t, test.accepted, status.accepts(status.Previous), "as read elsewhere")

			// The clock is set right, or wrong again.
			w := v.live().set.Load().window
			w.expires, w.closes = time.Now().Add(hour), time.Now().Add(hour)
			assert.Equal(t, test.accepted, accepts(t, v, a), "over for good")
			status = throughJSON(t, v.Status())
			assert.Equal(t, test.accepted, status.accepts(status.Previous))
		})
	}
}

// An answer with the same end of a window does not count the window anew, by a clock
// that was set back meanwhile.
func TestWindowIsCountedFromItsOpening(t *testing.T) {
	a, b, c := testSecret(t, "A"), testSecret(t, "B"), testSecret(t, "C")
	end := time.Now().Add(time.Hour)
	answer := Secrets{Current: b, Previous: a, PreviousExpires: end}
	v, err := NewVerifier(t.Context(), SecretSourceFunc(func(context.Context) (Secrets, error) { return answer, nil }), nil)
	require.NoError(t, err)
	opened := v.live().set.Load().window
	answer = Secrets{Current: c, Previous: a, PreviousExpires: end}
	require.NoError(t, v.Refresh(t.Context()))
	assert.Same(t, opened, v.live().set.Load().window)
	answer.PreviousExpires = end.Add(time.Hour)
	require.NoError(t, v.Refresh(t.Context()))
	assert.NotSame(t, opened, v.live().set.Load().window, "an open window may be extended")
}

// moveWindow puts another window around the previous secret.
func moveWindow(v *Verifier, w *window) {
	state := v.live()
	set := *state.set.Load()
	set.window = w
	state.known[set.previous.Fingerprint()].window = w
	state.set.Store(&set)
}

func accepts(t testing.TB, v *Verifier, s Secret) bool {
	body := []byte("{}")
	return v.Verify(t.Context(), body, s.Sign(body)) == nil
}

func testSecret(t testing.TB, name string) Secret {
	t.Helper()
	s, err := NewSecret("test-signing-secret-" + name + "-0000000001")
	require.NoError(t, err)
	return s
}

// A match takes no lock: a rotation, a refresh or a status in progress, here for ever,
// does not delay it.
func TestMatchTakesNoLock(t *testing.T) {
	secret, err := NewSecret("test-signing-secret-current-0001")
	require.NoError(t, err)
	v, err := NewVerifier(t.Context(), Secrets{Current: secret}, nil)
	require.NoError(t, err)
	s := v.live()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rejections.mu.Lock()
	defer s.rejections.mu.Unlock()
	body := []byte("{}")
	require.NoError(t, v.Verify(t.Context(), body, secret.Sign(body)))
}

// Every secret in force is computed and compared, whichever matches: the result has a
// bit for each secret, even if both match.
func TestMatchCombinesAllSecrets(t *testing.T) {
	a, err := NewSecret("test-signing-secret-A-0000000001")
	require.NoError(t, err)
	b, err := NewSecret("test-signing-secret-B-0000000001")
	require.NoError(t, err)
	body := []byte("{}")
	tagOf := func(s Secret) (t tag) {
		if err := t.parse(s.Sign(body)); err != nil {
			panic(err)
		}
		return t
	}
	signedByA, signedByB := tagOf(a), tagOf(b)
	set := &secretSet{current: a, previous: b}
	require.Equal(t, matchCurrent, matchOf(set, body, &signedByA))
	require.Equal(t, matchPrevious, matchOf(set, body, &signedByB))
	both := &secretSet{current: a, previous: a}
	require.Equal(t, matchCurrent|matchPrevious, matchOf(both, body, &signedByA))
}

func matchOf(s *secretSet, body []byte, t *tag) int {
	match, _ := s.match(body, t)
	return match
}

// The holder of the old secret could seal a secret other than the named secret, or a
// text that is no secret. Neither is accepted: a rotation gets the secret that it
// compares.
func TestAcceptSuccessorIsTheOneThatIsNamed(t *testing.T) {
	a, b, c := testSecret(t, "A"), testSecret(t, "B"), testSecret(t, "C")
	v, err := NewVerifier(t.Context(), Secrets{Current: a}, nil)
	require.NoError(t, err)
	head := sealedPrefix + "." + a.Fingerprint() + "." + b.Fingerprint()
	aead, err := a.successorCipher(head)
	require.NoError(t, err)
	seal := func(text string) string {
		return head + "." + base64.RawURLEncoding.EncodeToString(aead.Seal(nil, nil, []byte(text), nil))
	}
	for _, text := range []string{c.Reveal(), "", "short", b.Reveal() + "\n"} {
		require.ErrorIs(t, v.AcceptSuccessor(seal(text)), ErrInvalidSecret)
		require.True(t, accepts(t, v, a))
		require.False(t, accepts(t, v, c))
	}
	require.NoError(t, v.AcceptSuccessor(seal(b.Reveal())))
	require.True(t, accepts(t, v, b))
}

// A secret comes into force between the verification of a delivery and the lock. The
// delivery is not held, but verified again.
func TestHoldLooksAgainIfTheSecretsChanged(t *testing.T) {
	v, err := NewVerifier(t.Context(), Secrets{Current: testSecret(t, "A")}, &VerifierOptions{
		HandleHeld: func(context.Context, *Delivery) error { return nil },
	})
	require.NoError(t, err)
	require.NoError(t, v.Hold(time.Minute))
	body := []byte("body")
	header := http.Header{SignatureHeader: {testSecret(t, "B").Sign(body)}}
	a := attempt{v: v.live(), ctx: t.Context(), header: header, body: body, handle: v.live().opts.HandleHeld}
	require.NoError(t, a.parseHeader())
	before := v.live().set.Load()
	require.False(t, a.matches(before))
	require.NoError(t, v.Rotate(testSecret(t, "B"), time.Hour))
	require.NoError(t, a.holdUnder(before, ErrSignatureMismatch), "nil: verify again")
	require.Zero(t, v.Status().Hold.Held)
	require.NoError(t, a.hold(ErrSignatureMismatch), "the delivery is accepted")
	require.ErrorIs(t, a.holdUnder(v.live().set.Load(), ErrSignatureMismatch), ErrHeld)
	require.NoError(t, v.Hold(0))
}

// Under 2,000 forgeries a second, the memory of waiting deliveries stays within the
// bound, with few timers. All memory is freed afterwards.
func TestFloodWaitsInBoundedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := Secrets{Current: testSecret(t, "A")}
		v, err := NewVerifier(t.Context(), SecretSourceFunc(func(context.Context) (Secrets, error) { return answer, nil }), nil)
		require.NoError(t, err)
		state := v.live()
		body := make([]byte, 1<<10)
		forged := testSecret(t, "Z").Sign(body)
		genuine := answer.Current.Sign(body)
		limits := map[*waitLimit]bool{}
		var most int64
		var wg sync.WaitGroup
		const seconds = 20
		for range seconds * 100 {
			for range 20 {
				wg.Go(func() { assert.Error(t, v.Verify(t.Context(), body, forged)) })
			}
			synctest.Wait()
			require.NoError(t, v.Verify(t.Context(), body, genuine))
			state.mu.Lock()
			most = max(most, state.read.waiting)
			limits[state.read.limit] = true
			state.mu.Unlock()
			<-time.After(10 * time.Millisecond)
		}
		wg.Wait()
		assert.LessOrEqual(t, most, int64(maxWaitingBytes))
		assert.Greater(t, most, int64(maxWaitingBytes*9/10), "the forgeries are a flood")
		assert.LessOrEqual(t, len(limits), 2*seconds+1, "timers")
		assert.Zero(t, state.read.waiting)
	})
}

// TestLogHintCostsNothing: if no line is written, a mismatch takes only the HMAC of the
// verdict. The test counts the uses of the key.
func TestLogHintCostsNothing(t *testing.T) {
	secret := testSecret(t, "A")
	var asked atomic.Int64
	counting := Secret{key: func() *signingKey { asked.Add(1); return secret.key() }}
	body := []byte(strings.Repeat("x", 1<<10) + "\n")
	signature := secret.Sign(body[:len(body)-1])
	work := func(v *Verifier) int64 {
		asked.Store(0)
		require.ErrorIs(t, v.Verify(t.Context(), body, signature), ErrSignatureMismatch)
		return asked.Load()
	}
	verifier := func(level slog.Level) *Verifier {
		v, err := NewVerifier(t.Context(), Secrets{Current: counting}, &VerifierOptions{
			Logger: slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: level})),
		})
		require.NoError(t, err)
		return v
	}
	silent, err := NewVerifier(t.Context(), Secrets{Current: counting}, nil)
	require.NoError(t, err)
	verdict := work(silent)

	logged := verifier(slog.LevelWarn)
	for range rejectionLogLines {
		assert.Greater(t, work(logged), verdict, "a line with a hint")
	}
	assert.Equal(t, verdict, work(logged), "no more lines in this minute")
	assert.Equal(t, verdict, work(verifier(slog.LevelError)), "no lines of this level")
}

// rebuilt walks over a value and returns the same as encoding/json.
func rebuilt(v value) any {
	switch {
	case v.isObject():
		object := map[string]any{}
		members := v.elements()
		for name := members.next(); len(name) > 0; name = members.next() {
			object[string(name.unquoted())] = rebuilt(members.next())
		}
		return object
	case v.isList():
		list := []any{}
		items := v.elements()
		for item := items.next(); len(item) > 0; item = items.next() {
			list = append(list, rebuilt(item))
		}
		return list
	case v.isText():
		return string(v.unquoted())
	case v.isNumber():
		return json.Number(v)
	case v.isNull():
		return nil
	}
	return string(v) == "true"
}

// FuzzParseValue: a walk over a value reads the same as encoding/json, and exactly the
// texts invalid in encoding/json are invalid.
func FuzzParseValue(f *testing.F) {
	for _, text := range []string{
		"", "null", "true", "-1.5e+3", `""`, `"\\"`, `"\""`, `"é\u00e9\ud83d\ude00\ud800"`, "\"\xff\"", "[]", "{}", " [ ] ", "\t{ }\r\n",
		`[1,2,[3,[4,{"a":5}]],"]",{"}":"{"}]`, `{"a":1,"b":[true,false,null],"c":{"d":"e,:[]{}\\\""}}`, `{"a" : 1 , "a" : [ ] }`,
		`{"":{"":""}}`, `[[[[]]],{}]`, `[null]`, `[-0]`, `{"\u0061":1}`, `[1`, `{"a"}`, `1 2`, `[1,]`, "\ufeff", "\ufeff{}", "\ufeff\ufeff{}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, ok := parseValue(text)
		bare := bytes.TrimPrefix(text, []byte("\ufeff"))
		require.Equal(t, json.Valid(bare), ok)
		if !ok {
			require.Empty(t, v)
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(bare))
		decoder.UseNumber()
		var want any
		require.NoError(t, decoder.Decode(&want))
		require.Empty(t, cmp.Diff(want, rebuilt(v)))

		// Reading a value into any type does not fail.
		for _, into := range []any{new(string), new(exactText), new(int), new(float64), new(bool), new(value)} {
			v.set(into)
			v.fill(field{"a_b", into})
		}
		require.False(t, v.time().Year() > 9999)
	})
}

// TestFieldNames: camelCase and snake_case are the same name, and every other name
// differs.
func TestFieldNames(t *testing.T) {
	for _, c := range []struct {
		member string
		want   bool
	}{
		{`"last_used_at"`, true},
		{`"lastUsedAt"`, true},
		{`"LastUsedAt"`, true},
		{`"LAST_USED_AT"`, true},
		{`"lastused_at"`, true},
		{`"lastU\u0073edAt"`, true},
		{`"_last_used_at"`, false},
		{`"last_used_at_"`, false},
		{`"lastUsed"`, false},
		{`"lastUsedAtUTC"`, false},
		{`"firstUsedAt"`, false},
		{`"last-used-at"`, false},
		{`"laſtUsedAt"`, false},
		{`""`, false},
		{`"_"`, false},
	} {
		t.Run(c.member, func(t *testing.T) { require.Equal(t, c.want, isName(value(c.member).unquoted(), "last_used_at")) })
	}
}

// isServerBody and isServerWriter compare names of private types of net/http. If
// net/http renames a type, each rejected request closes its connection, and this test
// fails: update the names.
func TestServerTypesHaveTheirNames(t *testing.T) {
	for _, c := range []struct {
		name         string
		http2        bool
		header       string
		body, writer bool
	}{
		{"HTTP/1", false, "", true, true},
		{"HTTP/1 with Expect", false, "Expect", true, true},
		{"HTTP/2", true, "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			served := false
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				served = true
				assert.Equal(t, c.body, isServerBody(r.Body), "the body is a %T", r.Body)
				assert.Equal(t, c.writer, isServerWriter(w), "the writer is a %T", w)
				assert.Equal(t, c.writer, isServerWriter(wrapped{w}), "a wrapper of a %T", w)
				assert.False(t, isServerBody(http.MaxBytesReader(w, r.Body, 1)), "a wrapper of a body")
			}))
			server.EnableHTTP2 = c.http2
			server.StartTLS()
			defer server.Close()
			client := server.Client()
			client.Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader("body"))
			require.NoError(t, err)
			if c.header != "" {
				r.Header.Set(c.header, "100-continue")
			}
			resp, err := client.Do(r)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.True(t, served)
			require.Equal(t, c.http2, resp.ProtoMajor == 2, fmt.Sprint(resp.Proto))
		})
	}
}

// wrapped is a ResponseWriter as wrapped by middleware.
type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }
