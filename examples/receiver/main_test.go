package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/diffhooktest"
)

// start runs the server until stop is called, and returns the URL and the log.
func start(t *testing.T) (url string, lines *json.Decoder, stop func() error) {
	t.Setenv("ADDR", "127.0.0.1:0")
	r, w := io.Pipe()
	t.Cleanup(func() { r.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, slog.New(slog.NewJSONHandler(w, nil)))
		w.Close()
	}()
	lines = json.NewDecoder(r)
	var first struct{ Msg, URL string }
	require.NoError(t, lines.Decode(&first))
	require.Equal(t, "receiving", first.Msg)
	return first.URL, lines, func() error { cancel(); return <-ended }
}

func TestReceiver(t *testing.T) {
	secret := diffhooktest.NewSecret()
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(secret.Reveal()+"\n"), 0o600))
	for name, env := range map[string][2]string{
		"environment": {"DIFFHOOK_SIGNING_SECRET", secret.Reveal()},
		"file":        {"DIFFHOOK_SECRET_PATH", path},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(env[0], env[1])
			url, lines, stop := start(t)
			logged := make(chan map[string]any, 10)
			go func() {
				defer close(logged)
				for {
					var line map[string]any
					if lines.Decode(&line) != nil {
						return
					}
					logged <- line
				}
			}()
			assert.True(t, diffhooktest.NewSender(secret, nil).Send(t.Context(), url, diffhooktest.PageChanged()).Delivered)
			assert.Equal(t, "mon_abc123", (<-logged)["monitor"])

			unsigned, err := http.Post(url, "application/json", nil)
			require.NoError(t, err)
			unsigned.Body.Close()
			assert.Equal(t, http.StatusUnauthorized, unsigned.StatusCode)
			assert.Equal(t, "no_signature", (<-logged)["result"])
			require.NoError(t, stop())
		})
	}
}

func TestReceiverWithoutSecret(t *testing.T) {
	t.Setenv("DIFFHOOK_SIGNING_SECRET", "")
	err := run(t.Context(), slog.New(slog.DiscardHandler))
	assert.ErrorContains(t, err, "DIFFHOOK_SIGNING_SECRET")
}
