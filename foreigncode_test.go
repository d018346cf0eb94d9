package diffhook_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// The source's errors and the logger are the customer's code. None of it runs
// while the verifier is locked, and none of it ends the process from a goroutine
// of the verifier's.

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
				require.NoError(t, v.Refresh(t.Context()), "it can recover")
				require.NoError(t, verifySigned(t, t.Context(), v, "B"))
			})
		})
	}
}

// The value of a panic is the customer's too.
func TestPanicsOfSourceMayPanic(t *testing.T) {
	source := diffhook.SecretSourceFunc(func(context.Context) (diffhook.Secrets, error) { panic(panickingText{}) })
	_, err := diffhook.NewVerifier(t.Context(), source, nil)
	require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
	require.ErrorContains(t, err, "panicked")
}

// handler is a slog.Handler that does something at each line.
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
					if depth.Add(1) < 10 { // a refresh may write a line itself
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
					pause(2 * time.Hour) // those that take an hour are done
				}

				source.set(diffhook.Secrets{}, errors.New("down"))
				require.ErrorContains(t, v.Refresh(t.Context()), "down")
				requireLines(1)

				source.set(diffhook.Secrets{Current: letter(t, "B")}, nil)
				require.NoError(t, v.Refresh(t.Context()))
				requireLines(1)

				source.hang = make(chan struct{}) // the timeout writes the line
				require.ErrorContains(t, v.Refresh(t.Context()), "has not answered")
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

// On the caller's own goroutine a panic of the logger is the caller's. Nothing is
// left locked, and nobody is left waiting.
func TestLoggerPanicsOnCallersGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSource{delay: time.Second}
		source.set(diffhook.Secrets{Current: letter(t, "A")}, nil)
		v := newVerifier(t, source, &diffhook.VerifierOptions{Logger: slog.New(handler{func(slog.Record) { panic("in the handler") }})})
		require.Panics(t, func() { _ = v.Rotate(letter(t, "B"), time.Hour) })
		require.NoError(t, verifySigned(t, t.Context(), v, "B"), "it has been done")
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

// secretError is an error with a secret in a field, as a client of a secrets
// manager may return.
type secretError struct{ Response string }

func (e *secretError) Error() string { return "vault: bad answer" }

// Programs that print all that an error wraps, or its fields, meet no raw cause,
// and errors.Is and errors.As find it.
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

// unwrapped returns all that err wraps, as a program that reports errors walks it.
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

// At every stage the error matches both the error of the context and its cause.
func TestSourceErrorsMatchContextAndCause(t *testing.T) {
	hungUp := errors.New("the sender hung up")
	sources := map[string]func() *slowSource{
		"heeds its context": func() *slowSource { return &slowSource{delay: time.Hour} },
		"hangs":             func() *slowSource { return &slowSource{hang: make(chan struct{})} },
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
						pause(time.Minute) // the read ends
					})
				})
			}
		}
	}
}

// atAThen returns a verifier that knows A, at a source that from then on is slow.
func atAThen(t *testing.T, source *slowSource) *diffhook.Verifier {
	delay := source.delay
	source.delay = 0
	v := atA(t, source, nil, diffhook.Secrets{Current: letter(t, "B")})
	source.delay = delay
	return v
}
