package diffhook_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// The life of a key, a monitor and a signing secret, over a network and in both
// generations.
func TestClientOverNetwork(t *testing.T) {
	server := newServer(t)
	opts := &diffhook.ClientOptions{Limiter: unlimited()}
	for name, client := range map[string]*diffhook.Client{"generation 1": server.Client(opts), "generation 2": server.ClientGen2(opts)} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			key, secret, err := client.Keys.Create(ctx, "ci-pipeline")
			require.NoError(t, err)
			keys, err := client.Keys.List(ctx, nil)
			require.NoError(t, err)
			assert.Equal(t, key.ID, keys[0].ID)
			assert.True(t, keys[0].MatchesPrefix(secret))

			second := client.WithCredentials(secret)
			_, err = second.Monitors.List(ctx, &diffhook.ListOptions{Limit: 1})
			require.NoError(t, err)
			require.NoError(t, client.Keys.Delete(ctx, key.ID))
			_, err = second.Monitors.List(ctx, nil)
			require.ErrorIs(t, err, diffhook.ErrUnauthorized)

			monitor, err := client.Monitors.Create(ctx, diffhook.MonitorParams{
				URL: "https://example.com", WebhookURL: "https://example.org/hook", IntervalMinutes: 5, Label: "first"})
			require.NoError(t, err)
			monitor, err = client.Monitors.Update(ctx, monitor.ID, diffhook.MonitorUpdate{Label: new("")})
			require.NoError(t, err)
			assert.Empty(t, monitor.Label)
			require.NoError(t, client.Monitors.Pause(ctx, monitor.ID))
			require.NoError(t, client.Monitors.Resume(ctx, monitor.ID))
			require.NoError(t, client.Monitors.Delete(ctx, monitor.ID))
			_, err = client.Monitors.Get(ctx, monitor.ID)
			require.ErrorIs(t, err, diffhook.ErrNotFound)

			before, err := client.SigningSecret.Load(ctx)
			require.NoError(t, err)
			after, err := client.SigningSecret.Rotate(ctx)
			require.NoError(t, err)
			assert.True(t, after.Previous.Equal(before.Current))
			require.NoError(t, client.SigningSecret.RevokePrevious(ctx))
			after, err = client.SigningSecret.Load(ctx)
			require.NoError(t, err)
			assert.True(t, after.NoPrevious)
		})
	}
}

func TestClientDo(t *testing.T) {
	server := newServer(t)
	client := server.Client(&diffhook.ClientOptions{Limiter: unlimited()})
	var monitors []struct{ ID string }
	require.NoError(t, client.Do(t.Context(), http.MethodGet, "monitors?limit=5", nil, &monitors))
	assert.Equal(t, 1, server.Count("GET /api/monitors"))

	// In lower case it is another method, of which nothing is known: it is not
	// repeated. The contract knows nothing of it either.
	server = diffhooktest.NewServer(t)
	for method, attempts := range map[string]int{http.MethodGet: 4, "get": 1, http.MethodPatch: 1} {
		slow := server.Client(&diffhook.ClientOptions{Limiter: unlimited(), MaxRetryWait: 1})
		server.Fail(diffhooktest.Fault{Times: -1, Status: http.StatusBadGateway})
		err := slow.Do(t.Context(), method, "things", nil, nil)
		var api *diffhook.APIError
		require.True(t, errors.As(err, &api))
		assert.Equal(t, attempts, api.Attempts, method)
		assert.Equal(t, attempts == 1, errors.Is(err, diffhook.ErrOutcomeUnknown), method)
		server.ClearFaults()
	}
}

// Credentials that cannot be right are reported at once, and not by a crash
// at the first call.
func TestNewClientRefusesCredentials(t *testing.T) {
	var none *diffhook.APIKey
	for name, test := range map[string]struct {
		creds diffhook.Credentials
		want  error
	}{
		"nil":                        {nil, diffhook.ErrInvalidOptions},
		"nil function":               {diffhook.CredentialsFunc(nil), diffhook.ErrInvalidOptions},
		"nil pointer":                {none, diffhook.ErrInvalidOptions},
		"zero key":                   {diffhook.APIKey{}, diffhook.ErrInvalidCredentials},
		"pointer to a zero key":      {new(diffhook.APIKey), diffhook.ErrInvalidCredentials},
		"client id with a newline":   {diffhook.ClientCredentials(apiKeyText+"\n", "a secret"), diffhook.ErrInvalidCredentials},
		"client id without prefix":   {diffhook.ClientCredentials("id", "a secret"), diffhook.ErrInvalidCredentials},
		"client secret is empty":     {diffhook.ClientCredentials(apiKeyText, ""), diffhook.ErrInvalidCredentials},
		"client secret with newline": {diffhook.ClientCredentials(apiKeyText, "a secret\n"), diffhook.ErrInvalidCredentials},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := diffhook.NewClient(test.creds, nil)
			require.ErrorIs(t, err, test.want)
			assert.Nil(t, client)
		})
	}
}
