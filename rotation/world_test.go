package rotation_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// The rig of the tests: DiffHook, its app with a person, a store, and servers. It is
// for a synctest bubble.

var (
	errCrash  = errors.New("the process is gone")
	errAbsent = errors.New("the person has left")
)

// fuse is the life of one run. At its point number `at`, the process is gone: nothing
// that the run does later has an effect.
type fuse struct {
	at     int // 0: never
	points atomic.Int64
	dead   atomic.Bool
	kill   context.CancelFunc
	label  string // of the point at which it was killed
}

func (f *fuse) point(label string) error {
	if f.dead.Load() {
		return errCrash
	}
	if f.points.Add(1) == int64(f.at) {
		f.label = label
		f.dead.Store(true)
		f.kill()
		return errCrash
	}
	return nil
}

// memory is a store. Versions are counted.
type memory struct {
	mu      sync.Mutex
	doc     []byte
	version int
	history []saved

	reformat bool // as JSONB and Vault do
	lag      time.Duration
	swap     func(n int, do func() error) error // faults, by the number of the Swap
	get      func() error
	swaps    int
}

type saved struct {
	at      time.Time
	doc     []byte
	version int
}

func (m *memory) Get(context.Context) ([]byte, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.get != nil {
		if err := m.get(); err != nil {
			return nil, "", err
		}
	}
	s := m.asOf(m.lag)
	return bytes.Clone(s.doc), fmt.Sprint(s.version), nil
}

// saves returns how often Swap was called.
func (m *memory) saves() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.swaps
}

// newest returns the document, whatever a Get would return.
func (m *memory) newest() saved {
	m.mu.Lock()
	defer m.mu.Unlock()
	return saved{doc: m.doc, version: m.version}
}

// failGets makes each Get return what get returns; nil: the document.
func (m *memory) failGets(get func() error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.get = get
}

// asOf returns the document as it was some time ago. The caller holds m.mu.
func (m *memory) asOf(lag time.Duration) (s saved) {
	for i, next := range slices.Backward(m.history) {
		if i == 0 || !next.at.After(time.Now().Add(-lag)) {
			return next
		}
	}
	return s
}

func (m *memory) Swap(_ context.Context, version string, doc []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.swaps++
	do := func() error {
		if version != fmt.Sprint(m.version) {
			return fmt.Errorf("version %s: %w", version, rotation.ErrConflict)
		}
		if m.reformat {
			doc = bytes.ReplaceAll(doc, []byte(`,"`), []byte(`,  "`))
		}
		m.version++
		m.doc = bytes.Clone(doc)
		m.history = append(m.history, saved{time.Now(), m.doc, m.version})
		return nil
	}
	if m.swap != nil {
		return m.swap(m.swaps, do)
	}
	return do()
}

// fused is a store of a run that may be gone.
type fused struct {
	rotation.Store
	*fuse
}

func (s fused) Get(ctx context.Context) ([]byte, string, error) {
	if s.dead.Load() {
		return nil, "", errCrash
	}
	return s.Store.Get(ctx)
}

func (s fused) Swap(ctx context.Context, version string, doc []byte) error {
	if err := s.point("before a save"); err != nil {
		return err
	}
	err := s.Store.Swap(ctx, version, doc)
	if crash := s.point("after a save"); crash != nil {
		return crash
	}
	return err
}

// fusedSecrets is a platform of a run that may be gone.
type fusedSecrets struct {
	rotation.SecretPlatform
	*fuse
}

func (p fusedSecrets) Signing(ctx context.Context, old diffhook.Secret) (s diffhook.Secrets, err error) {
	return s, p.around("signing", func() (err error) { s, err = p.SecretPlatform.Signing(ctx, old); return err })
}

func (p fusedSecrets) Rotate(ctx context.Context, old diffhook.Secret) (s diffhook.Secrets, err error) {
	return s, p.around("rotate", func() (err error) { s, err = p.SecretPlatform.Rotate(ctx, old); return err })
}

func (p fusedSecrets) Revoke(ctx context.Context) error {
	return p.around("revoke", func() error { return p.SecretPlatform.Revoke(ctx) })
}

func (f *fuse) around(label string, do func() error) error {
	if err := f.point("before " + label); err != nil {
		return err
	}
	err := do()
	if crash := f.point("after " + label); crash != nil {
		return crash
	}
	return err
}

// fusedReceiver is a receiver of a run that may be gone.
type fusedReceiver struct {
	rotation.Receiver
	*fuse
}

func (r fusedReceiver) AcceptSuccessor(ctx context.Context, sealed string) error {
	if r.dead.Load() {
		return errCrash
	}
	return r.Receiver.AcceptSuccessor(ctx, sealed)
}

func (r fusedReceiver) Hold(ctx context.Context, d time.Duration) error {
	if r.dead.Load() {
		return errCrash
	}
	return r.Receiver.Hold(ctx, d)
}

func (r fusedReceiver) Reject(ctx context.Context, fingerprint string) error {
	if r.dead.Load() {
		return errCrash
	}
	return r.Receiver.Reject(ctx, fingerprint)
}

// server verifies deliveries. Its source is the document, some time late.
type server struct {
	v       *diffhook.Verifier
	handler http.Handler
	source  diffhook.SecretSource
	options diffhook.VerifierOptions
	ctx     context.Context
	handled map[string]int
	mu      *sync.Mutex
}

func (s *server) restart() error {
	v, err := diffhook.NewVerifier(s.ctx, s.source, &s.options)
	if err != nil {
		return err
	}
	handler := v.EventHandler(func(_ context.Context, e *diffhook.Event) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.handled[e.MonitorID]++
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.v, s.handler = v, handler
	return nil
}

func (s *server) now() (*diffhook.Verifier, http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.v, s.handler
}

// count returns how often the server has handled an event.
func (s *server) count(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handled[id]
}

// current is the receiver of the server, whichever process it is.
type current struct{ *server }

func (c current) local() rotation.Receiver { v, _ := c.now(); return rotation.Local(v) }

func (c current) Status(ctx context.Context) (diffhook.VerifierStatus, error) {
	return c.local().Status(ctx)
}
func (c current) Refresh(ctx context.Context) error          { return c.local().Refresh(ctx) }
func (c current) Reject(ctx context.Context, f string) error { return c.local().Reject(ctx, f) }
func (c current) Hold(ctx context.Context, d time.Duration) error {
	return c.local().Hold(ctx, d)
}
func (c current) AcceptSuccessor(ctx context.Context, s string) error {
	return c.local().AcceptSuccessor(ctx, s)
}

// world is all of it.
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
	early                  string // a revocation that came too early
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

type lagging struct {
	*memory
	lag time.Duration
}

func (l lagging) Get(context.Context) ([]byte, string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.asOf(l.lag)
	return s.doc, "", nil
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
	if doc, _, _ := w.store.Get(w.t.Context()); !strings.Contains(string(doc), w.team.Secrets().Current.Reveal()) {
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

func (w *world) platform(f *fuse) rotation.SecretPlatform {
	var p rotation.SecretPlatform = rotation.API(w.team.Client(nil))
	if w.byHand {
		p = rotation.ByHand(w.person.ask)
	}
	return fusedSecrets{p, f}
}

// run runs Secret once, in a process that is gone at a point.
func (w *world) run(old string, at int, change func(*rotation.SecretOptions)) (*fuse, error) {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	f := &fuse{at: at, kill: cancel}
	o := w.options()
	for name, r := range o.Receivers {
		o.Receivers[name] = fusedReceiver{r, f}
	}
	if change != nil {
		change(o)
	}
	return f, rotation.Secret(ctx, old, w.platform(f), fused{w.store, f}, o)
}

// finish runs Secret until it returns nil, as an operator does after errors.
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

// requireRotated requires one successor that DiffHook, the document and every server
// have, and nothing else.
func (w *world) requireRotated() {
	w.t.Helper()
	secrets := w.team.Secrets()
	require.False(w.t, secrets.Current.Equal(w.first), "the old secret is still in force")
	require.True(w.t, secrets.Previous.IsZero(), "the old secret is not revoked")
	require.Equal(w.t, 1, w.rotations, "rotations")
	require.Empty(w.t, w.early, "the old secret was revoked too early")
	require.Zero(w.t, w.store.lag)
	got, err := rotation.Source(w.store).Load(w.t.Context())
	require.NoError(w.t, err)
	require.True(w.t, got.Current.Equal(secrets.Current) && got.NoPrevious)
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

// person answers questions, and clicks in the app.
type person struct {
	*world
	think     time.Duration
	wrong     map[int]string // answers by the number of the question
	leaves    int            // the number of the question at which the person leaves; 0: never
	questions []rotation.Question
	before    func(n int, q rotation.Question) // what happens before a question is read
}

func (p *person) ask(ctx context.Context, q rotation.Question) (string, error) {
	p.stepsMu.Lock()
	p.questions = append(p.questions, q)
	n := len(p.questions)
	p.stepsMu.Unlock()
	select {
	case <-time.After(p.think):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if p.before != nil {
		p.before(n, q)
	}
	if n == p.leaves {
		return "", errAbsent
	}
	if answer, ok := p.wrong[n]; ok {
		return answer, nil
	}
	switch {
	case strings.Contains(q.Text, "click Rotate signing secret"):
		if !strings.HasPrefix(q.Text, "That cannot be right") { // and they remember the click
			p.click()
		}
	case strings.Contains(q.Text, "revoke the old secret"):
		p.revocations++
		p.checkRevocation()
		p.team.RevokePrevious()
		return "", nil
	case strings.Contains(q.Text, "copy the old secret"):
		return p.team.Secrets().Previous.Reveal(), nil
	}
	return " " + p.team.Secrets().Current.Reveal() + "\n", nil
}

func (p *person) click() {
	p.rotations++
	p.team.Rotate()
}

// traffic sends an event and a forgery per second to each server while do runs, and
// returns how many events were sent and how many never handled. No forgery may be
// handled.
func (w *world) traffic(generation int, signOnce bool, do func()) (sent, lost int) {
	forger := diffhooktest.NewSender(diffhooktest.NewSecret(), &diffhooktest.SenderOptions{Generation: generation, Retries: []time.Duration{}})
	sender := diffhooktest.NewSender(w.team.Secrets().Current, &diffhooktest.SenderOptions{Generation: generation, SignOnce: signOnce})
	var all sync.WaitGroup
	stop := make(chan struct{})
	var ids []string
	all.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
			}
			sender.Rotate(w.team.Secrets().Current)
			for name, s := range w.servers {
				id := fmt.Sprintf("%s/mon_%d", name, n)
				ids = append(ids, id)
				body := fmt.Sprintf(`{"event":"page.changed","monitor_id":%q,"triggered_at":%q}`, id, time.Now().UTC().Format(time.RFC3339))
				all.Go(func() {
					_, h := s.now()
					forger.SendTo(w.t.Context(), h, []byte(strings.Replace(body, id, "forged", 1)))
				})
				all.Go(func() {
					sender.SendTo(w.t.Context(), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
						sender.Rotate(w.team.Secrets().Current)
						_, h := s.now()
						h.ServeHTTP(rw, r)
					}), []byte(body))
				})
			}
		}
	})
	func() {
		defer close(stop) // also if do fails the test
		do()
	}()
	all.Wait()
	for _, s := range w.servers {
		v, _ := s.now()
		_ = v.Drain(w.t.Context())
		s.mu.Lock()
		require.Zero(w.t, s.handled["forged"], "a forgery was handled")
		s.mu.Unlock()
	}
	for _, id := range ids {
		s := w.servers[strings.SplitN(id, "/", 2)[0]]
		s.mu.Lock()
		if s.handled[id] == 0 {
			lost++
		}
		s.mu.Unlock()
	}
	return len(ids), lost
}

func (w *world) names() (names []rotation.StepName) {
	w.stepsMu.Lock()
	defer w.stepsMu.Unlock()
	for _, s := range w.steps {
		names = append(names, s.Name)
	}
	return names
}
