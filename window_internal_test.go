package diffhook

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A window ends by whichever clock reaches its end first, and stays closed when
// the wall clock is set back.
func TestWindowEndsByBothClocks(t *testing.T) {
	const hour = time.Hour
	for _, test := range []struct {
		name     string
		by       time.Duration // the wall clock has been set since the window was opened
		left     time.Duration // by the monotonic clock
		accepted bool
	}{
		{"left alone, open", 0, hour, true},
		{"left alone, over", 0, -hour, false},
		{"set back, open", -3 * hour, hour, true},
		{"set back, over: the wall clock says that it is open", -3 * hour, -hour, false},
		{"stepped forward a little, open", hour / 2, hour, true},
		{"stepped forward: the monotonic clock says that it is open", 3 * hour, hour, false},
		{"stepped forward, over", 3 * hour, -hour, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, a, _ := inWindow(t)
			end := beforeClockSet(t, time.Now().Add(test.left), test.by)
			moveWindow(v, &window{expires: end.Round(0), closes: end})
			assert.Equal(t, test.accepted, accepts(t, v, a))

			status := throughJSON(t, v.Status())
			assert.Equal(t, test.accepted, status.accepts(status.Previous), "as others read it")

			// The clock is set right, or wrong again.
			w := v.live().set.Load().window
			w.expires, w.closes = time.Now().Add(hour), time.Now().Add(hour)
			assert.Equal(t, test.accepted, accepts(t, v, a), "once it is over it stays so")
			status = throughJSON(t, v.Status())
			assert.Equal(t, test.accepted, status.accepts(status.Previous))
		})
	}
}

// An answer that repeats the end of a window does not count it anew by a clock
// that has been set back meanwhile.
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
