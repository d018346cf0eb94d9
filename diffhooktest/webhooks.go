package diffhooktest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/diffhook/diffhook-go"
)

// Delivery is one webhook: a detected change, and the attempts to tell of it.
type Delivery struct {
	MonitorID   string
	Generation  int
	URL         string // the monitor's webhook URL at the time of the change
	Body        []byte
	TriggeredAt time.Time

	// Result is what has become of it so far. Its Err says why it was given
	// up, where that was not for a lack of further attempts: the monitor was
	// paused or deleted.
	Result

	// Next is when the next attempt is due, by the server's clock; zero: there
	// is none.
	Next time.Time
}

type delivery struct {
	Delivery
	monitor *monitor
	secret  diffhook.Secret // in force at detection
	running bool
}

// Change plays that the monitor with the given id, of any team, finds its page
// changed by diff: it makes the first attempt to deliver the webhook and
// returns what came of it. Retries follow as the clock runs or is turned. A
// nil diff is a change of a price. Generation 2 sends the new text only.
//
// triggered_at is the time on the clock in whole seconds, moved on where the
// monitor has found another change in the same second, since it is what tells
// changes apart.
//
// It returns an error where there is no such monitor, it is paused, or it has
// no webhook URL, and after Close.
func (s *Server) Change(monitorID string, diff *diffhook.Diff) (Delivery, error) {
	d, err := s.change(monitorID, diff)
	if err != nil {
		return Delivery{}, err
	}
	defer s.active.Done()
	s.attempt(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	return d.shown(), nil
}

func (s *Server) change(monitorID string, diff *diffhook.Diff) (*delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("diffhooktest: the server is closed")
	}
	for _, t := range s.teams {
		i := slices.IndexFunc(t.monitors, func(m *monitor) bool { return m.ID == monitorID })
		if i < 0 {
			continue
		}
		switch m := t.monitors[i]; {
		case m.Paused:
			return nil, fmt.Errorf("diffhooktest: the monitor %s is paused", monitorID)
		case m.WebhookURL == "":
			return nil, fmt.Errorf("diffhooktest: the monitor %s has no webhook URL", monitorID)
		default:
			d := s.detect(m, diff)
			s.begin(d)
			s.active.Add(1)
			return d, nil
		}
	}
	return nil, fmt.Errorf("diffhooktest: there is no monitor %s", monitorID)
}

// Deliveries returns all webhooks of all teams, the oldest first.
func (s *Server) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	deliveries := make([]Delivery, len(s.sent))
	for i, d := range s.sent {
		deliveries[i] = d.shown()
	}
	return deliveries
}

func (d *delivery) shown() Delivery {
	shown := d.Delivery
	shown.Body = slices.Clone(d.Body)
	shown.Attempts = slices.Clone(d.Attempts)
	return shown
}

// detect queues a webhook whose first attempt is due now. The mutex is held.
func (s *Server) detect(m *monitor, diff *diffhook.Diff) *delivery {
	now := s.clock.now()
	m.detected = later(now.Truncate(time.Second), m.detected.Add(time.Second))
	if diff == nil {
		diff = &diffhook.Diff{
			Summary: "The price of the Team plan changed", Added: []string{"Team: $49"}, Removed: []string{"Team: $39"},
			FullTextBefore: "Free: $0\nTeam: $39", FullTextAfter: "Free: $0\nTeam: $49",
		}
	}
	d := &delivery{
		Delivery: Delivery{
			MonitorID: m.ID, Generation: m.Generation, URL: m.WebhookURL, Next: now,
			Body: payload(m, diff), TriggeredAt: m.detected,
		},
		monitor: m,
		secret:  m.team.signing.current,
	}
	s.sent = append(s.sent, d)
	s.pending = append(s.pending, d)
	return d
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// payload returns the documented body of a change just detected.
func payload(m *monitor, diff *diffhook.Diff) []byte {
	list := func(lines []string) []string { return append([]string{}, lines...) } // [], not null
	var body any
	if m.Generation == 2 {
		body = struct {
			Event       string `json:"event"`
			MonitorID   string `json:"monitor_id"`
			URL         string `json:"url"`
			TriggeredAt string `json:"triggered_at"`
			Content     string `json:"content"`
		}{"page.changed", m.ID, m.URL, timestamp(m.detected), diff.FullTextAfter}
	} else {
		d := *diff
		d.Added, d.Removed = list(d.Added), list(d.Removed)
		body = struct {
			Event           string        `json:"event"`
			MonitorID       string        `json:"monitor_id"`
			URL             string        `json:"url"`
			Label           string        `json:"label"`
			TriggeredAt     string        `json:"triggered_at"`
			IntervalMinutes int           `json:"interval_minutes"`
			Diff            diffhook.Diff `json:"diff"`
			SnapshotURL     string        `json:"snapshot_url"`
		}{"page.changed", m.ID, m.URL, m.Label, timestamp(m.detected), m.IntervalMinutes, d,
			fmt.Sprintf("https://example.com/snapshots/%s/%d", m.ID, m.detected.Unix())}
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		panic("diffhooktest: " + err.Error()) // strings and numbers can be marshalled
	}
	return encoded
}

// begin takes a delivery that is due out of the queue. The mutex is held.
func (s *Server) begin(d *delivery) {
	d.running = true
	s.inFlight++
}

// attempt makes the attempt that is due at a delivery that has begun, and
// queues the next one if it fails.
func (s *Server) attempt(d *delivery) {
	ended := errors.New("diffhooktest: the transport ended its goroutine")
	a := Attempt{Err: ended}
	client, secret, giveUp := s.prepare(d)
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		d.running, d.Next = false, time.Time{}
		if giveUp != nil {
			d.Err = giveUp
		} else {
			s.settle(d, a)
		}
		s.inFlight--
		s.landed.Broadcast()
		s.wake()
	}()
	if giveUp == nil {
		a = attempt(s.ctx, s.clock.now(), d.Generation, secret, d.Body, postTo(client, d.URL, d.Body))
	}
}

// prepare decides how to make an attempt, or why not to. That a pause or a
// deletion of the monitor ends its deliveries in flight, when their next
// attempt is due, is assumed.
func (s *Server) prepare(d *delivery) (client *http.Client, secret diffhook.Secret, giveUp error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case d.monitor.deleted:
		return nil, secret, errors.New("diffhooktest: the monitor was deleted")
	case d.monitor.Paused:
		return nil, secret, errors.New("diffhooktest: the monitor was paused")
	}
	var transport http.RoundTripper = loopbackOnly{s.deliveries}
	if s.settings.Deliver != nil {
		transport = s.settings.Deliver
	}
	secret = d.monitor.team.signing.current
	if s.settings.SignOnce {
		secret = d.secret
	}
	return noRedirects(&http.Client{Transport: transport}), secret, nil
}

// loopbackOnly keeps webhooks of tests from reaching other machines.
type loopbackOnly struct{ next http.RoundTripper }

func (t loopbackOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	host := r.URL.Hostname()
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		r.Body.Close()
		return nil, errors.New("diffhooktest: webhooks go to loopback addresses only, unless Settings.Deliver is set")
	}
	return t.next.RoundTrip(r)
}

// settle records an attempt and what follows from it. The mutex is held.
func (s *Server) settle(d *delivery, a Attempt) {
	now := s.clock.now()
	d.Attempts = append(d.Attempts, a)
	d.Delivered = a.Succeeded()
	t := d.monitor.team
	t.logs = append(t.logs, logRecord{id: newID("log"), monitorID: d.MonitorID, url: d.URL, number: len(d.Attempts), attempt: a, at: now})
	if due, more := scheduleOf(d.Generation).next(len(d.Attempts), now); more && !d.Delivered {
		d.Next = due
	}
}

// due returns the delivery whose next attempt comes first; nil: there is none.
// The mutex is held.
func (s *Server) due() *delivery {
	// Those that are over are most of them.
	s.pending = slices.DeleteFunc(s.pending, func(d *delivery) bool { return !d.running && d.Next.IsZero() })
	var first *delivery
	for _, d := range s.pending {
		if !d.running && !d.Next.IsZero() && (first == nil || d.Next.Before(first.Next)) {
			first = d
		}
	}
	return first
}

// wake starts all attempts that are due, unless Advance does so, and sets the
// timer for the next one. The mutex is held.
func (s *Server) wake() {
	for !s.closed && !s.advancing {
		d := s.due()
		if d == nil || d.Next.After(s.clock.now()) {
			break
		}
		s.begin(d)
		s.active.Go(func() { s.attempt(d) })
	}
	s.arm()
}

// arm sets the timer for the attempt that comes first, or stops it where there
// is none to be made in real time. The mutex is held.
func (s *Server) arm() {
	if s.timer != nil && s.timer.Stop() {
		s.active.Done()
	}
	s.timer = nil
	d := s.due()
	if d == nil || s.closed || s.advancing {
		return
	}
	s.active.Add(1)
	s.timer = time.AfterFunc(d.Next.Sub(s.clock.now()), func() {
		defer s.active.Done()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.wake()
	})
}
