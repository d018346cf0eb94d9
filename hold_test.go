package diffhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// holdTest is a verifier whose source answers A, with a HandleHeld that records.
type holdTest struct {
	*testing.T
	source *settableSource
	v      *diffhook.Verifier
	logs   logged

	mu      sync.Mutex
	seen    []diffhook.Observation
	handled []string                    // bodies of the calls of HandleHeld
	do      func(context.Context) error // called by HandleHeld
}

func newHoldTest(t *testing.T, opts diffhook.VerifierOptions) *holdTest {
	h := &holdTest{T: t, source: &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}}
	opts.Logger = h.logs.logger()
	opts.HandleHeld = func(ctx context.Context, d *diffhook.Delivery) error {
		h.record(string(d.Body))
		if h.do != nil {
			return h.do(ctx)
		}
		return nil
	}
	opts.Observe = func(_ context.Context, o diffhook.Observation) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.seen = append(h.seen, o)
	}
	h.v = newVerifier(t, h.source, &opts)
	return h
}

func (h *holdTest) record(body string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.handled = append(h.handled, body)
}

// request is a delivery of body, signed by the named secret.
func (h *holdTest) request(name, body string) *http.Request {
	return signedRequest([]byte(body), letter(h, name).Sign([]byte(body)))
}

// deliver sends such a request to Handler and returns the status.
func (h *holdTest) deliver(name, body string) int {
	w := httptest.NewRecorder()
	h.v.Handler(alive).ServeHTTP(w, h.request(name, body))
	return w.Code
}

// learn makes the source answer the named secret, and waits for the effects.
func (h *holdTest) learn(name string) {
	h.source.set(diffhook.Secrets{Current: letter(h, name)}, nil)
	require.NoError(h, h.v.Refresh(h.Context()))
	synctest.Wait()
}

func (h *holdTest) bodies() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(slices.Values(h.handled))
}

func (h *holdTest) results() (results []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.seen {
		results = append(results, string(o.Result))
	}
	return results
}

// messages returns the texts of the log lines.
func (h *holdTest) messages() (texts []string) {
	for _, line := range h.logs.lines() {
		texts = append(texts, line["msg"].(string))
	}
	return texts
}

// requireHold requires the counts of the hold in the status.
func (h *holdTest) requireHold(want diffhook.HoldStatus) {
	h.Helper()
	want.CanHold = true
	require.Empty(h, cmp.Diff(want, h.v.Status().Hold, cmpopts.IgnoreFields(want, "Until")))
}

// A delivery signed by an unknown secret is answered 202. It is handled once the secret
// is in force, whichever method received the delivery.
func TestHoldHandlesWhenTheSecretIsKnown(t *testing.T) {
	for name, deliver := range map[string]func(h *holdTest, r *http.Request) int{
		"Handler": func(h *holdTest, r *http.Request) int {
			w := httptest.NewRecorder()
			h.v.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				assert.Fail(h, "passed on")
			})).ServeHTTP(w, r)
			assert.Equal(h, http.Header{"Cache-Control": {"no-store"}}, w.Header())
			assert.Empty(h, w.Body.String())
			return w.Code
		},
		"EventHandler": func(h *holdTest, r *http.Request) int {
			w := httptest.NewRecorder()
			h.v.EventHandler(func(_ context.Context, e *diffhook.Event) error {
				h.record("event " + string(e.Raw))
				return nil
			}).ServeHTTP(w, r)
			return w.Code
		},
		"VerifyRequest": func(h *holdTest, r *http.Request) int {
			d, err := h.v.VerifyRequest(r)
			assert.ErrorIs(h, err, diffhook.ErrHeld)
			assert.Nil(h, d)
			body, readErr := io.ReadAll(r.Body)
			assert.NoError(h, readErr)
			assert.Equal(h, eventBody, string(body), "the body is whole again")
			clear(body)
			return diffhook.HTTPStatus(err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHoldTest(t, diffhook.VerifierOptions{})
				require.NoError(t, h.v.Hold(10*time.Minute))
				require.Equal(t, http.StatusAccepted, deliver(h, h.request("B", eventBody)))
				h.requireHold(diffhook.HoldStatus{Held: 1})
				require.Equal(t, time.Now().Add(10*time.Minute).UTC(), h.v.Status().Hold.Until)
				pause(time.Minute)
				require.Empty(t, h.bodies())

				h.learn("B")
				want := eventBody
				if name == "EventHandler" {
					want = "event " + eventBody
				}
				require.Equal(t, []string{want}, h.bodies())
				h.requireHold(diffhook.HoldStatus{Handled: 1})
				require.EqualValues(t, 1, h.v.Status().Current.Uses)
				require.Equal(t, []string{"held", "accepted"}, h.results())
				require.ErrorIs(t, h.seen[0].Err, diffhook.ErrHeld)
				require.Empty(t, cmp.Diff(diffhook.Observation{Result: "accepted", BodyBytes: len(eventBody), Duration: time.Minute}, h.seen[1]))
				require.Equal(t, []string{
					"diffhook: deliveries that no known secret signed are held",
					"diffhook: signing secrets changed",
				}, h.messages(), "no rejection")
			})
		})
	}
}

// However the secret comes into force, the hold learns of it.
func TestHoldLearnsFromEverything(t *testing.T) {
	for name, learn := range map[string]func(h *holdTest){
		"Refresh": func(h *holdTest) { h.learn("B") },
		"Rotate":  func(h *holdTest) { require.NoError(h, h.v.Rotate(letter(h, "B"), time.Hour)) },
		"AcceptSuccessor": func(h *holdTest) {
			require.NoError(h, h.v.AcceptSuccessor(seal(h, "A", "B")))
		},
		"another delivery": func(h *holdTest) {
			h.source.set(diffhook.Secrets{Current: letter(h, "B")}, nil)
			require.Equal(h, http.StatusOK, h.deliver("B", "another"))
		},
		"as previous": func(h *holdTest) {
			h.source.set(diffhook.Secrets{Current: letter(h, "C"), Previous: letter(h, "B")}, nil)
			require.NoError(h, h.v.Refresh(h.Context()))
			synctest.Wait()
			require.True(h, h.seen[len(h.seen)-1].SignedByPrevious)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHoldTest(t, diffhook.VerifierOptions{})
				require.NoError(t, h.v.Hold(time.Minute))
				require.Equal(t, http.StatusAccepted, h.deliver("B", "body"))
				learn(h)
				synctest.Wait()
				require.Equal(t, []string{"body"}, h.bodies())
			})
		})
	}
}

// Only generation 1 is held: a 202 would end the 17 h of retries of generation 2 for a
// place in memory. A missing or malformed signature is not held either.
func TestHoldIsForGeneration1(t *testing.T) {
	signature := letter(t, "B").Sign([]byte("body"))
	for _, test := range []struct {
		name   string
		header http.Header
		want   int
	}{
		{"generation 1", http.Header{diffhook.SignatureHeader: {signature}}, 202},
		{"in lower case", http.Header{strings.ToLower(diffhook.SignatureHeader): {signature}}, 202},
		{"generation 2", http.Header{diffhook.SignatureHeaderGen2: {signature}}, 401},
		{"generation 2, and a blank header of generation 1", http.Header{diffhook.SignatureHeader: {" "}, diffhook.SignatureHeaderGen2: {signature}}, 401},
		{"malformed", http.Header{diffhook.SignatureHeader: {signature[1:]}}, 401},
		{"none", http.Header{}, 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHoldTest(t, diffhook.VerifierOptions{})
				require.NoError(t, h.v.Hold(time.Minute))
				r := h.request("B", "body")
				r.Header = test.header
				_, err := h.v.VerifyRequest(r)
				require.Equal(t, test.want, diffhook.HTTPStatus(err))
			})
		})
	}
}

// Hold returns an error if nothing can hold. Without a function to call, nothing is
// held.
func TestHoldNeedsAFunction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, nil)
		require.False(t, v.Status().Hold.CanHold)
		require.ErrorIs(t, v.Hold(time.Minute), diffhook.ErrInvalidOptions)
		require.NoError(t, v.Hold(0), "there is none to end")

		v.EventHandler(func(context.Context, *diffhook.Event) error { return nil })
		require.True(t, v.Status().Hold.CanHold)
		require.NoError(t, v.Hold(time.Minute))
		body := []byte(eventBody)
		signature := letter(t, "B").Sign(body)
		_, err := v.VerifyRequest(signedRequest(body, signature))
		require.ErrorIs(t, err, diffhook.ErrSignatureMismatch, "VerifyRequest has no function")
		require.ErrorIs(t, v.Verify(t.Context(), body, signature), diffhook.ErrSignatureMismatch)
		require.ErrorIs(t, v.VerifyHeader(t.Context(), body, http.Header{diffhook.SignatureHeader: {signature}}), diffhook.ErrSignatureMismatch)
		require.Zero(t, v.Status().Hold.Held)
	})
}

func TestHoldErrors(t *testing.T) {
	h := newHoldTest(t, diffhook.VerifierOptions{})
	for _, d := range []time.Duration{-1, time.Hour + 1} {
		require.ErrorIs(t, h.v.Hold(d), diffhook.ErrInvalidOptions)
	}
	require.True(t, h.v.Status().Hold.Until.IsZero())
	require.NoError(t, h.v.Hold(time.Hour))
	require.NoError(t, h.v.Hold(0))

	var zero diffhook.Verifier
	require.ErrorIs(t, zero.Hold(time.Minute), diffhook.ErrSecretsUnavailable)
	require.ErrorIs(t, zero.Hold(0), diffhook.ErrSecretsUnavailable)
	require.ErrorIs(t, zero.Drain(t.Context()), diffhook.ErrSecretsUnavailable)

	_, err := diffhook.NewVerifier(t.Context(), h.source, &diffhook.VerifierOptions{MaxHeldBytes: -1})
	require.ErrorIs(t, err, diffhook.ErrInvalidOptions)
}

// Routers reuse their contexts: a held delivery keeps nothing of the request, and outer
// middleware does not run again.
func TestHeldDeliveryHasAContextOfItsOwn(t *testing.T) {
	type tenantKey struct{}
	synctest.Test(t, func(t *testing.T) {
		h := newHoldTest(t, diffhook.VerifierOptions{})
		h.do = func(ctx context.Context) error {
			deadline, ok := ctx.Deadline()
			assert.True(t, ok)
			assert.Equal(t, diffhook.DeliveryTimeout, time.Until(deadline))
			assert.Nil(t, ctx.Value(tenantKey{}))
			assert.NoError(t, ctx.Err(), "the request's own is over")
			_, ok = diffhook.DeliveryFromContext(ctx)
			assert.False(t, ok)
			return nil
		}
		passes := 0
		outer := func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				passes++
				next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tenantKey{}, passes)))
			})
		}
		require.NoError(t, h.v.Hold(time.Minute))
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			outer(h.v.Handler(alive)).ServeHTTP(httptest.NewRecorder(), h.request("B", "body").WithContext(ctx))
			cancel()
		}
		h.learn("B")
		require.Len(t, h.bodies(), 3)
		require.Equal(t, 3, passes)
	})
}

// textless is an error whose text panics. The text of the panic's value panics too.
type textless struct{}

func (textless) Error() string { panic(textless{}) }

// After any failure, the delivery is tried again after 5 s and after 30 s. Then it is
// lost, which the log and the observer report.
func TestHeldDeliveryIsTriedThreeTimes(t *testing.T) {
	boom := errors.New("boom")
	for _, test := range []struct {
		name string
		fail func() error
		want string
	}{
		{"error", func() error { return boom }, "boom"},
		{"panic", func() error { panic(boom) }, "boom"},
		{"panic whose text panics", func() error { panic(textless{}) }, "panic"},
	} {
		for succeeds := range 4 { // number of failures before a success
			t.Run(test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newHoldTest(t, diffhook.VerifierOptions{})
					var at []time.Duration
					start := time.Now()
					h.do = func(context.Context) error {
						at = append(at, time.Since(start))
						if len(at) > succeeds {
							return nil
						}
						return test.fail()
					}
					require.NoError(t, h.v.Hold(time.Minute))
					require.Equal(t, http.StatusAccepted, h.deliver("B", eventBody))
					h.learn("B")
					require.NoError(t, h.v.Hold(0), "Hold(0) does not wait for pending deliveries")
					require.NoError(t, h.v.Drain(t.Context()))
					synctest.Wait() // until the log is written
					require.Equal(t, []time.Duration{0, 5 * time.Second, 35 * time.Second}[:min(succeeds+1, 3)], at)
					require.EqualValues(t, 1, h.v.Status().Current.Uses, "once per delivery, for any number of tries")
					last := h.seen[len(h.seen)-1]
					if succeeds < 3 {
						h.requireHold(diffhook.HoldStatus{Handled: 1})
						require.Equal(t, []string{"held", "accepted"}, h.results())
						return
					}
					h.requireHold(diffhook.HoldStatus{Dropped: 1})
					require.Equal(t, []string{"held", "dropped"}, h.results())
					require.ErrorContains(t, last.Err, test.want)
					line := h.logs.lines()[len(h.logs.lines())-1]
					require.Equal(t, "ERROR", line["level"])
					require.Equal(t, last.Err, line["error"])
					require.Equal(t, "mon_abc123@2026-03-16T14:22:00Z", line["event"])
				})
			})
		}
	}
}

// If the function ends the goroutine, as a failing test does, there is no second call.
func TestHeldDeliveryWhoseFunctionExits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHoldTest(t, diffhook.VerifierOptions{})
		h.do = func(context.Context) error { runtime.Goexit(); return nil }
		require.NoError(t, h.v.Hold(time.Minute))
		for range 40 {
			require.Equal(t, http.StatusAccepted, h.deliver("B", "body"))
		}
		h.learn("B")
		require.NoError(t, h.v.Drain(t.Context()))
		h.requireHold(diffhook.HoldStatus{Dropped: 40})
	})
}

func TestHeldDeliveriesAreHandled16AtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHoldTest(t, diffhook.VerifierOptions{})
		var running, most atomic.Int32
		h.do = func(context.Context) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			pause(time.Second)
			return nil
		}
		require.NoError(t, h.v.Hold(time.Hour))
		for range 100 {
			require.Equal(t, http.StatusAccepted, h.deliver("B", "body"))
		}
		h.learn("B")
		h.requireHold(diffhook.HoldStatus{Pending: 100})
		began := time.Now()
		require.NoError(t, h.v.Drain(t.Context()))
		require.Equal(t, 7*time.Second, time.Since(began))
		require.EqualValues(t, 16, most.Load())
		h.requireHold(diffhook.HoldStatus{Handled: 100})
	})
}

// A hold ends by itself or by Hold(0), and a later Hold moves the end. At the end,
// deliveries signed by unknown secrets are dropped, and new ones are rejected.
func TestHoldEnds(t *testing.T) {
	for _, test := range []struct {
		name  string
		holds map[time.Duration]time.Duration // duration of each hold by start
		end   time.Duration
	}{
		{"by itself", nil, 10 * time.Minute},
		{"by Hold(0)", map[time.Duration]time.Duration{time.Minute: 0}, time.Minute},
		{"later", map[time.Duration]time.Duration{9 * time.Minute: time.Hour}, 69 * time.Minute},
		{"earlier", map[time.Duration]time.Duration{time.Minute: time.Minute}, 2 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHoldTest(t, diffhook.VerifierOptions{MinRefreshInterval: 1<<63 - 1})
				began := time.Now()
				require.NoError(t, h.v.Hold(10*time.Minute))
				require.Equal(t, http.StatusAccepted, h.deliver("D", "forged"))
				for at, d := range test.holds {
					pause(at)
					require.NoError(t, h.v.Hold(d))
				}
				pause(test.end - time.Since(began) - 1)
				synctest.Wait()
				if time.Since(began) < test.end { // no Hold(0) yet
					h.requireHold(diffhook.HoldStatus{Held: 1})
					require.Equal(t, began.Add(test.end).UTC(), h.v.Status().Hold.Until)
				}
				pause(1)
				synctest.Wait()
				h.requireHold(diffhook.HoldStatus{Dropped: 1})
				require.True(t, h.v.Status().Hold.Until.IsZero())
				require.Equal(t, []string{"held", "dropped"}, h.results())
				require.ErrorIs(t, h.seen[1].Err, diffhook.ErrSignatureMismatch)
				require.Equal(t, http.StatusUnauthorized, h.deliver("D", "forged"))
				require.Empty(t, h.bodies())
				require.Contains(t, h.messages(), "diffhook: the hold is over")
			})
		})
	}
}

// A hold needs no working source: if the source fails or hangs, or the current secret
// was rejected, a delivery is held. Without a hold, the answer is 503.
func TestHoldIfTheSourceFails(t *testing.T) {
	for name, fail := range map[string]func(h *holdTest, s *slowSource){
		"fails": func(_ *holdTest, s *slowSource) { s.set(diffhook.Secrets{}, errors.New("vault is sealed")) },
		"hangs": func(_ *holdTest, s *slowSource) { s.hang = make(chan struct{}) },
		"slow":  func(_ *holdTest, s *slowSource) { s.delay = time.Hour },
		"the current secret was rejected": func(h *holdTest, _ *slowSource) {
			require.NoError(h, h.v.Reject(letter(h, "A").Fingerprint()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHoldTest(t, diffhook.VerifierOptions{})
				source := &slowSource{}
				h.v = atA(t, source, &diffhook.VerifierOptions{HandleHeld: func(_ context.Context, d *diffhook.Delivery) error {
					h.record(string(d.Body))
					return nil
				}}, diffhook.Secrets{Current: letter(t, "A")})
				fail(h, source)
				require.Equal(t, http.StatusServiceUnavailable, h.deliver("B", "body"))
				require.NoError(t, h.v.Hold(time.Minute))
				began := time.Now()
				require.Equal(t, http.StatusAccepted, h.deliver("B", "body"))
				require.LessOrEqual(t, time.Since(began), time.Second)
				if source.hang != nil {
					close(source.hang)
				}
				pause(10 * time.Second) // until no read is running
				require.NoError(t, h.v.Rotate(letter(t, "B"), 0))
				require.NoError(t, h.v.Drain(t.Context()))
				require.Equal(t, []string{"body"}, h.bodies())
			})
		})
	}
}

// MaxAge counts up to the arrival, and applies once the signature is verified.
func TestHoldAndMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHoldTest(t, diffhook.VerifierOptions{MaxAge: time.Minute})
		at := func(age time.Duration) string {
			return `{"triggered_at":"` + time.Now().Add(-age).UTC().Format(time.RFC3339) + `"}`
		}
		require.NoError(t, h.v.Hold(time.Hour))
		fresh := at(50 * time.Second)
		require.Equal(t, http.StatusAccepted, h.deliver("B", fresh))
		require.Equal(t, http.StatusAccepted, h.deliver("B", at(61*time.Second)), "not yet verified")
		require.Equal(t, http.StatusAccepted, h.deliver("B", "no event"))
		pause(30 * time.Minute)
		h.learn("B")
		require.Equal(t, []string{fresh}, h.bodies())
		h.requireHold(diffhook.HoldStatus{Handled: 1, Dropped: 2})
		require.EqualValues(t, 1, h.v.Status().Current.Uses)
		var errs []error
		for _, o := range h.seen[3:] {
			errs = append(errs, o.Err)
		}
		joined := errors.Join(errs...)
		require.ErrorIs(t, joined, diffhook.ErrStale)
		require.ErrorIs(t, joined, diffhook.ErrInvalidEvent)
	})
}

// Deny answers a delivery that does not fit in the hold, and no held delivery. Handled
// deliveries free their room.
func TestHoldIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var denied []error
		h := newHoldTest(t, diffhook.VerifierOptions{
			MaxHeldBytes: 3 * 8 << 10, // 4 KiB per delivery, and a body of 4 KiB
			Deny: func(w http.ResponseWriter, _ *http.Request, err error) {
				denied = append(denied, err)
				w.WriteHeader(diffhook.HTTPStatus(err))
			},
		})
		body := strings.Repeat("b", 4<<10)
		require.NoError(t, h.v.Hold(time.Minute))
		fill := func(name string) {
			for range 3 {
				require.Equal(t, http.StatusAccepted, h.deliver(name, body))
			}
			require.Empty(t, denied)
			require.Equal(t, http.StatusServiceUnavailable, h.deliver(name, body))
			require.Equal(t, http.StatusServiceUnavailable, h.deliver(name, "small"))
			require.Len(t, denied, 2)
			require.ErrorIs(t, denied[0], diffhook.ErrSecretsUnavailable)
			denied = nil
		}
		fill("D")
		h.requireHold(diffhook.HoldStatus{Held: 3, Full: 2})
		require.Equal(t, http.StatusOK, h.deliver("A", body), "a known secret needs no room")

		pause(time.Minute)
		synctest.Wait()
		h.requireHold(diffhook.HoldStatus{Dropped: 3, Full: 2})
		require.NoError(t, h.v.Hold(time.Minute))
		h.do = func(context.Context) error { pause(time.Second); return nil }
		fill("B")
		h.learn("B")
		require.Equal(t, http.StatusServiceUnavailable, h.deliver("D", body), "pending deliveries take room")
		require.NoError(t, h.v.Drain(t.Context()))
		denied = nil
		fill("C")
		h.requireHold(diffhook.HoldStatus{Held: 3, Handled: 3, Dropped: 3, Full: 7})
	})
}

// A rejected secret brings in no held or pending delivery.
func TestHoldAndReject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHoldTest(t, diffhook.VerifierOptions{MinRefreshInterval: 1<<63 - 1})
		h.do = func(context.Context) error { return errors.New("not now") }
		require.NoError(t, h.v.Hold(time.Hour))
		require.Equal(t, http.StatusAccepted, h.deliver("B", "tried"))
		require.Equal(t, http.StatusAccepted, h.deliver("C", "never"))
		h.learn("B")
		require.Equal(t, []string{"tried"}, h.bodies())
		require.NoError(t, h.v.Reject(letter(t, "B").Fingerprint()))
		require.NoError(t, h.v.Reject(letter(t, "C").Fingerprint()))
		h.source.set(diffhook.Secrets{Current: letter(t, "D"), Previous: letter(t, "C")}, nil)
		require.NoError(t, h.v.Refresh(t.Context()))
		began := time.Now()
		require.NoError(t, h.v.Drain(t.Context()))
		require.Equal(t, []string{"tried"}, h.bodies(), "not again")
		require.Equal(t, 5*time.Second, time.Since(began), "and nothing waits for a third attempt")
		h.requireHold(diffhook.HoldStatus{Held: 1, Dropped: 1})
	})
}

// Drain waits for pending deliveries with their retries, not for held ones.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHoldTest(t, diffhook.VerifierOptions{})
		require.NoError(t, h.v.Drain(t.Context()))
		h.do = func(context.Context) error {
			if len(h.bodies()) < 3 {
				return errors.New("not now")
			}
			return nil
		}
		require.NoError(t, h.v.Hold(time.Hour))
		require.Equal(t, http.StatusAccepted, h.deliver("D", "forged"))
		require.NoError(t, h.v.Drain(t.Context()))
		require.Equal(t, http.StatusAccepted, h.deliver("B", "body"))
		h.learn("B")

		began := time.Now()
		ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Second, errShutdown)
		defer cancel()
		err := h.v.Drain(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, errShutdown)
		require.NotErrorIs(t, err, diffhook.ErrSecretsUnavailable)
		require.NoError(t, h.v.Drain(t.Context()))
		require.Equal(t, 35*time.Second, time.Since(began))
		h.requireHold(diffhook.HoldStatus{Held: 1, Handled: 1})
	})
}

// Every function of the customer's may call the verifier, and may panic.
func TestHoldRunsNoCodeUnderItsLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v *diffhook.Verifier
		var calls atomic.Int32
		use := func() {
			calls.Add(1)
			_ = v.Status()
			_ = v.Hold(time.Minute)
			_ = v.Refresh(t.Context())
		}
		observed := func(_ context.Context, o diffhook.Observation) {
			use()
			if o.Result == "accepted" || o.Result == "dropped" {
				panic("of an observer")
			}
		}
		logs := &logged{onLine: func(line map[string]any) {
			if line["level"] == "ERROR" {
				_ = v.Status()
				panic("of a logger")
			}
		}}
		v = newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, &diffhook.VerifierOptions{
			Observe: observed, Logger: logs.logger(),
			HandleHeld: func(_ context.Context, d *diffhook.Delivery) error {
				use()
				return errors.New("not now")
			},
		})
		require.NoError(t, v.Hold(time.Minute))
		for _, name := range []string{"B", "D"} {
			_, err := v.VerifyRequest(signedRequest([]byte("body"), letter(t, name).Sign([]byte("body"))))
			require.ErrorIs(t, err, diffhook.ErrHeld)
		}
		require.NoError(t, v.Rotate(letter(t, "B"), time.Hour))
		require.NoError(t, v.Drain(t.Context()))
		require.NoError(t, v.Hold(0))
		require.EqualValues(t, 2+3+1+1, calls.Load())
		require.EqualValues(t, 2, v.Status().Hold.Dropped)
	})
}

// A secret comes into force while deliveries signed by it arrive and the hold ends.
// Each delivery is accepted, held and handled, or rejected so that DiffHook retries:
// none is held and dropped.
func TestHoldMissesNoChange(t *testing.T) {
	const rounds, senders = 300, 8
	for round := range rounds {
		var handled, accepted atomic.Int64
		v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, &diffhook.VerifierOptions{
			HandleHeld: func(context.Context, *diffhook.Delivery) error { handled.Add(1); return nil },
		})
		require.NoError(t, v.Hold(time.Hour))
		body := []byte("body")
		signature := letter(t, "B").Sign(body)
		random := rand.New(rand.NewPCG(1, uint64(round)))
		spin := random.IntN(2000)
		var wg sync.WaitGroup
		for range senders {
			wg.Go(func() {
				for range 4 {
					_, err := v.VerifyRequest(signedRequest(body, signature))
					if errors.Is(err, diffhook.ErrSignatureMismatch) { // verified before the end of the hold
						_, err = v.VerifyRequest(signedRequest(body, signature))
						assert.NoError(t, err)
					}
					if err == nil {
						accepted.Add(1)
					} else {
						assert.ErrorIs(t, err, diffhook.ErrHeld)
					}
				}
			})
		}
		wg.Go(func() {
			for i := range spin {
				_ = i
			}
			assert.NoError(t, v.Rotate(letter(t, "B"), time.Hour))
			assert.NoError(t, v.Hold(0))
		})
		wg.Wait()
		require.NoError(t, v.Drain(t.Context()))
		require.EqualValues(t, senders*4, accepted.Load()+handled.Load(), "round %d: %+v", round, v.Status().Hold)
		require.Zero(t, v.Status().Hold.Dropped)
	}
}

// Without a hold, there is no extra goroutine or timer. During a hold, there is no
// goroutine until a delivery is to be handled.
func TestHoldStartsNothingInAdvance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := runtime.NumGoroutine()
		h := newHoldTest(t, diffhook.VerifierOptions{})
		h.v = newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, &diffhook.VerifierOptions{
			HandleHeld: func(context.Context, *diffhook.Delivery) error { return nil },
		})
		began := time.Now()
		require.Equal(t, http.StatusUnauthorized, h.deliver("D", "forged"))
		require.NoError(t, h.v.Hold(time.Hour))
		require.Equal(t, http.StatusAccepted, h.deliver("D", "forged"))
		require.LessOrEqual(t, runtime.NumGoroutine(), before) // goroutines of earlier tests may end
		require.NoError(t, h.v.Hold(0))
		require.LessOrEqual(t, runtime.NumGoroutine(), before) // goroutines of earlier tests may end
		require.Equal(t, began, time.Now())
	})
}

// A delivery that can be held waits at most a second for the source, however slow the
// source is and however late the next read: DiffHook waits for the response.
func TestHoldAnswersWithinASecond(t *testing.T) {
	for name, delay := range map[string]time.Duration{"quick source": 0, "slow source": 3 * time.Second, "source slower than the timeout": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHoldTest(t, diffhook.VerifierOptions{})
				h.v = atA(t, &slowSource{delay: delay}, &diffhook.VerifierOptions{HandleHeld: func(context.Context, *diffhook.Delivery) error { return nil }},
					diffhook.Secrets{Current: letter(t, "A")})
				require.NoError(t, h.v.Hold(time.Hour))
				for i := range 20 { // more than the burst of reads
					began := time.Now()
					require.Equal(t, http.StatusAccepted, h.deliver("B", strings.Repeat("x", i)))
					require.LessOrEqual(t, time.Since(began), time.Second)
					pause(300 * time.Millisecond)
				}
				require.NoError(t, h.v.Hold(0))
				pause(time.Minute) // until no read is running
			})
		})
	}
}

// lossRig is two servers behind a balancer, each with its own source, and the events
// handled by either.
type lossRig struct {
	*testing.T
	sources   []*settableSource
	verifiers []*diffhook.Verifier
	handlers  []http.Handler
	next      atomic.Uint64

	mu      sync.Mutex
	handled map[string]int // by Event.MonitorID
}

func newLossRig(t *testing.T) *lossRig {
	g := &lossRig{T: t, handled: map[string]int{}}
	for range 2 {
		source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
		v := newVerifier(t, source, nil)
		g.sources, g.verifiers = append(g.sources, source), append(g.verifiers, v)
		g.handlers = append(g.handlers, v.EventHandler(func(_ context.Context, e *diffhook.Event) error {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.handled[e.MonitorID]++
			return nil
		}))
	}
	return g
}

func (g *lossRig) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.handlers[g.next.Add(1)%2].ServeHTTP(w, r)
}

func (g *lossRig) each(do func(*diffhook.Verifier) error) {
	for _, v := range g.verifiers {
		require.NoError(g, do(v))
	}
}

// rotation is a rotation as the servers see it. A person clicks at the time 0.
type rotation struct {
	late   time.Duration // delay until the sources have the new secret
	hold   bool
	pushed bool // whether the secret is pushed, 5 s after the click
	once   bool // whether a retry keeps the signature of the first attempt
}

var lossEvents = sampled(200, 1000)

// run sends lossEvents events evenly, from 30 s before the click until 30 s after the
// sources have the new secret, and as many forgeries. It returns the number of events
// that were never handled.
func (g *lossRig) run(r rotation) (lost int) {
	sender := diffhooktest.NewSender(letter(g, "A"), &diffhooktest.SenderOptions{SignOnce: r.once})
	forger := diffhooktest.NewSender(letter(g, "Z"), &diffhooktest.SenderOptions{Retries: []time.Duration{}})
	var wg sync.WaitGroup
	wg.Go(func() {
		pause(30 * time.Second)
		if r.hold {
			g.each(func(v *diffhook.Verifier) error { return v.Hold(time.Hour) })
		}
		sender.Rotate(letter(g, "B"))
		if r.pushed {
			pause(5 * time.Second)
			g.each(func(v *diffhook.Verifier) error { return v.AcceptSuccessor(seal(g, "A", "B")) })
		}
	})
	wg.Go(func() {
		pause(30*time.Second + r.late)
		for _, s := range g.sources {
			s.set(diffhook.Secrets{Current: letter(g, "B")}, nil)
		}
		g.each(func(v *diffhook.Verifier) error { return v.Refresh(g.Context()) })
		pause(30 * time.Second)
		g.each(func(v *diffhook.Verifier) error { return v.Hold(0) })
		g.each(func(v *diffhook.Verifier) error { return v.Drain(g.Context()) })
	})
	for i := range lossEvents {
		wg.Go(func() {
			sender.SendTo(g.Context(), g, fmt.Appendf(nil, `{"monitor_id":"mon_%d"}`, i))
		})
		wg.Go(func() {
			forger.SendTo(g.Context(), g, fmt.Appendf(nil, `{"monitor_id":"forged_%d"}`, i))
		})
		pause((r.late + time.Minute) / time.Duration(lossEvents))
	}
	wg.Wait()
	for i := range lossEvents {
		if g.handled[fmt.Sprintf("mon_%d", i)] == 0 {
			lost++
		}
	}
	assert.Len(g, g.handled, lossEvents-lost, "no forgery was handled")
	return lost
}

// Generation 1 gives up 35 s after the first attempt. If a new secret reaches the
// servers later, earlier deliveries are lost. A hold, or a push of the secret at once,
// saves them.
func TestHoldAndSuccessorLoseNothing(t *testing.T) {
	for _, late := range []time.Duration{45 * time.Second, time.Minute, 10 * time.Minute} {
		for _, once := range []bool{false, true} {
			for _, r := range []rotation{{}, {hold: true}, {pushed: true}, {hold: true, pushed: true}} {
				r.late, r.once = late, once
				t.Run(fmt.Sprintf("%+v", r), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						g := newLossRig(t)
						lost := g.run(r)
						t.Logf("%d of %d lost", lost, lossEvents)
						if !r.hold && !r.pushed {
							// After 45 s, few are lost: each attempt waits for a read.
							require.True(t, lost > lossEvents/20 || late < time.Minute, "or this shows nothing")
							return
						}
						require.Zero(t, lost)
						for id, times := range g.handled {
							require.Equal(t, 1, times, id)
						}
					})
				})
			}
		}
	}
}
