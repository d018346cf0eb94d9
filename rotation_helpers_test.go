package diffhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// memoryStore is a SecretStore or, of APIKeys, a KeyStore in memory. What fails
// and what is forgotten is up to before, which may be nil.
type memoryStore[T any] struct {
	mu     sync.Mutex
	held   T
	saved  []T                                // all there was, the oldest first
	before func(operation string) error       // "load" or "save", which it keeps from happening
	after  func(operation string, t *T) error // when it has happened
}

func newMemoryStore[T any](t T) *memoryStore[T] {
	return &memoryStore[T]{held: t, saved: []T{t}}
}

func (s *memoryStore[T]) Load(context.Context) (T, error) {
	var loaded T
	err := s.do("load", func() { loaded = s.held }, &loaded)
	return loaded, err
}

func (s *memoryStore[T]) Save(_ context.Context, t T) error {
	return s.do("save", func() {
		s.held = t
		s.saved = append(s.saved, t)
	}, &s.held)
}

func (s *memoryStore[T]) do(operation string, work func(), t *T) error {
	if s.before != nil {
		if err := s.before(operation); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	work()
	if s.after != nil {
		return s.after(operation, t)
	}
	return nil
}

// holds returns what is stored.
func (s *memoryStore[T]) holds() T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// steps records the steps of a rotation.
type steps struct {
	names []string
	texts []string
}

func (s *steps) observe(_ context.Context, step diffhook.RotationStep) {
	s.names = append(s.names, step.Name)
	s.texts = append(s.texts, step.Name+": "+step.Text)
}

// changeover is a team whose signing secret is replaced, with a store and
// receivers, in a synctest bubble.
type changeover struct {
	*testing.T
	server  *diffhooktest.Server
	client  *diffhook.Client
	old     diffhook.Secret
	store   *memoryStore[diffhook.Secrets]
	web     map[string]*webServer
	options diffhook.SecretRotationOptions
	began   time.Time
	steps   []string          // of all runs: when, which, and the text
	named   map[string]string // by fingerprint, for the tests' texts
}

// newChangeover has receivers with the given names, which read the store.
func newChangeover(t *testing.T, generation int, receivers ...string) *changeover {
	c := &changeover{T: t, server: newBubbleServer(t), began: time.Now(), web: make(map[string]*webServer), named: make(map[string]string)}
	c.client = teamClient(c.server.DefaultTeam(), generation, nil)
	c.old = c.server.Secrets().Current
	c.store = newMemoryStore(diffhook.Secrets{Current: c.old})
	c.options.Receivers = make(map[string]diffhook.Receiver)
	for _, name := range receivers {
		c.add(name, c.store)
	}
	c.options.Observe = func(_ context.Context, step diffhook.RotationStep) {
		assert.NotContains(t, step.Text, "\n")
		c.steps = append(c.steps, fmt.Sprintf("%v %s: %s", time.Since(c.began), step.Name, step.Text))
	}
	return c
}

// add adds a receiver with a source of its own.
func (c *changeover) add(name string, source diffhook.SecretSource) *webServer {
	w := &webServer{t: c.T, source: source}
	w.restart()
	c.web[name], c.options.Receivers[name] = w, w
	return w
}

// at waits until a time since the beginning.
func (c *changeover) at(d time.Duration) { <-time.After(d - time.Since(c.began)) }

func (c *changeover) replace() error {
	return c.client.SigningSecret.Replace(c.Context(), c.old.Fingerprint(), c.store, &c.options)
}

func (c *changeover) revoke() error {
	return c.client.SigningSecret.Revoke(c.Context(), c.old.Fingerprint(), c.store, &c.options)
}

// text returns a text as tests have it: with names in the place of
// fingerprints, and without the bubble's date.
func (c *changeover) text(s string) string {
	c.named[c.server.Secrets().Current.Fingerprint()] = "NEW"
	c.named[c.old.Fingerprint()] = "OLD"
	for fingerprint, name := range c.named {
		s = strings.ReplaceAll(s, fingerprint, name)
	}
	return strings.ReplaceAll(s, "2000-01-01T", "")
}

// requireSteps compares all steps so far.
func (c *changeover) requireSteps(want ...string) {
	c.Helper()
	require.Empty(c, cmp.Diff(strings.Join(want, "\n"), c.text(strings.Join(c.steps, "\n"))))
}

// requireReplaced checks that one secret is in force everywhere, and that it is
// not the old one.
func (c *changeover) requireReplaced() {
	c.Helper()
	now, held := c.server.Secrets(), c.store.holds()
	require.False(c, now.Current.Equal(c.old))
	require.True(c, now.Previous.IsZero(), "at the platform")
	require.Equal(c, 1, c.server.Count("POST /api/signing-secret/rotate"))
	require.True(c, held.Current.Equal(now.Current) && held.Previous.IsZero(), "in the store")
	for name, w := range c.web {
		require.NoError(c, w.deliver(now.Current), name)
		require.ErrorIs(c, w.deliver(c.old), diffhook.ErrSignatureMismatch, name)
	}
}

// requireUntouched checks that nothing has been changed anywhere.
func (c *changeover) requireUntouched() {
	c.Helper()
	assert.Zero(c, c.server.Count("POST /api/signing-secret/rotate"))
	assert.Zero(c, c.server.Count("DELETE"))
	assert.Len(c, c.store.saved, 1)
	for name, w := range c.web {
		assert.Zero(c, w.orders.Load(), name)
	}
}

// webServer is a receiver that may be down, hang or restart.
type webServer struct {
	t      *testing.T
	source diffhook.SecretSource
	fails  func(context.Context) error // instead of an answer; nil: it does not
	shift  time.Duration               // of its clock

	v         atomic.Pointer[diffhook.Verifier]
	refreshes atomic.Int32
	orders    atomic.Int32 // to revoke
}

func (w *webServer) restart() {
	w.v.Store(newVerifier(w.t, w.source, &diffhook.VerifierOptions{MinRefreshInterval: -1}))
}

// deliver has it judge a delivery that s signed.
func (w *webServer) deliver(s diffhook.Secret) error {
	body := diffhooktest.PageChanged()
	return w.v.Load().Verify(w.t.Context(), body, s.Sign(body))
}

func (w *webServer) answer(ctx context.Context) error {
	if w.fails == nil {
		return nil
	}
	return w.fails(ctx)
}

func (w *webServer) Status(ctx context.Context) (status diffhook.RotationStatus, err error) {
	if err := w.answer(ctx); err != nil {
		return status, err
	}
	status = w.v.Load().Status()
	for _, at := range []*time.Time{&status.At, &status.Since, &status.Changed, &status.LastRefresh, &status.Current.LastUsed, &status.Previous.LastUsed} {
		if !at.IsZero() {
			*at = at.Add(w.shift)
		}
	}
	return status, nil
}

func (w *webServer) Refresh(ctx context.Context) error {
	w.refreshes.Add(1)
	if err := w.answer(ctx); err != nil {
		return err
	}
	return w.v.Load().Refresh(ctx)
}

func (w *webServer) Revoke(ctx context.Context, fingerprint string) error {
	w.orders.Add(1)
	if err := w.answer(ctx); err != nil {
		return err
	}
	return w.v.Load().Revoke(fingerprint)
}

var errDown = errors.New("connection refused")

// until fails until a time since the beginning.
func (c *changeover) until(d time.Duration) func(context.Context) error {
	return func(context.Context) error {
		if time.Since(c.began) < d {
			return errDown
		}
		return nil
	}
}

// afterwards fails as then does, once the platform has rotated.
func (c *changeover) afterwards(then func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if c.server.Secrets().Current.Equal(c.old) {
			return nil
		}
		return then(ctx)
	}
}

// behind is a source that learns what the store has at a time since the
// beginning.
func (c *changeover) behind(d time.Duration) diffhook.SecretSource {
	return diffhook.SecretSourceFunc(func(ctx context.Context) (diffhook.Secrets, error) {
		if time.Since(c.began) < d {
			return diffhook.Secrets{Current: c.old}, nil
		}
		return c.store.Load(ctx)
	})
}

// edited has the answers about the signing secret changed on their way.
func (c *changeover) edited(generation int, edit func(body string) string) {
	transport := diffhooktest.Transport(c.server)
	edited := rewrittenBy(transport, regexp.MustCompile(`(?s)^.*$`), edit)
	c.client = teamClient(c.server.DefaultTeam(), generation, &diffhook.ClientOptions{HTTPClient: &http.Client{
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if isExchange(r) {
				return transport.RoundTrip(r)
			}
			return edited.RoundTrip(r)
		}),
	}})
}

// fails has an operation of the store fail.
func (c *changeover) fails(operation string, err error) {
	c.store.before = func(o string) error {
		if o == operation {
			return err
		}
		return nil
	}
}
