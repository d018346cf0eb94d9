package diffhook_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

func TestLogs(t *testing.T) {
	inBothGenerations(t, func(t *testing.T, generation int, s *diffhooktest.Server, c *diffhook.Client) {
		answers := []int{http.StatusNoContent, http.StatusInternalServerError} // in reverse order
		s.Configure(diffhooktest.Settings{OnExchange: recorder(t), Deliver: diffhooktest.Transport(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(answers[len(answers)-1])
			answers = answers[:len(answers)-1]
		}))})
		m := s.DefaultTeam().NewMonitor(diffhooktest.Monitor{Generation: generation, WebhookURL: "https://hooks.example.org/d"})
		began := s.Now()
		_, err := s.Change(m.ID, nil)
		require.NoError(t, err)
		s.Advance(2 * time.Minute)

		logs, err := c.Logs.List(t.Context(), nil)
		require.NoError(t, err)
		requireLastRequest(t, s, "GET /api/logs?limit=200", "")
		require.Len(t, logs, 2)
		for i, want := range []diffhook.Log{ // newest first
			{Attempt: 2, StatusCode: http.StatusNoContent, Success: true},
			{Attempt: 1, StatusCode: http.StatusInternalServerError},
		} {
			got := logs[i]
			want.MonitorID, want.Event, want.URL = m.ID, "page.changed", "https://hooks.example.org/d"
			assert.NotEmpty(t, got.ID)
			assert.WithinRange(t, got.CreatedAt, began.Truncate(time.Second), s.Now())
			assert.Equal(t, time.UTC, got.CreatedAt.Location())
			var raw map[string]any
			require.NoError(t, json.Unmarshal(got.Raw, &raw))
			assert.Equal(t, got.ID, raw["id"])
			want.ID, want.CreatedAt, want.Duration, want.Raw = got.ID, got.CreatedAt, got.Duration, got.Raw
			assert.Empty(t, cmp.Diff(want, got))
		}
		assert.True(t, logs[0].CreatedAt.After(logs[1].CreatedAt))

		theirs, err := teamClient(s.NewTeam(diffhooktest.Plan{}), generation, nil).Logs.List(t.Context(), nil)
		require.NoError(t, err)
		assert.Empty(t, theirs)
	})
}

func TestLogDecoding(t *testing.T) {
	whole := diffhook.Log{
		ID: "log_1", MonitorID: "mon_1", Event: "page.changed", URL: "https://hooks.example.org/d", Attempt: 2, StatusCode: 503,
		Success: false, Error: "timeout", Duration: 1500 * time.Millisecond, CreatedAt: time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC),
	}
	const begin = `{"id":"log_1","event":"page.changed","url":"https://hooks.example.org/d","attempt":2,"success":false,"error":"timeout",`
	for _, c := range []struct {
		name, text string
		want       diffhook.Log
	}{
		{"camelCase", begin + `"monitorId":"mon_1","statusCode":503,"durationMs":1500,"createdAt":"2026-03-16T14:22:00Z"}`, whole},
		{"snake_case", begin + `"monitor_id":"mon_1","status_code":503,"duration_ms":1500,"created_at":"2026-03-16T09:22:00-05:00"}`, whole},
		{"both", begin + `"monitorId":"mon_1","monitor_id":"mon_1","statusCode":503,"status_code":503,"durationMs":null,"duration_ms":1500,"createdAt":"2026-03-16T14:22:00Z","created_at":null}`, whole},
		{
			"null", `{"id":"log_1","monitorId":null,"event":null,"url":null,"attempt":null,"status_code":null,"success":null,"error":null,"durationMs":null,"createdAt":null}`,
			diffhook.Log{ID: "log_1"},
		},
		{"missing", `{"id":"log_1"}`, diffhook.Log{ID: "log_1"}},
		{"extra fields", `{"id":"log_1","response_body":"x","headers":{"a":["b"]}}`, diffhook.Log{ID: "log_1"}},
		{"fractions of a millisecond", `{"id":"log_1","duration_ms":0.25}`, diffhook.Log{ID: "log_1", Duration: 250 * time.Microsecond}},
		{"negative duration", `{"id":"log_1","durationMs":-1}`, diffhook.Log{ID: "log_1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := []byte(c.text)
			got := diffhook.Log{Error: "left over"}
			require.NoError(t, json.Unmarshal(text, &got))
			c.want.Raw = json.RawMessage(c.text)
			clear(text) // Raw is a copy
			assert.Empty(t, cmp.Diff(c.want, got))
			assert.Equal(t, time.UTC, got.CreatedAt.Location())
		})
	}
}
