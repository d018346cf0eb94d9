package diffhooktest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/diffhooktest"
)

func TestRejections(t *testing.T) {
	s := bubble(t)
	team := s.NewTeam(diffhooktest.Plan{RequestsPerMinute: 1000})
	keys := bearers(t, s, team)
	mine := team.NewMonitor(diffhooktest.Monitor{}).ID
	theirs := s.NewTeam(diffhooktest.Plan{})
	foreign, foreignKey := theirs.NewMonitor(diffhooktest.Monitor{}).ID, theirs.Keys()[0].ID
	monitorAnd := func(generation int, more string) string {
		return strings.TrimSuffix(map[int]string{1: gen1Monitor, 2: gen2Monitor}[generation], "}") + "," + more + "}"
	}

	tests := []struct {
		name               string
		generation         int
		method, path, body string
		status             int
		code               string // generation 1
		message            string // part of the response
	}{
		{"no such path", 1, "GET", "/api/nothing", "", 404, "NOT_FOUND", "Not found"},
		{"no such path, generation 2", 2, "GET", "/api/nothing", "", 404, "", "Not found"},
		{"trailing slash", 1, "GET", "/api/monitors/", "", 404, "NOT_FOUND", "Not found"},
		{"outside the API", 1, "GET", "/monitors", "", 404, "NOT_FOUND", "Not found"},
		{"wrong method", 1, "PATCH", "/api/monitors/" + mine, `{}`, 405, "METHOD_NOT_ALLOWED", "Method not allowed"},
		{"unknown monitor", 1, "GET", "/api/monitors/mon_none", "", 404, "NOT_FOUND", "Monitor not found"},
		{"unknown monitor, generation 2", 2, "GET", "/api/monitors/mon_none", "", 404, "", "Monitor not found"},
		{"monitor of another team", 1, "GET", "/api/monitors/" + foreign, "", 403, "FORBIDDEN", "do not have access"},
		{"monitor of another team, generation 2", 2, "DELETE", "/api/monitors/" + foreign, "", 403, "", "do not have access"},
		{"trigger a monitor of another team", 1, "POST", "/api/monitors/" + foreign + "/trigger", "", 403, "FORBIDDEN", "do not have access"},
		{"unknown key", 1, "DELETE", "/api/keys/key_none", "", 404, "NOT_FOUND", "API key not found"},
		{"key of another team", 1, "DELETE", "/api/keys/" + foreignKey, "", 403, "FORBIDDEN", "do not have access"},
		{"an id that is a path", 1, "GET", "/api/monitors/..%2Fkeys", "", 404, "NOT_FOUND", "Monitor not found"},

		{"no label", 1, "POST", "/api/keys", `{}`, 400, "MISSING_FIELDS", "label"},
		{"blank label", 2, "POST", "/api/keys", `{"label":"  "}`, 400, "", "label"},
		{"label null", 1, "POST", "/api/keys", `{"label":null}`, 400, "MISSING_FIELDS", "label"},
		{"label a number", 1, "POST", "/api/keys", `{"label":1}`, 400, "INVALID_REQUEST", `"label" must be a string`},
		{"several fields missing", 1, "POST", "/api/monitors", `{"label":"x"}`, 400, "MISSING_FIELDS", "url, webhookUrl, intervalMinutes"},
		{"url missing, generation 2", 2, "POST", "/api/monitors", `{"label":"x"}`, 400, "", "Missing required fields: url"},
		{"nothing to change", 1, "PUT", "/api/monitors/" + mine, `{}`, 400, "MISSING_FIELDS", "no field"},

		{"relative URL", 1, "PUT", "/api/monitors/" + mine, `{"url":"/pricing"}`, 400, "INVALID_URL", `"url"`},
		{"empty URL", 1, "PUT", "/api/monitors/" + mine, `{"url":""}`, 400, "INVALID_URL", `"url"`},
		{"ftp", 1, "PUT", "/api/monitors/" + mine, `{"webhookUrl":"ftp://example.com/"}`, 400, "INVALID_URL", `"webhookUrl"`},
		{"no host", 2, "PUT", "/api/monitors/" + mine, `{"notification_config":{"webhook_url":"https://"}}`, 400, "", `"webhook_url"`},
		{"interval", 1, "PUT", "/api/monitors/" + mine, `{"intervalMinutes":10}`, 400, "INVALID_INTERVAL", "5, 15, 30, 60, 360 or 1440"},
		{"interval a fraction", 1, "PUT", "/api/monitors/" + mine, `{"intervalMinutes":5.5}`, 400, "INVALID_INTERVAL", "intervalMinutes"},
		{"interval 0", 2, "POST", "/api/monitors", monitorAnd(2, `"interval_minutes":0`), 400, "", "interval_minutes"},
		{"interval text", 1, "PUT", "/api/monitors/" + mine, `{"intervalMinutes":"15"}`, 400, "INVALID_REQUEST", "must be a number"},
		{"bool text", 1, "PUT", "/api/monitors/" + mine, `{"jsRendering":"yes"}`, 400, "INVALID_REQUEST", "must be a boolean"},
		{"selector", 2, "PUT", "/api/monitors/" + mine, `{"json_selector":"items"}`, 400, "", "must begin with $"},

		{"unknown field", 1, "POST", "/api/keys", `{"label":"x","scope":"read"}`, 400, "INVALID_REQUEST", `Unknown field "scope"`},
		{"names of generation 2 in generation 1", 1, "POST", "/api/monitors", gen2Monitor, 400, "INVALID_REQUEST", `"notification_config"`},
		{"names of generation 1 in generation 2", 2, "POST", "/api/monitors", gen1Monitor, 400, "", `"webhookUrl"`},
		{"a name in another case", 1, "POST", "/api/keys", `{"Label":"x"}`, 400, "INVALID_REQUEST", `"Label"`},
		{"unknown nested field", 2, "POST", "/api/monitors", `{"url":"https://example.com","notification_config":{"sms":"1"}}`, 400, "", `"sms"`},
		{"a field twice", 1, "POST", "/api/keys", `{"label":"x","label":"y"}`, 400, "INVALID_REQUEST", `"label" appears twice`},
		{"trailing data", 1, "POST", "/api/keys", `{"label":"x"} {}`, 400, "INVALID_REQUEST", "after the JSON object"},
		{"not JSON", 1, "POST", "/api/keys", `label=x`, 400, "INVALID_REQUEST", "not a JSON object"},
		{"an array", 1, "POST", "/api/keys", `[]`, 400, "INVALID_REQUEST", "not a JSON object"},
		{"cut off", 1, "POST", "/api/keys", `{"label":"x"`, 400, "INVALID_REQUEST", "malformed"},
		{"a name without a value", 1, "POST", "/api/keys", `{"label":}`, 400, "INVALID_REQUEST", "malformed"},
		{"a name that is none", 1, "POST", "/api/keys", `{label:"x"}`, 400, "INVALID_REQUEST", "malformed"},
		{"URL a number", 1, "PUT", "/api/monitors/" + mine, `{"url":1}`, 400, "INVALID_REQUEST", `"url" must be a string`},
		{"null", 1, "PUT", "/api/monitors/" + mine, `{"label":null}`, 400, "INVALID_REQUEST", `"label" must be a string`},
		{"not UTF-8", 1, "POST", "/api/keys", "{\"label\":\"\xff\"}", 400, "INVALID_REQUEST", "not UTF-8"},
		{"body too long", 1, "POST", "/api/keys", `{"label":"` + strings.Repeat("x", 1<<20) + `"}`, 400, "INVALID_REQUEST", "longer than"},
		{"unexpected body", 1, "POST", "/api/monitors/" + mine + "/pause", `{"a":1}`, 400, "INVALID_REQUEST", "takes no body"},
		{"body of a GET", 1, "GET", "/api/keys", `{}`, 400, "INVALID_REQUEST", "takes no body"},
		{"limit 0", 1, "GET", "/api/monitors?limit=0", "", 400, "INVALID_REQUEST", "1 to 200"},
		{"limit 201", 2, "GET", "/api/logs?limit=201", "", 400, "", "1 to 200"},
		{"limit a word", 1, "GET", "/api/keys?limit=all", "", 400, "INVALID_REQUEST", "1 to 200"},
		{"limit twice", 1, "GET", "/api/keys?limit=1&limit=2", "", 400, "INVALID_REQUEST", "1 to 200"},
		{"unknown parameter", 1, "GET", "/api/keys?page=2", "", 400, "INVALID_REQUEST", `"page"`},
		{"malformed query", 1, "GET", "/api/keys?limit=%zz", "", 400, "INVALID_REQUEST", "malformed"},
		{"unexpected query", 1, "GET", "/api/signing-secret?limit=1", "", 400, "INVALID_REQUEST", "no query"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := call(t, s, keys[test.generation], test.method, test.path, test.body)
			assert.Equal(t, test.status, got.status, got.body)
			assert.Equal(t, "application/json", got.header.Get("Content-Type"))
			assert.NotEmpty(t, got.header.Get("X-Request-Id"))
			assert.NotEmpty(t, got.header.Get("RateLimit-Remaining"))
			assertError(t, got, test.generation, test.code, test.message)
		})
	}
	assert.Len(t, team.Keys(), 1, "no request created a key")
	assert.Len(t, team.Monitors(), 1, "no request created a monitor")
	assert.Equal(t, mine, team.Monitors()[0].ID)
}

// assertError checks the exact form of an error for a generation.
func assertError(t *testing.T, got reply, generation int, code, message string) {
	t.Helper()
	var raw map[string]any
	require.NoError(t, json.Unmarshal([]byte(got.body), &raw), got.body)
	if generation == 2 {
		text, _ := raw["error"].(string)
		assert.Contains(t, text, message)
		delete(raw, "retry_after_seconds")
		assert.Empty(t, cmp.Diff(map[string]any{"error": text}, raw))
		return
	}
	inner, _ := raw["error"].(map[string]any)
	text, _ := inner["message"].(string)
	assert.Contains(t, text, message)
	assert.Empty(t, cmp.Diff(map[string]any{"error": map[string]any{"code": code, "message": text}}, raw))
}

func TestMethodNotAllowedNamesTheMethods(t *testing.T) {
	s := bubble(t)
	got := call(t, s, s.APIKey().Reveal(), "PATCH", "/api/monitors/mon_x", "")
	assert.Equal(t, "DELETE, GET, PUT", got.header.Get("Allow"))
	got = call(t, s, "", "GET", "/api/oauth/token", "")
	assert.Equal(t, http.StatusMethodNotAllowed, got.status)
	assert.Equal(t, "POST", got.header.Get("Allow"))
}

func TestContentTypes(t *testing.T) {
	s := bubble(t)
	tests := []struct {
		values []string
		want   int
	}{
		{[]string{"application/json"}, 201},
		{[]string{"application/json; charset=utf-8"}, 201},
		{nil, 400},
		{[]string{"text/plain"}, 400},
		{[]string{"application/json; charset=latin1"}, 400},
		{[]string{"application/json", "application/json"}, 400},
		{[]string{"application/x-www-form-urlencoded"}, 400},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.values), func(t *testing.T) {
			r := request(t, s, s.APIKey().Reveal(), "POST", "/api/keys", `{"label":"x"}`)
			r.Header["Content-Type"] = test.values
			assert.Equal(t, test.want, send(t, s, r).status)
		})
	}
}

func TestAuthorization(t *testing.T) {
	s := bubble(t)
	key := s.APIKey().Reveal()
	id, _ := s.ClientCredentials()
	tests := []struct {
		name       string
		values     []string
		generation int
		code, want string
	}{
		{"missing", nil, 1, "UNAUTHORIZED", "Authorization header missing or invalid"},
		{"the key alone", []string{key}, 1, "UNAUTHORIZED", "Authorization header missing or invalid"},
		{"another scheme", []string{"Basic " + key}, 1, "UNAUTHORIZED", "Authorization header missing or invalid"},
		{"scheme in lower case", []string{"bearer " + key}, 1, "UNAUTHORIZED", "Authorization header missing or invalid"},
		{"no token", []string{"Bearer "}, 1, "UNAUTHORIZED", "Authorization header missing or invalid"},
		{"two spaces", []string{"Bearer  " + key}, 1, "UNAUTHORIZED", "Authorization header missing or invalid"},
		{"two headers", []string{"Bearer " + key, "Bearer " + key}, 1, "UNAUTHORIZED", "Authorization header missing or invalid"},
		{"two keys", []string{"Bearer " + key + ", Bearer " + key}, 1, "UNAUTHORIZED", "Authorization header missing or invalid"},
		{"unknown key", []string{"Bearer dh_live_" + "unknown"}, 1, "INVALID_API_KEY", "Invalid API key"},
		{"a key that goes on", []string{"Bearer " + key + "x"}, 1, "INVALID_API_KEY", "Invalid API key"},
		{"a client id", []string{"Bearer " + id}, 1, "INVALID_API_KEY", "Invalid API key"},
		{"unknown token", []string{"Bearer token"}, 2, "", "Invalid or expired token"},
		{"the signing secret", []string{"Bearer " + s.Secrets().Current.Reveal()}, 2, "", "Invalid or expired token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := request(t, s, "", "GET", "/api/nothing", "") // authorization precedes routing
			r.Header["Authorization"] = test.values
			got := send(t, s, r)
			assert.Equal(t, http.StatusUnauthorized, got.status)
			assert.Empty(t, got.header.Get("RateLimit-Limit"), "no limit without a team")
			assertError(t, got, test.generation, test.code, test.want)
		})
	}
}

func TestKeys(t *testing.T) {
	for _, generation := range []int{1, 2} {
		t.Run(fmt.Sprint("generation ", generation), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := bubble(t)
				s.StartAt(time.Date(2026, 3, 16, 14, 22, 0, 5e8, time.UTC))
				team := s.DefaultTeam()
				bearer := bearers(t, s, team)[generation]
				names := map[int][]string{1: {"createdAt", "lastUsedAt"}, 2: {"created_at", "last_used_at"}}[generation]

				s.Advance(time.Minute)
				created := call(t, s, bearer, "POST", "/api/keys", `{"label":"ci-pipeline"}`)
				require.Equal(t, http.StatusCreated, created.status, created.body)
				key := created.data(t)
				text, _ := key["key"].(string)
				assert.Regexp(t, `^dh_live_[0-9A-Z]{4}emulator[0-9A-Z]{22}$`, text)
				assert.Empty(t, cmp.Diff(map[string]any{
					"id": key["id"], "label": "ci-pipeline", "prefix": text[:12], names[0]: "2026-03-16T14:23:00Z", names[1]: nil, "key": text,
				}, key))

				listed := call(t, s, bearer, "GET", "/api/keys", "")
				items := listed.items(t)
				require.Len(t, items, 2)
				delete(key, "key")
				assert.Empty(t, cmp.Diff(key, items[0]), "newest first, without the text")
				assert.NotContains(t, listed.body, text)
				assert.NotContains(t, listed.body, s.APIKey().Reveal())

				s.Advance(time.Hour)
				require.Equal(t, http.StatusOK, call(t, s, text, "GET", "/api/keys", "").status)
				assert.Equal(t, "2026-03-16T15:23:00Z", call(t, s, bearer, "GET", "/api/keys?limit=1", "").items(t)[0][names[1]], "used")

				path := "/api/keys/" + key["id"].(string)
				deleted := call(t, s, bearer, "DELETE", path, "")
				assert.Equal(t, http.StatusNoContent, deleted.status)
				assert.Empty(t, deleted.body)
				assert.Empty(t, deleted.header.Get("Content-Type"))
				assert.Equal(t, http.StatusNotFound, call(t, s, bearer, "DELETE", path, "").status, "again")
				assert.Equal(t, http.StatusUnauthorized, call(t, s, text, "GET", "/api/keys", "").status, "at once")
				assert.Len(t, call(t, s, bearer, "GET", "/api/keys", "").items(t), 1)
			})
		})
	}
}

// A key may delete itself: the next request gets 401.
func TestKeyDeletesItself(t *testing.T) {
	s := bubble(t)
	key := s.APIKey().Reveal()
	path := "/api/keys/" + s.DefaultTeam().Keys()[0].ID
	assert.Equal(t, http.StatusNoContent, call(t, s, key, "DELETE", path, "").status)
	got := call(t, s, key, "DELETE", path, "")
	assert.Equal(t, http.StatusUnauthorized, got.status)
	assertError(t, got, 1, "INVALID_API_KEY", "Invalid API key")
}

func TestKeysInGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		team := s.NewTeam(diffhooktest.Plan{})
		added := team.NewKey("production-server")
		assert.Equal(t, http.StatusOK, call(t, s, added.Key.Reveal(), "GET", "/api/keys", "").status)
		used := team.Keys()[1].LastUsedAt
		assert.Equal(t, s.Now(), used)

		team.AgeKey(added.ID, 91*24*time.Hour)
		team.SetKeyUsed(added.ID, time.Time{})
		keys := team.Keys()
		require.Len(t, keys, 2)
		assert.Equal(t, s.Now().Add(-91*24*time.Hour), keys[1].CreatedAt)
		assert.True(t, keys[1].LastUsedAt.IsZero())
		assert.True(t, keys[0].Key.Equal(team.APIKey()))

		team.RevokeKey(added.ID)
		assert.True(t, team.Keys()[1].Revoked)
		assert.Equal(t, http.StatusUnauthorized, call(t, s, added.Key.Reveal(), "GET", "/api/keys", "").status)
		assert.Panics(t, func() { s.DefaultTeam().RevokeKey(added.ID) }, "a key of another team")
	})
}

func TestListsHaveTheirLimits(t *testing.T) {
	s := bubble(t)
	team := s.DefaultTeam()
	var ids []string
	for range 210 {
		ids = append(ids, team.NewMonitor(diffhooktest.Monitor{}).ID)
	}
	slices.Reverse(ids) // newest first
	for path, want := range map[string]int{"/api/monitors": 50, "/api/monitors?limit=1": 1, "/api/monitors?limit=200": 200} {
		items := call(t, s, s.APIKey().Reveal(), "GET", path, "").items(t)
		require.Len(t, items, want, path)
		for i, item := range items {
			require.Equal(t, ids[i], item["id"])
		}
	}
	empty := s.NewTeam(diffhooktest.Plan{})
	assert.Equal(t, `{"data":[]}`, call(t, s, empty.APIKey().Reveal(), "GET", "/api/monitors", "").body)
	assert.Equal(t, `{"data":[]}`, call(t, s, empty.APIKey().Reveal(), "GET", "/api/logs", "").body)
}

func TestMonitorsOfGeneration1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		s.StartAt(time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC))
		key := s.APIKey().Reveal()
		created := call(t, s, key, "POST", "/api/monitors",
			`{"url":"https://example.com/a","webhookUrl":"https://hooks.example.com/d","intervalMinutes":15,"label":"A","cssSelector":"#price","jsRendering":true}`)
		require.Equal(t, http.StatusCreated, created.status, created.body)
		want := created.data(t)
		assert.Regexp(t, "^mon_[a-z0-9]+$", want["id"])
		assert.Empty(t, cmp.Diff(map[string]any{
			"id": want["id"], "url": "https://example.com/a", "webhookUrl": "https://hooks.example.com/d", "intervalMinutes": 15.0, "label": "A",
			"cssSelector": "#price", "jsRendering": true, "status": "active", "createdAt": "2026-03-16T14:22:00Z", "updatedAt": "2026-03-16T14:22:00Z",
		}, want))

		path := "/api/monitors/" + want["id"].(string)
		s.Advance(time.Hour)
		want["label"], want["intervalMinutes"], want["updatedAt"] = "B", 1440.0, "2026-03-16T15:22:00Z"
		assert.Empty(t, cmp.Diff(want, call(t, s, key, "PUT", path, `{"label":"B","intervalMinutes":1440}`).data(t)), "absent fields stay")

		rejected := call(t, s, key, "PUT", path, `{"label":"C","intervalMinutes":7}`)
		assert.Equal(t, http.StatusBadRequest, rejected.status)
		assert.Empty(t, cmp.Diff(want, call(t, s, key, "GET", path, "").data(t)), "all or nothing")

		s.Advance(time.Hour)
		want["status"], want["updatedAt"] = "paused", "2026-03-16T16:22:00Z"
		assert.Empty(t, cmp.Diff(want, call(t, s, key, "POST", path+"/pause", "").data(t)))
		s.Advance(time.Hour)
		assert.Empty(t, cmp.Diff(want, call(t, s, key, "POST", path+"/pause", "").data(t)), "a second pause changes nothing")
		want["status"], want["updatedAt"] = "active", "2026-03-16T17:22:00Z"
		assert.Empty(t, cmp.Diff(want, call(t, s, key, "POST", path+"/resume", "").data(t)))

		assert.Equal(t, http.StatusNoContent, call(t, s, key, "DELETE", path, "").status)
		assert.Equal(t, http.StatusNotFound, call(t, s, key, "DELETE", path, "").status)
		assert.Equal(t, http.StatusNotFound, call(t, s, key, "GET", path, "").status)
	})
}

func TestMonitorsOfGeneration2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		s.StartAt(time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC))
		token := bearers(t, s, s.DefaultTeam())[2]
		created := call(t, s, token, "POST", "/api/monitors", `{"url":"https://example.com/a","label":"A","interval_minutes":5,"css_selector":"p","js_rendering":true,`+
			`"notification_config":{"webhook_url":"https://hooks.example.com/d","email":"ops@example.com"},"json_selector":"$.items[*]","identity_key":"sku","track_additions_only":true}`)
		require.Equal(t, http.StatusCreated, created.status, created.body)
		want := created.data(t)
		assert.Empty(t, cmp.Diff(map[string]any{
			"id": want["id"], "url": "https://example.com/a", "interval_minutes": 5.0, "label": "A", "css_selector": "p", "js_rendering": true,
			"notification_config": map[string]any{"webhook_url": "https://hooks.example.com/d", "email": "ops@example.com"},
			"json_selector":       "$.items[*]", "identity_key": "sku", "track_additions_only": true,
			"status": "active", "created_at": "2026-03-16T14:22:00Z", "updated_at": "2026-03-16T14:22:00Z",
		}, want))
		path := "/api/monitors/" + want["id"].(string)
		want["notification_config"] = map[string]any{"webhook_url": "https://hooks.example.com/d", "email": "other@example.com"}
		assert.Empty(t, cmp.Diff(want, call(t, s, token, "PUT", path, `{"notification_config":{"email":"other@example.com"}}`).data(t)))

		// The same monitor with the names of generation 1.
		seen := call(t, s, s.APIKey().Reveal(), "GET", path, "").data(t)
		assert.Equal(t, "https://hooks.example.com/d", seen["webhookUrl"])
		assert.NotContains(t, seen, "notificationConfig")

		least := call(t, s, token, "POST", "/api/monitors", `{"url":"https://example.com/b"}`).data(t)
		assert.Equal(t, 60.0, least["interval_minutes"])
		assert.Empty(t, cmp.Diff(map[string]any{}, least["notification_config"]))
	})
}

func TestMonitorLimit(t *testing.T) {
	s := bubble(t)
	team := s.NewTeam(diffhooktest.Plan{Monitors: 2})
	keys := bearers(t, s, team)
	require.Equal(t, http.StatusCreated, call(t, s, keys[1], "POST", "/api/monitors", gen1Monitor).status)
	require.Equal(t, http.StatusCreated, call(t, s, keys[2], "POST", "/api/monitors", gen2Monitor).status)
	for generation, body := range map[int]string{1: gen1Monitor, 2: gen2Monitor} {
		got := call(t, s, keys[generation], "POST", "/api/monitors", body)
		assert.Equal(t, http.StatusForbidden, got.status)
		assertError(t, got, generation, "MONITOR_LIMIT", "Your plan allows a maximum of 2 monitors")
	}
	require.Equal(t, http.StatusNoContent, call(t, s, keys[1], "DELETE", "/api/monitors/"+team.Monitors()[0].ID, "").status)
	assert.Equal(t, http.StatusCreated, call(t, s, keys[1], "POST", "/api/monitors", gen1Monitor).status, "after a deletion")
	team.SetPlan(diffhooktest.Plan{Monitors: 3})
	assert.Equal(t, http.StatusCreated, call(t, s, keys[1], "POST", "/api/monitors", gen1Monitor).status, "on a larger plan")
}

func TestSigningSecretEndpoints(t *testing.T) {
	for _, generation := range []int{1, 2} {
		t.Run(fmt.Sprint("generation ", generation), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := bubble(t)
				s.StartAt(time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC))
				bearer := bearers(t, s, s.DefaultTeam())[generation]
				names := map[int][]string{1: {"createdAt", "rotatedAt"}, 2: {"created_at", "rotated_at"}}[generation]
				first := s.Secrets()
				assert.True(t, first.NoPrevious)

				want := map[string]any{"secret": first.Current.Reveal(), names[0]: "2026-03-16T14:22:00Z", "previous": nil}
				assert.Empty(t, cmp.Diff(want, call(t, s, bearer, "GET", "/api/signing-secret", "").data(t)))
				none := call(t, s, bearer, "DELETE", "/api/signing-secret/previous", "")
				assert.Equal(t, http.StatusNoContent, none.status, "also without a previous secret")

				s.Advance(time.Minute)
				rotated := call(t, s, bearer, "POST", "/api/signing-secret/rotate", "").data(t)
				second := s.Secrets()
				assert.False(t, second.Current.Equal(first.Current))
				assert.True(t, second.Previous.Equal(first.Current))
				assert.False(t, second.NoPrevious)
				want = map[string]any{"secret": second.Current.Reveal(), names[0]: "2026-03-16T14:23:00Z",
					"previous": map[string]any{"secret": first.Current.Reveal(), names[1]: "2026-03-16T14:23:00Z"}}
				assert.Empty(t, cmp.Diff(want, rotated))
				assert.Empty(t, cmp.Diff(want, call(t, s, bearer, "GET", "/api/signing-secret", "").data(t)))

				third := s.Rotate()
				assert.True(t, third.Previous.Equal(second.Current), "the second rotation ends the first secret")
				assert.Equal(t, http.StatusNoContent, call(t, s, bearer, "DELETE", "/api/signing-secret/previous", "").status)
				assert.True(t, s.Secrets().NoPrevious)
				assert.True(t, s.Secrets().Current.Equal(third.Current))
			})
		})
	}
}

func TestTeamsAreApart(t *testing.T) {
	s := bubble(t)
	one, other := s.NewTeam(diffhooktest.Plan{}), s.NewTeam(diffhooktest.Plan{})
	one.NewMonitor(diffhooktest.Monitor{})
	assert.Empty(t, call(t, s, other.APIKey().Reveal(), "GET", "/api/monitors", "").items(t))
	assert.Len(t, call(t, s, one.APIKey().Reveal(), "GET", "/api/monitors", "").items(t), 1)
	assert.False(t, one.Secrets().Current.Equal(other.Secrets().Current))
	before := other.Secrets()
	one.Rotate()
	assert.True(t, other.Secrets().Current.Equal(before.Current))
	assert.True(t, other.Secrets().NoPrevious)
	one.RevokePrevious()
	assert.True(t, one.Secrets().NoPrevious)
	assert.Panics(t, func() { one.NewMonitor(diffhooktest.Monitor{Generation: 3}) })
}

// Terse responses leave out the previous secret and the last use.
func TestTerse(t *testing.T) {
	s := diffhooktest.NewServer(t)
	s.Configure(diffhooktest.Settings{Terse: true})
	s.DefaultTeam().Rotate()
	client := s.Client(nil)

	secrets, err := client.SigningSecret.Load(t.Context())
	require.NoError(t, err)
	assert.True(t, secrets.Current.Equal(s.Secrets().Current))
	assert.True(t, secrets.Previous.IsZero())
	assert.False(t, secrets.NoPrevious, "a previous secret exists and is not shown")

	keys, err := client.Keys.List(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, keys, 1)
	assert.Zero(t, keys[0].LastUsedAt)
}
