package diffhooktest

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// tokenLifetime is the documented lifetime of an access token.
const tokenLifetime = 24 * time.Hour

type oauthClient struct {
	id, secret string
	team       *Team
	revoked    bool
	requests   rateLog // over all tokens of the client
}

type accessToken struct {
	client  *oauthClient
	expires time.Time
}

func (t *Team) addClient() *oauthClient {
	c := &oauthClient{id: newCredential(), secret: "emulator-client-secret-" + rand.Text(), team: t}
	t.clients = append(t.clients, c)
	t.server.clients[c.id] = c
	return c
}

// ClientCredentials returns the id and the secret of the team's first OAuth client,
// the credentials of generation 2.
func (t *Team) ClientCredentials() (id, secret string) {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	return t.clients[0].id, t.clients[0].secret
}

// NewClientCredentials adds an OAuth client.
func (t *Team) NewClientCredentials() (id, secret string) {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	c := t.addClient()
	return c.id, c.secret
}

// RevokeClientCredentials revokes the OAuth client with the given id. The client
// gets no more tokens, and requests with existing tokens get 401 "Invalid API key".
// It panics if the id is unknown.
func (t *Team) RevokeClientCredentials(id string) {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	i := slices.IndexFunc(t.clients, func(c *oauthClient) bool { return c.id == id })
	if i < 0 {
		panic("diffhooktest: the OAuth client is not in the team; take an id from NewClientCredentials")
	}
	t.clients[i].revoked = true
}

// ExpireTokens expires all access tokens of the team now.
func (t *Team) ExpireTokens() {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	for _, token := range t.server.tokens {
		if token.client.team == t {
			token.expires = t.server.clock.now()
		}
	}
}

// principal is the authenticated sender of a request.
type principal struct {
	team       *Team
	generation int
	requests   *rateLog
}

// authenticate returns the sender of a request and the generation for the response.
// After a failure, the generation is valid too.
func (s *Server) authenticate(header http.Header, now time.Time) (*principal, int, *failure) {
	token, ok := bearer(header)
	if !ok {
		return nil, 1, &failure{status: http.StatusUnauthorized, code: codeUnauthorized, message: "Authorization header missing or invalid"}
	}
	if strings.HasPrefix(token, keyPrefix) {
		k := s.keys[token]
		if k == nil || k.revoked {
			return nil, 1, &failure{status: http.StatusUnauthorized, code: codeInvalidAPIKey, message: "Invalid API key"}
		}
		k.used = now
		return &principal{k.team, 1, &k.requests}, 1, nil
	}
	t := s.tokens[token]
	switch {
	case t == nil || !now.Before(t.expires):
		return nil, 2, &failure{status: http.StatusUnauthorized, message: "Invalid or expired token"}
	case t.client.revoked:
		return nil, 2, &failure{status: http.StatusUnauthorized, message: "Invalid API key"}
	}
	return &principal{t.client.team, 2, &t.client.requests}, 2, nil
}

// bearer returns the token of the only Authorization header, which must match the
// documented form exactly.
func bearer(header http.Header) (string, bool) {
	values := header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	token, ok := strings.CutPrefix(values[0], "Bearer ")
	return token, ok && token != "" && !strings.ContainsAny(token, " \t,")
}

// generationOf guesses the generation of a request that is not authenticated.
func generationOf(header http.Header) int {
	if token, ok := bearer(header); ok && !strings.HasPrefix(token, keyPrefix) {
		return 2
	}
	return 1
}

// token answers the token endpoint according to RFC 6749, without a request limit
// (assumed).
func (s *Server) token(method string, query string, header http.Header, body []byte, now time.Time) *response {
	if method != http.MethodPost {
		f := failure{status: http.StatusMethodNotAllowed, allow: http.MethodPost, code: codeMethodNotAllowed, message: "Method not allowed"}
		return f.in(2)
	}
	form, problem := parseTokenForm(query, header, body)
	if problem != "" {
		return tokenError(http.StatusBadRequest, "invalid_request", problem)
	}
	if form.Get("grant_type") != "client_credentials" {
		return tokenError(http.StatusBadRequest, "unsupported_grant_type", "The grant_type must be client_credentials")
	}
	c := s.clients[form.Get("client_id")]
	if c == nil || c.revoked || subtle.ConstantTimeCompare([]byte(c.secret), []byte(form.Get("client_secret"))) != 1 {
		return tokenError(http.StatusUnauthorized, "invalid_client", "The client is unknown or revoked, or its secret is wrong")
	}
	text := "emulator-token-" + rand.Text()
	s.tokens[text] = &accessToken{client: c, expires: now.Add(tokenLifetime)}
	a := jsonResponse(http.StatusOK, map[string]any{"access_token": text, "token_type": "Bearer", "expires_in": seconds(tokenLifetime)})
	a.header.Set("Cache-Control", "no-store")
	return a
}

func tokenError(status int, code, description string) *response {
	a := jsonResponse(status, map[string]any{"error": code, "error_description": description})
	a.header.Set("Cache-Control", "no-store")
	return a
}

// parseTokenForm returns the form of a request for a token, or a description of the
// fault.
func parseTokenForm(query string, header http.Header, body []byte) (url.Values, string) {
	if query != "" {
		return nil, "The parameters must be in the body"
	}
	if failed := checkContentType(header, "application/x-www-form-urlencoded"); failed != nil {
		return nil, failed.message
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, "The form is malformed"
	}
	want := []string{"grant_type", "client_id", "client_secret"}
	for name, values := range form {
		if !slices.Contains(want, name) {
			return nil, "A parameter is unknown"
		}
		if len(values) > 1 {
			return nil, "A parameter appears twice"
		}
	}
	for _, name := range want {
		if form.Get(name) == "" {
			return nil, "The parameter " + name + " is missing"
		}
	}
	return form, ""
}
