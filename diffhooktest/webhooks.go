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

// Delivery is a webhook: a detected change, and the attempts at its delivery.
type Delivery struct {
	MonitorID   string
	Generation  int
	URL         string // the webhook URL at the time of the change
	Body        []byte
	TriggeredAt time.Time

	// Result is the outcome so far. Err is the reason for an early end: the monitor
	// was paused or deleted.
	Result

	// Next is the time of the next attempt on the server's clock; zero if no
	// attempt follows.
	Next time.Time
}

type delivery struct {
	Delivery
	monitor *monitor
	secret  diffhook.Secret // current at the detection
	running bool
}

// Change simulates a change of the page of a monitor, of any team. It makes the
// first attempt at the delivery of the webhook and returns the outcome. Retries
// follow with the clock. A nil diff means a change of a price. Generation 2 sends
// only the new text.
//
// The time triggered_at identifies a change: the time of the clock in whole
// seconds, or a later second if the monitor detected another change in this second.
//
// Change returns an error if the monitor does not exist, is paused or has no
// webhook URL, and after Close.
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
		return nil, errors.New("diffhooktest: Change: the server is closed")
	}
	for _, t := range s.teams {
		i := slices.IndexFunc(t.monitors, func(m *monitor) bool { return m.ID == monitorID })
		if i < 0 {
			continue
		}
		switch m := t.monitors[i]; {
		case m.Paused:
			return nil, fmt.Errorf("diffhooktest: Change: the monitor %s is paused; resume it first", monitorID)
		case m.WebhookURL == "":
			return nil, fmt.Errorf("diffhooktest: Change: the monitor %s has no webhook URL; set Monitor.WebhookURL", monitorID)
		default:
			d := s.detect(m, diff)
			s.begin(d)
			s.active.Add(1)
			return d, nil
		}
	}
	return nil, fmt.Errorf("diffhooktest: Change: the monitor %s does not exist", monitorID)
}

// Deliveries returns all webhooks of all teams, oldest first.
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

// detect queues a webhook whose first attempt is due now. The caller holds s.mu.
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

// payload returns the documented body for the last detected change.
func payload(m *monitor, diff *diffhook.Diff) []byte {
	list := func(lines []string) []string { return append([]string{}, lines...) } // JSON needs [], not null
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

// begin takes a due delivery out of the queue. The caller holds s.mu.
func (s *Server) begin(d *delivery) {
	d.running = true
	s.inFlight++
}

// attempt makes the due attempt at a begun delivery, and queues the retry if it
// fails.
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

// prepare returns the client and the secret for an attempt, or the reason to give
// up. A pause or a deletion of the monitor ends the delivery at the next attempt
// (assumed).
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

// loopbackOnly keeps the webhooks of tests on this machine.
type loopbackOnly struct{ next http.RoundTripper }

func (t loopbackOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	host := r.URL.Hostname()
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		r.Body.Close()
		return nil, errors.New("diffhooktest: the webhook URL is not a loopback address; set Settings.Deliver to reach it")
	}
	return t.next.RoundTrip(r)
}

// settle records an attempt and sets the time of the retry. The caller holds s.mu.
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

// due returns the delivery with the earliest attempt, or nil. The caller holds
// s.mu.
func (s *Server) due() *delivery {
	// Most deliveries are over: drop them from the search.
	s.pending = slices.DeleteFunc(s.pending, func(d *delivery) bool { return !d.running && d.Next.IsZero() })
	var first *delivery
	for _, d := range s.pending {
		if !d.running && !d.Next.IsZero() && (first == nil || d.Next.Before(first.Next)) {
			first = d
		}
	}
	return first
}

// wake starts all due attempts, unless Advance does, and sets the timer for the
// next attempt. The caller holds s.mu.
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

// arm sets the timer for the earliest attempt, or stops the timer if no attempt
// needs it. The caller holds s.mu.
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
