//go:build !race

package diffhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// Not under the race detector: there sync.Pool drops items at random.

// TestMatchAllocatesNothing: an accepted delivery makes no garbage.
func TestMatchAllocatesNothing(t *testing.T) {
	body := readVectorBody(t, "bodies/gen1.json")
	current, previous := mustSecret(t, currentText), mustSecret(t, previousText)
	one := newVerifier(t, diffhook.Secrets{Current: current}, nil)
	window := newVerifier(t, diffhook.Secrets{
		Current: current, Previous: previous, PreviousExpires: time.Now().Add(time.Hour),
	}, nil)
	ctx := t.Context()

	verify := func(v *diffhook.Verifier, s diffhook.Secret) func() error {
		signature := s.Sign(body)
		return func() error { return v.Verify(ctx, body, signature) }
	}
	verifyHeader := func(v *diffhook.Verifier, name string) func() error {
		header := http.Header{"Content-Type": {"application/json"}, name: {current.Sign(body)}}
		return func() error { return v.VerifyHeader(ctx, body, header) }
	}
	for name, verify := range map[string]func() error{
		"a single secret":          verify(one, current),
		"in a window, by current":  verify(window, current),
		"in a window, by previous": verify(window, previous),
		"header of generation 1":   verifyHeader(one, gen1Canonical),
		"header of generation 2":   verifyHeader(one, gen2Header),
		"header in lower case":     verifyHeader(window, "x-diffhook-signature"),
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, verify())
			require.Zero(t, testing.AllocsPerRun(1000, func() { _ = verify() }))
		})
	}
}

// TestHoldAllocatesNothingForOthers: deliveries accepted during a hold, or rejected
// outside a hold, cost the same as in a verifier that cannot hold.
func TestHoldAllocatesNothingForOthers(t *testing.T) {
	body := readVectorBody(t, "bodies/gen1.json")
	genuine, forged := mustSecret(t, currentText), mustSecret(t, previousText)
	allocs := func(hold bool, signer diffhook.Secret, handler func(*diffhook.Verifier) http.Handler) float64 {
		v := newVerifier(t, diffhook.Secrets{Current: genuine}, &diffhook.VerifierOptions{
			HandleHeld: func(context.Context, *diffhook.Delivery) error { return nil },
		})
		h := handler(v)
		if hold {
			require.NoError(t, v.Hold(time.Minute))
			defer func() { require.NoError(t, v.Hold(0)) }()
		}
		r := signedRequest(nil, signer.Sign(body))
		r.ContentLength = int64(len(body))
		reader := bytes.NewReader(body)
		return testing.AllocsPerRun(200, func() {
			reader.Reset(body)
			r.Body = io.NopCloser(reader)
			h.ServeHTTP(httptest.NewRecorder(), r)
		})
	}
	for name, handler := range map[string]func(*diffhook.Verifier) http.Handler{
		"Handler":      func(v *diffhook.Verifier) http.Handler { return v.Handler(http.NotFoundHandler()) },
		"EventHandler": func(v *diffhook.Verifier) http.Handler { return v.EventHandler(ignoreEvent) },
	} {
		t.Run(name, func(t *testing.T) {
			plain := func(*diffhook.Verifier) http.Handler {
				v := newVerifier(t, diffhook.Secrets{Current: genuine}, nil) // cannot hold, or not by Handler
				return handler(v)
			}
			require.Equal(t, allocs(false, genuine, plain), allocs(true, genuine, handler), "accepted")
			require.Equal(t, allocs(false, forged, plain), allocs(false, forged, handler), "rejected")
		})
	}
}

func ignoreEvent(context.Context, *diffhook.Event) error { return nil }

// TestDecodingAllocatesTextsOnly: a response is decoded once, into place.
func TestDecodingAllocatesTextsOnly(t *testing.T) {
	var envelope struct{ Data json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(monitorJSON), &envelope))
	const texts = 6 // none of them a time
	var m diffhook.Monitor
	assert.EqualValues(t, texts, testing.AllocsPerRun(100, func() { _ = m.UnmarshalJSON(envelope.Data) }))
	require.NotZero(t, m.UpdatedAt)
}

// TestCallAllocatesAsByHand: a call with trace and decoding allocates hardly more than
// the same request written by hand. Neither uses a socket.
func TestCallAllocatesAsByHand(t *testing.T) {
	transport := roundTripper(func(*http.Request) (*http.Response, error) { return replyJSON(http.StatusOK, monitorJSON), nil })
	client := newTransportClient(t, transport, nil)
	byHand := testing.AllocsPerRun(100, func() {
		_, _ = getByHand(t.Context(), &http.Client{Transport: transport}, "http://127.0.0.1:1", testKeyText, "mon_abc123")
	})
	called := testing.AllocsPerRun(100, func() { _, _ = client.Monitors.Get(t.Context(), "mon_abc123") })
	assert.LessOrEqual(t, called, byHand+5)
}

// Not under the race detector, which uses memory itself.

// memoryHeld returns the memory in use: the heap, and the stacks of goroutines.
func memoryHeld() int64 {
	runtime.GC()
	runtime.GC()
	runtime.GC() // frees the garbage of pools and other tests
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// Threat: forgeries of any size during a hold. They fill the hold and no more, and
// deliveries signed by secrets in force are accepted throughout. Pending deliveries and
// their goroutines take no more memory either.
func TestFloodFillsAHoldAndNoMore(t *testing.T) {
	const bound = 16 << 20
	for _, size := range []int{100, 4<<10 + 1, 40<<10 + 1, 1300 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			release := make(chan struct{})
			v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, &diffhook.VerifierOptions{
				MaxHeldBytes: bound,
				HandleHeld:   func(context.Context, *diffhook.Delivery) error { <-release; return nil },
			})
			require.NoError(t, v.Hold(time.Hour))
			body := make([]byte, size)
			forged, genuine := letter(t, "B").Sign(body), letter(t, "A").Sign(body)
			before := memoryHeld()
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 2 * bound / (size + 4<<10) / 4 {
						_, err := v.VerifyRequest(signedRequest(body, forged))
						assert.Contains(t, []int{http.StatusAccepted, http.StatusServiceUnavailable}, diffhook.HTTPStatus(err))
						_, err = v.VerifyRequest(signedRequest(body, genuine))
						assert.NoError(t, err)
					}
				})
			}
			wg.Wait()
			held := memoryHeld() - before
			status := v.Status().Hold
			t.Logf("%d forgeries of %d bytes held in %.1f MiB, %d rejected", status.Held, size, float64(held)/(1<<20), status.Full)
			require.NotZero(t, status.Full, "the forgeries are a flood")
			require.Less(t, held, int64(bound))

			require.NoError(t, v.Rotate(letter(t, "B"), 0)) // the forgeries become genuine
			pending := memoryHeld() - before
			t.Logf("pending they take %.1f MiB", float64(pending)/(1<<20))
			require.Less(t, pending, int64(bound)+2<<20, "2 MiB for stacks still in use by other tests")
			close(release)
			require.NoError(t, v.Drain(t.Context()))
			require.NoError(t, v.Hold(0))
			require.EqualValues(t, status.Held, v.Status().Hold.Handled)
		})
	}
}
