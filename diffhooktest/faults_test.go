package diffhooktest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/diffhooktest"
)

// overHTTP sends a request with a plain client of net/http. After an error in the
// body, the reply contains the rest.
func overHTTP(t *testing.T, client *http.Client, r *http.Request) (reply, error) {
	t.Helper()
	resp, err := client.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(body)}, err
}

func newClient(t *testing.T) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// Every kind of fault, on a reused connection: the response to a plain client, and
// whether the request was handled.
func TestFaults(t *testing.T) {
	tests := []struct {
		name    string
		fault   diffhooktest.Fault
		gen     int
		status  int    // 0: an error instead of a response
		body    string // part of the response
		cut     bool   // the body of the response breaks off
		handled bool
		header  [2]string
	}{
		{"a status", diffhooktest.Fault{Status: 503}, 1, 503, `{"error":{"code":"SERVER_ERROR","message":"Service Unavailable"}}`, false, false, [2]string{}},
		{"a status in generation 2", diffhooktest.Fault{Status: 500}, 2, 500, `{"error":"Internal server error"}`, false, false, [2]string{}},
		{"not found", diffhooktest.Fault{Status: 404}, 1, 404, `"NOT_FOUND"`, false, false, [2]string{}},
		{"forbidden", diffhooktest.Fault{Status: 403}, 1, 403, `"FORBIDDEN"`, false, false, [2]string{}},
		{"unauthorized", diffhooktest.Fault{Status: 401}, 1, 401, `"UNAUTHORIZED"`, false, false, [2]string{}},
		{"bad request", diffhooktest.Fault{Status: 422}, 1, 422, `"INVALID_REQUEST"`, false, false, [2]string{}},
		{"a limit", diffhooktest.Fault{Status: 429, RetryAfter: 1500 * time.Millisecond}, 1, 429, `"RATE_LIMITED"`, false, false, [2]string{"Retry-After", "2"}},
		{"a limit in generation 2", diffhooktest.Fault{Status: 429, RetryAfter: time.Minute}, 2, 429, `"retry_after_seconds":60`, false, false, [2]string{"Retry-After", "60"}},
		{"a header", diffhooktest.Fault{Status: 503, Header: http.Header{"retry-after": {"Mon, 16 Mar 2026 14:22:00 GMT"}}}, 1, 503, "", false, false, [2]string{"Retry-After", "Mon, 16 Mar 2026 14:22:00 GMT"}},
		{"a status after the work was done", diffhooktest.Fault{Status: 502, Handle: true}, 1, 502, "SERVER_ERROR", false, true, [2]string{}},
		{"a proxy's page", diffhooktest.Fault{HTML: true}, 1, 502, "<h1>502 Bad Gateway</h1>", false, false, [2]string{"Content-Type", "text/html; charset=utf-8"}},
		{"a proxy's page with a status", diffhooktest.Fault{HTML: true, Status: 504}, 2, 504, "<h1>504 Gateway Timeout</h1>", false, false, [2]string{}},
		{"a redirect", diffhooktest.Fault{Status: 307, Header: http.Header{"Location": {"https://elsewhere.example/"}}}, 1, 307, "", false, false, [2]string{"Location", "https://elsewhere.example/"}},
		{"only a header", diffhooktest.Fault{Header: http.Header{"Warning": {"x"}}}, 1, 201, `"key"`, false, true, [2]string{"Warning", "x"}},
		{"reset before", diffhooktest.Fault{Reset: diffhooktest.BeforeHandling}, 1, 0, "", false, false, [2]string{}},
		{"reset after", diffhooktest.Fault{Reset: diffhooktest.AfterHandling}, 1, 0, "", false, true, [2]string{}},
		{"truncated", diffhooktest.Fault{Truncate: true}, 1, 201, `{"data":{`, true, true, [2]string{}},
		{"a truncated error", diffhooktest.Fault{Truncate: true, Status: 500}, 1, 500, `{"error"`, true, false, [2]string{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := diffhooktest.NewServer(t)
			client := newClient(t)
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			bearer := bearers(t, s, s.DefaultTeam())[test.gen]
			_, err := overHTTP(t, client, request(t, s, bearer, "GET", "/api/keys", ""))
			require.NoError(t, err)

			test.fault.Route = "POST /api/keys"
			s.Fail(test.fault)
			got, err := overHTTP(t, client, request(t, s, bearer, "POST", "/api/keys", `{"label":"x"}`))
			keys := s.DefaultTeam().Keys()
			if test.handled {
				assert.Len(t, keys, 2)
			} else {
				assert.Len(t, keys, 1)
			}
			assert.Equal(t, test.status, got.status)
			if test.status == 0 || test.cut {
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			} else {
				require.NoError(t, err)
			}
			if test.status != 0 {
				assert.Contains(t, got.body, test.body)
				assert.Equal(t, "1", got.header.Get(diffhooktest.FaultHeader))
			}
			if test.header[0] != "" {
				assert.Equal(t, test.header[1], got.header.Get(test.header[0]))
			}
			recorded := s.Requests()
			last := recorded[len(recorded)-1]
			assert.True(t, last.Fault)
			assert.Equal(t, test.status, last.Status)

			after, err := overHTTP(t, client, request(t, s, bearer, "POST", "/api/keys", `{"label":"y"}`))
			require.NoError(t, err)
			assert.Equal(t, http.StatusCreated, after.status, "a fault happens once by default")
			assert.Empty(t, after.header.Get(diffhooktest.FaultHeader))
			assert.Equal(t, 2, s.Count("POST /api/keys"), "the client repeated nothing")
		})
	}
}

// A reset reaches the caller of a GET too. net/http would repeat a GET if a reused
// connection ended without a byte.
func TestResetsAreSeen(t *testing.T) {
	s := diffhooktest.NewServer(t)
	client, key := newClient(t), s.APIKey().Reveal()
	for range 10 {
		_, err := overHTTP(t, client, request(t, s, key, "GET", "/api/keys", ""))
		require.NoError(t, err)
		s.Fail(diffhooktest.Fault{Reset: diffhooktest.BeforeHandling})
		_, err = overHTTP(t, client, request(t, s, key, "GET", "/api/keys", ""))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	assert.Equal(t, 20, s.Count(""))
}

// Truncate drops a response without a body.
func TestTruncatedNothing(t *testing.T) {
	s := diffhooktest.NewServer(t)
	team := s.DefaultTeam()
	id := team.NewKey("x").ID
	s.Fail(diffhooktest.Fault{Truncate: true})
	_, err := overHTTP(t, newClient(t), request(t, s, s.APIKey().Reveal(), "DELETE", "/api/keys/"+id, ""))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.True(t, team.Keys()[1].Revoked)
}

func TestFaultCounts(t *testing.T) {
	s := bubble(t)
	key := s.DefaultTeam().APIKey().Reveal()
	statuses := func(n int, method, path string) (got []int) {
		for range n {
			got = append(got, call(t, s, key, method, path, "").status)
		}
		return got
	}
	s.Fail(diffhooktest.Fault{Route: "GET /api/keys", Status: 500, Skip: 1, Times: 2})
	assert.Equal(t, []int{200, 500, 500, 200}, statuses(4, "GET", "/api/keys"))

	s.Fail(diffhooktest.Fault{Status: 503, Times: -1})
	assert.Equal(t, []int{503, 503, 503}, statuses(3, "GET", "/api/logs"))
	s.ClearFaults()
	assert.Equal(t, []int{200}, statuses(1, "GET", "/api/logs"))

	s.Fail(diffhooktest.Fault{Status: 500})
	s.Fail(diffhooktest.Fault{Status: 503})
	assert.Equal(t, []int{500, 503, 200}, statuses(3, "GET", "/api/logs"), "in the order of Fail")
}

func TestFaultRoutes(t *testing.T) {
	tests := []struct {
		route, method, path string
		want                bool
	}{
		{"", "GET", "/api/keys", true},
		{"GET", "GET", "/api/keys", true},
		{"POST", "GET", "/api/keys", false},
		{"GET /api/keys", "GET", "/api/keys", true},
		{"POST /api/keys", "GET", "/api/keys", false},
		{"/api/keys", "GET", "/api/keys", true},
		{"/api/keys", "GET", "/api/logs", false},
		{"GET /api/monitors/{id}", "GET", "/api/monitors/mon_1", true},
		{"GET /api/monitors/{any}", "GET", "/api/monitors/a%2Fb", true},
		{"GET /api/monitors/mon_1", "GET", "/api/monitors/mon_1", true},
		{"GET /api/monitors/mon_1", "GET", "/api/monitors/mon_2", false},
		{"GET /api/monitors/{id}", "GET", "/api/monitors", false},
		{"/api/monitors/{id}/pause", "POST", "/api/monitors/mon_1/pause", true},
		{"POST /api/oauth/token", "POST", "/api/oauth/token", true},
		{"GET /api/nothing", "GET", "/api/nothing", true}, // before routing
	}
	for _, test := range tests {
		t.Run(test.route+" meets "+test.method+" "+test.path, func(t *testing.T) {
			s := bubble(t)
			s.Fail(diffhooktest.Fault{Route: test.route, Status: 503})
			got := call(t, s, "", test.method, test.path, "")
			assert.Equal(t, test.want, got.status == 503, got.status)
			assert.Equal(t, test.want, s.Count(test.route) == 1)
		})
	}
	s := bubble(t)
	for _, bad := range []string{"get /api/keys", "GET keys", "/keys", "GET ", "keys", "FETCH /api/keys", "GET /api/keys?limit=5", "/api/keys#", "GET /api/keys "} {
		assert.Panics(t, func() { s.Fail(diffhooktest.Fault{Route: bad, Status: 500}) }, bad)
		assert.Panics(t, func() { s.Count(bad) }, bad)
	}
	assert.Panics(t, func() { s.Fail(diffhooktest.Fault{Status: 200}) })
}

// Faults precede authentication, and requests that are not handled do not count.
func TestFaultsComeFirst(t *testing.T) {
	s := bubble(t)
	key := s.NewTeam(diffhooktest.Plan{RequestsPerMinute: 1}).APIKey().Reveal()
	s.Fail(diffhooktest.Fault{Status: 503, Times: 3})
	assert.Equal(t, 503, call(t, s, "", "GET", "/api/keys", "").status)
	assert.Equal(t, 503, call(t, s, key, "GET", "/api/keys", "").status)
	assert.Equal(t, 503, call(t, s, key, "GET", "/api/keys", "").status)
	assert.Equal(t, 200, call(t, s, key, "GET", "/api/keys", "").status)
	assert.Equal(t, 429, call(t, s, key, "GET", "/api/keys", "").status)
}

func TestTokenFaultsAreInItsForm(t *testing.T) {
	s := bubble(t)
	for status, want := range map[int]string{503: "temporarily_unavailable", 500: "temporarily_unavailable", 401: "invalid_client", 400: "invalid_request", 429: "Too many requests"} {
		s.Fail(diffhooktest.Fault{Route: "POST /api/oauth/token", Status: status, RetryAfter: time.Second})
		got := exchange(t, s, "grant_type=client_credentials")
		assert.Equal(t, status, got.status)
		var body map[string]any
		require.NoError(t, json.Unmarshal([]byte(got.body), &body), got.body)
		assert.Equal(t, want, body["error"])
		assert.Len(t, body, 2)
		assert.Equal(t, "1", got.header.Get("Retry-After"))
	}
}

func TestDelays(t *testing.T) {
	t.Run("pass with the bubble's time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := bubble(t)
			s.Fail(diffhooktest.Fault{Delay: 40 * time.Second})
			began := time.Now()
			got := call(t, s, s.APIKey().Reveal(), "GET", "/api/keys", "")
			assert.Equal(t, http.StatusOK, got.status, "late, but handled")
			assert.Equal(t, 40*time.Second, time.Since(began))
		})
	})
	t.Run("pass when the clock moves", func(t *testing.T) {
		s := diffhooktest.NewServer(t)
		s.Fail(diffhooktest.Fault{Delay: 40 * time.Hour, Status: 504})
		answered := make(chan reply)
		r := request(t, s, s.APIKey().Reveal(), "GET", "/api/keys", "")
		go func() { answered <- send(t, s, r) }()
		for {
			select {
			case got := <-answered:
				assert.Equal(t, http.StatusGatewayTimeout, got.status)
				return
			default:
				s.Advance(time.Hour) // until the request has arrived, and 40 hours later
			}
		}
	})
	t.Run("end when the client gives up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := bubble(t)
			s.Fail(diffhooktest.Fault{Delay: time.Hour})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			r := request(t, s, s.APIKey().Reveal(), "POST", "/api/keys", `{"label":"x"}`).WithContext(ctx)
			_, err := diffhooktest.Transport(s).RoundTrip(r)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			synctest.Wait()
			assert.Len(t, s.DefaultTeam().Keys(), 1, "the request was not handled")
			assert.Len(t, s.Requests(), 1)
		})
	})
	t.Run("end with the server", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := bubble(t)
			s.Fail(diffhooktest.Fault{Delay: time.Hour})
			r := request(t, s, s.APIKey().Reveal(), "POST", "/api/keys", `{"label":"x"}`)
			failed := make(chan error, 1)
			go func() {
				_, err := diffhooktest.Transport(s).RoundTrip(r)
				failed <- err
			}()
			synctest.Wait() // until the request waits
			began := time.Now()
			s.Close()
			require.ErrorIs(t, <-failed, io.ErrUnexpectedEOF)
			assert.Zero(t, time.Since(began))
			assert.Len(t, s.DefaultTeam().Keys(), 1)
		})
	})
}
