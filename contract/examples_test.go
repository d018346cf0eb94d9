package contract

import (
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	apiKey = "dh_live_0123456789abcdef"
	token  = "an-access-token"

	monitor1 = `{"id":"mon_1","url":"https://example.com/","webhookUrl":"https://hooks.example.com/","intervalMinutes":15,` +
		`"label":"Example","cssSelector":"main","jsRendering":false,"status":"active",` +
		`"createdAt":"2026-03-16T14:22:00Z","updatedAt":"2026-03-16T14:22:00Z"}`
	monitor2 = `{"id":"mon_1","url":"https://example.com/","interval_minutes":15,"notification_config":{"email":"ops@example.com"},` +
		`"json_selector":"$.items[*]","status":"paused","created_at":"2026-03-16T14:22:00Z","updated_at":"2026-03-16T14:22:00Z"}`
	log1 = `{"id":"log_1","monitorId":"mon_1","event":"page.changed","url":"https://hooks.example.com/","attempt":3,"statusCode":0,` +
		`"success":false,"error":"connection refused","durationMs":12,"createdAt":"2026-03-16T14:22:00Z"}`
	log2 = `{"id":"log_1","monitor_id":"mon_1","event":"page.changed","url":"https://hooks.example.com/","attempt":11,"status_code":204,` +
		`"success":true,"error":"","duration_ms":12,"created_at":"2026-03-16T14:22:00Z"}`
	key1          = `{"id":"key_1","label":"ci","prefix":"dh_live_0123","createdAt":"2026-03-16T14:22:00Z","lastUsedAt":null`
	key2          = `{"id":"key_1","label":"ci","prefix":"dh_live_0123","created_at":"2026-03-16T14:22:00Z","last_used_at":"2026-03-17T14:22:00Z"`
	keyText       = `,"key":"` + apiKey + `"}`
	secret1       = `{"secret":"test-signing-secret-1","createdAt":"2026-03-16T14:22:00Z","previous":null}`
	rotated1      = `{"secret":"test-signing-secret-2","createdAt":"2026-03-16T14:22:00Z","previous":{"rotatedAt":"2026-03-16T14:22:00Z"}}`
	secret2       = `{"secret":"test-signing-secret-1","created_at":"2026-03-16T14:22:00Z","previous":null}`
	rotated2      = `{"secret":"test-signing-secret-2","created_at":"2026-03-16T14:22:00Z","previous":{"rotated_at":"2026-03-16T14:22:00Z"}}`
	tokenForm     = "grant_type=client_credentials&client_id=dh_live_client&client_secret=opaque"
	tokenResponse = `{"access_token":"an-access-token","token_type":"Bearer","expires_in":86400}`
)

// exchange returns an exchange with the headers of every authorized response. An
// empty text means no body.
func exchange(bearer, method, path, body string, status int, response string) Exchange {
	e := Exchange{Method: method, URL: path, RequestHeader: http.Header{}, RequestBody: []byte(body), Status: status, Body: []byte(response), Header: http.Header{
		"X-Request-Id": {"req_1"}, "Ratelimit-Limit": {"60"}, "Ratelimit-Remaining": {"59"}, "Ratelimit-Reset": {"60"},
	}}
	if bearer != "" {
		e.RequestHeader.Set("Authorization", "Bearer "+bearer)
	}
	if body != "" {
		e.RequestHeader.Set("Content-Type", "application/json")
	}
	if response != "" {
		e.Header.Set("Content-Type", "application/json")
	}
	return e
}

// examples returns a successful exchange of every operation in a generation.
func examples(generation int) []Exchange {
	bearer, pick := apiKey, func(gen1, _ string) string { return gen1 }
	if generation == 2 {
		bearer, pick = token, func(_, gen2 string) string { return gen2 }
	}
	do := func(method, path, body string, status int, response string) Exchange {
		return exchange(bearer, method, path, body, status, response)
	}
	monitor := `{"data":` + pick(monitor1, monitor2) + `}`
	form := exchange("", "POST", "/api/oauth/token", tokenForm, 200, tokenResponse)
	form.RequestHeader.Set("Content-Type", "application/x-www-form-urlencoded")
	form.Header = http.Header{"X-Request-Id": {"req_1"}, "Content-Type": {"application/json"}}
	return []Exchange{
		do("GET", "/api/monitors?limit=200", "", 200, `{"data":[`+pick(monitor1, monitor2)+`]}`),
		do("POST", "/api/monitors", pick(`{"url":"https://example.com/","webhookUrl":"https://hooks.example.com/","intervalMinutes":15}`,
			`{"url":"https://example.com/","interval_minutes":15,"notification_config":{"email":"ops@example.com"}}`), 201, monitor),
		do("GET", "/api/monitors/mon_1", "", 200, monitor),
		do("PUT", "/api/monitors/mon_1", pick(`{"cssSelector":""}`, `{"css_selector":""}`), 200, monitor),
		do("DELETE", "/api/monitors/mon_1", "", 204, ""),
		do("POST", "/api/monitors/mon_1/pause", "", 200, monitor),
		do("POST", "/api/monitors/mon_1/resume", "", 200, monitor),
		do("POST", "/api/monitors/mon_1/trigger", "", 200, monitor),
		do("GET", "/api/logs", "", 200, `{"data":[`+pick(log1, log2)+`]}`),
		do("GET", "/api/keys?limit=1", "", 200, `{"data":[`+pick(key1, key2)+`}]}`),
		do("POST", "/api/keys", `{"label":"ci"}`, 201, `{"data":`+pick(key1, key2)+keyText+`}`),
		do("DELETE", "/api/keys/key_1", "", 204, ""),
		do("GET", "/api/signing-secret", "", 200, `{"data":`+pick(secret1, secret2)+`}`),
		do("POST", "/api/signing-secret/rotate", "", 200, `{"data":`+pick(rotated1, rotated2)+`}`),
		do("DELETE", "/api/signing-secret/previous", "", 204, ""),
		form,
	}
}

// example returns the successful exchange of an operation.
func example(c *Contract, generation int, id string) Exchange {
	return examples(generation)[slices.Index(c.Operations(), id)]
}

// gen1Error is the body of an error in generation 1.
func gen1Error(code string) string { return `{"error":{"code":"` + code + `","message":"x"}}` }

// load reads the contract at the root.
func load(tb testing.TB) *Contract {
	tb.Helper()
	c, err := Load("../openapi.yaml")
	require.NoError(tb, err)
	return c
}

func TestExamples(t *testing.T) {
	c := load(t)
	for generation := 1; generation <= 2; generation++ {
		coverage := c.Replay(examples(generation))
		require.Empty(t, coverage.Wrong, "generation %d", generation)
		require.Empty(t, coverage.Uncovered(), "generation %d", generation)
	}
}

// Every documented error is valid in the form of the generation.
func TestErrors(t *testing.T) {
	c := load(t)
	tooMany2 := `{"error":"Too many requests","retry_after_seconds":60}`
	for _, test := range []struct {
		id         string
		status     int
		gen1, gen2 string
	}{
		{"createMonitor", 400, gen1Error("INVALID_INTERVAL"), `{"error":"The interval is invalid"}`},
		{"createMonitor", 401, gen1Error("INVALID_API_KEY"), `{"error":"Invalid or expired token"}`},
		{"createMonitor", 403, gen1Error("MONITOR_LIMIT"), `{"error":"Your plan allows a maximum of 5 monitors"}`},
		{"updateMonitor", 403, gen1Error("FORBIDDEN"), `{"error":"Forbidden"}`},
		{"updateMonitor", 404, gen1Error("NOT_FOUND"), `{"error":"Monitor not found"}`},
		{"updateMonitor", 429, gen1Error("RATE_LIMITED"), tooMany2},
		{"updateMonitor", 500, gen1Error("SERVER_ERROR"), `{"error":"Internal server error"}`},
		{"updateMonitor", 503, gen1Error("SERVER_ERROR"), `<h1>503</h1>`},
		{"createToken", 400, "", `{"error":"invalid_request","error_description":"client_id is missing"}`},
		{"createToken", 401, "", `{"error":"invalid_client","error_description":"The client is unknown"}`},
		{"createToken", 429, "", tooMany2},
		{"createToken", 500, "", `{"error":"Internal server error"}`},
	} {
		for i, body := range []string{test.gen1, test.gen2} {
			if body == "" {
				continue
			}
			e := example(c, i+1, test.id)
			e.Status, e.Body = test.status, []byte(body)
			e.Header.Set("Content-Type", "application/json")
			if test.status == 429 {
				e.Header.Set("Retry-After", "60")
			}
			if test.status == 401 || test.status == 500 { // the request is not counted
				for _, name := range []string{"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"} {
					e.Header.Del(name)
				}
			}
			require.Empty(t, c.Replay([]Exchange{e}).Wrong, "generation %d", i+1)
		}
	}
}

// An operation without a successful exchange is uncovered, even after an injected
// response or an error.
func TestCoverage(t *testing.T) {
	c := load(t)
	all := examples(1)
	for i, id := range c.Operations() {
		without := slices.Delete(slices.Clone(all), i, i+1)
		injected := all[i]
		injected.Header = maps.Clone(injected.Header)
		injected.Header.Set(FaultHeader, "1")
		coverage := c.Replay(append(without, injected))
		require.Empty(t, coverage.Wrong)
		require.Equal(t, []string{id}, coverage.Uncovered())
	}
	missing := exchange(apiKey, "GET", "/api/monitors/mon_1", "", 404, `{"error":{"code":"NOT_FOUND","message":"Monitor not found"}}`)
	coverage := c.Replay([]Exchange{missing})
	require.Empty(t, coverage.Wrong)
	require.Contains(t, coverage.Uncovered(), "getMonitor")
}
