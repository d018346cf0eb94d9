package diffhook_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// ignoreServers leaves the fields chosen by the server out of comparisons.
var ignoreServers = cmpopts.IgnoreFields(diffhook.Monitor{}, "ID", "CreatedAt", "UpdatedAt")

// TestMonitorCreate checks the exact requests: the emulator rejects names of the other
// generation, and the platform may ignore them.
func TestMonitorCreate(t *testing.T) {
	common := diffhook.MonitorParams{
		URL: "https://example.com/pricing", WebhookURL: "https://hooks.example.org/d", IntervalMinutes: 15,
		Label: "Pricing", CSSSelector: "#plans", JSRendering: true,
	}
	gen2 := common
	gen2.Email, gen2.JSONSelector, gen2.IdentityKey, gen2.TrackAdditionsOnly = "ops@example.com", "$.items[*]", "id", true
	commonMonitor := diffhook.Monitor{
		Status: diffhook.MonitorActive, URL: "https://example.com/pricing", WebhookURL: "https://hooks.example.org/d",
		IntervalMinutes: 15, Label: "Pricing", CSSSelector: "#plans", JSRendering: true,
	}
	gen2Monitor := commonMonitor
	gen2Monitor.Email, gen2Monitor.JSONSelector, gen2Monitor.IdentityKey, gen2Monitor.TrackAdditionsOnly = "ops@example.com", "$.items[*]", "id", true

	for _, c := range []struct {
		name       string
		generation int
		params     diffhook.MonitorParams
		body       string
		want       diffhook.Monitor
	}{
		{
			"generation 1, all", 1, common,
			`{"url":"https://example.com/pricing","webhookUrl":"https://hooks.example.org/d","intervalMinutes":15,"label":"Pricing","cssSelector":"#plans","jsRendering":true}`,
			commonMonitor,
		},
		{
			"generation 1, required fields", 1,
			diffhook.MonitorParams{URL: "https://example.com/", WebhookURL: "https://hooks.example.org/d", IntervalMinutes: 1440},
			`{"url":"https://example.com/","webhookUrl":"https://hooks.example.org/d","intervalMinutes":1440}`,
			diffhook.Monitor{Status: "active", URL: "https://example.com/", WebhookURL: "https://hooks.example.org/d", IntervalMinutes: 1440},
		},
		{
			"generation 2, all", 2, gen2,
			`{"url":"https://example.com/pricing","interval_minutes":15,"label":"Pricing","css_selector":"#plans","js_rendering":true,` +
				`"notification_config":{"webhook_url":"https://hooks.example.org/d","email":"ops@example.com"},` +
				`"json_selector":"$.items[*]","identity_key":"id","track_additions_only":true}`,
			gen2Monitor,
		},
		{
			"generation 2, required fields", 2, diffhook.MonitorParams{URL: "https://example.com/"},
			`{"url":"https://example.com/"}`,
			diffhook.Monitor{Status: "active", URL: "https://example.com/", IntervalMinutes: 60},
		},
		{
			"generation 2, mail only", 2, diffhook.MonitorParams{URL: "https://example.com/?a=1&b=<2>", Email: "ops@example.com"},
			`{"url":"https://example.com/?a=1&b=<2>","notification_config":{"email":"ops@example.com"}}`,
			diffhook.Monitor{Status: "active", URL: "https://example.com/?a=1&b=<2>", IntervalMinutes: 60, Email: "ops@example.com"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newBubbleServer(t)
			client := teamClient(s.DefaultTeam(), c.generation, nil)
			made, err := client.Monitors.Create(t.Context(), c.params)
			require.NoError(t, err)
			requireLastRequest(t, s, "POST /api/monitors", c.body)
			assert.Empty(t, cmp.Diff(c.want, made, ignoreServers))
			known := s.DefaultTeam().Monitors()
			require.Len(t, known, 1)
			assert.Equal(t, known[0].ID, made.ID)
			assert.Equal(t, c.generation, known[0].Generation)
			for _, at := range []time.Time{made.CreatedAt, made.UpdatedAt} {
				assert.Equal(t, known[0].CreatedAt.Truncate(time.Second), at)
				assert.Equal(t, time.UTC, at.Location())
			}

			got, err := client.Monitors.Get(t.Context(), made.ID)
			require.NoError(t, err)
			requireLastRequest(t, s, "GET /api/monitors/"+made.ID, "")
			assert.Empty(t, cmp.Diff(made, got))
			all, err := client.Monitors.List(t.Context(), nil)
			require.NoError(t, err)
			requireLastRequest(t, s, "GET /api/monitors?limit=200", "")
			assert.Empty(t, cmp.Diff([]diffhook.Monitor{made}, all))
		})
	}
}

// TestMonitorCreateRejected: the platform's error, in the words of either generation,
// becomes the same sentinel.
func TestMonitorCreateRejected(t *testing.T) {
	good := diffhook.MonitorParams{URL: "https://example.com/", WebhookURL: "https://hooks.example.org/d", IntervalMinutes: 60}
	with := func(change func(*diffhook.MonitorParams)) diffhook.MonitorParams {
		p := good
		change(&p)
		return p
	}
	for _, c := range []struct {
		name   string
		params diffhook.MonitorParams
		code   string // in generation 1
		text   string
	}{
		{"no URL", with(func(p *diffhook.MonitorParams) { p.URL = "" }), "MISSING_FIELDS", "url"},
		{"no URL at all", with(func(p *diffhook.MonitorParams) { p.URL = "pricing" }), "INVALID_URL", "url"},
		{"an unsupported interval", with(func(p *diffhook.MonitorParams) { p.IntervalMinutes = 7 }), "INVALID_INTERVAL", "5, 15, 30, 60, 360 or 1440"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBothGenerations(t, func(t *testing.T, generation int, s *diffhooktest.Server, client *diffhook.Client) {
				made, err := client.Monitors.Create(t.Context(), c.params)
				require.ErrorIs(t, err, diffhook.ErrInvalidRequest)
				assert.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown)
				assert.ErrorContains(t, err, c.text)
				assert.Zero(t, made)
				var api *diffhook.APIError
				require.ErrorAs(t, err, &api)
				assert.Equal(t, http.StatusBadRequest, api.StatusCode)
				if generation == 1 {
					assert.Equal(t, c.code, api.Code)
				}
				assert.Empty(t, s.DefaultTeam().Monitors())
			})
		})
	}
}

func TestMonitorLimit(t *testing.T) {
	inBothGenerations(t, func(t *testing.T, _ int, s *diffhooktest.Server, c *diffhook.Client) {
		s.DefaultTeam().SetPlan(diffhooktest.Plan{Monitors: 1})
		s.DefaultTeam().NewMonitor(diffhooktest.Monitor{})
		_, err := c.Monitors.Create(t.Context(), diffhook.MonitorParams{URL: "https://example.com/", WebhookURL: "https://hooks.example.org/d", IntervalMinutes: 60})
		require.ErrorIs(t, err, diffhook.ErrMonitorLimit)
		require.ErrorIs(t, err, diffhook.ErrForbidden)
		assert.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown)
		assert.ErrorContains(t, err, "delete a monitor", "the remedy")
		assert.NotContains(t, err.Error(), "team", "the remedy of any other 403")
	})
}

// TestMonitorFieldsOfGeneration2: generation 1 would ignore these fields, and the
// monitor would watch the wrong part.
func TestMonitorFieldsOfGeneration2(t *testing.T) {
	s := newBubbleServer(t)
	gen1 := teamClient(s.DefaultTeam(), 1, nil)
	for _, c := range []struct {
		name   string
		params diffhook.MonitorParams
		update diffhook.MonitorUpdate
	}{
		{"Email", diffhook.MonitorParams{Email: "ops@example.com"}, diffhook.MonitorUpdate{Email: new("")}},
		{"JSONSelector", diffhook.MonitorParams{JSONSelector: "$"}, diffhook.MonitorUpdate{JSONSelector: new("$")}},
		{"IdentityKey", diffhook.MonitorParams{IdentityKey: "id"}, diffhook.MonitorUpdate{IdentityKey: new("id")}},
		{"TrackAdditionsOnly", diffhook.MonitorParams{TrackAdditionsOnly: true}, diffhook.MonitorUpdate{TrackAdditionsOnly: new(false)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.params.URL, c.params.WebhookURL, c.params.IntervalMinutes = "https://example.com/", "https://hooks.example.org/d", 60
			_, err := gen1.Monitors.Create(t.Context(), c.params)
			require.ErrorIs(t, err, diffhook.ErrInvalidRequest)
			assert.ErrorContains(t, err, c.name)
			_, err = gen1.Monitors.Update(t.Context(), "mon_abc123", c.update)
			require.ErrorIs(t, err, diffhook.ErrInvalidRequest)
			assert.ErrorContains(t, err, c.name)
			assert.Zero(t, s.Count(""), "nothing was sent")
		})
	}
}

// TestGenerationOfTheClient: the option decides, or else the credentials, also if they
// are set later.
func TestGenerationOfTheClient(t *testing.T) {
	names := func(t *testing.T, s *diffhooktest.Server, c *diffhook.Client) string {
		t.Helper()
		_, _ = c.Monitors.Update(t.Context(), "mon_abc123", diffhook.MonitorUpdate{CSSSelector: new("#x")})
		requests := s.Requests()
		return string(requests[len(requests)-1].Body)
	}
	const camel, snake = `{"cssSelector":"#x"}`, `{"css_selector":"#x"}`
	s := diffhooktest.New()
	t.Cleanup(s.Close)
	id, secret := s.ClientCredentials()

	c := teamClient(s.DefaultTeam(), 1, nil)
	assert.Equal(t, camel, names(t, s, c))
	c.SetCredentials(diffhook.ClientCredentials(id, secret))
	assert.Equal(t, snake, names(t, s, c))
	c.SetCredentials(s.APIKey())
	assert.Equal(t, camel, names(t, s, c))
	assert.Equal(t, snake, names(t, s, c.WithCredentials(diffhook.ClientCredentials(id, secret))))
	assert.Equal(t, snake, names(t, s, teamClient(s.DefaultTeam(), 1, &diffhook.ClientOptions{Generation: 2})))
	assert.Equal(t, camel, names(t, s, teamClient(s.DefaultTeam(), 2, &diffhook.ClientOptions{Generation: 1})))

	// The error of such a client is about the credentials, not about the generation.
	c = teamClient(s.DefaultTeam(), 2, nil)
	c.SetCredentials(diffhook.ClientCredentials(id, ""))
	_, err := c.Monitors.Update(t.Context(), "mon_abc123", diffhook.MonitorUpdate{Email: new("ops@example.com")})
	require.ErrorIs(t, err, diffhook.ErrInvalidCredentials)
}

func TestMonitorUpdate(t *testing.T) {
	before := diffhooktest.Monitor{
		URL: "https://example.com/a", WebhookURL: "https://hooks.example.org/d", Label: "Label", IntervalMinutes: 30,
		CSSSelector: "#a", JSRendering: true, Email: "ops@example.com", JSONSelector: "$.a", IdentityKey: "id", TrackAdditionsOnly: true,
	}
	for _, c := range []struct {
		name       string
		generation int
		update     diffhook.MonitorUpdate
		body       string
		after      func(*diffhooktest.Monitor)
	}{
		{
			"a single field", 1, diffhook.MonitorUpdate{Label: new("New")},
			`{"label":"New"}`, func(m *diffhooktest.Monitor) { m.Label = "New" },
		},
		{
			"emptied", 1, diffhook.MonitorUpdate{Label: new(""), CSSSelector: new(""), JSRendering: new(false)},
			`{"label":"","cssSelector":"","jsRendering":false}`,
			func(m *diffhooktest.Monitor) { m.Label, m.CSSSelector, m.JSRendering = "", "", false },
		},
		{
			"all", 1, diffhook.MonitorUpdate{
				URL: new("https://example.com/b"), WebhookURL: new("https://hooks.example.org/e"), IntervalMinutes: new(5),
				Label: new("B"), CSSSelector: new("#b"), JSRendering: new(true),
			},
			`{"url":"https://example.com/b","webhookUrl":"https://hooks.example.org/e","intervalMinutes":5,"label":"B","cssSelector":"#b","jsRendering":true}`,
			func(m *diffhooktest.Monitor) {
				m.URL, m.WebhookURL, m.IntervalMinutes, m.Label, m.CSSSelector = "https://example.com/b", "https://hooks.example.org/e", 5, "B", "#b"
			},
		},
		{
			"a single field", 2, diffhook.MonitorUpdate{IntervalMinutes: new(1440)},
			`{"interval_minutes":1440}`, func(m *diffhooktest.Monitor) { m.IntervalMinutes = 1440 },
		},
		{
			"emptied", 2, diffhook.MonitorUpdate{
				Label: new(""), CSSSelector: new(""), JSRendering: new(false),
				Email: new(""), JSONSelector: new(""), IdentityKey: new(""), TrackAdditionsOnly: new(false),
			},
			`{"label":"","css_selector":"","js_rendering":false,"notification_config":{"email":""},"json_selector":"","identity_key":"","track_additions_only":false}`,
			func(m *diffhooktest.Monitor) {
				m.Label, m.CSSSelector, m.JSRendering = "", "", false
				m.Email, m.JSONSelector, m.IdentityKey, m.TrackAdditionsOnly = "", "", "", false
			},
		},
		{
			"all", 2, diffhook.MonitorUpdate{
				URL: new("https://example.com/b"), WebhookURL: new("https://hooks.example.org/e"), IntervalMinutes: new(5),
				Label: new("B"), CSSSelector: new("#b"), JSRendering: new(true), Email: new("b@example.com"),
				JSONSelector: new("$.b"), IdentityKey: new("sku"), TrackAdditionsOnly: new(true),
			},
			`{"url":"https://example.com/b","interval_minutes":5,"label":"B","css_selector":"#b","js_rendering":true,` +
				`"notification_config":{"webhook_url":"https://hooks.example.org/e","email":"b@example.com"},` +
				`"json_selector":"$.b","identity_key":"sku","track_additions_only":true}`,
			func(m *diffhooktest.Monitor) {
				m.URL, m.WebhookURL, m.IntervalMinutes, m.Label, m.CSSSelector = "https://example.com/b", "https://hooks.example.org/e", 5, "B", "#b"
				m.Email, m.JSONSelector, m.IdentityKey = "b@example.com", "$.b", "sku"
			},
		},
	} {
		t.Run(map[int]string{1: "generation 1, ", 2: "generation 2, "}[c.generation]+c.name, func(t *testing.T) {
			s := newBubbleServer(t)
			given := before
			given.Generation = c.generation
			want := s.DefaultTeam().NewMonitor(given)
			c.after(&want)
			got, err := teamClient(s.DefaultTeam(), c.generation, nil).Monitors.Update(t.Context(), want.ID, c.update)
			require.NoError(t, err)
			requireLastRequest(t, s, "PUT /api/monitors/"+want.ID, c.body)
			is := s.DefaultTeam().Monitors()[0]
			assert.Empty(t, cmp.Diff(want, is, cmpopts.IgnoreFields(diffhooktest.Monitor{}, "UpdatedAt")))
			assert.Equal(t, is.Label, got.Label)
			assert.Equal(t, is.WebhookURL, got.WebhookURL)
			assert.Equal(t, is.IntervalMinutes, got.IntervalMinutes)
			assert.Equal(t, is.ID, got.ID)
		})
	}
}

func TestMonitorUpdateOfNothing(t *testing.T) {
	inBothGenerations(t, func(t *testing.T, _ int, s *diffhooktest.Server, c *diffhook.Client) {
		_, err := c.Monitors.Update(t.Context(), "mon_abc123", diffhook.MonitorUpdate{})
		require.ErrorIs(t, err, diffhook.ErrInvalidRequest)
		assert.Zero(t, s.Count(""))
	})
}

// onMonitor are the methods on a monitor.
var onMonitor = []struct {
	name, line string
	body       map[int]string
	do         func(t *testing.T, c *diffhook.Client, id string) error
}{
	{"Get", "GET /api/monitors/{id}", nil, func(t *testing.T, c *diffhook.Client, id string) error {
		_, err := c.Monitors.Get(t.Context(), id)
		return err
	}},
	{
		"Update", "PUT /api/monitors/{id}", map[int]string{1: `{"cssSelector":"#x"}`, 2: `{"css_selector":"#x"}`},
		func(t *testing.T, c *diffhook.Client, id string) error {
			_, err := c.Monitors.Update(t.Context(), id, diffhook.MonitorUpdate{CSSSelector: new("#x")})
			return err
		},
	},
	{"Pause", "POST /api/monitors/{id}/pause", nil, func(t *testing.T, c *diffhook.Client, id string) error {
		return c.Monitors.Pause(t.Context(), id)
	}},
	{"Resume", "POST /api/monitors/{id}/resume", nil, func(t *testing.T, c *diffhook.Client, id string) error {
		return c.Monitors.Resume(t.Context(), id)
	}},
	{"Trigger", "POST /api/monitors/{id}/trigger", nil, func(t *testing.T, c *diffhook.Client, id string) error {
		return c.Monitors.Trigger(t.Context(), id)
	}},
	{"Delete", "DELETE /api/monitors/{id}", nil, func(t *testing.T, c *diffhook.Client, id string) error {
		return c.Monitors.Delete(t.Context(), id)
	}},
}

// TestMonitorOfAnother: a 403 means a valid key and another team's resource, a 404 no
// such resource.
func TestMonitorOfAnother(t *testing.T) {
	for _, m := range onMonitor {
		t.Run(m.name, func(t *testing.T) {
			inBothGenerations(t, func(t *testing.T, generation int, s *diffhooktest.Server, c *diffhook.Client) {
				other := s.NewTeam(diffhooktest.Plan{})
				theirs := other.NewMonitor(diffhooktest.Monitor{WebhookURL: "https://hooks.example.org/d"})
				err := m.do(t, c, theirs.ID)
				require.ErrorIs(t, err, diffhook.ErrForbidden)
				assert.NotErrorIs(t, err, diffhook.ErrMonitorLimit)
				assert.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown)
				for _, word := range []string{"valid", "access", "team"} {
					assert.ErrorContains(t, err, word, "the remedy")
				}
				var api *diffhook.APIError
				require.ErrorAs(t, err, &api)
				assert.Equal(t, http.StatusForbidden, api.StatusCode)
				assert.Equal(t, m.line, api.Method+" /api/"+api.Route)

				err = m.do(t, c, "mon_abc123")
				require.ErrorIs(t, err, diffhook.ErrNotFound)
				assert.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown)
				require.ErrorAs(t, err, &api)
				assert.Equal(t, "Monitor not found", api.Message)
				if generation == 1 {
					assert.Equal(t, "NOT_FOUND", api.Code)
				}
				assert.Empty(t, cmp.Diff([]diffhooktest.Monitor{theirs}, other.Monitors()), "nothing was done")
			})
		})
	}
}

// TestMonitorIDs: an id stays a single element of the path. Otherwise it could reach
// another endpoint: Delete of "../keys/key_1", say.
func TestMonitorIDs(t *testing.T) {
	for _, m := range onMonitor {
		t.Run(m.name, func(t *testing.T) {
			s := diffhooktest.New() // no recording: such ids are not in the contract
			t.Cleanup(s.Close)
			c := teamClient(s.DefaultTeam(), 1, nil)
			for _, id := range []string{"", ".", ".."} {
				require.ErrorIs(t, m.do(t, c, id), diffhook.ErrInvalidRequest, id)
			}
			assert.Zero(t, s.Count(""), "nothing was sent")
			for id, escaped := range map[string]string{
				"../keys/" + s.DefaultTeam().Keys()[0].ID: "..%2Fkeys%2F" + s.DefaultTeam().Keys()[0].ID,
				"a/b":     "a%2Fb",
				"a?b=c#d": "a%3Fb=c%23d",
				"%2e%2e":  "%252e%252e",
				"...":     "...",
				"é b":     "%C3%A9%20b",
			} {
				require.ErrorIs(t, m.do(t, c, id), diffhook.ErrNotFound, id)
				requests := s.Requests()
				last := requests[len(requests)-1]
				assert.Equal(t, m.line, last.Route)
				assert.Contains(t, last.Path+"/", "/api/monitors/"+escaped+"/")
				assert.Empty(t, last.Query)
			}
			assert.False(t, s.DefaultTeam().Keys()[0].Revoked)
		})
	}
}

func TestMonitorPauseResumeTriggerDelete(t *testing.T) {
	inBothGenerations(t, func(t *testing.T, generation int, s *diffhooktest.Server, c *diffhook.Client) {
		called := 0
		s.Configure(diffhooktest.Settings{OnExchange: recorder(t), Deliver: diffhooktest.Transport(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called++ }))})
		m := s.DefaultTeam().NewMonitor(diffhooktest.Monitor{Generation: generation, WebhookURL: "https://hooks.example.org/d"})
		for _, step := range []struct {
			name   string
			paused bool
			called int
		}{
			{"Trigger", false, 1},
			{"Pause", true, 1},
			{"Pause", true, 1},
			{"Trigger", true, 1}, // assumed: the platform does not document it
			{"Resume", false, 1},
			{"Resume", false, 1},
			{"Trigger", false, 2},
		} {
			for _, method := range onMonitor {
				if method.name != step.name {
					continue
				}
				require.NoError(t, method.do(t, c, m.ID))
				s.Advance(0)
				body := ""
				if step.name == "Trigger" {
					body = "{}" // so that no transport repeats the request
				}
				requireLastRequest(t, s, method.line[:len("POST /api/monitors/")]+m.ID+method.line[len("POST /api/monitors/{id}"):], body)
			}
			got, err := c.Monitors.Get(t.Context(), m.ID)
			require.NoError(t, err)
			assert.Equal(t, map[bool]string{true: diffhook.MonitorPaused, false: diffhook.MonitorActive}[step.paused], got.Status)
			assert.Equal(t, step.called, called)
		}
		require.NoError(t, c.Monitors.Delete(t.Context(), m.ID))
		requireLastRequest(t, s, "DELETE /api/monitors/"+m.ID, "")
		assert.Empty(t, s.DefaultTeam().Monitors())
	})
}

// TestMonitorRepeats: whether each method is sent again after a lost answer.
func TestMonitorRepeats(t *testing.T) {
	repeated := map[string]bool{"Get": true, "Update": true, "Pause": true, "Resume": true, "Delete": true, "Trigger": false, "Create": false}
	methods := append(onMonitor[:len(onMonitor):len(onMonitor)], onMonitor[0])
	methods[len(methods)-1].name = "Create"
	methods[len(methods)-1].do = func(t *testing.T, c *diffhook.Client, _ string) error {
		_, err := c.Monitors.Create(t.Context(), diffhook.MonitorParams{URL: "https://example.com/", WebhookURL: "https://hooks.example.org/d", IntervalMinutes: 60})
		return err
	}
	for _, m := range methods {
		for name, fault := range map[string]diffhooktest.Fault{
			"500 before":  {Status: http.StatusInternalServerError},
			"503 after":   {Status: http.StatusServiceUnavailable, Handle: true},
			"answer lost": {Reset: diffhooktest.AfterHandling},
		} {
			t.Run(m.name+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newBubbleServer(t)
					s.Fail(fault)
					err := m.do(t, s.Client(nil), s.DefaultTeam().NewMonitor(diffhooktest.Monitor{}).ID)
					if repeated[m.name] {
						require.NoError(t, err)
						assert.Equal(t, 2, s.Count(""))
						return
					}
					require.ErrorIs(t, err, diffhook.ErrOutcomeUnknown)
					assert.Equal(t, 1, s.Count(""))
				})
			})
		}
	}
}

func TestMonitorDecoding(t *testing.T) {
	whole := diffhook.Monitor{
		ID: "mon_abc123", Status: "paused", URL: "https://example.com/", Label: "L", WebhookURL: "https://hooks.example.org/d",
		IntervalMinutes: 15, CSSSelector: "#a", JSRendering: true, Email: "ops@example.com", JSONSelector: "$.a", IdentityKey: "id",
		TrackAdditionsOnly: true,
		CreatedAt:          time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC), UpdatedAt: time.Date(2026, 3, 17, 1, 2, 3, 0, time.UTC),
	}
	gen1 := whole
	gen1.Email, gen1.JSONSelector, gen1.IdentityKey, gen1.TrackAdditionsOnly = "", "", "", false
	const begin = `{"id":"mon_abc123","status":"paused","url":"https://example.com/","label":"L",`
	for _, c := range []struct {
		name, text string
		want       diffhook.Monitor
	}{
		{
			"camelCase",
			begin + `"webhookUrl":"https://hooks.example.org/d","intervalMinutes":15,"cssSelector":"#a","jsRendering":true,"createdAt":"2026-03-16T14:22:00Z","updatedAt":"2026-03-17T01:02:03Z"}`,
			gen1,
		},
		{
			"snake_case",
			begin + `"notification_config":{"webhook_url":"https://hooks.example.org/d","email":"ops@example.com"},"interval_minutes":15,"css_selector":"#a","js_rendering":true,` +
				`"json_selector":"$.a","identity_key":"id","track_additions_only":true,"created_at":"2026-03-16T14:22:00Z","updated_at":"2026-03-17T01:02:03Z"}`,
			whole,
		},
		{
			"camelCase for the fields of generation 2",
			begin + `"notificationConfig":{"webhookUrl":"https://hooks.example.org/d","email":"ops@example.com"},"intervalMinutes":15,"cssSelector":"#a","jsRendering":true,` +
				`"jsonSelector":"$.a","identityKey":"id","trackAdditionsOnly":true,"createdAt":"2026-03-16T14:22:00Z","updatedAt":"2026-03-17T01:02:03Z"}`,
			whole,
		},
		{
			"snake_case of generation 1",
			begin + `"webhook_url":"https://hooks.example.org/d","interval_minutes":15,"css_selector":"#a","js_rendering":true,"created_at":"2026-03-16T15:22:00+01:00","updated_at":"2026-03-17T01:02:03Z"}`,
			gen1,
		},
		{
			"both",
			begin + `"webhookUrl":"https://hooks.example.org/d","webhook_url":"https://hooks.example.org/d","intervalMinutes":15,"interval_minutes":15,"cssSelector":"#a","css_selector":"#a",` +
				`"jsRendering":true,"js_rendering":true,"createdAt":"2026-03-16T14:22:00Z","created_at":"2026-03-16T14:22:00Z","updatedAt":null,"updated_at":"2026-03-17T01:02:03Z"}`,
			gen1,
		},
		{
			"the webhook in one object and the email in another",
			begin + `"webhookUrl":"https://hooks.example.org/d","notification_config":{"email":"ops@example.com"},"interval_minutes":15,"css_selector":"#a","js_rendering":true,` +
				`"json_selector":"$.a","identity_key":"id","track_additions_only":true,"created_at":"2026-03-16T14:22:00Z","updated_at":"2026-03-17T01:02:03Z"}`,
			whole,
		},
		{
			"null",
			`{"id":"mon_abc123","status":null,"url":null,"label":null,"webhookUrl":null,"intervalMinutes":null,"css_selector":null,"js_rendering":null,` +
				`"notification_config":null,"json_selector":null,"track_additions_only":null,"created_at":null,"updatedAt":null}`,
			diffhook.Monitor{ID: "mon_abc123"},
		},
		{"null inside", `{"id":"mon_abc123","notification_config":{"webhook_url":null,"email":null}}`, diffhook.Monitor{ID: "mon_abc123"}},
		{"missing", `{"id":"mon_abc123"}`, diffhook.Monitor{ID: "mon_abc123"}},
		{
			"extra fields", `{"id":"mon_abc123","team":{"id":7},"tags":["a"],"status":"archived","notification_config":{"slack":{"channel":"x"}}}`,
			diffhook.Monitor{ID: "mon_abc123", Status: "archived"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := diffhook.Monitor{Label: "left over", JSRendering: true}
			require.NoError(t, json.Unmarshal([]byte(c.text), &got))
			assert.Empty(t, cmp.Diff(c.want, got))
			for _, at := range []time.Time{got.CreatedAt, got.UpdatedAt} {
				assert.Equal(t, time.UTC, at.Location())
			}
		})
	}
}

// TestMonitorAnswers: an answer without a monitor is an error, never an invented
// monitor.
func TestMonitorAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"data is null":          `{"data":null}`,
		"data is empty":         `{"data":{}}`,
		"no data":               `{"id":"mon_abc123"}`,
		"a list":                `{"data":[{"id":"mon_abc123"}]}`,
		"a text":                `{"data":"mon_abc123"}`,
		"the id is an object":   `{"data":{"id":{"text":"mon_abc123"}}}`,
		"the id is empty":       `{"data":{"id":"","label":"L"}}`,
		"an error in a success": `{"error":{"code":"NOT_FOUND","message":"x"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := answerWith(t, func() *http.Response { return replyJSON(http.StatusOK, body) })
			got, err := c.Monitors.Get(t.Context(), "mon_abc123")
			require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
			assert.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown)
			assert.Zero(t, got)
			assert.NotContains(t, err.Error(), "triggered_at", "a field of events")
			_, err = c.Monitors.Create(t.Context(), diffhook.MonitorParams{URL: "https://example.com/"})
			require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
			require.ErrorIs(t, err, diffhook.ErrOutcomeUnknown, "there may be a monitor now")
		})
	}
}
