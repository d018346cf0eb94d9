package diffhook

import (
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLogHintCostsNothing: where no line is written, a mismatch takes the one HMAC
// of its verdict and no more. It counts how often the key is asked for.
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
	for range refusalLogLines {
		assert.Greater(t, work(logged), verdict, "a line with a hint")
	}
	assert.Equal(t, verdict, work(logged), "no more lines in this minute")
	assert.Equal(t, verdict, work(verifier(slog.LevelError)), "no lines of this level")
}
