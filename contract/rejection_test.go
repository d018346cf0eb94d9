package contract

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A wrong client and an equally wrong emulator agree with each other. The contract
// must find these mistakes.
func TestRejection(t *testing.T) {
	c := load(t)
	// edit returns the example of an operation with a change.
	edit := func(generation int, id string, change func(e *Exchange)) Exchange {
		e := example(c, generation, id)
		change(&e)
		return e
	}
	request := func(old, text string) func(*Exchange) {
		return func(e *Exchange) { e.RequestBody = replace(t, e.RequestBody, old, text) }
	}
	response := func(old, text string) func(*Exchange) {
		return func(e *Exchange) { e.Body = replace(t, e.Body, old, text) }
	}
	rejection := func(status int, body string) func(*Exchange) {
		return func(e *Exchange) {
			e.Status, e.Body = status, []byte(body)
			e.Header.Set("Content-Type", "application/json")
		}
	}
	with := func(h func(*Exchange) http.Header, name, value string) func(*Exchange) {
		return func(e *Exchange) { h(e).Set(name, value) }
	}
	without := func(h func(*Exchange) http.Header, name string) func(*Exchange) {
		return func(e *Exchange) { h(e).Del(name) }
	}
	ofRequest := func(e *Exchange) http.Header { return e.RequestHeader }
	ofResponse := func(e *Exchange) http.Header { return e.Header }

	for name, test := range map[string]struct {
		exchange Exchange
		why      string // part of the error
	}{
		"undocumented path":         {edit(1, "listLogs", func(e *Exchange) { e.URL = "/api/log" }), "not found"},
		"undocumented method":       {edit(1, "updateMonitor", func(e *Exchange) { e.Method = "PATCH" }), "PATCH"},
		"undocumented query":        {edit(1, "listLogs", func(e *Exchange) { e.URL += "?cursor=1" }), "'cursor'"},
		"limit out of bounds":       {edit(1, "listKeys", func(e *Exchange) { e.URL = "/api/keys?limit=201" }), "maximum: got 201, want 200"},
		"limit is no number":        {edit(1, "listKeys", func(e *Exchange) { e.URL = "/api/keys?limit=all" }), "'limit'"},
		"id of another kind":        {edit(1, "deleteKey", func(e *Exchange) { e.URL = "/api/keys/mon_1" }), "'mon_1' does not match pattern"},
		"no credential":             {edit(1, "listKeys", without(ofRequest, "Authorization")), "0 Authorization headers"},
		"basic authentication":      {edit(1, "listKeys", with(ofRequest, "Authorization", "Basic ZGg6eA==")), "header is malformed"},
		"empty bearer":              {edit(1, "listKeys", with(ofRequest, "Authorization", "Bearer ")), "header is malformed"},
		"wrong name in request":     {edit(1, "createMonitor", request("webhookUrl", "webhookURL")), "missing property 'webhookUrl'"},
		"unknown field in request":  {edit(1, "updateMonitor", request("cssSelector", "selector")), "$.selector: false schema"},
		"missing field in request":  {edit(2, "createMonitor", request(`"url":"https://example.com/",`, "")), "missing property 'url'"},
		"empty update":              {edit(1, "updateMonitor", request(`"cssSelector":""`, "")), "minProperties"},
		"undocumented interval":     {edit(1, "createMonitor", request(":15", ":10")), "value must be one of 5, 15"},
		"key without a label":       {edit(1, "createKey", request(`"ci"`, `""`)), "minLength: got 0"},
		"unexpected body":           {edit(1, "pauseMonitor", func(e *Exchange) { e.RequestBody = []byte("{}") }), "request body"},
		"no body":                   {edit(1, "createKey", func(e *Exchange) { e.RequestBody = nil }), "request body"},
		"two documents in the body": {edit(1, "createKey", func(e *Exchange) { e.RequestBody = append(e.RequestBody, "{}"...) }), "request body"},
		"body of no type":           {edit(1, "createKey", without(ofRequest, "Content-Type")), "content type"},
		"undocumented header":       {edit(1, "listKeys", with(ofRequest, "X-Api-Key", apiKey)), "'X-Api-Key'"},
		"form sent as JSON":         {edit(2, "createToken", with(ofRequest, "Content-Type", "application/json")), "content type"},
		"form without a secret":     {edit(2, "createToken", request("&client_secret=opaque", "")), "missing property 'client_secret'"},
		"another grant":             {edit(2, "createToken", request("client_credentials", "password")), "'client_credentials'"},
		"gen 2 names with an API key": {edit(1, "createMonitor", func(e *Exchange) {
			e.RequestBody = []byte(`{"url":"https://example.com/","interval_minutes":15}`)
		}), "$.interval_minutes: false schema"},
		"gen 1 names with a token": {edit(2, "updateMonitor", request("css_selector", "cssSelector")), "$.cssSelector: false schema"},

		"undocumented status":          {edit(1, "createMonitor", func(e *Exchange) { e.Status = 200 }), "'200'"},
		"undocumented error status":    {edit(1, "listLogs", rejection(404, gen1Error("NOT_FOUND"))), "'404'"},
		"no envelope":                  {edit(1, "getMonitor", func(e *Exchange) { e.Body = []byte(monitor1) }), "missing property 'data'"},
		"no body of the response":      {edit(1, "getMonitor", func(e *Exchange) { e.Body = nil }), "no body"},
		"HTML":                         {edit(1, "getMonitor", with(ofResponse, "Content-Type", "text/html")), "text/html"},
		"more in the envelope":         {edit(1, "getMonitor", response(`{"data"`, `{"next":null,"data"`)), "'next' not allowed"},
		"missing field":                {edit(1, "getMonitor", response(`"status":"active",`, "")), "missing property 'status'"},
		"wrong name":                   {edit(1, "listLogs", response("durationMs", "duration")), "'duration' not allowed"},
		"wrong type":                   {edit(1, "listLogs", response(`"attempt":3`, `"attempt":"3"`)), "got string, want integer"},
		"undocumented monitor state":   {edit(1, "getMonitor", response("active", "stopped")), "value must be one of 'active', 'paused'"},
		"local time":                   {edit(1, "getMonitor", response("14:22:00Z", "14:22:00+01:00")), "does not match pattern 'Z$'"},
		"no time":                      {edit(1, "getMonitor", response("2026-03-16T", "2026-03-96T")), "not valid date-time"},
		"key without its text":         {edit(1, "createKey", response(keyText, "}")), "missing property 'key'"},
		"list that shows the key":      {edit(1, "listKeys", response(`"ci"`, `"ci","key":"`+apiKey+`"`)), "$.data[0].key: false schema"},
		"gen 2 names to an API key":    {edit(1, "getMonitor", func(e *Exchange) { e.Body = []byte(`{"data":` + monitor2 + `}`) }), "$.data.interval_minutes: false schema"},
		"gen 1 names to a token":       {edit(2, "getMonitor", func(e *Exchange) { e.Body = []byte(`{"data":` + monitor1 + `}`) }), "$.data.intervalMinutes: false schema"},
		"gen 2 error to an API key":    {edit(1, "getMonitor", rejection(404, `{"error":"Monitor not found"}`)), "got string, want object"},
		"gen 1 error to a token":       {edit(2, "getMonitor", rejection(404, gen1Error("NOT_FOUND"))), "got object, want string"},
		"code of another status":       {edit(1, "getMonitor", rejection(404, gen1Error("FORBIDDEN"))), "must be 'NOT_FOUND'"},
		"undocumented code":            {edit(1, "getMonitor", rejection(401, gen1Error("REVOKED"))), "value must be one of 'UNAUTHORIZED'"},
		"429 without retry-after":      {edit(1, "getMonitor", rejection(429, gen1Error("RATE_LIMITED"))), "'Retry-After'"},
		"no rate limit":                {edit(1, "getMonitor", without(ofResponse, "RateLimit-Remaining")), "'RateLimit-Remaining'"},
		"no rate limit on 204":         {edit(1, "deleteMonitor", without(ofResponse, "RateLimit-Limit")), "'RateLimit-Limit'"},
		"rate limit is no number":      {edit(1, "getMonitor", with(ofResponse, "RateLimit-Reset", "soon")), "'ratelimit-reset'"},
		"undocumented response header": {edit(1, "getMonitor", with(ofResponse, "X-RateLimit-Limit", "60")), "'X-Ratelimit-Limit'"},
		"token in an envelope":         {edit(2, "createToken", func(e *Exchange) { e.Body = []byte(`{"data":` + tokenResponse + `}`) }), "missing properties"},
	} {
		t.Run(name, func(t *testing.T) {
			wrong := c.Replay([]Exchange{test.exchange}).Wrong
			require.Len(t, wrong, 1)
			require.ErrorContains(t, wrong[0], test.why)
		})
	}
}

// An invalid request is allowed before a rejection, since tests of errors send such
// requests. Before an injected response, an invalid request is a mistake.
func TestInvalidRequest(t *testing.T) {
	c := load(t)
	bad := exchange(apiKey, "POST", "/api/keys", `{"name":"ci"}`, 400, `{"error":{"code":"MISSING_FIELDS","message":"label is required"}}`)
	coverage := c.Replay([]Exchange{bad})
	require.Empty(t, coverage.Wrong)
	require.Contains(t, coverage.Uncovered(), "createKey")

	bad.Fault = true
	require.Len(t, c.Replay([]Exchange{bad}).Wrong, 1)

	// An injected response is not checked.
	good := exchange(apiKey, "GET", "/api/keys", "", 0, "")
	good.Fault = true
	require.Empty(t, c.Replay([]Exchange{good}).Wrong)
}

func replace(t *testing.T, body []byte, old, text string) []byte {
	t.Helper()
	require.Contains(t, string(body), old)
	return []byte(strings.Replace(string(body), old, text, 1))
}
