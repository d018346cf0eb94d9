package diffhook

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A match takes no lock: it is not held up by a rotation, a refresh or a status
// that is under way, here for ever.
func TestMatchTakesNoLock(t *testing.T) {
	secret, err := NewSecret("test-signing-secret-current-0001")
	require.NoError(t, err)
	v, err := NewVerifier(t.Context(), Secrets{Current: secret}, nil)
	require.NoError(t, err)
	s := v.live()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused.mu.Lock()
	defer s.refused.mu.Unlock()
	body := []byte("{}")
	require.NoError(t, v.Verify(t.Context(), body, secret.Sign(body)))
}

// Every secret in force is computed and compared, whichever has matched: what
// a match says is a bit for each, also where both secrets would match.
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
