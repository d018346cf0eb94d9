package diffhooktest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Monitor is a monitor of a team, as a test may set one up or look at it.
type Monitor struct {
	ID string

	// Generation, 1 or 2, is that of the credential which created the monitor.
	// It decides the form, header and schedule of its webhooks. By default, 1.
	Generation int

	URL             string // by default, https://example.com/pricing
	WebhookURL      string // empty: nothing is delivered
	Label           string
	IntervalMinutes int // by default, 60 (assumed)
	CSSSelector     string
	JSRendering     bool
	Paused          bool

	// What generation 2 adds. Mail is never sent.
	Email              string
	JSONSelector       string
	IdentityKey        string
	TrackAdditionsOnly bool

	CreatedAt, UpdatedAt time.Time // the server's; ignored by NewMonitor
}

type monitor struct {
	Monitor
	team     *Team
	deleted  bool
	detected time.Time // the last triggered_at
}

// NewMonitor adds a monitor, like POST /api/monitors but not as a request, so
// that neither the limits of the plan nor the checks of the API apply. It
// returns it with its id and the defaults filled in, and panics on a
// generation that there is not.
func (t *Team) NewMonitor(m Monitor) Monitor {
	if m.Generation == 0 {
		m.Generation = 1
	}
	if m.Generation != 1 && m.Generation != 2 {
		panic(fmt.Sprintf("diffhooktest: Monitor.Generation is %d; want 1 or 2", m.Generation))
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

// Monitors returns the team's monitors, the oldest first.
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

// monitorFields returns the fields that a request of a generation may have,
// and those that it needs to create a monitor.
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
			_, failed := decode(value, m, notify) // a field that is not given stays as it is (assumed)
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

func (c *call) listMonitors() (*answer, *failure) {
	n, failed := limitOf(c.query)
	if failed != nil {
		return nil, failed
	}
	var items []fields
	for _, m := range slices.Backward(c.team.monitors) {
		if len(items) < n {
			items = append(items, m.fields(c.generation))
		}
	}
	return list(c.generation, items), nil
}

func (c *call) createMonitor() (*answer, *failure) {
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

// monitor returns the monitor that the path names.
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

// withMonitor answers with the monitor after do.
func (c *call) withMonitor(do func(*monitor) *failure) (*answer, *failure) {
	m, failed := c.monitor()
	if failed == nil {
		failed = do(m)
	}
	if failed != nil {
		return nil, failed
	}
	return data(http.StatusOK, c.generation, m.fields(c.generation)), nil
}

func (c *call) getMonitor() (*answer, *failure) {
	return c.withMonitor(func(*monitor) *failure { return nil })
}

func (c *call) updateMonitor() (*answer, *failure) {
	return c.withMonitor(func(m *monitor) *failure {
		known, _ := monitorFields(c.generation)
		changed := m.Monitor
		n, failed := decode(c.body, &changed, known)
		if failed != nil {
			return failed
		}
		if n == 0 {
			return &failure{status: http.StatusBadRequest, code: codeMissingFields, message: "There is no field to change"}
		}
		m.Monitor = changed
		m.UpdatedAt = c.now
		return nil
	})
}

func (c *call) pauseMonitor() (*answer, *failure)  { return c.setPaused(true) }
func (c *call) resumeMonitor() (*answer, *failure) { return c.setPaused(false) }

func (c *call) setPaused(paused bool) (*answer, *failure) {
	return c.withMonitor(func(m *monitor) *failure {
		if m.Paused != paused {
			m.Paused, m.UpdatedAt = paused, c.now
		}
		return nil
	})
}

// triggerMonitor finds the page changed, every time. A monitor that is paused
// or has no webhook is answered alike, and delivers nothing.
func (c *call) triggerMonitor() (*answer, *failure) {
	return c.withMonitor(func(m *monitor) *failure {
		if !m.Paused && m.WebhookURL != "" {
			c.server.detect(m, nil)
			c.server.wake()
		}
		return nil
	})
}

func (c *call) deleteMonitor() (*answer, *failure) {
	m, failed := c.monitor()
	if failed != nil {
		return nil, failed
	}
	m.deleted = true
	c.team.monitors = slices.DeleteFunc(c.team.monitors, func(other *monitor) bool { return other == m })
	return newAnswer(http.StatusNoContent), nil
}
