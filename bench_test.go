package diffhook_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

const (
	benchCurrent  = "test-signing-secret-current-0001"
	benchPrevious = "test-signing-secret-previous-0001"
)

// byHand is the verifier as commonly written by hand.
func byHand(secret, body []byte, signature string) bool {
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	want := hex.EncodeToString(mac.Sum(nil))
	return hmac.Equal([]byte(want), []byte(strings.TrimPrefix(signature, "sha256=")))
}

func benchSecret(b *testing.B, text string) diffhook.Secret {
	b.Helper()
	s, err := diffhook.NewSecret(text)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func benchVerifier(b *testing.B, window bool) *diffhook.Verifier {
	b.Helper()
	set := diffhook.Secrets{Current: benchSecret(b, benchCurrent)}
	if window {
		set.Previous = benchSecret(b, benchPrevious)
		set.PreviousExpires = time.Now().Add(time.Hour)
	}
	v, err := diffhook.NewVerifier(b.Context(), set, nil)
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// BenchmarkVerify compares the verifier with the floor, a single hash of the body, and
// with the verifier written by hand.
func BenchmarkVerify(b *testing.B) {
	for _, size := range []int{512, 4 << 10, 64 << 10, 1 << 20} {
		body := bytes.Repeat([]byte("x"), size)
		signature := benchSecret(b, benchCurrent).Sign(body)
		name := "size=" + strconv.Itoa(size)
		run := func(what string, f func()) {
			b.Run(what+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					f()
				}
			})
		}
		verify := func(v *diffhook.Verifier) func() {
			ctx := context.Background()
			return func() {
				if err := v.Verify(ctx, body, signature); err != nil {
					b.Fatal(err)
				}
			}
		}
		run("floor", func() { sha256.Sum256(body) })
		run("byhand", func() {
			if !byHand([]byte(benchCurrent), body, signature) {
				b.Fatal("rejected")
			}
		})
		run("verify", verify(benchVerifier(b, false)))
		run("window", verify(benchVerifier(b, true)))
	}
}

// BenchmarkVerifyParallel shows how verification scales: run it with -cpu 1,2. The
// floor is the HMAC alone, with a state for each goroutine.
func BenchmarkVerifyParallel(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 512)
	signature := benchSecret(b, benchCurrent).Sign(body)
	b.Run("floor", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			mac := hmac.New(sha256.New, []byte(benchCurrent))
			var sum [sha256.Size]byte
			for pb.Next() {
				mac.Reset()
				mac.Write(body)
				mac.Sum(sum[:0])
			}
		})
	})
	b.Run("verify", func(b *testing.B) {
		v := benchVerifier(b, false)
		b.RunParallel(func(pb *testing.PB) {
			ctx := context.Background()
			for pb.Next() {
				if err := v.Verify(ctx, body, signature); err != nil {
					b.Error(err)
				}
			}
		})
		if uses := v.Status().Current.Uses; uses < uint64(b.N) {
			b.Errorf("%d uses were counted, want %d", uses, b.N)
		}
	})
}

// byHandMiddleware reads, verifies and restores a body as commonly written by hand.
func byHandMiddleware(secret []byte, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, diffhook.DefaultMaxBodyBytes))
		if err != nil {
			http.Error(w, "body", http.StatusBadRequest)
			return
		}
		if !byHand(secret, body, r.Header.Get(diffhook.SignatureHeader)) {
			http.Error(w, "signature", http.StatusUnauthorized)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

// BenchmarkHandler compares the middleware with byHandMiddleware.
func BenchmarkHandler(b *testing.B) {
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	})
	for _, size := range []int{2 << 10, 256 << 10} {
		body := bytes.Repeat([]byte("x"), size)
		signature := benchSecret(b, benchCurrent).Sign(body)
		run := func(what string, h http.Handler) {
			b.Run(what+"/size="+strconv.Itoa(size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				request := httptest.NewRequest(http.MethodPost, "/", nil)
				request.Header.Set(diffhook.SignatureHeader, signature)
				request.ContentLength = int64(size)
				reader := bytes.NewReader(nil)
				payload := io.NopCloser(reader)
				w := discardResponse{header: http.Header{}}
				for b.Loop() {
					reader.Reset(body)
					request.Body = payload
					h.ServeHTTP(w, request)
				}
			})
		}
		run("byhand", byHandMiddleware([]byte(benchCurrent), next))
		run("handler", benchVerifier(b, false).Handler(next))
	}
}

// discardResponse costs nothing, so that the benchmark shows the middleware's own work.
type discardResponse struct{ header http.Header }

func (w discardResponse) Header() http.Header             { return w.header }
func (discardResponse) Write(p []byte) (int, error)       { return len(p), nil }
func (discardResponse) WriteHeader(int)                   {}
func (discardResponse) SetReadDeadline(t time.Time) error { return nil }

// BenchmarkParseEvent reads an ordinary event, with a long text and without.
func BenchmarkParseEvent(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		body := []byte(`{"event":"page.changed","monitor_id":"mon_abc123","url":"https://example.com/","triggered_at":"2026-03-16T14:22:00Z",` +
			`"interval_minutes":15,"diff":{"summary":"s","added":["a"],"removed":["b"],"full_text_after":"` + strings.Repeat("x", size) + `"}}`)
		b.Run("size="+strconv.Itoa(size), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := diffhook.ParseEvent(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// monitorJSON is a monitor in the form of generation 1.
const monitorJSON = `{"data": {"id": "mon_abc123", "status": "active", "url": "https://example.com/pricing", "label": "Pricing page",
	"webhookUrl": "https://hooks.example.com/diffhook", "intervalMinutes": 15, "cssSelector": "main .price", "jsRendering": true,
	"createdAt": "2026-03-16T14:22:00Z", "updatedAt": "2026-03-17T09:00:00Z"}}`

// plainMonitor is the struct of a decoder written by hand.
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

// getByHand gets a monitor without the library: with a timeout, a check of the status,
// and the body read to the end.
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

// BenchmarkGetMonitor compares the client with getByHand, on the same server.
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
