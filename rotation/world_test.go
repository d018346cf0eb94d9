package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// The rig of the tests: DiffHook, the app with a person, a store, and servers, all in a
// synctest bubble.

var (
	errCrash  = errors.New("the process is gone")
	errAbsent = errors.New("the person left")
)

// world is the whole rig.
type world struct {
	t       *testing.T
	platf   *diffhooktest.Server
	team    *diffhooktest.Team
	store   *memory
	servers map[string]*server
	byHand  bool
	person  *person
	first   diffhook.Secret
	steps   []rotation.Step
	stepsMu sync.Mutex

	rotations, revocations int
	early                  string // a premature revocation
}

func newWorld(t *testing.T, byHand bool, lags ...time.Duration) *world {
	t.Helper()
	w := &world{t: t, platf: diffhooktest.New(), store: &memory{}, servers: map[string]*server{}, byHand: byHand}
	t.Cleanup(w.platf.Close)
	w.team = w.platf.DefaultTeam()
	w.first = w.team.Secrets().Current
	w.person = &person{world: w, think: 5 * time.Second}
	require.NoError(t, rotation.NewSecret(t.Context(), w.store, w.first))
	w.platf.Configure(diffhooktest.Settings{OnExchange: func(e diffhooktest.Exchange) { w.noticed(e.Request.Route) }})
	for i, lag := range lags {
		name := fmt.Sprint("web-", i+1)
		s := &server{ctx: t.Context(), handled: map[string]int{}, mu: new(sync.Mutex)}
		s.source = rotation.Source(lagging{w.store, lag})
		require.NoError(t, s.restart())
		w.servers[name] = s
	}
	return w
}

// noticed counts changes at DiffHook, by the API or in the app.
func (w *world) noticed(route string) {
	switch {
	case strings.HasSuffix(route, "/rotate"):
		w.rotations++
	case strings.HasSuffix(route, "/previous"):
		w.revocations++
		w.checkRevocation()
	}
}

// checkRevocation notes a revocation before every server has the new secret.
func (w *world) checkRevocation() {
	want := w.team.Secrets().Current.Fingerprint()
	for name, s := range w.servers {
		v, _ := s.now()
		if status := v.Status(); status.Current.Fingerprint != want || status.Source != want {
			w.early = name
		}
	}
	if doc := w.store.newest().doc; !strings.Contains(string(doc), w.team.Secrets().Current.Reveal()) {
		w.early = "the document"
	}
}

func (w *world) options() *rotation.SecretOptions {
	o := &rotation.SecretOptions{RetryHorizon: 2 * time.Minute, Receivers: map[string]rotation.Receiver{}, Observe: func(s rotation.Step) {
		w.stepsMu.Lock()
		defer w.stepsMu.Unlock()
		w.steps = append(w.steps, s)
	}}
	for name, s := range w.servers {
		o.Receivers[name] = current{s}
	}
	return o
}

// finish runs Secret until the error is nil, as an operator does.
func (w *world) finish(old string) error {
	var err error
	for range 20 {
		if _, err = w.run(old, 0, nil); err == nil {
			return nil
		}
		time.Sleep(10 * time.Second)
	}
	return err
}

// lag makes the source of a server answer with changed secrets until a time.
func (w *world) lag(s *server, until time.Time, change func(*diffhook.Secrets)) {
	w.t.Helper()
	document := s.source
	s.source = diffhook.SecretSourceFunc(func(ctx context.Context) (diffhook.Secrets, error) {
		secrets, err := document.Load(ctx)
		if time.Now().Before(until) {
			change(&secrets)
		}
		return secrets, err
	})
	require.NoError(w.t, s.restart())
}

// keepFirst names the first secret as previous, though the document no longer does.
func (w *world) keepFirst(s *diffhook.Secrets) {
	if s.Previous.IsZero() && !s.Current.Equal(w.first) {
		s.Previous, s.NoPrevious = w.first, false
	}
}

// requireCurrent requires the secret of DiffHook alone in the document.
func (w *world) requireCurrent() {
	w.t.Helper()
	got, err := rotation.Source(w.store).Load(w.t.Context())
	require.NoError(w.t, err)
	require.True(w.t, got.Current.Equal(w.team.Secrets().Current) && got.NoPrevious)
}

// requireRotated requires the same single successor at DiffHook, in the document and at
// every server.
func (w *world) requireRotated() {
	w.t.Helper()
	secrets := w.team.Secrets()
	require.False(w.t, secrets.Current.Equal(w.first), "the old secret is still in force")
	require.True(w.t, secrets.Previous.IsZero(), "the old secret is not revoked")
	require.Equal(w.t, 1, w.rotations, "rotations")
	require.Empty(w.t, w.early, "the old secret was revoked too early")
	require.Zero(w.t, w.store.lag)
	w.requireCurrent()
	for name, s := range w.servers {
		v, _ := s.now()
		status := v.Status()
		require.Equal(w.t, secrets.Current.Fingerprint(), status.Current.Fingerprint, name)
		require.Empty(w.t, status.Previous.Fingerprint, name)
		require.Zero(w.t, status.Hold.Until, name)
	}
	state, err := rotation.State(w.t.Context(), w.store)
	require.NoError(w.t, err)
	require.Equal(w.t, "idle", state.Phase)
	require.Equal(w.t, w.first.Fingerprint(), state.Replaced)
	require.LessOrEqual(w.t, time.Until(state.RunUntil), time.Minute, "the lease ends by itself")
}

func (w *world) names() (names []rotation.StepName) {
	w.stepsMu.Lock()
	defer w.stepsMu.Unlock()
	for _, s := range w.steps {
		names = append(names, s.Name)
	}
	return names
}
