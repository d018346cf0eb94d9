package diffhook

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Who can post to the status handler orders the rejection of fingerprints that
// belong to no secret. They are bounded: an order too many is refused, and none
// is forgotten. Secrets that the verifier has seen do not count.
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

// A rejected fingerprint leaves its place when its secret comes, and stays rejected.
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

// A source that answers with a new secret each time does not fill the memory. What
// has been used or rejected is remembered all the same.
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
