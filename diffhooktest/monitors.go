package diffhooktest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Monitor is a monitor of a team.
type Monitor struct {
	ID string

	// Generation, 1 or 2, decides the form, header and schedule of the webhooks. A
	// monitor from a request takes the generation of the credential. By default, 1.
	Generation int

	URL             string // by default, https://example.com/pricing
	WebhookURL      string // empty: nothing is delivered
	Label           string
	IntervalMinutes int // by default, 60 (assumed)
	CSSSelector     string
	JSRendering     bool
	Paused          bool

	// Generation 2 only. Mail is never sent.
	Email              string
	JSONSelector       string
	IdentityKey        string
	TrackAdditionsOnly bool

	CreatedAt, UpdatedAt time.Time // NewMonitor ignores both and sets them
}

type monitor struct {
	Monitor
	team     *Team
	deleted  bool
	detected time.Time // the last triggered_at
}

// NewMonitor adds a monitor, like POST /api/monitors but without a request: neither
// the plan's limit nor the checks of the API apply. It returns the monitor with an
// id and the defaults. NewMonitor panics if Generation is not 0, 1 or 2.
func (t *Team) NewMonitor(m Monitor) Monitor {
	if m.Generation == 0 {
		m.Generation = 1
	}
	if m.Generation != 1 && m.Generation != 2 {
		panic(fmt.Sprintf("diffhooktest: Monitor.Generation is %d; use 1 or 2", m.Generation))
	}
	if m.URL == "" {
		m.URL = "https://example.com/pricing"
	}
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	return t.addMonitor(m, t.server.clock.now()).Monitor
}

func (t *Team) addMonitor(m Monitor, now time.Time) *monitor {
	if m.IntervalMinutes == 0 {
		m.IntervalMinutes = 60
	}
	m.ID, m.CreatedAt, m.UpdatedAt = newID("mon"), now, now
	added := &monitor{Monitor: m, team: t}
	t.monitors = append(t.monitors, added)
	return added
}

// Monitors returns the team's monitors, oldest first.
func (t *Team) Monitors() []Monitor {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	monitors := make([]Monitor, len(t.monitors))
	for i, m := range t.monitors {
		monitors[i] = m.Monitor
	}
	return monitors
}

func (m *monitor) fields(generation int) fields {
	status := "active"
	if m.Paused {
		status = "paused"
	}
	f := fields{
		"id":               m.ID,
		"url":              m.URL,
		"label":            m.Label,
		"status":           status,
		"interval_minutes": m.IntervalMinutes,
		"css_selector":     m.CSSSelector,
		"js_rendering":     m.JSRendering,
		"created_at":       timestamp(m.CreatedAt),
		"updated_at":       timestamp(m.UpdatedAt),
	}
	if generation == 1 {
		f["webhook_url"] = m.WebhookURL
		return f
	}
	notify := fields{}
	if m.WebhookURL != "" {
		notify["webhook_url"] = m.WebhookURL
	}
	if m.Email != "" {
		notify["email"] = m.Email
	}
	f["notification_config"] = notify
	f["json_selector"] = m.JSONSelector
	f["identity_key"] = m.IdentityKey
	f["track_additions_only"] = m.TrackAdditionsOnly
	return f
}

// monitorFields returns the fields for requests of a generation, and the names that
// a creation requires.
func monitorFields(generation int) (known []field[Monitor], required []string) {
	known = []field[Monitor]{
		urlField("url", func(m *Monitor) *string { return &m.URL }),
		stringField("label", func(m *Monitor) *string { return &m.Label }),
	}
	if generation == 1 {
		return append(known,
			urlField("webhookUrl", func(m *Monitor) *string { return &m.WebhookURL }),
			intervalField("intervalMinutes", func(m *Monitor) *int { return &m.IntervalMinutes }),
			stringField("cssSelector", func(m *Monitor) *string { return &m.CSSSelector }),
			boolField("jsRendering", func(m *Monitor) *bool { return &m.JSRendering }),
		), []string{"url", "webhookUrl", "intervalMinutes"}
	}
	notify := []field[Monitor]{
		urlField("webhook_url", func(m *Monitor) *string { return &m.WebhookURL }),
		stringField("email", func(m *Monitor) *string { return &m.Email }),
	}
	return append(known,
		intervalField("interval_minutes", func(m *Monitor) *int { return &m.IntervalMinutes }),
		stringField("css_selector", func(m *Monitor) *string { return &m.CSSSelector }),
		boolField("js_rendering", func(m *Monitor) *bool { return &m.JSRendering }),
		field[Monitor]{"notification_config", func(m *Monitor, value json.RawMessage) *failure {
			_, failed := decode(value, m, notify) // absent fields stay as they are (assumed)
			return failed
		}},
		field[Monitor]{"json_selector", func(m *Monitor, value json.RawMessage) *failure {
			failed := decodeAs("json_selector", "string", value, &m.JSONSelector)
			if failed == nil && m.JSONSelector != "" && !strings.HasPrefix(m.JSONSelector, "$") {
				return invalid("The field %q must begin with $", "json_selector")
			}
			return failed
		}},
		stringField("identity_key", func(m *Monitor) *string { return &m.IdentityKey }),
		boolField("track_additions_only", func(m *Monitor) *bool { return &m.TrackAdditionsOnly }),
	), []string{"url"}
}

func (c *call) listMonitors() (*response, *failure) {
	return list(c, c.team.monitors, func(m *monitor) fields { return m.fields(c.generation) })
}

func (c *call) createMonitor() (*response, *failure) {
	known, required := monitorFields(c.generation)
	m := Monitor{Generation: c.generation}
	if _, failed := decode(c.body, &m, known, required...); failed != nil {
		return nil, failed
	}
	if most := c.team.plan.Monitors; most > 0 && len(c.team.monitors) >= most {
		return nil, &failure{status: http.StatusForbidden, code: codeMonitorLimit, message: fmt.Sprintf("Your plan allows a maximum of %d monitors", most)}
	}
	return data(http.StatusCreated, c.generation, c.team.addMonitor(m, c.now).fields(c.generation)), nil
}

// monitor returns the monitor with the id in the path.
func (c *call) monitor() (*monitor, *failure) {
	for _, t := range c.server.teams {
		for _, m := range t.monitors {
			if m.ID != c.id {
				continue
			}
			if t != c.team {
				return nil, &failure{status: http.StatusForbidden, code: codeForbidden, message: "You do not have access to this monitor"}
			}
			return m, nil
		}
	}
	return nil, &failure{status: http.StatusNotFound, code: codeNotFound, message: "Monitor not found"}
}

// withMonitor calls do, and returns the monitor as the response.
func (c *call) withMonitor(do func(*monitor) *failure) (*response, *failure) {
	m, failed := c.monitor()
	if failed == nil {
		failed = do(m)
	}
	if failed != nil {
		return nil, failed
	}
	return data(http.StatusOK, c.generation, m.fields(c.generation)), nil
}

func (c *call) getMonitor() (*response, *failure) {
	return c.withMonitor(func(*monitor) *failure { return nil })
}

func (c *call) updateMonitor() (*response, *failure) {
	return c.withMonitor(func(m *monitor) *failure {
		known, _ := monitorFields(c.generation)
		changed := m.Monitor
		n, failed := decode(c.body, &changed, known)
		if failed != nil {
			return failed
		}
		if n == 0 {
			return &failure{status: http.StatusBadRequest, code: codeMissingFields, message: "The body has no field to change"}
		}
		m.Monitor = changed
		m.UpdatedAt = c.now
		return nil
	})
}

func (c *call) pauseMonitor() (*response, *failure)  { return c.setPaused(true) }
func (c *call) resumeMonitor() (*response, *failure) { return c.setPaused(false) }

func (c *call) setPaused(paused bool) (*response, *failure) {
	return c.withMonitor(func(m *monitor) *failure {
		if m.Paused != paused {
			m.Paused, m.UpdatedAt = paused, c.now
		}
		return nil
	})
}

// triggerMonitor finds a change every time. For a monitor without a webhook, or a
// paused monitor, the response is the same and nothing is delivered.
func (c *call) triggerMonitor() (*response, *failure) {
	return c.withMonitor(func(m *monitor) *failure {
		if !m.Paused && m.WebhookURL != "" {
			c.server.detect(m, nil)
			c.server.wake()
		}
		return nil
	})
}

func (c *call) deleteMonitor() (*response, *failure) {
	m, failed := c.monitor()
	if failed != nil {
		return nil, failed
	}
	m.deleted = true
	c.team.monitors = slices.DeleteFunc(c.team.monitors, func(other *monitor) bool { return other == m })
	return newResponse(http.StatusNoContent), nil
}
