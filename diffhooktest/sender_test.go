package diffhooktest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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

// status is a handler with a fixed status.
func status(code int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
}

// waits returns the times from the end of an attempt to the next attempt.
func waits(r diffhooktest.Result) (between []time.Duration) {
	for i := 1; i < len(r.Attempts); i++ {
		before := r.Attempts[i-1]
		between = append(between, r.Attempts[i].Began.Sub(before.Began.Add(before.Took)))
	}
	return between
}

func TestSenderSchedules(t *testing.T) {
	gen2 := []time.Duration{}
	for d := time.Minute; d <= 512*time.Minute; d *= 2 {
		gen2 = append(gen2, d)
	}
	tests := []struct {
		name string
		opts *diffhooktest.SenderOptions
		want []time.Duration
	}{
		{"generation 1 by default", nil, []time.Duration{5 * time.Second, 30 * time.Second}},
		{"generation 1", &diffhooktest.SenderOptions{Generation: 1}, []time.Duration{5 * time.Second, 30 * time.Second}},
		{"generation 2, 1,023 minutes", &diffhooktest.SenderOptions{Generation: 2}, gen2},
		{"own", &diffhooktest.SenderOptions{Retries: []time.Duration{time.Hour}}, []time.Duration{time.Hour}},
		{"none", &diffhooktest.SenderOptions{Retries: []time.Duration{}}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := diffhooktest.NewSender(diffhooktest.NewSecret(), test.opts)
				result := s.SendTo(t.Context(), status(500), diffhooktest.PageChanged())
				assert.False(t, result.Delivered)
				assert.NoError(t, result.Err)
				assert.Empty(t, cmp.Diff(test.want, waits(result)))
				for _, attempt := range result.Attempts {
					assert.Equal(t, 500, attempt.StatusCode)
				}
			})
		})
	}
}

// Generation 2 retries at full minutes, so a slow response moves the retry to the
// next full minute.
func TestSenderPicksUpAtFullMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-time.After(3 * time.Second)
			w.WriteHeader(http.StatusBadGateway)
		})
		s := diffhooktest.NewSender(diffhooktest.NewSecret(), &diffhooktest.SenderOptions{Generation: 2})
		result := s.SendTo(t.Context(), slow, nil)
		require.Len(t, result.Attempts, 11)
		for _, attempt := range result.Attempts {
			assert.Zero(t, attempt.Began.Second())
			assert.Equal(t, 3*time.Second, attempt.Took)
		}
	})
}

func TestSenderSucceedsOnAnyAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1) < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
			} // else 200: the handler writes nothing
		})
		result := diffhooktest.NewSender(diffhooktest.NewSecret(), nil).SendTo(t.Context(), h, nil)
		assert.True(t, result.Delivered)
		require.Len(t, result.Attempts, 3)
		assert.True(t, result.Attempts[2].Succeeded())
	})
}

func TestSenderFailures(t *testing.T) {
	tests := []struct {
		name   string
		h      http.HandlerFunc
		status int
		err    string // part of the attempt's error; empty: no error
	}{
		{"a redirect fails and is not followed", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, 307, ""},
		{"a response after 10 s", func(w http.ResponseWriter, r *http.Request) {
			<-time.After(diffhook.DeliveryTimeout + time.Millisecond)
		}, 0, "time"},
		{"a handler that waits for its context", func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		}, 0, "time"},
		{"a panic", func(http.ResponseWriter, *http.Request) { panic("boom") }, 0, "boom"},
		{"a body shorter than its length", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			fmt.Fprint(w, "12345")
		}, 0, "Content-Length"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := diffhooktest.NewSender(diffhooktest.NewSecret(), &diffhooktest.SenderOptions{Retries: []time.Duration{}})
				result := s.SendTo(t.Context(), test.h, nil)
				assert.False(t, result.Delivered)
				require.Len(t, result.Attempts, 1)
				assert.Equal(t, test.status, result.Attempts[0].StatusCode)
				if test.err == "" {
					assert.NoError(t, result.Attempts[0].Err)
				} else {
					assert.ErrorContains(t, result.Attempts[0].Err, test.err)
				}
				assert.LessOrEqual(t, result.Attempts[0].Took, diffhook.DeliveryTimeout)
				<-time.After(time.Second) // the slow handler returns in the bubble
			})
		})
	}
}

func TestSenderEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		result := diffhooktest.NewSender(diffhooktest.NewSecret(), nil).SendTo(ctx, status(500), nil)
		assert.ErrorIs(t, result.Err, context.DeadlineExceeded)
		assert.Len(t, result.Attempts, 2, "at once, and after 5 s")
	})
}

// The secret is rotated between two attempts. The documentation leaves open which
// secret signs the retry.
func TestSenderSignsAnewOrOnce(t *testing.T) {
	for _, once := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			before, after := diffhooktest.NewSecret(), diffhooktest.NewSecret()
			s := diffhooktest.NewSender(before, &diffhooktest.SenderOptions{SignOnce: once})
			body := diffhooktest.PageChanged()
			var seen []string
			result := s.SendTo(t.Context(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen = append(seen, r.Header.Get(diffhook.SignatureHeader))
				s.Rotate(after)
				if len(seen) == 1 {
					w.WriteHeader(http.StatusInternalServerError)
				}
			}), body)
			require.True(t, result.Delivered)
			second := after
			if once {
				second = before
			}
			assert.Equal(t, []string{before.Sign(body), second.Sign(body)}, seen)
			assert.Equal(t, before.Fingerprint(), result.Attempts[0].SignedWith)
			assert.Equal(t, second.Fingerprint(), result.Attempts[1].SignedWith)
			assert.True(t, s.Secret().Equal(after))
		})
	}
}

func TestSenderOverHTTP(t *testing.T) {
	secret := diffhooktest.NewSecret()
	for generation, name := range map[int]string{1: diffhook.SignatureHeader, 2: diffhook.SignatureHeaderGen2} {
		body := diffhooktest.PageChangedGen2()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got, err := io.ReadAll(r.Body)
			if err != nil || string(got) != string(body) || r.Method != http.MethodPost ||
				r.Header.Get(name) != secret.Sign(body) || r.Header.Get("Content-Type") != "application/json" {
				http.Error(w, "not as documented", http.StatusBadRequest)
			}
		}))
		s := diffhooktest.NewSender(secret, &diffhooktest.SenderOptions{Generation: generation, HTTPClient: server.Client()})
		result := s.Send(t.Context(), server.URL, body)
		assert.True(t, result.Delivered, "%+v", result)
		server.Close()

		s = diffhooktest.NewSender(secret, &diffhooktest.SenderOptions{Retries: []time.Duration{time.Microsecond}})
		result = s.Send(t.Context(), server.URL, body) // nothing listens there now
		assert.False(t, result.Delivered)
		require.Len(t, result.Attempts, 2)
		assert.Error(t, result.Attempts[1].Err)
		assert.Zero(t, result.Attempts[1].StatusCode)
	}
}

func TestSenderDoesNotFollowRedirects(t *testing.T) {
	var followed atomic.Bool
	mux := http.NewServeMux()
	mux.Handle("/here", http.RedirectHandler("/there", http.StatusPermanentRedirect))
	mux.HandleFunc("/there", func(http.ResponseWriter, *http.Request) { followed.Store(true) })
	server := httptest.NewServer(mux)
	defer server.Close()
	client := server.Client()
	s := diffhooktest.NewSender(diffhooktest.NewSecret(), &diffhooktest.SenderOptions{Retries: []time.Duration{}, HTTPClient: client})
	result := s.Send(t.Context(), server.URL+"/here", nil)
	assert.False(t, result.Delivered)
	assert.Equal(t, http.StatusPermanentRedirect, result.Attempts[0].StatusCode)
	assert.False(t, followed.Load())
	assert.Nil(t, client.CheckRedirect, "the caller's client is unchanged")
}

func TestNewSenderRejectsUnknownGeneration(t *testing.T) {
	assert.Panics(t, func() {
		diffhooktest.NewSender(diffhooktest.NewSecret(), &diffhooktest.SenderOptions{Generation: 3})
	})
}

func TestSendReportsBadURL(t *testing.T) {
	s := diffhooktest.NewSender(diffhooktest.NewSecret(), &diffhooktest.SenderOptions{Retries: []time.Duration{}})
	result := s.Send(t.Context(), "://", nil)
	assert.False(t, result.Delivered)
	assert.Error(t, result.Attempts[0].Err)
}

func TestNewRequest(t *testing.T) {
	secret, body := diffhooktest.NewSecret(), diffhooktest.PageChanged()
	v, err := diffhook.NewVerifier(t.Context(), diffhook.Secrets{Current: secret}, nil)
	require.NoError(t, err)
	tests := []struct {
		name string
		r    *http.Request
		want error
	}{
		{"signed", diffhooktest.NewRequest("/hook", secret, body), nil},
		{"forged", diffhooktest.NewRequest("/hook", diffhooktest.NewSecret(), body), diffhook.ErrSignatureMismatch},
		{"unsigned", diffhooktest.NewRequest("/hook", diffhook.Secret{}, body), diffhook.ErrNoSignature},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d, err := v.VerifyRequest(test.r)
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if test.want == nil {
				assert.Equal(t, body, d.Body)
				assert.Equal(t, http.MethodPost, test.r.Method)
				assert.Equal(t, "/hook", test.r.URL.Path)
			}
		})
	}
}

func TestPayloadsAreDocumentedEvents(t *testing.T) {
	for name, body := range map[string][]byte{"generation 1": diffhooktest.PageChanged(), "generation 2": diffhooktest.PageChangedGen2()} {
		e, err := diffhook.ParseEvent(body)
		require.NoError(t, err, name)
		assert.Equal(t, "page.changed", e.Type)
		assert.Equal(t, "mon_abc123@2026-03-16T14:22:00Z", e.DedupKey())
		assert.NotEqual(t, e.Diff == nil, e.Content == "", "generation 1 with a diff, generation 2 with the content")
	}
	changed := diffhooktest.PageChanged()
	changed[0] = 'x'
	assert.NotEqual(t, changed, diffhooktest.PageChanged(), "each call returns new bytes")
}

func TestNewSecretIsRandom(t *testing.T) {
	assert.False(t, diffhooktest.NewSecret().Equal(diffhooktest.NewSecret()))
}
