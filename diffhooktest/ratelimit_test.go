package diffhooktest_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/diffhooktest"
)

// The 61st request in any 60 s is rejected. The window slides: requests at the end
// of a minute count at the beginning of the next minute.
func TestRateLimitIsExact(t *testing.T) {
	for name, wait := range map[string]func(*diffhooktest.Server, time.Duration){
		"the bubble's time": func(_ *diffhooktest.Server, d time.Duration) { <-time.After(d) },
		"the clock turned":  func(s *diffhooktest.Server, d time.Duration) { s.Advance(d) },
	} {
		for _, generation := range []int{1, 2} {
			t.Run(name+", generation "+strconv.Itoa(generation), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := bubble(t)
					bearer := bearers(t, s, s.DefaultTeam())[generation]
					get := func() reply { return call(t, s, bearer, "GET", "/api/keys", "") }
					for i := range 60 { // with pauses, so that the requests leave the window singly
						got := get()
						require.Equal(t, http.StatusOK, got.status)
						require.Equal(t, "60", got.header.Get("RateLimit-Limit"))
						require.Equal(t, strconv.Itoa(59-i), got.header.Get("RateLimit-Remaining"))
						require.Equal(t, "60", got.header.Get("RateLimit-Reset"))
						if i < 59 {
							wait(s, time.Second)
						}
					}
					rejected := get() // 59 s after the first request
					require.Equal(t, http.StatusTooManyRequests, rejected.status)
					assert.Equal(t, "1", rejected.header.Get("Retry-After"))
					assert.Equal(t, "0", rejected.header.Get("RateLimit-Remaining"))
					assertError(t, rejected, generation, "RATE_LIMITED", "Too many requests")
					var body map[string]any
					require.NoError(t, json.Unmarshal([]byte(rejected.body), &body))
					if generation == 2 {
						assert.Equal(t, 1.0, body["retry_after_seconds"])
					} else {
						assert.NotContains(t, body, "retry_after_seconds")
					}

					wait(s, time.Second-time.Nanosecond)
					require.Equal(t, http.StatusTooManyRequests, get().status, "a nanosecond too early")
					wait(s, time.Nanosecond)
					require.Equal(t, http.StatusOK, get().status, "a request left the window, and rejected requests do not count")
					require.Equal(t, http.StatusTooManyRequests, get().status, "only one request left the window")
					wait(s, time.Minute)
					for range 60 {
						require.Equal(t, http.StatusOK, get().status)
					}
					require.Equal(t, http.StatusTooManyRequests, get().status)
				})
			})
		}
	}
}

func TestRateLimitComesBeforeRoutingAndAfterAuthorization(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		team := s.NewTeam(diffhooktest.Plan{RequestsPerMinute: 2})
		key := team.APIKey().Reveal()
		assert.Equal(t, http.StatusNotFound, call(t, s, key, "GET", "/api/nothing", "").status)
		assert.Equal(t, http.StatusBadRequest, call(t, s, key, "POST", "/api/keys", "x").status)
		assert.Equal(t, http.StatusTooManyRequests, call(t, s, key, "GET", "/api/nothing", "").status, "both counted")
		assert.Equal(t, http.StatusTooManyRequests, call(t, s, key, "POST", "/api/keys", `{"label":"x"}`).status)
		assert.Len(t, team.Keys(), 1, "rejected requests do nothing")
		assert.Equal(t, http.StatusUnauthorized, call(t, s, key+"x", "GET", "/api/keys", "").status)
		team.SetPlan(diffhooktest.Plan{RequestsPerMinute: 200})
		assert.Equal(t, http.StatusOK, call(t, s, key, "GET", "/api/keys", "").status)
	})
}

func TestRateLimitPerKeyAndPerIP(t *testing.T) {
	from := func(t *testing.T, s *diffhooktest.Server, bearer, ip string) reply {
		r := request(t, s, bearer, "GET", "/api/keys", "")
		var got reply
		rt := diffhooktest.Transport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.RemoteAddr = ip + ":4711"
			s.ServeHTTP(w, r)
		}))
		resp, err := rt.RoundTrip(r)
		require.NoError(t, err)
		got.status, got.header = resp.StatusCode, resp.Header
		return got
	}
	t.Run("all keys of an address share a limit", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := bubble(t)
			team := s.NewTeam(diffhooktest.Plan{RequestsPerMinute: 3})
			one, two := team.APIKey().Reveal(), team.NewKey("two").Key.Reveal()
			assert.Equal(t, "2", from(t, s, one, "192.0.2.1").header.Get("RateLimit-Remaining"))
			assert.Equal(t, "1", from(t, s, one, "192.0.2.1").header.Get("RateLimit-Remaining"))
			assert.Equal(t, "0", from(t, s, two, "192.0.2.1").header.Get("RateLimit-Remaining"), "the tighter of the two limits")
			assert.Equal(t, 429, from(t, s, two, "192.0.2.1").status)
			assert.Equal(t, 200, from(t, s, two, "192.0.2.2").status)
		})
	})
	t.Run("all addresses of a key share a limit", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := bubble(t)
			key := s.NewTeam(diffhooktest.Plan{RequestsPerMinute: 2}).APIKey().Reveal()
			assert.Equal(t, 200, from(t, s, key, "192.0.2.1").status)
			assert.Equal(t, 200, from(t, s, key, "192.0.2.2").status)
			assert.Equal(t, 429, from(t, s, key, "192.0.2.3").status)
		})
	})
	t.Run("the limit of addresses can be set", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := bubble(t)
			s.Configure(diffhooktest.Settings{RequestsPerMinutePerIP: 4})
			team := s.NewTeam(diffhooktest.Plan{RequestsPerMinute: 2})
			one, two := team.APIKey().Reveal(), team.NewKey("two").Key.Reveal()
			for _, key := range []string{one, one, two, two} {
				assert.Equal(t, 200, from(t, s, key, "192.0.2.1").status)
			}
			assert.Equal(t, 429, from(t, s, one, "192.0.2.2").status)
			assert.Equal(t, 429, from(t, s, team.NewKey("three").Key.Reveal(), "192.0.2.1").status)
		})
	})
}

// All tokens of an OAuth client share a limit.
func TestRateLimitIsOfTheClientNotTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		s.Configure(diffhooktest.Settings{RequestsPerMinutePerIP: 1000})
		team := s.NewTeam(diffhooktest.Plan{RequestsPerMinute: 2})
		for _, want := range []int{200, 200, 429} {
			assert.Equal(t, want, call(t, s, bearers(t, s, team)[2], "GET", "/api/keys", "").status)
		}
		assert.Equal(t, 200, call(t, s, bearers(t, s, team)[1], "GET", "/api/keys", "").status)
	})
}
