package diffhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

const tokenRoute = "POST /api/oauth/token"

// gen2Client returns a client of generation 2 of the emulator, without a limit unless
// opts sets a Limiter.
func gen2Client(s *diffhooktest.Server, opts *diffhook.ClientOptions) *diffhook.Client {
	var o diffhook.ClientOptions
	if opts != nil {
		o = *opts
	}
	if o.Limiter == nil {
		o.Limiter = unlimited()
	}
	return s.ClientGen2(&o)
}

// listKeys is the simplest call.
func listKeys(ctx context.Context, c *diffhook.Client) error {
	_, err := c.Keys.List(ctx, nil)
	return err
}

// TestExchangeRequest: RFC 6749, 4.4.2, with the credentials in the form, as the
// platform documents.
func TestExchangeRequest(t *testing.T) {
	s := newBubbleServer(t)
	var exchanges []diffhooktest.Exchange
	record := recorder(t)
	s.Configure(diffhooktest.Settings{OnExchange: func(x diffhooktest.Exchange) {
		exchanges = append(exchanges, x)
		if record != nil {
			record(x)
		}
	}})
	require.NoError(t, listKeys(t.Context(), gen2Client(s, &diffhook.ClientOptions{UserAgent: "billing/7"})))

	require.Len(t, exchanges, 2)
	got := exchanges[0].Request
	assert.Equal(t, tokenRoute, got.Route)
	assert.Empty(t, got.Query, "a query is logged everywhere")
	assert.Equal(t, "application/x-www-form-urlencoded", got.Header.Get("Content-Type"))
	assert.Equal(t, "application/json", got.Header.Get("Accept"))
	assert.Contains(t, got.Header.Get("User-Agent"), "billing/7 diffhook-go/")
	assert.NotContains(t, got.Header, "Authorization")
	form, err := url.ParseQuery(string(got.Body))
	require.NoError(t, err)
	id, secret := s.ClientCredentials()
	assert.Equal(t, url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}, form)

	var answer struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal(exchanges[0].Body, &answer))
	assert.NotEmpty(t, answer.AccessToken)
	assert.Equal(t, 2, exchanges[1].Generation, "the call carries the token, not the id")
}

// TestExchangeBelowBaseURL: the secret goes to the host of the base URL, below the
// path.
func TestExchangeBelowBaseURL(t *testing.T) {
	for base, want := range map[string]string{
		"":                                     "https://www.diffhook.com/api/oauth/token",
		"https://gateway.example/diffhook/api": "https://gateway.example/diffhook/api/oauth/token",
		"https://gateway.example/a%2Fb/":       "https://gateway.example/a%2Fb/oauth/token",
		"http://[::1]:8080/api/":               "http://[::1]:8080/api/oauth/token",
	} {
		t.Run(base, func(t *testing.T) {
			var asked []string
			c, err := diffhook.NewClient(diffhook.ClientCredentials("dh_live_id", opaqueText), &diffhook.ClientOptions{
				BaseURL: base,
				HTTPClient: &http.Client{Transport: respond(func(r *http.Request) (*http.Response, error) {
					asked = append(asked, r.URL.String())
					return replyJSON(http.StatusOK, `{"access_token":"a-token","data":[]}`), nil
				})},
			})
			require.NoError(t, err)
			require.NoError(t, listKeys(t.Context(), c))
			require.Len(t, asked, 2)
			assert.Equal(t, want, asked[0])
		})
	}
}

// TestExchangeIsShared: a hundred goroutines without a token share an exchange.
func TestExchangeIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBubbleServer(t)
		s.DefaultTeam().SetPlan(diffhooktest.Plan{RequestsPerMinute: 1000})
		s.Fail(diffhooktest.Fault{Route: tokenRoute, Delay: 5 * time.Second, Times: -1})
		c := gen2Client(s, nil)
		for range 2 {
			var callers sync.WaitGroup
			for range 100 {
				callers.Go(func() { assert.NoError(t, listKeys(t.Context(), c)) })
			}
			callers.Wait()
		}
		assert.Equal(t, 1, s.Count(tokenRoute))
		assert.Equal(t, 200, s.Count("GET /api/keys"))
	})
}

// TestExchangeIsSharedRace: a goroutine that arrives as the exchange ends does not
// begin another.
func TestExchangeIsSharedRace(t *testing.T) {
	again := 0
	for range 1500 {
		var exchanges atomic.Int64
		c := newTransportClient(t, respond(func(r *http.Request) (*http.Response, error) {
			if isExchange(r) {
				exchanges.Add(1)
				return replyJSON(http.StatusOK, `{"access_token":"a-token"}`), nil
			}
			return replyJSON(http.StatusOK, `{"data":[]}`), nil
		}), nil)
		c.SetCredentials(diffhook.ClientCredentials("dh_live_id", opaqueText))
		var callers sync.WaitGroup
		for range 16 {
			callers.Go(func() { assert.NoError(t, listKeys(t.Context(), c)) })
		}
		callers.Wait()
		if exchanges.Load() > 1 {
			again++
		}
	}
	assert.Zero(t, again, "clients that exchanged more than once")
}

// TestExchangeOutlivesItsWaiters: a waiter returns when its own context ends, even the
// waiter that began the exchange. The other waiters get the token.
func TestExchangeOutlivesItsWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBubbleServer(t)
		s.Fail(diffhooktest.Fault{Route: tokenRoute, Delay: 10 * time.Second})
		c := gen2Client(s, nil)
		began := time.Now()
		errMoved := errors.New("moved on")
		var callers sync.WaitGroup
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			assert.ErrorIs(t, listKeys(ctx, c), context.DeadlineExceeded)
			assert.Equal(t, time.Second, time.Since(began))
		})
		synctest.Wait() // until the first call begins the exchange
		callers.Go(func() {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(2*time.Second, func() { cancel(errMoved) })
			_, _, err := c.Keys.Create(ctx, "label")
			assert.ErrorIs(t, err, errMoved)
			assert.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown, "the request was not sent")
			assert.Equal(t, 2*time.Second, time.Since(began))
		})
		callers.Go(func() {
			assert.NoError(t, listKeys(t.Context(), c))
			assert.Equal(t, 10*time.Second, time.Since(began))
		})
		callers.Wait()
		assert.Equal(t, 1, s.Count(tokenRoute))
		assert.Equal(t, 1, s.Count("/api/keys"))
	})
}

// TestTokenIsReplacedBeforeItEnds: no request carries a token that may expire on the
// way.
func TestTokenIsReplacedBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBubbleServer(t)
		c := gen2Client(s, nil)
		require.NoError(t, listKeys(t.Context(), c))
		pause(24*time.Hour - 2*time.Minute)
		require.NoError(t, listKeys(t.Context(), c))
		assert.Equal(t, 1, s.Count(tokenRoute), "and not much earlier")
		pause(2*time.Minute - time.Second)
		require.NoError(t, listKeys(t.Context(), c))
		assert.Equal(t, 2, s.Count(tokenRoute))
		for _, r := range s.Requests() {
			assert.Equal(t, http.StatusOK, r.Status)
		}
	})
}

// TestTokenLifetimes: the answer states the lifetime, or else the documented day
// applies.
func TestTokenLifetimes(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		kept         time.Duration // time after which the token is used again
		replaced     time.Duration // time after which the token is replaced
	}{
		{"an hour", `{"access_token":"a-token","expires_in":3600}`, 58 * time.Minute, 60 * time.Minute},
		// A token with so short a life is replaced after a 401: replacing it beforehand
		// could take every turn of the limiter.
		{"ten seconds", `{"access_token":"a-token","expires_in":10}`, 53 * time.Second, time.Minute},
		{"missing", `{"access_token":"a-token"}`, 23 * time.Hour, 24 * time.Hour},
		{"null", `{"access_token":"a-token","expires_in":null}`, 23 * time.Hour, 24 * time.Hour},
		{"zero", `{"access_token":"a-token","expires_in":0}`, 23 * time.Hour, 24 * time.Hour},
		{"negative", `{"access_token":"a-token","expires_in":-1}`, 23 * time.Hour, 24 * time.Hour},
		{"a text", `{"access_token":"a-token","expires_in":"3600"}`, 58 * time.Minute, 60 * time.Minute},
		{"with a fraction", `{"access_token":"a-token","expires_in":3600.0}`, 58 * time.Minute, 60 * time.Minute},
		{"a text, not a number", `{"access_token":"a-token","expires_in":"an hour"}`, 23 * time.Hour, 24 * time.Hour},
		{"an object", `{"access_token":"a-token","expires_in":{"seconds":3600}}`, 23 * time.Hour, 24 * time.Hour},
		{"more than a float64 holds", `{"access_token":"a-token","expires_in":1e999}`, 300 * 24 * time.Hour, 366 * 24 * time.Hour},
		{"any case of the type", `{"access_token":"a-token","token_type":"bEARER","expires_in":3600}`, 58 * time.Minute, 60 * time.Minute},
		{"more than a duration holds", `{"access_token":"a-token","expires_in":1e300}`, 300 * 24 * time.Hour, 366 * 24 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				exchanges := 0
				client := newTransportClient(t, respond(func(r *http.Request) (*http.Response, error) {
					if isExchange(r) {
						exchanges++
						return replyJSON(http.StatusOK, c.answer), nil
					}
					return replyJSON(http.StatusOK, `{"data":[]}`), nil
				}), nil)
				client.SetCredentials(diffhook.ClientCredentials("dh_live_id", opaqueText))
				require.NoError(t, listKeys(t.Context(), client))
				pause(c.kept)
				require.NoError(t, listKeys(t.Context(), client))
				assert.Equal(t, 1, exchanges)
				pause(c.replaced - c.kept)
				require.NoError(t, listKeys(t.Context(), client))
				assert.Equal(t, 2, exchanges)
			})
		})
	}
}

// TestTokenThatEndedIsRenewed: also for a POST, since a 401 means that the POST was not
// carried out.
func TestTokenThatEndedIsRenewed(t *testing.T) {
	s := newBubbleServer(t)
	c := gen2Client(s, nil)
	require.NoError(t, listKeys(t.Context(), c))
	team := s.DefaultTeam()
	const carriedOut = 1

	for _, call := range []struct {
		name string
		do   func() error
	}{
		{"GET", func() error { return listKeys(t.Context(), c) }},
		{"POST", func() error {
			_, _, err := c.Keys.Create(t.Context(), "made once")
			return err
		}},
		{"DELETE", func() error { return c.Keys.Delete(t.Context(), team.NewKey("to delete").ID) }},
	} {
		t.Run(call.name, func(t *testing.T) {
			team.ExpireTokens()
			before, keys := len(s.Requests()), len(team.Keys())
			require.NoError(t, call.do())
			var statuses []int
			for _, r := range s.Requests()[before:] {
				statuses = append(statuses, r.Status)
			}
			require.Len(t, statuses, 3)
			assert.Equal(t, []int{http.StatusUnauthorized, http.StatusOK}, statuses[:2])
			if call.name == "POST" {
				assert.Len(t, team.Keys(), keys+carriedOut)
			}
		})
	}
}

// TestTokenIsRenewedWhateverTheWords: after any 401 to an exchanged token, the client
// tries a new token, once. Only after the revocation of the client would a new token be
// useless.
func TestTokenIsRenewedWhateverTheWords(t *testing.T) {
	for body, renewed := range map[string]bool{
		`{"error": "Invalid or expired token"}`:                            true,
		`{"error": "The access token has expired"}`:                        true,
		`{"error": "token_expired"}`:                                       true,
		`{"error": "invalid_token", "error_description": "It is too old"}`: true,
		`{"error": {"code": "UNAUTHORIZED", "message": "Who are you?"}}`:   true,
		`{"error": "Authorization header missing or invalid"}`:             true,
		`<p>Unauthorized`:              true,
		``:                             true,
		`{"error": "Invalid API key"}`: false,
		`{"error": {"code": "INVALID_API_KEY", "message": "It was revoked"}}`: false,
	} {
		t.Run(body, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls int
				client := newTransportClient(t, respond(func(r *http.Request) (*http.Response, error) {
					if isExchange(r) {
						return replyJSON(200, `{"access_token": "made-up", "expires_in": 86400}`), nil
					}
					if calls++; calls == 1 {
						return replyJSON(401, body), nil
					}
					return replyJSON(200, `{"data": []}`), nil
				}), nil)
				client.SetCredentials(diffhook.ClientCredentials("dh_live_made-up-client", "made-up secret"))
				err := listKeys(t.Context(), client)
				if renewed {
					require.NoError(t, err)
					require.Equal(t, 2, calls)
				} else {
					require.ErrorIs(t, err, diffhook.ErrUnauthorized)
					require.Equal(t, 1, calls)
				}
			})
		})
	}
}

// TestTokenIsRenewedOnce: if the platform rejects every token, the client does not
// exchange without end.
func TestTokenIsRenewedOnce(t *testing.T) {
	var exchanges, calls int
	client := newTransportClient(t, respond(func(r *http.Request) (*http.Response, error) {
		if isExchange(r) {
			exchanges++
			return replyJSON(http.StatusOK, fmt.Sprintf(`{"access_token":"token-%d"}`, exchanges)), nil
		}
		calls++
		return replyJSON(http.StatusUnauthorized, `{"error":"Invalid or expired token"}`), nil
	}), nil)
	client.SetCredentials(diffhook.ClientCredentials("dh_live_id", opaqueText))
	err := listKeys(t.Context(), client)
	require.ErrorIs(t, err, diffhook.ErrUnauthorized)
	assert.Equal(t, 2, exchanges)
	assert.Equal(t, 2, calls)
}

// TestLate401KeepsNewToken: a late 401 is about the old token. To discard the new
// token for it would waste a good token, again for each goroutine.
func TestLate401KeepsNewToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBubbleServer(t)
		direct := diffhooktest.Transport(s)
		var slow atomic.Bool
		c := gen2Client(s, &diffhook.ClientOptions{HTTPClient: &http.Client{Transport: respondLater(func(r *http.Request) (*http.Response, error) {
			resp, err := direct.RoundTrip(r)
			if slow.Load() && strings.HasSuffix(r.URL.Path, "/logs") {
				pause(10 * time.Second)
			}
			return resp, err
		})}})
		require.NoError(t, listKeys(t.Context(), c))
		s.DefaultTeam().ExpireTokens()
		slow.Store(true)
		var late sync.WaitGroup
		for range 5 {
			late.Go(func() {
				_, err := c.Logs.List(t.Context(), nil)
				assert.NoError(t, err)
			})
		}
		pause(time.Second)
		require.NoError(t, listKeys(t.Context(), c))
		require.Equal(t, 2, s.Count(tokenRoute))
		late.Wait()
		assert.Equal(t, 2, s.Count(tokenRoute), "the new token was kept")
		assert.Equal(t, 10, s.Count("GET /api/logs"))
	})
}

// respondLater is respond without reading the request's body.
type respondLater func(*http.Request) (*http.Response, error)

func (f respondLater) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestRevokedClient: a new token does not help against "Invalid API key".
func TestRevokedClient(t *testing.T) {
	s := newBubbleServer(t)
	c := gen2Client(s, nil)
	require.NoError(t, listKeys(t.Context(), c))
	id, _ := s.ClientCredentials()
	s.DefaultTeam().RevokeClientCredentials(id)

	err := listKeys(t.Context(), c)
	require.ErrorIs(t, err, diffhook.ErrUnauthorized)
	assert.ErrorContains(t, err, "Invalid API key")
	assert.Equal(t, 3, s.Count(""), "not retried")

	// The token was discarded, and the next call learns more.
	err = listKeys(t.Context(), c)
	requireInvalidClient(t, err)
	assert.Equal(t, 4, s.Count(""))
}

// requireInvalidClient checks the error for rejected client credentials.
func requireInvalidClient(t *testing.T, err error) {
	t.Helper()
	require.ErrorIs(t, err, diffhook.ErrUnauthorized)
	var api *diffhook.APIError
	require.ErrorAs(t, err, &api)
	assert.Equal(t, http.StatusUnauthorized, api.StatusCode)
	assert.Equal(t, "invalid_client", api.Code)
	assert.Equal(t, "oauth/token", api.Route)
	assert.Equal(t, 1, api.Attempts, "no retry")
	assert.ErrorContains(t, err, "client id", "the remedy")
	assert.ErrorContains(t, err, "client secret", "the remedy")
}

func TestWrongClient(t *testing.T) {
	s := newBubbleServer(t)
	id, secret := s.ClientCredentials()
	for name, creds := range map[string]diffhook.Credentials{
		"unknown id":                diffhook.ClientCredentials("dh_live_unknown-id", secret),
		"wrong secret":              diffhook.ClientCredentials(id, opaqueText),
		"secret with a letter more": diffhook.ClientCredentials(id, secret+"x"),
	} {
		t.Run(name, func(t *testing.T) {
			c := gen2Client(s, nil)
			c.SetCredentials(creds)
			_, err := c.Monitors.Get(t.Context(), "mon_abc123")
			requireInvalidClient(t, err)
			_, _, err = c.Keys.Create(t.Context(), "label")
			requireInvalidClient(t, err)
			assert.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown, "the request was not sent")
			assertDoesNotRepeat(t, err, secret)
			assertDoesNotRepeat(t, err, opaqueText)
		})
	}
	assert.Zero(t, s.Count("/api/keys"))
}

// TestTokensAreNotShared: the same credentials in two clients are two tokens, each
// known to a single host.
func TestTokensAreNotShared(t *testing.T) {
	creds := diffhook.ClientCredentials("dh_live_id", opaqueText)
	var mu sync.Mutex
	sent := make(map[string][]string) // tokens by host
	client := func(host string) *diffhook.Client {
		c, err := diffhook.NewClient(creds, &diffhook.ClientOptions{
			BaseURL: "https://" + host + "/api/",
			HTTPClient: &http.Client{Transport: respond(func(r *http.Request) (*http.Response, error) {
				mu.Lock()
				defer mu.Unlock()
				if isExchange(r) {
					return replyJSON(http.StatusOK, fmt.Sprintf(`{"access_token":"%s-%d"}`, r.URL.Host, len(sent[r.URL.Host]))), nil
				}
				sent[r.URL.Host] = append(sent[r.URL.Host], r.Header.Get("Authorization"))
				return replyJSON(http.StatusOK, `{"data":[]}`), nil
			})},
		})
		require.NoError(t, err)
		return c
	}
	staging, production := client("staging.example"), client("production.example")
	for _, c := range []*diffhook.Client{staging, production, staging.WithCredentials(creds)} {
		require.NoError(t, listKeys(t.Context(), c))
	}
	assert.Equal(t, map[string][]string{
		"staging.example":    {"Bearer staging.example-0", "Bearer staging.example-1"},
		"production.example": {"Bearer production.example-0"},
	}, sent)
}

// TestExchangeIsRetried: an exchange is retried like a GET, also for a call that is not
// safe to repeat: an extra token does no harm.
func TestExchangeIsRetried(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault diffhooktest.Fault
	}{
		{"500", diffhooktest.Fault{Status: http.StatusInternalServerError}},
		{"502 in HTML", diffhooktest.Fault{Status: http.StatusBadGateway, HTML: true}},
		{"503", diffhooktest.Fault{Status: http.StatusServiceUnavailable}},
		{"504", diffhooktest.Fault{Status: http.StatusGatewayTimeout}},
		{"503 after the exchange", diffhooktest.Fault{Status: http.StatusServiceUnavailable, Handle: true}},
		{"429", diffhooktest.Fault{Status: http.StatusTooManyRequests, RetryAfter: 3 * time.Second}},
		{"reset before", diffhooktest.Fault{Reset: diffhooktest.BeforeHandling}},
		{"reset after", diffhooktest.Fault{Reset: diffhooktest.AfterHandling}},
		{"answer cut off", diffhooktest.Fault{Truncate: true}},
		{"no answer in time", diffhooktest.Fault{Delay: time.Hour}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newBubbleServer(t)
				c.fault.Route, c.fault.Times = tokenRoute, 2
				s.Fail(c.fault)
				_, key, err := gen2Client(s, nil).Keys.Create(t.Context(), "label")
				require.NoError(t, err)
				assert.False(t, key.IsZero())
				synctest.Wait()
				assert.Equal(t, 3, s.Count(tokenRoute))
				assert.Equal(t, 1, s.Count("POST /api/keys"))
			})
		})
	}
}

// TestExchangeGivesUp: waiting calls get the same typed error of the exchange, and do
// not each begin the retries again.
func TestExchangeGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBubbleServer(t)
		s.Fail(diffhooktest.Fault{Route: tokenRoute, Status: http.StatusServiceUnavailable, Times: -1})
		c := gen2Client(s, nil)
		var callers sync.WaitGroup
		for range 10 {
			callers.Go(func() {
				_, _, err := c.Keys.Create(t.Context(), "label")
				assert.ErrorIs(t, err, diffhook.ErrServer)
				assert.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown)
				var api *diffhook.APIError
				if assert.ErrorAs(t, err, &api) {
					assert.Equal(t, "oauth/token", api.Route)
					assert.Equal(t, 4, api.Attempts)
				}
			})
		}
		callers.Wait()
		assert.Equal(t, 4, s.Count(""))

		s.ClearFaults()
		require.NoError(t, listKeys(t.Context(), c), "a failure is not kept")
	})
}

// TestExchangeAnswers: an answer without a token is a special error, and is not kept:
// the next call asks again.
func TestExchangeAnswers(t *testing.T) {
	for _, c := range []struct {
		name string
		resp func() *http.Response
	}{
		{"without access_token", func() *http.Response { return replyJSON(http.StatusOK, `{"token_type":"Bearer"}`) }},
		{"empty access_token", func() *http.Response { return replyJSON(http.StatusOK, `{"access_token":"","expires_in":86400}`) }},
		{"access_token is null", func() *http.Response { return replyJSON(http.StatusOK, `{"access_token":null}`) }},
		{"access_token is a number", func() *http.Response { return replyJSON(http.StatusOK, `{"access_token":123456789}`) }},
		{"access_token illegal in a header", func() *http.Response {
			return replyJSON(http.StatusOK, `{"access_token":"token\r\nX-Admin: true","expires_in":86400}`)
		}},
		{"in a data envelope", func() *http.Response { return replyJSON(http.StatusOK, `{"data":{"access_token":"a"}}`) }},
		{"HTML of a captive portal", func() *http.Response { return reply(http.StatusOK, "text/html", "<html>Log in</html>") }},
		{"HTML labelled as JSON", func() *http.Response { return replyJSON(http.StatusOK, "<html>Log in</html>") }},
		{"empty", func() *http.Response { return replyJSON(http.StatusOK, "") }},
		{"204", func() *http.Response { return replyJSON(http.StatusNoContent, "") }},
		{"redirect", func() *http.Response {
			resp := reply(http.StatusTemporaryRedirect, "text/html", "")
			resp.Header.Set("Location", "https://elsewhere.example/oauth/token")
			return resp
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked []string
			broken := true
			client := newTransportClient(t, respond(func(r *http.Request) (*http.Response, error) {
				asked = append(asked, r.URL.Host+r.URL.Path)
				switch {
				case isExchange(r) && broken:
					return c.resp(), nil
				case isExchange(r):
					return replyJSON(http.StatusOK, `{"access_token":"a-token"}`), nil
				}
				return replyJSON(http.StatusOK, `{"data":[]}`), nil
			}), nil)
			client.SetCredentials(diffhook.ClientCredentials("dh_live_id", opaqueText))
			err := listKeys(t.Context(), client)
			assert.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
			assert.ErrorContains(t, err, "oauth/token")
			assert.Equal(t, []string{"127.0.0.1:1/api/oauth/token"}, asked)

			broken = false
			assert.NoError(t, listKeys(t.Context(), client), "a bad answer is not kept")
		})
	}
}

// TestExchangeErrorsHideTheSecret: no error shows the secret, however the server or the
// transport repeats the request.
func TestExchangeErrorsHideTheSecret(t *testing.T) {
	// The encodings in which a server may repeat the secret both change it.
	const secret = `violet"walrus/plays+THE=quartz&organ`
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"dh_live_id"}, "client_secret": {secret}}.Encode()
	quoted := func(text string) string {
		encoded, _ := json.Marshal(text)
		return string(encoded)
	}
	withHeader := func(resp *http.Response, name, value string) *http.Response {
		resp.Header.Set(name, value)
		return resp
	}
	unauthorized := func(body string) *http.Response { return replyJSON(http.StatusUnauthorized, body) }

	for _, c := range []struct {
		name string
		resp func() (*http.Response, error)
	}{
		{"description", func() (*http.Response, error) {
			return unauthorized(`{"error":"invalid_client","error_description":` + quoted("no client with the secret "+secret) + `}`), nil
		}},
		{"description of more than is shown", func() (*http.Response, error) {
			return unauthorized(`{"error":"invalid_client","error_description":` + quoted(strings.Repeat("x", 290)+secret) + `}`), nil
		}},
		{"description with the form", func() (*http.Response, error) {
			return replyJSON(http.StatusBadRequest, `{"error":"invalid_request","error_description":`+quoted("cannot read "+form)+`}`), nil
		}},
		{"code", func() (*http.Response, error) {
			return unauthorized(`{"error":` + quoted(secret) + `,"error_description":"no"}`), nil
		}},
		{"message of generation 2", func() (*http.Response, error) {
			return unauthorized(`{"error":` + quoted("bad secret: "+secret) + `}`), nil
		}},
		{"message and code of generation 1", func() (*http.Response, error) {
			return unauthorized(`{"error":{"code":` + quoted(secret) + `,"message":` + quoted(secret+secret) + `}}`), nil
		}},
		{"request id", func() (*http.Response, error) {
			return withHeader(unauthorized(`{"error":"invalid_client"}`), "X-Request-Id", "req_"+secret), nil
		}},
		{"content type", func() (*http.Response, error) {
			return withHeader(unauthorized("no"), "Content-Type", secret), nil
		}},
		{"content type of a success", func() (*http.Response, error) {
			return withHeader(replyJSON(http.StatusOK, "no"), "Content-Type", secret), nil
		}},
		{"HTML", func() (*http.Response, error) {
			return reply(http.StatusNotFound, "text/html", "<pre>"+form+secret+"</pre>"), nil
		}},
		{"redirect", func() (*http.Response, error) {
			return withHeader(reply(http.StatusFound, "text/html", ""), "Location", "https://elsewhere.example/?"+form), nil
		}},
		{"success that is not JSON", func() (*http.Response, error) { return replyJSON(http.StatusOK, secret), nil }},
		{"wrong type", func() (*http.Response, error) {
			return replyJSON(http.StatusOK, `{"access_token":{"`+"secret"+`":`+quoted(secret)+`}}`), nil
		}},
		{"error of the transport", func() (*http.Response, error) {
			return nil, errors.New("proxy: malformed answer " + secret)
		}},
		{"error of the transport with a quote", func() (*http.Response, error) {
			return nil, fmt.Errorf("proxy: malformed answer %q", secret)
		}},
		{"error of the transport with the form", func() (*http.Response, error) {
			return nil, errors.New("proxy: cannot send " + form)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := newTransportClient(t, respond(func(*http.Request) (*http.Response, error) { return c.resp() }), &diffhook.ClientOptions{MaxAttempts: 1})
			client.SetCredentials(diffhook.ClientCredentials("dh_live_id", secret))
			err := listKeys(t.Context(), client)
			require.Error(t, err)
			detector := newLeakDetector(secret, url.QueryEscape(secret))
			var shown []string // names of the sinks that show the secret
			for _, x := range []any{err, unexportedField[error]{err}, client} {
				for _, sink := range errorSinks() {
					if len(detector.find(sink.output(x, errors.New(otherText)))) > 0 {
						shown = append(shown, sink.name)
					}
				}
			}
			assert.Empty(t, shown, "sinks that show the secret; the text is %v", err)
		})
	}
}

// errorSinks are the usual sinks for errors in programs and tests.
func errorSinks() []sink {
	return slices.DeleteFunc(slices.Clone(sinks), func(s sink) bool {
		return !slices.Contains([]string{"fmt.Print", "fmt of reflect.Value", "slog text", "encoding/json", "testify"}, s.name)
	})
}

// TestTokenEndsUnderLoad: with the default limiter and a queue, an expired token fails
// no call. It would if the exchange queued behind all calls. Calls that waited for the
// new token do not start in a burst afterwards.
func TestTokenEndsUnderLoad(t *testing.T) {
	for _, c := range []struct {
		name       string
		goroutines int
		exchange   time.Duration // duration of an exchange
	}{
		{"few goroutines, slow exchange", 30, 25 * time.Second},
		{"100 goroutines", 100, 100 * time.Millisecond},
		{"500 goroutines", 500, 100 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := diffhooktest.New()
				t.Cleanup(s.Close)
				s.Fail(diffhooktest.Fault{Route: tokenRoute, Delay: c.exchange, Times: -1})
				client := s.ClientGen2(&diffhook.ClientOptions{Limiter: diffhook.PlanLimiter(diffhook.FreePlan)})
				time.AfterFunc(2*time.Minute, s.DefaultTeam().ExpireTokens)
				failed, err := demand(c.goroutines, 10*time.Minute, func() error { return listKeys(t.Context(), client) })
				assert.Zero(t, failed, "calls failed, such as with: %v", err)
				assert.Empty(t, times429(s), "429s drawn")
				assert.Equal(t, 2, s.Count(tokenRoute))
			})
		})
	}
}
