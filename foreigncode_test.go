package diffhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// A source's errors and a logger are the customer's code. None of it runs under the
// verifier's lock or ends the process from a goroutine of the verifier.

// actingError is an error whose text is the result of a function.
type actingError struct{ act func() string }

func (e actingError) Error() string { return e.act() }

// panickingText is an error whose text panics with such an error.
type panickingText struct{}

func (panickingText) Error() string { panic(panickingText{}) }

func TestErrorsOfSourceMayDoAnything(t *testing.T) {
	for name, act := range map[string]func(context.Context, *diffhook.Verifier){
		"ask for the status": func(_ context.Context, v *diffhook.Verifier) { _ = v.Status() },
		"refresh":            func(ctx context.Context, v *diffhook.Verifier) { _ = v.Refresh(ctx) },
		"rotate and reject": func(_ context.Context, v *diffhook.Verifier) {
			_ = v.Rotate(diffhook.Secret{}, time.Hour)
			_ = v.Reject("0123456789abcdef")
		},
		"panic":                  func(context.Context, *diffhook.Verifier) { panic("in Error") },
		"panic with such a text": func(context.Context, *diffhook.Verifier) { panic(panickingText{}) },
		"end the goroutine":      func(context.Context, *diffhook.Verifier) { runtime.Goexit() },
		"take an hour":           func(context.Context, *diffhook.Verifier) { pause(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
				v := newVerifier(t, source, &diffhook.VerifierOptions{MinRefreshInterval: -1})
				source.set(diffhook.Secrets{}, actingError{func() string { act(t.Context(), v); return "vault is sealed" }})
				require.ErrorIs(t, v.Refresh(t.Context()), diffhook.ErrSecretsUnavailable)
				require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSecretsUnavailable)
				require.NoError(t, verifySigned(t, t.Context(), v, "A"))
				assert.NotEmpty(t, v.Status().RefreshError)

				source.set(diffhook.Secrets{Current: letter(t, "B")}, nil)
				pause(2 * time.Hour)
				require.NoError(t, v.Refresh(t.Context()), "the source recovers")
				require.NoError(t, verifySigned(t, t.Context(), v, "B"))
			})
		})
	}
}

// The value of a panic is the customer's code too.
func TestPanicsOfSourceMayPanic(t *testing.T) {
	source := diffhook.SecretSourceFunc(func(context.Context) (diffhook.Secrets, error) { panic(panickingText{}) })
	_, err := diffhook.NewVerifier(t.Context(), source, nil)
	require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
}

// handler is a slog.Handler that calls act for each line.
type handler struct{ act func(slog.Record) }

func (handler) Enabled(context.Context, slog.Level) bool        { return true }
func (h handler) Handle(_ context.Context, r slog.Record) error { h.act(r); return nil }
func (h handler) WithAttrs([]slog.Attr) slog.Handler            { return h }
func (h handler) WithGroup(string) slog.Handler                 { return h }

func TestLoggersMayDoAnything(t *testing.T) {
	for name, act := range map[string]func(*diffhook.Verifier){
		"ask for the status": func(v *diffhook.Verifier) { _ = v.Status() },
		"panic":              func(*diffhook.Verifier) { panic("in the handler") },
		"end the goroutine":  func(*diffhook.Verifier) { runtime.Goexit() },
		"take an hour":       func(*diffhook.Verifier) { pause(time.Hour) },
		"refresh": func(v *diffhook.Verifier) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = v.Refresh(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var v *diffhook.Verifier
				var lines, depth atomic.Int32
				logger := slog.New(handler{func(slog.Record) {
					lines.Add(1)
					if depth.Add(1) < 10 { // a refresh may write a line
						defer depth.Add(-1)
						act(v)
					}
				}})
				source := &slowSource{}
				source.set(diffhook.Secrets{Current: letter(t, "A")}, nil)
				v = newVerifier(t, source, &diffhook.VerifierOptions{Logger: logger, MinRefreshInterval: -1})
				requireLines := func(n int32) {
					t.Helper()
					synctest.Wait()
					assert.GreaterOrEqual(t, lines.Swap(0), n)
					pause(2 * time.Hour) // loggers of an hour are done
				}

				down := errors.New("down")
				source.set(diffhook.Secrets{}, down)
				require.ErrorIs(t, v.Refresh(t.Context()), down)
				requireLines(1)

				source.set(diffhook.Secrets{Current: letter(t, "B")}, nil)
				require.NoError(t, v.Refresh(t.Context()))
				requireLines(1)

				source.hang = make(chan struct{}) // the timeout writes a line
				require.ErrorIs(t, v.Refresh(t.Context()), diffhook.ErrSecretsUnavailable)
				requireLines(1)
				close(source.hang)
				synctest.Wait()
				requireLines(1)
				source.hang = nil

				source.set(diffhook.Secrets{}, errors.New("down"))
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				v.Watch(ctx, time.Minute)
				cancel()
				requireLines(1)

				source.set(diffhook.Secrets{Current: letter(t, "C")}, nil)
				require.NoError(t, v.Refresh(t.Context()))
				require.NoError(t, verifySigned(t, t.Context(), v, "C"), "nothing is left locked")
				pause(2 * time.Hour)
			})
		})
	}
}

// A logger's panic on the caller's own goroutine reaches the caller. No lock stays
// held, and no goroutine stays waiting.
func TestLoggerPanicsOnCallersGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{delay: time.Second}
		source.set(diffhook.Secrets{Current: letter(t, "A")}, nil)
		v := newVerifier(t, source, &diffhook.VerifierOptions{Logger: slog.New(handler{func(slog.Record) { panic("in the handler") }})})
		require.Panics(t, func() { _ = v.Rotate(letter(t, "B"), time.Hour) })
		require.NoError(t, verifySigned(t, t.Context(), v, "B"), "the secret is in force")
		require.Panics(t, func() { _ = v.Reject(letter(t, "A").Fingerprint()) })
		require.Zero(t, v.Status().Previous)
		for range 3 {
			require.Panics(t, func() { _ = verifySigned(t, t.Context(), v, "D") })
		}
		source.set(diffhook.Secrets{Current: letter(t, "C")}, nil)
		require.NoError(t, v.Refresh(t.Context()))
		require.NoError(t, verifySigned(t, t.Context(), v, "C"))
	})
}

// secretError is an error with a secret in a field, like errors of some clients of
// secrets managers.
type secretError struct{ Response string }

func (e *secretError) Error() string { return "vault: bad answer" }

// Programs that print every wrapped error, or the fields of an error, find no raw
// cause. errors.Is and errors.As find it.
func TestSourceErrorsHideTheirCause(t *testing.T) {
	detector := newLeakDetector(opaqueText)
	raw := &secretError{opaqueText}
	source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
	v := newVerifier(t, source, nil)
	source.set(diffhook.Secrets{}, raw)
	_, first := diffhook.NewVerifier(t.Context(), source, nil)
	for name, err := range map[string]error{
		"NewVerifier": first,
		"Refresh":     v.Refresh(t.Context()),
		"Verify":      verifySigned(t, t.Context(), v, "B"),
	} {
		t.Run(name, func(t *testing.T) {
			assertOpaque(t, detector, err, errors.New("another"))
			for wrapped := range unwrapped(err) {
				assert.NotSame(t, raw, wrapped)
				assertOpaque(t, detector, wrapped, errors.New("another"))
			}
			require.ErrorIs(t, err, raw)
			require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
			var found *secretError
			require.ErrorAs(t, err, &found)
		})
	}
}

// unwrapped returns the errors in the tree of err, in the way of programs that report
// errors.
func unwrapped(err error) map[error]bool {
	all := map[error]bool{}
	var walk func(error)
	walk = func(err error) {
		if err == nil {
			return
		}
		all[err] = true
		switch err := err.(type) {
		case interface{ Unwrap() error }:
			walk(err.Unwrap())
		case interface{ Unwrap() []error }:
			for _, e := range err.Unwrap() {
				walk(e)
			}
		}
	}
	walk(err)
	return all
}

// At every stage, the error matches the error of the context and the cause.
func TestSourceErrorsMatchContextAndCause(t *testing.T) {
	hungUp := errors.New("the sender hung up")
	sources := map[string]func() *slowSource{
		"respects its context": func() *slowSource { return &slowSource{delay: time.Hour} },
		"hangs":                func() *slowSource { return &slowSource{hang: make(chan struct{})} },
	}
	stages := map[string]func(*testing.T, *slowSource) func(context.Context) error{
		"NewVerifier": func(t *testing.T, source *slowSource) func(context.Context) error {
			source.set(diffhook.Secrets{Current: letter(t, "A")}, nil)
			return func(ctx context.Context) error { _, err := diffhook.NewVerifier(ctx, source, nil); return err }
		},
		"Refresh": func(t *testing.T, source *slowSource) func(context.Context) error {
			return atAThen(t, source).Refresh
		},
		"Refresh, behind another read": func(t *testing.T, source *slowSource) func(context.Context) error {
			v := atAThen(t, source)
			return func(ctx context.Context) error {
				go v.Refresh(t.Context())
				synctest.Wait()
				return v.Refresh(ctx)
			}
		},
		"Verify": func(t *testing.T, source *slowSource) func(context.Context) error {
			v := atAThen(t, source)
			return func(ctx context.Context) error { return verifySigned(t, ctx, v, "B") }
		},
	}
	ends := map[string]func(context.Context) (context.Context, context.CancelFunc, error){
		"cancelled": func(ctx context.Context) (context.Context, context.CancelFunc, error) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(hungUp) })
			return ctx, func() {}, context.Canceled
		},
		"cancelled before": func(ctx context.Context) (context.Context, context.CancelFunc, error) {
			ctx, cancel := context.WithCancelCause(ctx)
			cancel(hungUp)
			return ctx, func() {}, context.Canceled
		},
		"timed out": func(ctx context.Context) (context.Context, context.CancelFunc, error) {
			ctx, cancel := context.WithTimeoutCause(ctx, time.Second, hungUp)
			return ctx, cancel, context.DeadlineExceeded
		},
	}
	for sourceName, source := range sources {
		for stageName, stage := range stages {
			for endName, end := range ends {
				t.Run(fmt.Sprintf("%s, source %s, context %s", stageName, sourceName, endName), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						s := source()
						do := stage(t, s)
						ctx, cancel, want := end(t.Context())
						defer cancel()
						err := do(ctx)
						require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
						assert.ErrorIs(t, err, want)
						assert.ErrorIs(t, err, hungUp)
						if s.hang != nil {
							close(s.hang)
						}
						pause(time.Minute) // until the read ends
					})
				})
			}
		}
	}
}

// atAThen returns a verifier with the secret A in force, whose source is slow from then
// on.
func atAThen(t *testing.T, source *slowSource) *diffhook.Verifier {
	delay := source.delay
	source.delay = 0
	v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "B")})
	source.delay = delay
	return v
}

// Mistakes in a customer's sources, bodies and options.

type nilError struct{ code string }

func (e *nilError) Error() string { return e.code }

// The classic mistake: a nil pointer of an error type is a non-nil error, and Error
// panics.
func TestSourceReturnsTypedNil(t *testing.T) {
	broken := false
	source := diffhook.SecretSourceFunc(func(context.Context) (diffhook.Secrets, error) {
		if broken {
			var err *nilError
			return diffhook.Secrets{Current: letter(t, "B")}, err
		}
		return diffhook.Secrets{Current: letter(t, "A")}, nil
	})
	v := newVerifier(t, source, nil)
	broken = true
	require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSecretsUnavailable)
	assert.NotEmpty(t, v.Status().RefreshError)
	_, err := diffhook.NewVerifier(t.Context(), source, nil)
	require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
}

// The source answers from a cache when its context ends, just as the timeout passes.
// The answer counts, and the source does not fail.
func TestSourceAnswersInTheLastMoment(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			first := true
			v := newVerifier(t, diffhook.SecretSourceFunc(func(ctx context.Context) (diffhook.Secrets, error) {
				if !first {
					<-ctx.Done()
				}
				first = false
				return diffhook.Secrets{Current: letter(t, "A")}, nil
			}), nil)
			_ = v.Refresh(t.Context()) // the timeout or the answer may come first
			synctest.Wait()
			assert.Empty(t, v.Status().RefreshError)
			assert.Equal(t, v.Status().Since.Add(5*time.Second), v.Status().LastRefresh)
		})
	}
}

// A source that keeps failing in the same way writes a single line, however it fails.
func TestFailingSourceIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := new(logged)
		source := &slowSource{}
		source.set(diffhook.Secrets{Current: letter(t, "A")}, nil)
		v := newVerifier(t, source, &diffhook.VerifierOptions{Logger: logs.logger()})
		source.delay = time.Hour
		for range 20 {
			require.ErrorIs(t, v.Refresh(t.Context()), diffhook.ErrSecretsUnavailable)
			synctest.Wait()
		}
		assert.Len(t, logs.lines(), 1)
	})
}

// A source built on this package may return this package's errors. The failing source
// must not look like a bad request.
func TestSourceErrorIsOneOfOurs(t *testing.T) {
	source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
	v := newVerifier(t, source, nil)
	source.set(diffhook.Secrets{}, diffhook.ErrBodyRead)
	assert.Equal(t, http.StatusServiceUnavailable, diffhook.HTTPStatus(verifySigned(t, t.Context(), v, "B")))
}

// An error may quote, escaped, an unusable secret, or a secret of the same answer.
func TestSourceErrorQuotesSecrets(t *testing.T) {
	inForce := mustSecret(t, `a "quoted" \ test secret`)
	beside := mustSecret(t, "another secret in the answer")
	source := &settableSource{answer: diffhook.Secrets{Current: inForce}}
	v := newVerifier(t, source, nil)
	encoded, err := json.Marshal([]string{inForce.Reveal(), beside.Reveal()})
	require.NoError(t, err)
	source.set(diffhook.Secrets{Current: beside}, errors.New("cannot use "+string(encoded)))
	text := v.Refresh(t.Context()).Error()
	assert.NotContains(t, text, "quoted")
	assert.NotContains(t, text, "another secret")
	assert.Contains(t, text, "cannot use")
}

// In UTC, the time is in the year 10000, which JSON cannot hold.
func TestStatusMarshalsWhateverTheSourceSays(t *testing.T) {
	expires, err := time.Parse(time.RFC3339, "9999-12-31T23:59:59-12:00")
	require.NoError(t, err)
	_, err = diffhook.NewVerifier(t.Context(), diffhook.Secrets{Current: letter(t, "A"), Previous: letter(t, "B"), PreviousExpires: expires}, nil)
	require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)

	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, &diffhook.VerifierOptions{RotationWindow: math.MaxInt64})
	require.NoError(t, v.Rotate(letter(t, "B"), math.MaxInt64))
	_, err = json.Marshal(v.Status())
	require.NoError(t, err)
}

func TestWatchForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
		v := newVerifier(t, source, nil)
		for range 50 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			v.Watch(ctx, math.MaxInt64)
			cancel()
		}
		assert.Equal(t, 1, source.count())
	})
}

// Replays must not make an old secret look used.
func TestStaleDeliveryIsNoUse(t *testing.T) {
	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A"), Previous: letter(t, "B")}, &diffhook.VerifierOptions{MaxAge: time.Minute})
	old := diffhooktest.PageChanged()
	require.ErrorIs(t, v.Verify(t.Context(), old, letter(t, "B").Sign(old)), diffhook.ErrStale)
	assert.Zero(t, v.Status().Previous.Uses)
}

func TestMaxAge(t *testing.T) {
	tests := []struct {
		name string
		body func(now time.Time) string
		want error
	}{
		{"new", func(now time.Time) string { return triggered(now) }, nil},
		{"as old as allowed", func(now time.Time) string { return triggered(now.Add(-time.Hour)) }, nil},
		{"a second older", func(now time.Time) string { return triggered(now.Add(-time.Hour - time.Second)) }, diffhook.ErrStale},
		{"in the future, by a fast clock", func(now time.Time) string { return triggered(now.Add(time.Minute)) }, nil},
		{"without a time: of unknown age", func(time.Time) string { return `{"event":"page.changed"}` }, diffhook.ErrStale},
		{"no event", func(time.Time) string { return `[]` }, diffhook.ErrInvalidEvent},
		{"empty", func(time.Time) string { return `` }, diffhook.ErrInvalidEvent},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, &diffhook.VerifierOptions{MaxAge: time.Hour})
				body := []byte(test.body(time.Now().UTC()))
				require.ErrorIs(t, v.Verify(t.Context(), body, letter(t, "A").Sign(body)), test.want)
			})
		})
	}
}

func triggered(at time.Time) string {
	return `{"event":"page.changed","triggered_at":"` + at.Format(time.RFC3339) + `"}`
}

// With the shortest MaxAge that is documented as safe, the last attempt is accepted
// even if every earlier attempt took 10 s.
func TestMaxAgeLeavesRoomForRetries(t *testing.T) {
	for generation, maxAge := range map[int]time.Duration{1: 2 * time.Minute, 2: 18 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, &diffhook.VerifierOptions{MaxAge: maxAge})
			attempts := map[int]int{1: 3, 2: 11}[generation]
			h := v.EventHandler(func(ctx context.Context, _ *diffhook.Event) error {
				if attempts--; attempts == 0 {
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			})
			sender := diffhooktest.NewSender(letter(t, "A"), &diffhooktest.SenderOptions{Generation: generation})
			assert.True(t, sender.SendTo(t.Context(), h, []byte(triggered(time.Now().UTC()))).Delivered)
			<-time.After(time.Second)
		})
	}
}

// brokenBody answers every read in the same way.
type brokenBody func([]byte) (int, error)

func (b brokenBody) Read(p []byte) (int, error) { return b(p) }
func (brokenBody) Close() error                 { return nil }

func TestBrokenBodies(t *testing.T) {
	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, nil)
	for name, body := range map[string]brokenBody{
		"nothing, for ever": func([]byte) (int, error) { return 0, nil },
		"less than nothing": func([]byte) (int, error) { return -1, nil },
		"more than fits":    func(p []byte) (int, error) { return len(p) + 1, nil },
	} {
		t.Run(name, func(t *testing.T) {
			r := signedRequest(nil, letter(t, "A").Sign(nil))
			r.Body, r.ContentLength = body, -1
			_, err := v.VerifyRequest(r)
			require.ErrorIs(t, err, diffhook.ErrBodyRead)
		})
	}
}

// A panic in a body's Read that outer middleware recovers must not cut off a later
// request on the connection.
func TestPanickingBodyDisarmsCutoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, nil)
		w := &deadlineRecorder{header: http.Header{}}
		r := signedRequest(nil, letter(t, "A").Sign(nil))
		r.Body, r.ContentLength = brokenBody(func([]byte) (int, error) { panic(http.ErrAbortHandler) }), 5
		assert.PanicsWithValue(t, http.ErrAbortHandler, func() { v.Handler(alive).ServeHTTP(w, r) })
		<-time.After(time.Minute)
		assert.Zero(t, w.deadlines)
	})
}

// deadlineRecorder counts the read deadlines.
type deadlineRecorder struct {
	header    http.Header
	deadlines int
}

func (w *deadlineRecorder) Header() http.Header             { return w.header }
func (*deadlineRecorder) Write(p []byte) (int, error)       { return len(p), nil }
func (*deadlineRecorder) WriteHeader(int)                   {}
func (w *deadlineRecorder) SetReadDeadline(time.Time) error { w.deadlines++; return nil }

// A sender whose body is rejected unread gets the answer, not a connection reset in the
// middle of sending.
func TestRejectedSendersGetTheirAnswer(t *testing.T) {
	v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
	wrapped := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = struct{ io.ReadCloser }{r.Body}
		v.Handler(alive).ServeHTTP(w, r)
	})
	for name, h := range map[string]http.Handler{"as it is": v.Handler(alive), "wrapped by middleware": wrapped} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, h, nil)
			for _, chunked := range []bool{false, true} {
				for range 50 {
					var body io.Reader = strings.NewReader(strings.Repeat("x", 64<<10))
					if chunked {
						body = struct{ io.Reader }{body}
					}
					response, err := server.Client().Post(server.URL, "application/json", body)
					require.NoError(t, err)
					_, _ = io.Copy(io.Discard, response.Body)
					response.Body.Close()
					require.Equal(t, http.StatusUnauthorized, response.StatusCode)
				}
			}
		})
	}
}

func TestNilHandlersPanicWhenBuilt(t *testing.T) {
	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, nil)
	assert.Panics(t, func() { v.Handler(nil) })
	assert.Panics(t, func() { v.EventHandler(nil) })
}

// A mounted zero Verifier rejects every delivery and does not panic.
func TestZeroVerifierMounted(t *testing.T) {
	var v diffhook.Verifier
	body := []byte("{}")
	for _, h := range []http.Handler{v.Handler(alive), v.EventHandler(func(context.Context, *diffhook.Event) error { return nil })} {
		w := &statusRecorder{deadlineRecorder: deadlineRecorder{header: http.Header{}}}
		h.ServeHTTP(w, signedRequest(body, letter(t, "A").Sign(body)))
		assert.Equal(t, http.StatusServiceUnavailable, w.status)
		assert.Equal(t, "Service Unavailable\n", w.body.String())
	}
}

type statusRecorder struct {
	deadlineRecorder
	status int
	body   bytes.Buffer
}

func (w *statusRecorder) WriteHeader(status int)      { w.status = status }
func (w *statusRecorder) Write(p []byte) (int, error) { return w.body.Write(p) }
