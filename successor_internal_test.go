package diffhook

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whoever has the old secret could seal another secret than the text names, or a text
// that is no secret. Neither is accepted: what a rotation compares is what it gets.
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
