package docs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// The tests of testing.md are here, letter for letter, and run.

var failures atomic.Int64

func failNext(n int64) { failures.Store(n) }

func newHandler(t *testing.T, source diffhook.SecretSource) http.Handler {
	v, err := diffhook.NewVerifier(t.Context(), source, nil)
	require.NoError(t, err)
	return v.EventHandler(func(context.Context, *diffhook.Event) error {
		if failures.Add(-1) >= 0 {
			return errors.New("the database is down")
		}
		return nil
	})
}

func TestDelivery(t *testing.T) {
	secret := diffhooktest.NewSecret()
	h := newHandler(t, diffhook.Secrets{Current: secret})
	body := diffhooktest.PageChanged()

	w := httptest.NewRecorder()
	h.ServeHTTP(w, diffhooktest.NewRequest("/hook", secret, body))
	assert.Equal(t, http.StatusNoContent, w.Code)

	w = httptest.NewRecorder()
	h.ServeHTTP(w, diffhooktest.NewRequest("/hook", diffhooktest.NewSecret(), body))
	assert.Equal(t, http.StatusUnauthorized, w.Code, "forged")

	tampered := diffhooktest.NewRequest("/hook", secret, body)
	tampered.Body = io.NopCloser(bytes.NewReader(bytes.Replace(body, []byte("$49"), []byte("$94"), 1)))
	w = httptest.NewRecorder()
	h.ServeHTTP(w, tampered)
	assert.Equal(t, http.StatusUnauthorized, w.Code, "tampered")
}

func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret := diffhooktest.NewSecret()
		h := newHandler(t, diffhook.Secrets{Current: secret})
		failNext(2) // your function returns an error, twice

		sender := diffhooktest.NewSender(secret, &diffhooktest.SenderOptions{Generation: 2})
		result := sender.SendTo(t.Context(), h, diffhooktest.PageChangedGen2())
		assert.True(t, result.Delivered)
		assert.Len(t, result.Attempts, 3)
	})
}

func TestRoute(t *testing.T) {
	secret := diffhooktest.NewSecret()
	h := http.NewServeMux()
	h.Handle("POST /hook", newHandler(t, diffhook.Secrets{Current: secret}))
	sender := diffhooktest.NewSender(secret, &diffhooktest.SenderOptions{
		HTTPClient: &http.Client{Transport: diffhooktest.Transport(h)}, // no network
	})
	result := sender.Send(t.Context(), "http://example.org/hook", diffhooktest.PageChanged())
	assert.True(t, result.Delivered)
	assert.Len(t, result.Attempts, 1)
}

func TestPlatform(t *testing.T) {
	server := diffhooktest.NewServer(t)
	h := newHandler(t, server.Client(nil).SigningSecret)
	server.Configure(diffhooktest.Settings{Deliver: diffhooktest.Transport(h)})

	client := server.Client(nil) // your code gets this client
	monitor, err := client.Monitors.Create(t.Context(), diffhook.MonitorParams{
		URL: "https://example.com/pricing", WebhookURL: "https://example.org/hook", IntervalMinutes: 15,
	})
	require.NoError(t, err)

	failNext(1)
	_, err = server.Change(monitor.ID, nil) // the page changes: the first attempt fails
	require.NoError(t, err)
	server.Rotate()                 // somebody rotates the signing secret
	server.Advance(5 * time.Second) // the retry is due
	assert.True(t, server.Deliveries()[0].Delivered)
}
