package diffhooktest_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTokenEndpoint(t *testing.T) {
	s := bubble(t)
	id, secret := s.ClientCredentials()
	form := func(change func(url.Values)) string {
		v := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
		if change != nil {
			change(v)
		}
		return v.Encode()
	}
	got := exchange(t, s, form(nil))
	require.Equal(t, http.StatusOK, got.status, got.body)
	assert.Equal(t, "no-store", got.header.Get("Cache-Control"))
	assert.Equal(t, "application/json", got.header.Get("Content-Type"))
	var token map[string]any
	require.NoError(t, json.Unmarshal([]byte(got.body), &token))
	assert.Empty(t, cmp.Diff(map[string]any{"access_token": token["access_token"], "token_type": "Bearer", "expires_in": 86400.0}, token))

	tests := []struct {
		name   string
		form   string
		status int
		code   string
	}{
		{"empty", "", 400, "invalid_request"},
		{"malformed", "%zz", 400, "invalid_request"},
		{"no grant type", form(func(v url.Values) { v.Del("grant_type") }), 400, "invalid_request"},
		{"no client", form(func(v url.Values) { v.Del("client_id") }), 400, "invalid_request"},
		{"no secret", form(func(v url.Values) { v.Set("client_secret", "") }), 400, "invalid_request"},
		{"another parameter", form(func(v url.Values) { v.Set("scope", "all") }), 400, "invalid_request"},
		{"a parameter twice", form(func(v url.Values) { v.Add("client_id", id) }), 400, "invalid_request"},
		{"another grant", form(func(v url.Values) { v.Set("grant_type", "password") }), 400, "unsupported_grant_type"},
		{"unknown client", form(func(v url.Values) { v.Set("client_id", "dh_live_"+"unknown") }), 401, "invalid_client"},
		{"an API key for a client", form(func(v url.Values) { v.Set("client_id", s.APIKey().Reveal()) }), 401, "invalid_client"},
		{"wrong secret", form(func(v url.Values) { v.Set("client_secret", secret+"x") }), 401, "invalid_client"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := exchange(t, s, test.form)
			assert.Equal(t, test.status, got.status)
			var body map[string]any
			require.NoError(t, json.Unmarshal([]byte(got.body), &body))
			assert.Equal(t, test.code, body["error"])
			assert.NotEmpty(t, body["error_description"])
			assert.Len(t, body, 2)
			assert.NotContains(t, got.body, secret)
		})
	}
	t.Run("JSON", func(t *testing.T) {
		got := call(t, s, "", "POST", "/api/oauth/token", `{"grant_type":"client_credentials"}`)
		assert.Equal(t, http.StatusBadRequest, got.status)
	})
	t.Run("in the query", func(t *testing.T) {
		got := call(t, s, "", "POST", "/api/oauth/token?"+form(nil), "")
		assert.Equal(t, http.StatusBadRequest, got.status)
	})
}

// A token expires after 24 hours on the clock.
func TestTokensExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		id, secret := s.ClientCredentials()
		token := tokenFor(t, s, id, secret)
		s.Advance(24*time.Hour - time.Nanosecond)
		assert.Equal(t, http.StatusOK, call(t, s, token, "GET", "/api/keys", "").status)
		<-time.After(time.Nanosecond) // the clock runs
		got := call(t, s, token, "GET", "/api/keys", "")
		assert.Equal(t, http.StatusUnauthorized, got.status)
		assertError(t, got, 2, "", "Invalid or expired token")

		token = tokenFor(t, s, id, secret)
		assert.Equal(t, http.StatusOK, call(t, s, token, "GET", "/api/keys", "").status)
		s.DefaultTeam().ExpireTokens()
		assert.Equal(t, http.StatusUnauthorized, call(t, s, token, "GET", "/api/keys", "").status)
	})
}

func TestRevokedClient(t *testing.T) {
	s := bubble(t)
	team := s.DefaultTeam()
	id, secret := team.NewClientCredentials()
	token, other := tokenFor(t, s, id, secret), bearers(t, s, team)[2]
	team.RevokeClientCredentials(id)

	got := call(t, s, token, "GET", "/api/keys", "")
	assert.Equal(t, http.StatusUnauthorized, got.status)
	assertError(t, got, 2, "", "Invalid API key")
	again := exchange(t, s, url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}.Encode())
	assert.Equal(t, http.StatusUnauthorized, again.status)
	assert.Contains(t, again.body, "invalid_client")
	assert.Equal(t, http.StatusOK, call(t, s, other, "GET", "/api/keys", "").status, "another client of the team")
	assert.Panics(t, func() { team.RevokeClientCredentials("dh_live_" + "unknown") })
}
