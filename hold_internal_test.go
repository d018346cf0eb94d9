package diffhook

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A secret that comes into force between the verification of a delivery and the lock
// is not missed: the delivery is not held, but verified again.
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
	require.NoError(t, a.holdUnder(before, ErrSignatureMismatch), "which is nil: look again")
	require.Zero(t, v.Status().Hold.Held)
	require.NoError(t, a.hold(ErrSignatureMismatch), "it is accepted")
	require.ErrorIs(t, a.holdUnder(v.live().set.Load(), ErrSignatureMismatch), ErrHeld)
	require.NoError(t, v.Hold(0))
}
