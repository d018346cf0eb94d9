package diffhook

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"
)

// MonitorService manages monitors, as [Client.Monitors].
type MonitorService struct{ client *Client }

// Values of Monitor.Status.
const (
	MonitorActive = "active"
	MonitorPaused = "paused"
)

// Monitor is a page that DiffHook watches.
type Monitor struct {
	ID     string
	Status string // MonitorActive or MonitorPaused

	URL             string
	Label           string
	WebhookURL      string
	IntervalMinutes int
	CSSSelector     string
	JSRendering     bool

	// Generation 2 only.
	Email              string
	JSONSelector       string
	IdentityKey        string
	TrackAdditionsOnly bool

	// In UTC. These fields of the API are assumed.
	CreatedAt, UpdatedAt time.Time
}

// MonitorParams is a monitor to create. Zero fields are not sent.
type MonitorParams struct {
	URL             string // required
	WebhookURL      string // required in generation 1
	IntervalMinutes int    // 5, 15, 30, 60, 360 or 1440; required in generation 1
	Label           string
	CSSSelector     string
	JSRendering     bool

	// Generation 2 only. JSONSelector is $, $.a.b or $.items[*].
	Email              string
	JSONSelector       string
	IdentityKey        string
	TrackAdditionsOnly bool
}

// MonitorUpdate is a change of a monitor: a nil field stays, and a field that points
// to an empty value is emptied. In Go 1.26, new("text") makes such a pointer.
type MonitorUpdate struct {
	URL             *string
	WebhookURL      *string
	IntervalMinutes *int
	Label           *string
	CSSSelector     *string
	JSRendering     *bool

	// Generation 2 only.
	Email              *string
	JSONSelector       *string
	IdentityKey        *string
	TrackAdditionsOnly *bool
}

// List returns the team's monitors. See [ListOptions] for the number of monitors, and
// for unreadable monitors.
func (s *MonitorService) List(ctx context.Context, opts *ListOptions) ([]Monitor, error) {
	return list(ctx, s.client, "monitors", opts, (*Monitor).read)
}

// Get returns a monitor. For a monitor of another team, the error matches
// [ErrForbidden].
func (s *MonitorService) Get(ctx context.Context, id string) (m Monitor, err error) {
	c := &call{method: http.MethodGet, route: "monitors/{id}", out: &m, repeatable: true}
	if err := s.client.callPath(ctx, c, "monitors", id); err != nil {
		return Monitor{}, err
	}
	return m, nil
}

// Create makes a monitor. If the plan's monitors are used up, the error matches
// [ErrMonitorLimit]. Create is not safe to repeat: see [ErrOutcomeUnknown].
func (s *MonitorService) Create(ctx context.Context, params MonitorParams) (m Monitor, err error) {
	c := &call{method: http.MethodPost, route: "monitors", in: params.update(), out: &m}
	if err := s.client.callPath(ctx, c, "monitors"); err != nil {
		return Monitor{}, err
	}
	return m, nil
}

// Update changes the given fields of a monitor and returns the changed monitor.
func (s *MonitorService) Update(ctx context.Context, id string, update MonitorUpdate) (m Monitor, err error) {
	if update == (MonitorUpdate{}) {
		return Monitor{}, fmt.Errorf("%w: the MonitorUpdate changes nothing", ErrInvalidRequest)
	}
	c := &call{method: http.MethodPut, route: "monitors/{id}", in: update, out: &m, repeatable: true}
	if err := s.client.callPath(ctx, c, "monitors", id); err != nil {
		return Monitor{}, err
	}
	return m, nil
}

// Delete deletes a monitor. It is safe to repeat: a second call returns
// [ErrNotFound].
func (s *MonitorService) Delete(ctx context.Context, id string) error {
	c := &call{method: http.MethodDelete, route: "monitors/{id}", repeatable: true}
	return s.client.callPath(ctx, c, "monitors", id)
}

// Pause stops the checks of a monitor. It is safe to repeat.
func (s *MonitorService) Pause(ctx context.Context, id string) error {
	c := &call{method: http.MethodPost, route: "monitors/{id}/pause", repeatable: true}
	return s.client.callPath(ctx, c, "monitors", id, "pause")
}

// Resume starts the checks of a paused monitor again. It is safe to repeat.
func (s *MonitorService) Resume(ctx context.Context, id string) error {
	c := &call{method: http.MethodPost, route: "monitors/{id}/resume", repeatable: true}
	return s.client.callPath(ctx, c, "monitors", id, "resume")
}

// Trigger makes DiffHook check a monitor now. It is not safe to repeat, since the
// check may deliver a webhook: see [ErrOutcomeUnknown].
func (s *MonitorService) Trigger(ctx context.Context, id string) error {
	c := &call{method: http.MethodPost, route: "monitors/{id}/trigger"}
	return s.client.callPath(ctx, c, "monitors", id, "trigger")
}

// update returns the fields that are set, as an update.
func (p MonitorParams) update() MonitorUpdate {
	return MonitorUpdate{
		URL: ifSet(p.URL), WebhookURL: ifSet(p.WebhookURL), IntervalMinutes: ifSet(p.IntervalMinutes),
		Label: ifSet(p.Label), CSSSelector: ifSet(p.CSSSelector), JSRendering: ifSet(p.JSRendering),
		Email: ifSet(p.Email), JSONSelector: ifSet(p.JSONSelector), IdentityKey: ifSet(p.IdentityKey),
		TrackAdditionsOnly: ifSet(p.TrackAdditionsOnly),
	}
}

func ifSet[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

// fields returns the request in the words of a generation: camelCase in the
// first, snake_case and a nested notification_config in the second.
func (u MonitorUpdate) fields(generation int) (map[string]any, error) {
	fields := map[string]any{}
	put(fields, "url", u.URL)
	put(fields, "label", u.Label)
	if generation == 1 {
		if u.Email != nil || u.JSONSelector != nil || u.IdentityKey != nil || u.TrackAdditionsOnly != nil {
			return nil, fmt.Errorf("%w: Email, JSONSelector, IdentityKey and TrackAdditionsOnly are of generation 2 of the platform, and this client speaks generation 1", ErrInvalidRequest)
		}
		put(fields, "webhookUrl", u.WebhookURL)
		put(fields, "intervalMinutes", u.IntervalMinutes)
		put(fields, "cssSelector", u.CSSSelector)
		put(fields, "jsRendering", u.JSRendering)
		return fields, nil
	}
	put(fields, "interval_minutes", u.IntervalMinutes)
	put(fields, "css_selector", u.CSSSelector)
	put(fields, "js_rendering", u.JSRendering)
	put(fields, "json_selector", u.JSONSelector)
	put(fields, "identity_key", u.IdentityKey)
	put(fields, "track_additions_only", u.TrackAdditionsOnly)
	notification := map[string]any{}
	put(notification, "webhook_url", u.WebhookURL)
	put(notification, "email", u.Email)
	if len(notification) > 0 {
		fields["notification_config"] = notification
	}
	return fields, nil
}

func put[T any](fields map[string]any, name string, value *T) {
	if value != nil {
		fields[name] = *value
	}
}

// UnmarshalJSON reads a monitor with field names of either generation. An unreadable
// field is zero. Without an id, UnmarshalJSON returns an error.
func (m *Monitor) UnmarshalJSON(b []byte) error { return unmarshal(b, m) }

func (m *Monitor) readData(data value) error {
	if err := data.checkObject(); err != nil {
		return err
	}
	var read Monitor
	if read.read(data); read.ID == "" {
		return errNoIDInResponse
	}
	*m = read
	return nil
}

func (m *Monitor) read(v value) {
	var notification value
	v.fill(
		field{"id", &m.ID}, field{"status", &m.Status}, field{"url", &m.URL}, field{"label", &m.Label},
		field{"webhook_url", &m.WebhookURL}, field{"notification_config", &notification},
		field{"interval_minutes", &m.IntervalMinutes},
		field{"css_selector", &m.CSSSelector}, field{"js_rendering", &m.JSRendering},
		field{"json_selector", &m.JSONSelector}, field{"identity_key", &m.IdentityKey},
		field{"track_additions_only", &m.TrackAdditionsOnly},
		field{"created_at", &m.CreatedAt}, field{"updated_at", &m.UpdatedAt},
	)
	var webhookURL string
	notification.fill(field{"webhook_url", &webhookURL}, field{"email", &m.Email})
	m.WebhookURL = cmp.Or(m.WebhookURL, webhookURL)
}
