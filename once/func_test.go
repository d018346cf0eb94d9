package once_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/once"
)

var (
	errWork  = errors.New("the work failed")
	errStore = errors.New("the store is away")
)

func event() *diffhook.Event {
	return &diffhook.Event{Type: "page.changed", MonitorID: "mon_abc123", TriggeredAt: time.Unix(1_773_670_920, 0)}
}

// recorder collects outcomes.
type recorder struct{ outcomes []once.Outcome }

func (r *recorder) options() *once.Options {
	return &once.Options{Observe: func(_ context.Context, o once.Observation) { r.outcomes = append(r.outcomes, o.Outcome) }}
}

// faulty is a memory store with the errors of the fields. It records contexts.
type faulty struct {
	once.Store
	claim, commit, release error

	calls []string
	keep  time.Duration
	lease time.Duration
	ctx   context.Context // of the last Commit or Release
	ended error           // the error of ctx during the call
}

func newFaulty() *faulty { return &faulty{Store: once.NewMemory(0)} }

func (s *faulty) Claim(ctx context.Context, k once.Key, token string, lease time.Duration) error {
	s.calls, s.lease = append(s.calls, "claim"), lease
	return errors.Join(s.Store.Claim(ctx, k, token, lease), s.claim)
}

func (s *faulty) Commit(ctx context.Context, k once.Key, token string, keep time.Duration) error {
	s.calls, s.keep, s.ctx, s.ended = append(s.calls, "commit"), keep, ctx, ctx.Err()
	if s.commit != nil {
		return s.commit
	}
	return s.Store.Commit(ctx, k, token, keep)
}

func (s *faulty) Release(ctx context.Context, k once.Key, token string) error {
	s.calls, s.ctx, s.ended = append(s.calls, "release"), ctx, ctx.Err()
	if s.release != nil {
		return s.release
	}
	return s.Store.Release(ctx, k, token)
}

func succeed(context.Context, *diffhook.Event) error { return nil }
func fail(context.Context, *diffhook.Event) error    { return errWork }

func TestFuncOutcomes(t *testing.T) {
	for _, tc := range []struct {
		name     string
		store    func(*faulty)
		handle   diffhook.EventFunc
		err      error // of the first delivery
		calls    []string
		outcomes []once.Outcome // of two deliveries
	}{
		{"handled, then a duplicate", func(*faulty) {}, succeed, nil,
			[]string{"claim", "commit", "claim"}, []once.Outcome{once.Handled, once.Duplicate}},
		{"a failure is released for the retry", func(*faulty) {}, fail, errWork,
			[]string{"claim", "release", "claim", "release"}, []once.Outcome{once.Failed, once.Failed}},
		{"a failed release leaves the claim to end", func(s *faulty) { s.release = errStore }, fail, errWork,
			[]string{"claim", "release", "release", "claim"}, []once.Outcome{once.Failed, once.InProgress}},
		{"a failed claim is released, since it may have been made", func(s *faulty) { s.claim = errStore }, succeed, diffhook.ErrUnavailable,
			[]string{"claim", "release", "claim", "release"}, []once.Outcome{once.StoreFailed, once.StoreFailed}},
		// After a 503, DiffHook would retry, and the work would be done again.
		{"a commit that fails after the work succeeded is success", func(s *faulty) { s.commit = errStore }, succeed, nil,
			[]string{"claim", "commit", "commit", "claim"}, []once.Outcome{once.CommitFailed, once.InProgress}},
		{"a commit after another claim is not repeated", func(s *faulty) { s.commit = once.ErrInProgress }, succeed, nil,
			[]string{"claim", "commit", "claim"}, []once.Outcome{once.CommitFailed, once.InProgress}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, r := newFaulty(), recorder{}
			tc.store(s)
			f := once.Func(s, tc.handle, r.options())
			require.ErrorIs(t, f(t.Context(), event()), tc.err)
			second := f(t.Context(), event())
			require.Equal(t, tc.outcomes, r.outcomes)
			require.Equal(t, tc.calls, s.calls)
			require.Equal(t, r.outcomes[1] == once.InProgress, errors.Is(second, once.ErrInProgress))
		})
	}
}

// TestFuncOfEventHandler shows the answers that DiffHook gets.
func TestFuncOfEventHandler(t *testing.T) {
	secret := diffhooktest.NewSecret()
	v, err := diffhook.NewVerifier(t.Context(), diffhook.Secrets{Current: secret}, nil)
	require.NoError(t, err)
	deliver := func(h http.Handler) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, diffhooktest.NewRequest("/", secret, diffhooktest.PageChanged()))
		return w.Code
	}
	running, finish := make(chan struct{}), make(chan struct{})
	h := v.EventHandler(once.Func(once.NewMemory(0), func(context.Context, *diffhook.Event) error {
		close(running) // a second call would panic
		<-finish
		return nil
	}, nil))
	first := make(chan int)
	go func() { first <- deliver(h) }()
	<-running
	require.Equal(t, http.StatusServiceUnavailable, deliver(h), "a duplicate in progress: the first may still fail")
	close(finish)
	require.Equal(t, http.StatusNoContent, <-first)
	require.Equal(t, http.StatusNoContent, deliver(h), "a duplicate of a done event")

	s := newFaulty()
	s.claim = errStore
	require.Equal(t, http.StatusServiceUnavailable, deliver(v.EventHandler(once.Func(s, succeed, nil))), "no store")
	require.Equal(t, http.StatusInternalServerError, deliver(v.EventHandler(once.Func(newFaulty(), fail, nil))), "an error of the work")
}

// TestFuncContexts: the context of the function ends with the request; the contexts of
// commit and release do not.
func TestFuncContexts(t *testing.T) {
	type key struct{}
	for _, tc := range []struct {
		name   string
		handle diffhook.EventFunc
		settle string
	}{{"commit", succeed, "commit"}, {"release", fail, "release"}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFaulty()
				start := time.Now()
				ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
				_ = once.Func(s, func(ctx context.Context, e *diffhook.Event) error {
					deadline, _ := ctx.Deadline()
					require.Equal(t, diffhook.DeliveryTimeout, deadline.Sub(start))
					require.Equal(t, "value", ctx.Value(key{}))
					cancel() // the request ends
					return tc.handle(ctx, e)
				}, nil)(ctx, event())

				require.Equal(t, []string{"claim", tc.settle}, s.calls)
				require.Equal(t, 20*time.Second, s.lease)
				require.NoError(t, s.ended, "it outlives the request")
				require.Equal(t, "value", s.ctx.Value(key{}))
				deadline, ok := s.ctx.Deadline()
				require.True(t, ok, "a store that hangs does not hold the goroutine for ever")
				require.Less(t, deadline.Sub(start), diffhook.DeliveryTimeout)
			})
		})
	}
}

func TestFuncReleasesAfterAPanic(t *testing.T) {
	for _, tc := range []struct {
		name string
		exit func()
	}{
		{"panic", func() { panic("the work") }},
		{"panic of net/http", func() { panic(http.ErrAbortHandler) }},
		{"Goexit", runtime.Goexit},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, r := newFaulty(), recorder{}
			var recovered any
			var ended context.Context
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() { recovered = recover() }()
				_ = once.Func(s, func(ctx context.Context, _ *diffhook.Event) error {
					ended = ctx
					tc.exit()
					return nil
				}, r.options())(t.Context(), event())
			}()
			<-done
			require.Equal(t, tc.name != "Goexit", recovered != nil, "the panic goes on")
			require.ErrorIs(t, ended.Err(), context.Canceled, "goroutines of the function learn of the end")
			require.Equal(t, []string{"claim", "release"}, s.calls)
			require.Equal(t, []once.Outcome{once.Failed}, r.outcomes)
			require.NoError(t, once.Func(s, succeed, nil)(t.Context(), event()), "a retry is handled")
		})
	}
}

func TestKeep(t *testing.T) {
	for _, tc := range []struct {
		name      string
		keep, set time.Duration
	}{
		{"default", 0, 7 * 24 * time.Hour},
		{"shorter than the retries of generation 2", time.Hour, 18 * time.Hour},
		{"negative", -1, 18 * time.Hour},
		{"longer", 30 * 24 * time.Hour, 30 * 24 * time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newFaulty()
			require.NoError(t, once.Func(s, succeed, &once.Options{Keep: tc.keep})(t.Context(), event()))
			require.Equal(t, tc.set, s.keep)
		})
	}
}

func TestObservation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []once.Observation
		opts := &once.Options{Consumer: "mail", Observe: func(_ context.Context, o once.Observation) { got = append(got, o) }}
		_ = once.Func(once.NewMemory(0), func(context.Context, *diffhook.Event) error {
			time.Sleep(time.Second)
			return errWork
		}, opts)(t.Context(), event())
		want := []once.Observation{{Key: once.KeyOf("mail", event()), Outcome: once.Failed, Err: errWork, Duration: time.Second}}
		require.Empty(t, cmp.Diff(want, got, cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) })))
	})
}

func TestFuncOfNothing(t *testing.T) {
	require.Panics(t, func() { once.Func(nil, succeed, nil) })
	require.Panics(t, func() { once.Func(once.NewMemory(0), nil, nil) })
	require.Panics(t, func() { once.NewMemory(-1) })
}

// TestWorkerDies: if a worker dies in the first attempt of generation 1, the lease of 20 s
// ends before the last attempt, 35 s later, which handles the event. If a function
// overruns the 10 s, the second attempt does not run beside the function.
func TestWorkerDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := once.NewMemory(0)
		require.NoError(t, s.Claim(t.Context(), once.KeyOf("", event()), "a worker that dies", 20*time.Second))
		handled := 0
		f := once.Func(s, func(context.Context, *diffhook.Event) error { handled++; return nil }, nil)
		time.Sleep(5 * time.Second)
		require.ErrorIs(t, f(t.Context(), event()), once.ErrInProgress)
		time.Sleep(30 * time.Second)
		require.NoError(t, f(t.Context(), event()))
		require.Equal(t, 1, handled)
	})
}
