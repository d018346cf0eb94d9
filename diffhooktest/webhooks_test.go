package diffhooktest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// endpoint is a customer's server. It answers with statuses in order, repeats the
// last status, and records the requests.
type endpoint struct {
	mu       sync.Mutex
	statuses []int
	bodies   []string
	headers  []http.Header
	urls     []string
	on       func() // called before the response
}

func answering(statuses ...int) *endpoint { return &endpoint{statuses: statuses} }

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	e.mu.Lock()
	e.bodies = append(e.bodies, string(body))
	e.headers = append(e.headers, r.Header)
	e.urls = append(e.urls, r.Method+" http://"+r.Host+r.RequestURI)
	status := e.statuses[min(len(e.bodies), len(e.statuses))-1]
	on := e.on
	e.mu.Unlock()
	if on != nil {
		on()
	}
	w.WriteHeader(status)
}

// signatures returns the received values of a header.
func (e *endpoint) signatures(header string) (all []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range e.headers {
		all = append(all, h.Get(header))
	}
	return all
}

// delivering returns a server that delivers webhooks directly to h, and a monitor
// of a generation.
func delivering(t *testing.T, h http.Handler, settings diffhooktest.Settings, generation int) (*diffhooktest.Server, diffhooktest.Monitor) {
	s := bubble(t)
	settings.Deliver = diffhooktest.Transport(h)
	s.Configure(settings)
	return s, s.DefaultTeam().NewMonitor(diffhooktest.Monitor{
		Generation: generation, WebhookURL: "https://hooks.example.com/diffhook?team=a", Label: "Pricing", IntervalMinutes: 15,
	})
}

func TestChangeDelivers(t *testing.T) {
	diff := &diffhook.Diff{Summary: "s", Added: []string{"a"}, FullTextBefore: "before", FullTextAfter: "after"}
	for generation, want := range map[int]string{
		1: `{"event":"page.changed","monitor_id":"%s","url":"https://example.com/pricing","label":"Pricing","triggered_at":"2026-03-16T14:22:00Z","interval_minutes":15,` +
			`"diff":{"summary":"s","added":["a"],"removed":[],"full_text_before":"before","full_text_after":"after"},"snapshot_url":"https://example.com/snapshots/%[1]s/1773670920"}`,
		2: `{"event":"page.changed","monitor_id":"%s","url":"https://example.com/pricing","triggered_at":"2026-03-16T14:22:00Z","content":"after"}`,
	} {
		t.Run(fmt.Sprint("generation ", generation), func(t *testing.T) {
			e := answering(204)
			s := bubble(t)
			s.StartAt(time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC))
			s.Configure(diffhooktest.Settings{Deliver: diffhooktest.Transport(e)})
			m := s.DefaultTeam().NewMonitor(diffhooktest.Monitor{Generation: generation, WebhookURL: "https://hooks.example.com/d?team=a", Label: "Pricing", IntervalMinutes: 15})
			d, err := s.Change(m.ID, diff)
			require.NoError(t, err)
			assert.True(t, d.Delivered)
			assert.True(t, d.Next.IsZero())
			require.Len(t, d.Attempts, 1)
			assert.Equal(t, 204, d.Attempts[0].StatusCode)
			assert.Equal(t, s.Secrets().Current.Fingerprint(), d.Attempts[0].SignedWith)

			require.Len(t, e.bodies, 1)
			assert.Equal(t, fmt.Sprintf(want, m.ID), e.bodies[0])
			assert.Equal(t, []string{"POST http://hooks.example.com/d?team=a"}, e.urls)
			names := map[int][]string{1: {diffhook.SignatureHeader, diffhook.SignatureHeaderGen2}, 2: {diffhook.SignatureHeaderGen2, diffhook.SignatureHeader}}[generation]
			assert.Equal(t, s.Secrets().Current.Sign(d.Body), e.headers[0].Get(names[0]))
			assert.Empty(t, e.headers[0].Get(names[1]), "the header of the other generation")
			assert.Equal(t, "application/json", e.headers[0].Get("Content-Type"))
			assert.Empty(t, cmp.Diff(s.Deliveries()[0].Body, d.Body))
			assert.Nil(t, diff.Removed, "the caller's diff is unchanged")
		})
	}
}

// The credential at the creation decides a monitor's generation.
func TestGenerationOfAMonitor(t *testing.T) {
	for generation, header := range map[int]string{1: diffhook.SignatureHeader, 2: diffhook.SignatureHeaderGen2} {
		e := answering(200)
		s, _ := delivering(t, e, diffhooktest.Settings{}, 1)
		all := bearers(t, s, s.DefaultTeam())
		created := call(t, s, all[generation], "POST", "/api/monitors", map[int]string{1: gen1Monitor, 2: gen2Monitor}[generation]).data(t)
		path := "/api/monitors/" + created["id"].(string) + "/trigger"
		triggered := call(t, s, all[3-generation], "POST", path, "") // by either credential
		assert.Equal(t, http.StatusOK, triggered.status)
		assert.Equal(t, created["id"], triggered.data(t)["id"])
		s.Advance(0)
		require.Len(t, e.bodies, 1)
		assert.NotEmpty(t, e.headers[0].Get(header))
		event, err := diffhook.ParseEvent([]byte(e.bodies[0]))
		require.NoError(t, err)
		assert.Equal(t, created["id"], event.MonitorID)
		assert.Equal(t, generation == 1, event.Diff != nil)
		assert.Equal(t, generation == 2, event.Content != "")
	}
}

// 17 hours pass in milliseconds, with each attempt on time.
func TestSchedulesByTurningTheClock(t *testing.T) {
	start := time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC)
	for generation, want := range map[int][]time.Duration{
		1: {0, 5 * time.Second, 35 * time.Second},
		2: {0, 1 * time.Minute, 3 * time.Minute, 7 * time.Minute, 15 * time.Minute, 31 * time.Minute, 63 * time.Minute,
			127 * time.Minute, 255 * time.Minute, 511 * time.Minute, 1023 * time.Minute},
	} {
		t.Run(fmt.Sprint("generation ", generation), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // real time would move the first attempt of generation 2 by nanoseconds
				s := bubble(t)
				s.StartAt(start)
				var at []time.Duration
				e := answering(500)
				e.on = func() { at = append(at, s.Now().Sub(start)) }
				s.Configure(diffhooktest.Settings{Deliver: diffhooktest.Transport(e)})
				m := s.DefaultTeam().NewMonitor(diffhooktest.Monitor{Generation: generation, WebhookURL: "https://hooks.example.com/"})
				_, err := s.Change(m.ID, nil)
				require.NoError(t, err)
				s.Advance(24 * time.Hour)
				assert.Empty(t, cmp.Diff(want, at))
				assert.Equal(t, start.Add(24*time.Hour), s.Now())

				d := s.Deliveries()[0]
				assert.False(t, d.Delivered)
				assert.NoError(t, d.Err)
				assert.True(t, d.Next.IsZero(), "no further attempt")
				for i, a := range d.Attempts {
					assert.Equal(t, start.Add(want[i]), a.Began)
				}
				for _, body := range e.bodies {
					assert.Equal(t, e.bodies[0], body, "the same event in every attempt")
				}
			})
		})
	}
}

// Without Advance, retries follow in real time.
func TestSchedulesInRealTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := answering(500)
		s, m := delivering(t, e, diffhooktest.Settings{}, 1)
		d, err := s.Change(m.ID, nil)
		require.NoError(t, err)
		assert.Equal(t, s.Now().Add(5*time.Second), d.Next)
		for _, step := range []struct {
			wait time.Duration
			want int
		}{{5*time.Second - 1, 1}, {1, 2}, {30*time.Second - 1, 2}, {1, 3}, {time.Hour, 3}} {
			<-time.After(step.wait)
			synctest.Wait()
			assert.Len(t, e.signatures(""), step.want)
		}
	})
}

// Advance makes only the due attempts.
func TestAdvanceStopsWhereItIsToldTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := answering(500, 500, 204)
		s, m := delivering(t, e, diffhooktest.Settings{}, 1)
		_, err := s.Change(m.ID, nil)
		require.NoError(t, err)
		s.Advance(5*time.Second - 1)
		assert.Len(t, e.bodies, 1)
		s.Advance(1)
		assert.Len(t, e.bodies, 2)
		s.Advance(30*time.Second - 1)
		assert.Len(t, e.bodies, 2)
		s.Advance(1)
		assert.Len(t, e.bodies, 3)
		assert.True(t, s.Deliveries()[0].Delivered)
		assert.Panics(t, func() { s.Advance(-1) })
	})
}

// Deliveries run in the order of their due times.
func TestAdvanceKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		var order []string
		var at []time.Duration
		began := s.Now()
		s.Configure(diffhooktest.Settings{Deliver: diffhooktest.Transport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			order, at = append(order, r.URL.Path), append(at, s.Now().Sub(began))
			w.WriteHeader(500)
		}))})
		for _, path := range []string{"/a", "/b"} {
			_, err := s.Change(s.DefaultTeam().NewMonitor(diffhooktest.Monitor{WebhookURL: "https://hooks.example.com" + path}).ID, nil)
			require.NoError(t, err)
			s.Advance(2 * time.Second)
		}
		s.Advance(time.Hour)
		assert.Equal(t, []string{"/a", "/b", "/a", "/b", "/a", "/b"}, order)
		assert.Equal(t, []time.Duration{0, 2 * time.Second, 5 * time.Second, 7 * time.Second, 35 * time.Second, 37 * time.Second}, at)
	})
}

// A rotation while an event is in flight, with both kinds of signature.
func TestRotationWithADeliveryInFlight(t *testing.T) {
	for _, once := range []bool{false, true} {
		for generation, header := range map[int]string{1: diffhook.SignatureHeader, 2: diffhook.SignatureHeaderGen2} {
			t.Run(fmt.Sprintf("generation %d, signed once: %v", generation, once), func(t *testing.T) {
				e := answering(503, 503, 204)
				s, m := delivering(t, e, diffhooktest.Settings{SignOnce: once}, generation)
				before := s.Secrets().Current
				d, err := s.Change(m.ID, nil)
				require.NoError(t, err)
				rotated := call(t, s, s.APIKey().Reveal(), "POST", "/api/signing-secret/rotate", "")
				require.Equal(t, http.StatusOK, rotated.status)
				after := s.Secrets().Current
				s.Advance(2 * time.Minute)
				s.RevokePrevious()
				s.Advance(time.Hour)

				retry := after
				if once {
					retry = before // also after the revocation of the old secret
				}
				assert.Equal(t, []string{before.Sign(d.Body), retry.Sign(d.Body), retry.Sign(d.Body)}, e.signatures(header))
				assert.True(t, s.Deliveries()[0].Delivered)

				next, err := s.Change(m.ID, nil)
				require.NoError(t, err)
				assert.Equal(t, after.Fingerprint(), next.Attempts[0].SignedWith, "later changes")
			})
		}
	}
}

func TestPausedMonitors(t *testing.T) {
	pause := func(t *testing.T, s *diffhooktest.Server, id, what string) {
		t.Helper()
		require.Equal(t, http.StatusOK, call(t, s, s.APIKey().Reveal(), "POST", "/api/monitors/"+id+"/"+what, "").status)
	}
	t.Run("deliver nothing", func(t *testing.T) {
		e := answering(204)
		s, m := delivering(t, e, diffhooktest.Settings{}, 1)
		pause(t, s, m.ID, "pause")
		_, err := s.Change(m.ID, nil)
		require.ErrorContains(t, err, "paused")
		got := call(t, s, s.APIKey().Reveal(), "POST", "/api/monitors/"+m.ID+"/trigger", "")
		assert.Equal(t, http.StatusOK, got.status)
		assert.Equal(t, "paused", got.data(t)["status"])
		s.Advance(time.Hour)
		assert.Empty(t, e.bodies)
		assert.Empty(t, s.Deliveries())

		pause(t, s, m.ID, "resume")
		s.Advance(time.Hour)
		assert.Empty(t, e.bodies, "no delivery is made up for")
		pause(t, s, m.ID, "trigger")
		s.Advance(0)
		assert.Len(t, e.bodies, 1)
	})
	t.Run("end deliveries in flight", func(t *testing.T) {
		e := answering(500)
		s, m := delivering(t, e, diffhooktest.Settings{}, 1)
		_, err := s.Change(m.ID, nil)
		require.NoError(t, err)
		pause(t, s, m.ID, "pause")
		s.Advance(time.Hour)
		assert.Len(t, e.bodies, 1)
		d := s.Deliveries()[0]
		assert.ErrorContains(t, d.Err, "paused")
		assert.True(t, d.Next.IsZero())
		assert.Len(t, call(t, s, s.APIKey().Reveal(), "GET", "/api/logs", "").items(t), 1, "no record without an attempt")
	})
	t.Run("but not after a resume in time", func(t *testing.T) {
		e := answering(500, 204)
		s, m := delivering(t, e, diffhooktest.Settings{}, 1)
		_, err := s.Change(m.ID, nil)
		require.NoError(t, err)
		pause(t, s, m.ID, "pause")
		pause(t, s, m.ID, "resume")
		s.Advance(time.Hour)
		assert.True(t, s.Deliveries()[0].Delivered)
	})
}

func TestDeletedMonitors(t *testing.T) {
	e := answering(500)
	s, m := delivering(t, e, diffhooktest.Settings{}, 1)
	_, err := s.Change(m.ID, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, call(t, s, s.APIKey().Reveal(), "DELETE", "/api/monitors/"+m.ID, "").status)
	s.Advance(time.Hour)
	assert.Len(t, e.bodies, 1)
	assert.ErrorContains(t, s.Deliveries()[0].Err, "deleted")
	logs := call(t, s, s.APIKey().Reveal(), "GET", "/api/logs", "").items(t)
	require.Len(t, logs, 1, "logs outlive the monitor")
	assert.Equal(t, m.ID, logs[0]["monitorId"])
	_, err = s.Change(m.ID, nil)
	assert.ErrorContains(t, err, m.ID)
}

// A monitor of generation 2 without a webhook delivers nothing.
func TestMonitorsWithoutWebhook(t *testing.T) {
	s := bubble(t)
	m := s.DefaultTeam().NewMonitor(diffhooktest.Monitor{Generation: 2, Email: "ops@example.com"})
	_, err := s.Change(m.ID, nil)
	require.ErrorContains(t, err, "webhook")
	assert.Equal(t, http.StatusOK, call(t, s, s.APIKey().Reveal(), "POST", "/api/monitors/"+m.ID+"/trigger", "").status)
	s.Advance(0)
	assert.Empty(t, s.Deliveries())
}

func TestLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		s, m := delivering(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch calls.Add(1) {
			case 1:
				<-time.After(1500 * time.Millisecond)
				w.WriteHeader(502)
			case 2:
				<-r.Context().Done() // longer than 10 s
			}
		}), diffhooktest.Settings{}, 1)
		_, err := s.Change(m.ID, nil)
		require.NoError(t, err)
		s.Advance(time.Hour)

		all := bearers(t, s, s.DefaultTeam())
		logs := call(t, s, all[1], "GET", "/api/logs", "").items(t)
		require.Len(t, logs, 3, "a record for each attempt")
		want := []map[string]any{
			{"attempt": 3.0, "statusCode": 200.0, "success": true, "error": "", "durationMs": 0.0},
			{"attempt": 2.0, "statusCode": 0.0, "success": false, "durationMs": 10000.0},
			{"attempt": 1.0, "statusCode": 502.0, "success": false, "error": "", "durationMs": 1500.0},
		}
		for i, log := range logs {
			if i == 1 {
				assert.Contains(t, log["error"], "deadline exceeded")
				want[i]["error"] = log["error"]
			}
			assert.Regexp(t, "^log_[a-z0-9]+$", log["id"])
			want[i]["id"], want[i]["createdAt"] = log["id"], log["createdAt"]
			want[i]["monitorId"], want[i]["event"], want[i]["url"] = m.ID, "page.changed", m.WebhookURL
			assert.Empty(t, cmp.Diff(want[i], log))
		}
		newest := call(t, s, all[2], "GET", "/api/logs?limit=1", "").items(t)
		require.Len(t, newest, 1)
		assert.Equal(t, logs[0]["id"], newest[0]["id"])
		assert.Equal(t, 200.0, newest[0]["status_code"])
		assert.Equal(t, m.ID, newest[0]["monitor_id"])
		assert.Equal(t, logs[0]["createdAt"], newest[0]["created_at"])
		assert.Contains(t, newest[0], "duration_ms")
	})
}

// During a delivery, an endpoint may call the API, simulate changes and rotate.
func TestEndpointsMayUseTheServer(t *testing.T) {
	e := answering(204)
	s, m := delivering(t, e, diffhooktest.Settings{}, 1)
	other := s.DefaultTeam().NewMonitor(diffhooktest.Monitor{WebhookURL: "https://hooks.example.com/other"})
	first := true
	e.on = func() {
		if !first {
			return
		}
		first = false
		assert.Equal(t, http.StatusOK, call(t, s, s.APIKey().Reveal(), "GET", "/api/logs", "").status)
		s.Rotate()
		_, err := s.Change(other.ID, nil)
		assert.NoError(t, err)
	}
	call(t, s, s.APIKey().Reveal(), "POST", "/api/monitors/"+m.ID+"/trigger", "")
	s.Advance(time.Minute)
	assert.Len(t, e.bodies, 2)
	for _, d := range s.Deliveries() {
		assert.True(t, d.Delivered)
	}
}

// Two changes in a second have different times.
func TestTriggeredAtTellsChangesApart(t *testing.T) {
	s, m := delivering(t, answering(204), diffhooktest.Settings{}, 2)
	seen := make(map[string]bool)
	for range 3 {
		d, err := s.Change(m.ID, nil)
		require.NoError(t, err)
		e, err := diffhook.ParseEvent(d.Body)
		require.NoError(t, err)
		assert.Equal(t, d.TriggeredAt, e.TriggeredAt)
		seen[e.DedupKey()] = true
	}
	assert.Len(t, seen, 3)
}

// Over a network, to an endpoint with a verifier.
func TestDeliveryOverHTTP(t *testing.T) {
	s := diffhooktest.NewServer(t)
	v, err := diffhook.NewVerifier(t.Context(), s.Secrets(), nil)
	require.NoError(t, err)
	var got *diffhook.Event
	hooks := httptest.NewServer(v.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, _ := diffhook.DeliveryFromContext(r.Context())
		got, _ = diffhook.ParseEvent(d.Body)
		http.Redirect(w, r, "/elsewhere", http.StatusFound) // a failure, and not followed
	})))
	defer hooks.Close()
	m := s.DefaultTeam().NewMonitor(diffhooktest.Monitor{WebhookURL: hooks.URL})
	d, err := s.Change(m.ID, nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusFound, d.Attempts[0].StatusCode)
	assert.False(t, d.Delivered)
	require.NotNil(t, got)
	assert.Equal(t, m.ID, got.MonitorID)

	hooks.Close() // nothing listens there now
	s.Advance(time.Minute)
	d = s.Deliveries()[0]
	require.Len(t, d.Attempts, 3)
	assert.Error(t, d.Attempts[2].Err)
	assert.Zero(t, d.Attempts[2].StatusCode)
}

// By default, webhooks stay on this machine.
func TestDeliveryToLoopbackOnly(t *testing.T) {
	s := bubble(t)
	for _, url := range []string{"https://hooks.example.com/", "http://192.0.2.1/", "http://localhost.example.com/"} {
		d, err := s.Change(s.DefaultTeam().NewMonitor(diffhooktest.Monitor{WebhookURL: url}).ID, nil)
		require.NoError(t, err)
		assert.ErrorContains(t, d.Attempts[0].Err, "loopback", url)
	}
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// After any failure of an endpoint or a transport, the delivery is retried.
func TestTransportsThatMisbehave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := delivering(t, nil, diffhooktest.Settings{}, 1)
		s.Configure(diffhooktest.Settings{Deliver: roundTripFunc(func(*http.Request) (*http.Response, error) { panic("boom") })})
		assert.PanicsWithValue(t, "boom", func() { _, _ = s.Change(m.ID, nil) })
		assert.PanicsWithValue(t, "boom", func() { s.Advance(10 * time.Second) })
		e := answering(204)
		s.Configure(diffhooktest.Settings{Deliver: diffhooktest.Transport(e)})
		s.Advance(time.Minute)
		d := s.Deliveries()[0]
		assert.True(t, d.Delivered)
		require.Len(t, d.Attempts, 3)
		assert.ErrorContains(t, d.Attempts[1].Err, "goroutine")
	})
	synctest.Test(t, func(t *testing.T) {
		s, m := delivering(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") }), diffhooktest.Settings{}, 1)
		d, err := s.Change(m.ID, nil)
		require.NoError(t, err)
		assert.ErrorContains(t, d.Attempts[0].Err, "boom")
		s.Advance(time.Minute)
		assert.Len(t, s.Deliveries()[0].Attempts, 3)
	})
}
