package diffhooktest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/diffhooktest"
)

// reply is a response with the body read.
type reply struct {
	status int
	header http.Header
	body   string
}

// data returns the "data" of an object.
func (r reply) data(t *testing.T) map[string]any {
	t.Helper()
	var resp struct{ Data map[string]any }
	require.NoError(t, json.Unmarshal([]byte(r.body), &resp), r.body)
	require.NotNil(t, resp.Data, r.body)
	return resp.Data
}

// items returns the "data" of a list.
func (r reply) items(t *testing.T) []map[string]any {
	t.Helper()
	var resp struct{ Data []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(r.body), &resp), r.body)
	require.NotNil(t, resp.Data, r.body)
	return resp.Data
}

// bubble returns a server without sockets, and closes it after the test.
func bubble(t *testing.T) *diffhooktest.Server {
	s := diffhooktest.New()
	t.Cleanup(s.Close)
	return s
}

// request returns a request without sending it. A body is declared as JSON.
func request(t *testing.T, s *diffhooktest.Server, bearer, method, path, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, strings.TrimSuffix(s.URL, "/api/")+path, strings.NewReader(body))
	require.NoError(t, err)
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// send calls the server without a network.
func send(t *testing.T, s *diffhooktest.Server, r *http.Request) reply {
	t.Helper()
	resp, err := diffhooktest.Transport(s).RoundTrip(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return reply{resp.StatusCode, resp.Header, string(body)}
}

// call makes and sends a request without a network.
func call(t *testing.T, s *diffhooktest.Server, bearer, method, path, body string) reply {
	t.Helper()
	return send(t, s, request(t, s, bearer, method, path, body))
}

// tokenFor exchanges client credentials for an access token.
func tokenFor(t *testing.T, s *diffhooktest.Server, id, secret string) string {
	t.Helper()
	got := exchange(t, s, url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}.Encode())
	require.Equal(t, http.StatusOK, got.status, got.body)
	var token struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal([]byte(got.body), &token))
	return token.AccessToken
}

func exchange(t *testing.T, s *diffhooktest.Server, form string) reply {
	t.Helper()
	r := request(t, s, "", http.MethodPost, "/api/oauth/token", form)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return send(t, s, r)
}

// bearers returns the credentials of a team by generation.
func bearers(t *testing.T, s *diffhooktest.Server, team *diffhooktest.Team) map[int]string {
	t.Helper()
	id, secret := team.ClientCredentials()
	return map[int]string{1: team.APIKey().Reveal(), 2: tokenFor(t, s, id, secret)}
}

const (
	gen1Monitor = `{"url":"https://example.com/a","webhookUrl":"https://hooks.example.com/d","intervalMinutes":15}`
	gen2Monitor = `{"url":"https://example.com/a","notification_config":{"webhook_url":"https://hooks.example.com/d"}}`
)
