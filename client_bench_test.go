package diffhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// monitorJSON is a monitor as generation 1 shows it.
const monitorJSON = `{"data": {"id": "mon_abc123", "status": "active", "url": "https://example.com/pricing", "label": "Pricing page",
	"webhookUrl": "https://hooks.example.com/diffhook", "intervalMinutes": 15, "cssSelector": "main .price", "jsRendering": true,
	"createdAt": "2026-03-16T14:22:00Z", "updatedAt": "2026-03-17T09:00:00Z"}}`

// plainMonitor is what one decodes a monitor into by hand.
type plainMonitor struct {
	ID              string    `json:"id"`
	Status          string    `json:"status"`
	URL             string    `json:"url"`
	Label           string    `json:"label"`
	WebhookURL      string    `json:"webhookUrl"`
	IntervalMinutes int       `json:"intervalMinutes"`
	CSSSelector     string    `json:"cssSelector"`
	JSRendering     bool      `json:"jsRendering"`
	CreatedAt       time.Time `json:"createdAt"`
	UpdatedAt       time.Time `json:"updatedAt"`
}

// getByHand is a GET of a monitor as one writes it without the library: with a
// timeout, the status looked at and the body read whole.
func getByHand(ctx context.Context, client *http.Client, base, token, id string) (m plainMonitor, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/monitors/"+url.PathEscape(id), nil)
	if err != nil {
		return m, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("User-Agent", "by-hand/1.0")
	resp, err := client.Do(r)
	if err != nil {
		return m, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return m, err
	}
	if resp.StatusCode != http.StatusOK {
		return m, fmt.Errorf("status %d", resp.StatusCode)
	}
	var answer struct{ Data plainMonitor }
	err = json.Unmarshal(body, &answer)
	return answer.Data, err
}

// BenchmarkGetMonitor compares the client with the same request by hand, to the
// same server.
func BenchmarkGetMonitor(b *testing.B) {
	server := serve(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, monitorJSON)
	}), nil)
	byHand := &http.Client{Transport: ownTransport(b)}
	c := newClient(b, server, &diffhook.ClientOptions{HTTPClient: &http.Client{Transport: ownTransport(b)}})

	want, err := getByHand(b.Context(), byHand, server.URL, testKeyText, "mon_abc123")
	require.NoError(b, err)
	got, err := c.Monitors.Get(b.Context(), "mon_abc123")
	require.NoError(b, err)
	require.Empty(b, cmp.Diff(diffhook.Monitor{
		ID: want.ID, Status: want.Status, URL: want.URL, Label: want.Label, WebhookURL: want.WebhookURL, IntervalMinutes: want.IntervalMinutes,
		CSSSelector: want.CSSSelector, JSRendering: want.JSRendering, CreatedAt: want.CreatedAt, UpdatedAt: want.UpdatedAt,
	}, got))

	b.Run("by hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := getByHand(b.Context(), byHand, server.URL, testKeyText, "mon_abc123"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("client", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Monitors.Get(b.Context(), "mon_abc123"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
