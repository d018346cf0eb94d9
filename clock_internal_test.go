package diffhook

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// beforeClockSet returns t as a clock would have given it that was set by so much
// afterwards: its wall time is another, and its monotonic one, which time.Since
// goes by, the same. Nothing else makes such a time.
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
	require.Zero(tb, moved.Sub(t), "the monotonic time has changed")
	require.Equal(tb, -by, moved.Round(0).Sub(t.Round(0)), "the wall time has not")
	return moved
}

func TestBegin(t *testing.T) {
	now := time.Now()
	since := now.Add(-10 * time.Minute)
	for _, test := range []struct {
		name string
		by   time.Duration // the clock has been set since
		want time.Duration // from the beginning to now
	}{
		{"left alone", 0, 10 * time.Minute},
		{"set forward", 3 * time.Hour, 10 * time.Minute},
		{"set back", -3 * time.Hour, 10 * time.Minute},
		{"set forward by a day, or the machine was suspended for one", 24 * time.Hour, 10 * time.Minute},
		{"corrected by more than a second", 1001 * time.Millisecond, 10 * time.Minute},
		// A drift that NTP evens out does not make the date another each time.
		{"corrected by a second", time.Second, 10*time.Minute + time.Second},
		{"corrected back", -time.Second, 10*time.Minute - time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := begin(beforeClockSet(t, since, test.by), now)
			assert.Equal(t, time.UTC, began.Location())
			assert.Equal(t, test.want, now.Round(0).Sub(began.Round(0)), "as dates, which is what JSON has")
		})
	}
}

// The clock of a server is set while it counts. Its status shows dates of the
// new clock, so that those who read them elsewhere count right.
func TestStatusAfterClockWasSet(t *testing.T) {
	for name, by := range map[string]time.Duration{"forward": 3 * time.Hour, "back": -3 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			v, a, _ := inWindow(t)
			// It began 15 minutes ago and used the old secret 5 minutes ago.
			v.live().since = beforeClockSet(t, time.Now().Add(-15*time.Minute), by)
			v.live().known[a.Fingerprint()].lanes[0].lastUsed.Store(int64(10 * time.Minute))

			status := throughJSON(t, v.Status())
			assert.WithinDuration(t, time.Now(), status.At, time.Minute)
			assert.InDelta(t, 15*time.Minute, status.At.Sub(status.Since), float64(time.Minute))
			assert.InDelta(t, 5*time.Minute, status.At.Sub(status.Previous.LastUsed), float64(time.Minute))
		})
	}
}

// Whether the previous secret is accepted is told by At and Expires to those who
// read the status elsewhere: both must be of one clock.
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

// A rejected secret is left out of the verdict, and not of the work: the time that
// it takes does not tell which secret has been rejected, or that one has.
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

// inWindow returns a verifier that b has just been rotated to, with a as previous
// for an hour.
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

// accepts reports whether the secret of the given role was accepted when the status
// was taken.
func (s VerifierStatus) accepts(role SecretStatus) bool {
	return !role.Rejected && (role.Expires.IsZero() || s.At.Before(role.Expires))
}
