package diffhook_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// storm is one storm under way.
type storm struct {
	t         *testing.T
	mode      stormMode
	oneSecret bool
	dice      *stormDice
	platform  *diffhooktest.Server
	client    *diffhook.Client
	store     *memoryStore[diffhook.Secrets]
	monitors  []diffhooktest.Monitor
	servers   []*stormServer // the last is the one that restarts

	ctx      context.Context // of the attackers and watchers
	end      context.CancelFunc
	producer sync.WaitGroup
	others   sync.WaitGroup

	rotations int // at the platform

	mu         sync.Mutex
	events     map[string]*stormEvent // by body
	observed   map[string]int         // verdicts on their attempts
	byPrevious int
	afterRead  int
	mishaps    map[string]int
	lastBody   []byte // that the balancer saw, and its signature
	lastSigned string
	revoked    []diffhook.Secret
	forgeries  []*stormForgery
	forged     int // verdicts on them
	restartAt  string
	restarted  int
	saveFails  bool // before it has saved,
	saveLost   bool // or after
}

// newStorm starts the platform and the servers.
func newStorm(t *testing.T, seed uint64, mode stormMode, oneSecret bool) *storm {
	platform := diffhooktest.New() // not recorded: its traffic would drown the rest
	s := &storm{
		t: t, mode: mode, oneSecret: oneSecret, dice: newStormDice(seed), platform: platform, client: platform.Client(nil),
		events: make(map[string]*stormEvent), observed: make(map[string]int), mishaps: make(map[string]int),
	}
	s.ctx, s.end = context.WithCancel(t.Context())
	platform.Configure(diffhooktest.Settings{
		SignOnce: mode.signOnce,
		Terse:    mode.generation == 2, // Replace has the old secret from the store then
		Deliver:  diffhooktest.Transport(http.HandlerFunc(s.balance)),
	})
	if mode.generation == 2 {
		s.client = platform.ClientGen2(nil)
	}
	for range 8 {
		s.monitors = append(s.monitors, platform.DefaultTeam().NewMonitor(diffhooktest.Monitor{
			Generation: mode.generation, WebhookURL: "https://hooks.example.com/diffhook",
		}))
	}
	first := diffhook.Secrets{Current: platform.Secrets().Current, NoPrevious: true}
	s.store = newMemoryStore(first)
	s.store.before, s.store.after = s.beforeStore, s.afterStore
	for _, name := range []string{"a", "b", "c"} {
		replica := &stormReplica{dice: s.dice, lag: mode.lag, versions: []stormVersion{{first, time.Now()}}}
		s.servers = append(s.servers, &stormServer{storm: s, name: name, replica: replica})
	}
	for _, server := range s.servers {
		server.start()
	}
	return s
}

func (s *storm) close() {
	s.end()
	s.producer.Wait()
	s.others.Wait()
	s.platform.Close()
	stormPause(diffhook.DeliveryTimeout) // for what is still being handled
}

// stormPause takes no time but the bubble's.
func stormPause(d time.Duration) { <-time.After(d) }

// produce has pages change around the beginning of the next rotation.
func (s *storm) produce(events int) {
	gap := (s.mode.before + s.mode.after) / time.Duration(events)
	s.producer.Go(func() {
		for range events {
			stormPause(s.dice.upTo(2 * gap))
			s.producer.Go(func() {
				_, err := s.platform.Change(s.monitors[s.dice.below(len(s.monitors))].ID, nil)
				assert.NoError(s.t, err)
			})
		}
	})
}

// awaitInFlight waits until an event waits for its next attempt.
func (s *storm) awaitInFlight() {
	for range 100 {
		if s.retrying() {
			return
		}
		stormPause(s.mode.before / 100)
	}
	require.Fail(s.t, "no delivery is in flight")
}

func (s *storm) retrying() bool {
	return slices.ContainsFunc(s.platform.Deliveries(), func(d diffhooktest.Delivery) bool { return !d.Next.IsZero() && len(d.Attempts) > 0 })
}

// calm waits until all is delivered or lost, and ends the storm with an attack
// on every server with every secret that has been revoked.
func (s *storm) calm() {
	s.producer.Wait()
	for s.retrying() {
		stormPause(s.mode.before)
	}
	stormPause(2 * diffhook.DeliveryTimeout) // for answers that are late
	s.end()
	s.others.Wait()
	for _, secret := range s.revoked {
		for _, server := range s.servers {
			server.attackedWith(secret)
		}
	}
}

// stormEvent is an event as the balancer sees it. Attempt n is the platform's
// attempt n.
type stormEvent struct {
	misfortune float64 // how likely an attempt meets with
	mishap     string  // this
	attempts   []*stormAttempt
}

type stormAttempt struct {
	mishap  string // empty: none
	verdict string // empty: it did not reach a verifier
}

// What goes wrong with an attempt: two things before it reaches a server, and
// three after.
const (
	notRouted  = "the balancer finds no server"
	broken     = "the connection breaks"
	notHandled = "the handler fails"
	answerLost = "the answer is lost"
	answerLate = "the answer is late"
)

// stormMishaps are by turns, most of them such that the event is not accepted.
var stormMishaps = []string{notRouted, broken, notRouted, broken, notRouted, broken, notRouted, notHandled, answerLost, answerLate}

// wantStatus is the status that the platform must have seen.
func (a *stormAttempt) wantStatus() int {
	switch {
	case a.mishap == notRouted:
		return http.StatusBadGateway
	case a.mishap == broken, a.mishap == answerLost:
		return 0
	case a.verdict == "mismatch":
		return http.StatusUnauthorized
	case a.verdict == "secrets_unavailable":
		return http.StatusServiceUnavailable
	case a.mishap == notHandled:
		return http.StatusInternalServerError
	case a.mishap == answerLate:
		return 0
	}
	return http.StatusNoContent
}

// stormKey is the key of a *stormAttempt or a *stormForgery in the context of a
// request.
type stormKey struct{}

// balance is the load balancer. It has a server that is up answer.
func (s *storm) balance(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	assert.NoError(s.t, err)
	a := s.begin(body, r.Header)
	stormPause(s.dice.upTo(stormTransit))
	switch a.mishap {
	case notRouted:
		w.WriteHeader(http.StatusBadGateway)
		return
	case broken:
		panic(http.ErrAbortHandler)
	}
	r = r.WithContext(context.WithValue(r.Context(), stormKey{}, a))
	r.Body = io.NopCloser(bytes.NewReader(body))
	handler := s.pick().handler
	if a.mishap == answerLost {
		handler.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
	handler.ServeHTTP(w, r)
}

// begin records an attempt and decides what goes wrong with it. The last one of
// an event always arrives.
func (s *storm) begin(body []byte, header http.Header) *stormAttempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastBody = body
	s.lastSigned = header.Get(diffhook.SignatureHeader) + header.Get(diffhook.SignatureHeaderGen2)
	e := s.events[string(body)]
	if e == nil {
		n := len(s.events)
		e = &stormEvent{misfortune: []float64{0, 1, 0, 0.5}[n%4], mishap: stormMishaps[n/4%len(stormMishaps)]}
		s.events[string(body)] = e
	}
	a := new(stormAttempt)
	e.attempts = append(e.attempts, a)
	failed := 0
	for _, earlier := range e.attempts {
		if earlier.mishap != "" {
			failed++
		}
	}
	if failed < s.mode.mishaps && len(e.attempts) < s.mode.attempts && s.dice.chance(e.misfortune) {
		a.mishap = e.mishap
		s.mishaps[a.mishap]++
	}
	return a
}

// pick returns a server that is up.
func (s *storm) pick() *stormLife {
	var up []*stormLife
	for _, server := range s.servers {
		if life := server.now(); life != nil {
			up = append(up, life)
		}
	}
	return up[s.dice.below(len(up))]
}

// handle is what the servers do with an event.
func (s *storm) handle(ctx context.Context, _ *diffhook.Event) error {
	a, _ := ctx.Value(stormKey{}).(*stormAttempt) // nil: a forgery that was accepted
	switch {
	case a != nil && a.mishap == notHandled:
		return errors.New("test: the event cannot be handled")
	case a != nil && a.mishap == answerLate:
		<-ctx.Done()
		stormPause(time.Second)
	}
	return nil
}

// observe is VerifierOptions.Observe of every server.
func (s *storm) observe(ctx context.Context, o diffhook.Observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch of := ctx.Value(stormKey{}).(type) {
	case *stormAttempt:
		of.verdict = o.Result
		s.observed[o.Result]++
		if o.Err == nil && o.SignedByPrevious {
			s.byPrevious++
		}
		if o.Err == nil && o.Refreshed {
			s.afterRead++
		}
	case *stormForgery:
		of.verdict = o.Result
		s.forged++
	default:
		assert.Fail(s.t, "neither a delivery nor a forgery")
	}
}

// step is told of every step of a rotation, before the next one begins.
func (s *storm) step(name string) {
	if name == "learned" {
		for _, server := range s.servers {
			life := server.now()
			if assert.NotNil(s.t, life, "%s is down", server.name) {
				assert.Equal(s.t, s.platform.Secrets().Current.Fingerprint(), life.v.Status().Current.Fingerprint, server.name)
			}
		}
	}
	s.mu.Lock()
	due := name == s.restartAt
	if due {
		s.restartAt = "" // not again, where the rotation is run again
		s.restarted++
	}
	s.mu.Unlock()
	if !due {
		return
	}
	down := s.dice.upTo(2 * time.Second)
	if name == "refused" {
		// Once all servers have been told to refuse a secret, one that forgets
		// it must not read it back in from a replica which lags. Before that,
		// it may: the rotation does not end until it refuses it again.
		down += s.mode.lag
	}
	s.servers[len(s.servers)-1].restart(down)
}

// stormServer is a server with a verifier. It has a life from each start to the
// next restart.
type stormServer struct {
	storm   *storm
	name    string
	replica *stormReplica

	mu    sync.Mutex
	up    *stormLife // nil: it is down
	lives []*stormLife
}

type stormLife struct {
	v       *diffhook.Verifier
	handler http.Handler // of deliveries
	stop    context.CancelFunc

	mu   sync.Mutex
	uses map[string]uint64 // by fingerprint, as statuses have shown them
}

// start brings the server up, once its replica can be read.
func (s *stormServer) start() {
	life := &stormLife{uses: make(map[string]uint64)}
	opts := &diffhook.VerifierOptions{MinRefreshInterval: stormMissReads, Observe: s.storm.observe}
	if s.storm.oneSecret {
		opts.RotationWindow = -1
	}
	source := diffhook.SecretSourceFunc(func(context.Context) (diffhook.Secrets, error) {
		answer, err := s.replica.read()
		life.tally() // before it is put in force
		if s.storm.oneSecret {
			answer = diffhook.Secrets{Current: answer.Current, NoPrevious: true}
		}
		return answer, err
	})
	v, err := diffhook.NewVerifier(s.storm.t.Context(), source, opts)
	for err != nil {
		assert.ErrorIs(s.storm.t, err, errStormRead)
		stormPause(time.Second)
		v, err = diffhook.NewVerifier(s.storm.t.Context(), source, opts)
	}
	ctx, stop := context.WithCancel(s.storm.ctx)
	life.v, life.handler, life.stop = v, v.EventHandler(s.storm.handle), stop
	s.mu.Lock()
	s.up = life
	s.lives = append(s.lives, life)
	s.mu.Unlock()
	if s.name != "b" { // which learns by misses, and from Replace
		s.storm.others.Go(func() { v.Watch(ctx, 5*s.storm.mode.every) })
	}
}

// restart takes the server down for a time. What it is at work on it finishes.
func (s *stormServer) restart(down time.Duration) {
	s.mu.Lock()
	life := s.up
	s.up = nil
	s.mu.Unlock()
	life.stop()
	s.storm.others.Go(func() {
		stormPause(down)
		s.start()
	})
}

func (s *stormServer) now() *stormLife {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up
}

// ServeHTTP is where the server's status is mounted.
func (s *stormServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	life := s.now()
	if life == nil {
		panic(http.ErrAbortHandler)
	}
	life.tally()
	life.v.StatusHandler().ServeHTTP(w, r)
}

// receivers are the servers as a rotation sees them: it runs on the first.
func (s *storm) receivers() map[string]diffhook.Receiver {
	receivers := make(map[string]diffhook.Receiver)
	for _, server := range s.servers[1:] {
		receivers[server.name] = &diffhook.RemoteReceiver{
			URL:        "https://" + server.name + ".example.com/status",
			HTTPClient: &http.Client{Transport: diffhooktest.Transport(server)},
		}
	}
	first := s.servers[0]
	receivers[first.name] = stormLocal{diffhook.LocalReceiver(first.now().v), first.now()}
	return receivers
}

// stormLocal is a LocalReceiver whose uses are counted in time.
type stormLocal struct {
	diffhook.Receiver
	life *stormLife
}

func (l stormLocal) Revoke(ctx context.Context, fingerprint string) error {
	l.life.tally()
	return l.Receiver.Revoke(ctx, fingerprint)
}

// tally takes down the uses of the secrets in force. It is called before any
// change of these, since a status does not show what is no longer in force.
func (l *stormLife) tally() {
	if l.v == nil { // at its first read
		return
	}
	status := l.v.Status()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, secret := range []diffhook.SecretStatus{status.Current, status.Previous} {
		if secret.Uses > 0 {
			l.uses[secret.Fingerprint] = secret.Uses
		}
	}
}

// uses is the sum over all verifiers that there were.
func (s *storm) uses() map[string]uint64 {
	sum := make(map[string]uint64)
	for _, server := range s.servers {
		for _, life := range server.lives {
			life.tally()
			for fingerprint, uses := range life.uses {
				sum[fingerprint] += uses
			}
		}
	}
	return sum
}

var (
	errStormRead  = errors.New("test: the replica cannot be read")
	errStormStore = errors.New("test: the store fails")
)

// stormReplica is what a server reads: a copy of the store that lags.
type stormReplica struct {
	dice *stormDice
	lag  time.Duration // at most

	mu       sync.Mutex
	versions []stormVersion
	fails    int // in a row
	failed   int // in all
}

type stormVersion struct {
	secrets diffhook.Secrets
	from    time.Time // when it can be read
}

// change is told what the store has saved.
func (r *stormReplica) change(secrets diffhook.Secrets) {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := time.Now().Add(r.dice.upTo(r.lag))
	if last := r.versions[len(r.versions)-1].from; last.After(from) {
		from = last // it never goes back
	}
	r.versions = append(r.versions, stormVersion{secrets, from})
}

func (r *stormReplica) read() (secrets diffhook.Secrets, err error) {
	stormPause(r.dice.upTo(stormReadTime))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fails < stormReadFails && r.dice.chance(0.3) {
		r.fails++
		r.failed++
		return diffhook.Secrets{}, errStormRead
	}
	r.fails = 0
	for _, version := range r.versions {
		if !time.Now().Before(version.from) {
			secrets = version.secrets
		}
	}
	return secrets, nil
}

// beforeStore and afterStore are the hooks of the store.
func (s *storm) beforeStore(operation string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if operation == "save" && s.saveFails {
		s.saveFails = false
		return errStormStore
	}
	return nil
}

func (s *storm) afterStore(operation string, secrets *diffhook.Secrets) error {
	if operation != "save" {
		return nil
	}
	for _, server := range s.servers {
		server.replica.change(*secrets)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.saveLost {
		s.saveLost = false
		return errStormStore
	}
	return nil
}

const (
	stormLoadRoute   = "GET /api/signing-secret"
	stormRotateRoute = "POST /api/signing-secret/rotate"
	stormRevokeRoute = "DELETE /api/signing-secret/previous"
)

// stormUpsets befall the rotations by turns.
var stormUpsets = []stormUpset{
	{},
	{faults: []diffhooktest.Fault{{Route: stormRotateRoute, Status: http.StatusServiceUnavailable}}, want: diffhook.ErrServer, notRotated: 1},
	{faults: []diffhooktest.Fault{{Route: stormRotateRoute, Reset: diffhooktest.BeforeHandling}}, want: diffhook.ErrOutcomeUnknown, notRotated: 1},
	{faults: []diffhooktest.Fault{{Route: stormRotateRoute, Reset: diffhooktest.AfterHandling}}},
	{faults: []diffhooktest.Fault{{Route: stormRotateRoute, HTML: true, Handle: true}}},
	{faults: []diffhooktest.Fault{ // and then nobody can tell whether it rotated
		{Route: stormRotateRoute, Reset: diffhooktest.AfterHandling},
		{Route: stormLoadRoute, Skip: 1, Times: 4, Status: http.StatusServiceUnavailable},
	}, want: diffhook.ErrOutcomeUnknown},
	{faults: []diffhooktest.Fault{{Route: stormRevokeRoute, Reset: diffhooktest.AfterHandling}}},
	{faults: []diffhooktest.Fault{{Route: stormRevokeRoute, Times: 4, Status: http.StatusServiceUnavailable}}, want: diffhook.ErrServer},
	{arm: func(s *storm) { s.saveFails = true }, want: errStormStore},
	{arm: func(s *storm) { s.saveLost = true }, want: errStormStore},
}

// stormUpset is what goes wrong with a rotation itself.
type stormUpset struct {
	faults     []diffhooktest.Fault
	arm        func(*storm) // with the mutex held
	want       error        // of Replace, once; nil: it copes
	notRotated int          // requests to rotate that are never carried out
}

func (u stormUpset) begin(s *storm) {
	for _, fault := range u.faults {
		s.platform.Fail(fault)
	}
	if u.arm != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		u.arm(s)
	}
}

// stormForgery is a delivery that must be refused.
type stormForgery struct {
	kind    string
	verdict string
	status  int
}

const (
	forgedUnsigned = "unsigned"
	forgedSecret   = "signed with a made-up secret"
	forgedBody     = "a delivery with a changed body"
	forgedRevoked  = "signed with a revoked secret"
)

var stormForgeries = []string{forgedUnsigned, forgedSecret, forgedBody, forgedRevoked}

// attack has every server attacked until the storm ends.
func (s *storm) attack() {
	for _, server := range s.servers {
		s.others.Go(func() {
			for s.ctx.Err() == nil {
				stormPause(s.mode.every - s.dice.upTo(s.mode.every/10))
				server.attacked()
			}
		})
	}
}

// revoke hands a secret to the attackers.
func (s *storm) revoke(secret diffhook.Secret) {
	s.mu.Lock()
	s.revoked = append(s.revoked, secret)
	s.mu.Unlock()
	for _, server := range s.servers {
		server.attackedWith(secret)
	}
}

// attacked is one attack. Whatever else is in it, a signature that may be of a
// secret to be learned is: a reason to read the source.
func (s *stormServer) attacked() {
	s.storm.mu.Lock()
	body, signature, revoked := bytes.Clone(s.storm.lastBody), s.storm.lastSigned, s.storm.revoked
	s.storm.mu.Unlock()
	switch kind := s.storm.dice.below(4); {
	case kind == 0 && len(revoked) > 0:
		s.attackedWith(revoked[s.storm.dice.below(len(revoked))])
	case kind == 1 && len(body) > 0:
		body[s.storm.dice.below(len(body))] ^= 1
		s.forge(forgedBody, body, signature)
	case kind == 2:
		s.forge(forgedUnsigned, body, "")
		fallthrough
	default:
		s.forge(forgedSecret, body, diffhooktest.NewSecret().Sign(body))
	}
}

func (s *stormServer) attackedWith(revoked diffhook.Secret) {
	body := diffhooktest.PageChanged()
	s.forge(forgedRevoked, body, revoked.Sign(body))
}

// forge delivers a forgery, if the server is up.
func (s *stormServer) forge(kind string, body []byte, signature string) {
	life := s.now()
	if life == nil {
		return
	}
	f := &stormForgery{kind: kind}
	s.storm.mu.Lock()
	s.storm.forgeries = append(s.storm.forgeries, f)
	s.storm.mu.Unlock()
	r := diffhooktest.NewRequest("https://hooks.example.com/diffhook", diffhook.Secret{}, body)
	if signature != "" {
		r.Header.Set(diffhook.SignatureHeader, signature)
	}
	w := httptest.NewRecorder()
	life.handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), stormKey{}, f)))
	s.storm.mu.Lock()
	defer s.storm.mu.Unlock()
	f.status = w.Code
}

// stormDice decide. They may be thrown concurrently.
type stormDice struct {
	mu     sync.Mutex
	source *rand.Rand
}

func newStormDice(seed uint64) *stormDice {
	return &stormDice{source: rand.New(rand.NewPCG(seed, 0))}
}

// upTo returns a time of up to d, to the nanosecond: no two things that do not
// depend on one another happen at the same moment.
func (d *stormDice) upTo(most time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return 1 + time.Duration(d.source.Int64N(int64(most)))
}

func (d *stormDice) below(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.source.IntN(n)
}

func (d *stormDice) chance(p float64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.source.Float64() < p
}
