package diffhooklambda_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhooklambda"
	"github.com/diffhook/diffhook-go/contrib/diffhooklambda/internal/gateway"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// No event leads to a panic, and no unsigned event leads to a call of the function. Every
// answer is JSON with a status.
func FuzzInvoke(f *testing.F) {
	body := diffhooktest.PageChanged()
	for _, g := range gateway.All {
		for _, encode := range []bool{false, true} {
			f.Add(g.Event(gateway.Request{
				Header: [][2]string{{diffhook.SignatureHeader, diffhooktest.NewSecret().Sign(body)}}, Body: body, Encode: encode,
			}))
		}
	}
	v, err := diffhook.NewVerifier(context.Background(), diffhook.Secrets{Current: diffhooktest.NewSecret()}, nil)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, payload []byte) {
		h := diffhooklambda.Handler(v, func(context.Context, *diffhook.Event) error {
			t.Error("the function is called for a forgery")
			return nil
		})
		answer, err := h.Invoke(t.Context(), payload)
		if err != nil {
			assert.ErrorIs(t, err, diffhooklambda.ErrUnknownEvent)
			return
		}
		var response struct{ StatusCode int }
		require.NoError(t, json.Unmarshal(answer, &response))
		assert.GreaterOrEqual(t, response.StatusCode, 400)
	})
}
