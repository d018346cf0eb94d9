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

// Who can post to the status handler orders the revocation of fingerprints that
// belong to no secret. They are bounded: an order too many is refused, and none
// is forgotten. Secrets that the verifier has seen do not count.
func TestUnknownRevokedIsBounded(t *testing.T) {
	a, b := testSecret(t, "A"), testSecret(t, "B")
	answer := Secrets{Current: b, Previous: a}
	v, err := NewVerifier(t.Context(), SecretSourceFunc(func(context.Context) (Secrets, error) { return answer, nil }), nil)
	require.NoError(t, err)
	fingerprint := func(i int) string { return fmt.Sprintf("%016x", i) }
	for i := range maxUnknownRevoked {
		require.NoError(t, v.Revoke(fingerprint(i)))
	}
	require.ErrorIs(t, v.Revoke(fingerprint(maxUnknownRevoked)), errRevokedFull)
	require.NoError(t, v.Revoke(fingerprint(0)), "a repeated order")
	require.NoError(t, v.Revoke(a.Fingerprint()), "a known secret")
	require.False(t, accepts(t, v, a))
	assert.Len(t, v.live().unknownRevoked, maxUnknownRevoked)
	assert.Len(t, v.live().known, 2)

	order := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("revoke="+fingerprint(maxUnknownRevoked)))
	order.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	v.StatusHandler().ServeHTTP(w, order)
	assert.Equal(t, http.StatusConflict, w.Code)
	assert.Contains(t, w.Body.String(), "revoked already")
}

// A revoked fingerprint leaves its place when its secret comes, and stays revoked.
func TestUnknownRevokedBecomesKnown(t *testing.T) {
	a, b, c := testSecret(t, "A"), testSecret(t, "B"), testSecret(t, "C")
	answer := Secrets{Current: a}
	v, err := NewVerifier(t.Context(), SecretSourceFunc(func(context.Context) (Secrets, error) { return answer, nil }), nil)
	require.NoError(t, err)
	require.NoError(t, v.Revoke(b.Fingerprint()))
	answer = Secrets{Current: c, Previous: b}
	require.NoError(t, v.Refresh(t.Context()))
	assert.Empty(t, v.live().unknownRevoked)
	assert.False(t, accepts(t, v, b))
	answer = Secrets{Current: b}
	require.ErrorIs(t, v.Refresh(t.Context()), errRevokedCurrent)
}

// A source that answers with a new secret each time does not fill the memory. What
// has been used or revoked is remembered all the same.
func TestKnownSecretsAreBounded(t *testing.T) {
	used, revoked := testSecret(t, "used"), testSecret(t, "revoked")
	answer := Secrets{Current: used}
	v, err := NewVerifier(t.Context(), SecretSourceFunc(func(context.Context) (Secrets, error) { return answer, nil }), nil)
	require.NoError(t, err)
	require.True(t, accepts(t, v, used))
	answer = Secrets{Current: revoked}
	require.NoError(t, v.Refresh(t.Context()))
	require.NoError(t, v.Revoke(revoked.Fingerprint()))
	for i := range 2 * maxKnownSecrets {
		answer = Secrets{Current: testSecret(t, fmt.Sprint("current", i)), Previous: testSecret(t, fmt.Sprint("previous", i))}
		require.NoError(t, v.Refresh(t.Context()))
		require.LessOrEqual(t, len(v.live().known), maxKnownSecrets)
	}
	assert.Contains(t, v.live().known, used.Fingerprint())
	answer = Secrets{Current: used, Previous: revoked}
	require.NoError(t, v.Refresh(t.Context()))
	assert.False(t, accepts(t, v, revoked))
	assert.EqualValues(t, 1, v.Status().Current.Uses)
}
