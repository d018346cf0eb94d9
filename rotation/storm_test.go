package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// The storm: rotations in a row, while three servers behind a load balancer
// receive events and forgeries. Sources lag and fail, servers restart, runs are
// interrupted, the store and the API fail, and the person is slow, leaves and pastes
// wrong texts. Each fault is bounded, so that no outcome is a matter of luck: an event
// of generation 1 meets one fault of its own while a server may restart without a hold,
// and else two. Such a server restarts with empty memory, in a run that goes on. The
// store fails once in a row.

type stormCase struct {
	rotations  int
	byHand     bool
	generation int
	signOnce   bool
	plain      bool // receivers neither hold nor accept a pushed successor
}

func (c stormCase) String() string {
	return fmt.Sprintf("by hand: %v, generation %d, signed once: %v, plain: %v", c.byHand, c.generation, c.signOnce, c.plain)
}

// DIFFHOOK_TEST_STORM=seed takes all cases, twenty rotations each, with that seed.
func TestStorm(t *testing.T) {
	cases := []stormCase{ // of generation 2 few rotations: each takes more than 18 h
		{rotations: 20, byHand: true, generation: 1, signOnce: true}, {rotations: 20, generation: 1}, {rotations: 3, byHand: true, generation: 2, signOnce: true},
	}
	seed := uint64(1)
	if text := os.Getenv("DIFFHOOK_TEST_STORM"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
		cases = nil
		for i := range 8 {
			cases = append(cases, stormCase{rotations: 20, byHand: i&1 == 0, generation: 1 + i>>2, signOnce: i&2 == 0})
		}
	}
	for _, c := range cases {
		t.Run(c.String(), func(t *testing.T) {
			s := runStorm(t, c, seed)
			assert.Zero(t, s.lost, "genuine events that no server handled")
			assert.GreaterOrEqual(t, len(s.ids), 2000)
			assert.GreaterOrEqual(t, s.restarts, c.rotations/2)
			assert.Greater(t, s.runs, c.rotations)
			if c.generation == 1 { // generation 2 retries for 17 h
				c.plain = true
				s = runStorm(t, c, seed)
				assert.Positive(t, s.lost, "the storm is too calm to show anything")
			}
		})
	}
}

// storm is a world in which much goes wrong. mu guards the fields below it.
type storm struct {
	*world
	stormCase
	sender *diffhooktest.Sender
	hosts  []*host

	mu       sync.Mutex
	rand     *rand.Rand
	signed   []diffhook.Secret // by DiffHook: the current secret last
	mistake  diffhook.Secret   // that the person pasted as the new secret
	errs     bool              // the person is about to paste a mistake
	careful  bool              // the person is, in an emergency
	clicked  bool
	cuts     int
	faltered bool              // the store, at the last call
	texts    map[string]bool   // of steps, questions and errors
	restart  rotation.StepName // at which a server restarts; "": none
	late     bool              // servers are told to reject the old secret
	risky    bool              // a server with empty memory may restart
	drain    bool
	waits    sync.WaitGroup // for restarts

	ids                            []string
	answers                        map[int]int
	lost, forged, restarts, runs   int
	wrongs, absences, storeFaults  int
	crashes, interrupts, takeovers int
}

func (s *storm) below(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.IntN(n)
}

func (s *storm) chance(p float64) bool { return s.below(1000) < int(1000*p) }

func (s *storm) upTo(d time.Duration) time.Duration { return 1 + time.Duration(s.below(int(d))) }

func (s *storm) note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts[text] = true
}

// host is a server and the source that it reads: a copy of the store that lags.
type host struct {
	*server
	*storm
	label  string
	lag    time.Duration
	seen   saved // by the source, which never goes back
	fails  int   // of the source, in a row
	down   bool
	inside int // requests
}

var errStorm = errors.New("the storm")

func (h *host) Load(ctx context.Context) (diffhook.Secrets, error) {
	time.Sleep(h.upTo(300 * time.Millisecond))
	fails := h.chance(0.3)
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	if fails && h.fails < 2 {
		h.fails++
		return diffhook.Secrets{}, errStorm
	}
	h.fails = 0
	if next := h.store.asOf(h.lag); next.version > h.seen.version {
		h.seen = next
	}
	return rotation.Source(&memory{history: []saved{h.seen}}).Load(ctx)
}

// status serves the status of the server, which may be down.
func (h *host) status(w http.ResponseWriter, r *http.Request) {
	if h.storm.mu.Lock(); h.down {
		h.storm.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	h.storm.mu.Unlock()
	v, _ := h.now()
	v.StatusHandler().ServeHTTP(w, r)
}

func (h *host) isEmpty() bool {
	v, _ := h.now()
	status := v.Status()
	return status.Hold.Held+status.Hold.Pending == 0
}

// stop takes the server down if it has nothing in memory, requests included.
func (h *host) stop() (late, stopped bool) {
	if !h.isEmpty() {
		return false, false
	}
	h.storm.mu.Lock()
	defer h.storm.mu.Unlock()
	h.down = true
	late = h.late
	for h.inside > 0 {
		h.storm.mu.Unlock()
		time.Sleep(100 * time.Millisecond)
		h.storm.mu.Lock()
	}
	h.down = h.isEmpty()
	return late, h.down
}

// bounce restarts the server. A server that was told to reject the old secret must not
// read it back from a source that lags.
func (h *host) bounce() {
	time.Sleep(h.upTo(20 * time.Second))
	late, stopped := h.stop()
	for ; !stopped; late, stopped = h.stop() {
		time.Sleep(h.upTo(3 * time.Second))
	}
	time.Sleep(h.upTo(3 * time.Second))
	if late {
		time.Sleep(h.lag)
	}
	for h.server.restart() != nil {
		time.Sleep(h.upTo(time.Second))
	}
	h.storm.mu.Lock()
	defer h.storm.mu.Unlock()
	h.down = false
	h.restarts++
}

// shaky is the store of the runs.
type shaky struct{ *storm }

func (s shaky) falters() (how int) {
	how = s.below(25)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faltered = !s.faltered && how < 4
	if !s.faltered {
		return -1
	}
	s.storeFaults++
	return how
}

func (s shaky) Get(ctx context.Context) ([]byte, string, error) {
	if s.falters() == 0 {
		return nil, "", errStorm
	}
	return s.store.Get(ctx)
}

func (s shaky) Swap(ctx context.Context, version string, doc []byte) error {
	switch s.falters() {
	case 0:
		return errStorm
	case 1:
		return rotation.ErrConflict
	case 2:
		return errors.Join(s.store.Swap(ctx, version, doc), errStorm)
	case 3:
		return errors.Join(s.store.Swap(ctx, version, doc), rotation.ErrConflict)
	}
	return s.store.Swap(ctx, version, doc)
}

// deaf is a receiver that neither holds nor accepts a pushed successor.
type deaf struct{ pushless }

func (deaf) Hold(context.Context, time.Duration) error { return nil }

// changed is called after whatever may have changed the secret of DiffHook.
func (s *storm) changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.team.Secrets().Current; !now.Equal(s.signed[len(s.signed)-1]) {
		s.signed = append(s.signed, now)
		s.sender.Rotate(now)
	}
}

func (s *storm) think(ctx context.Context) error {
	d := s.upTo(30 * time.Second)
	if s.chance(0.1) {
		d = s.upTo(12 * time.Minute)
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.chance(0.08) {
		s.absences++
		return errAbsent
	}
	return nil
}

// ask is the person.
func (s *storm) ask(ctx context.Context, q rotation.Question) (string, error) {
	s.note(q.Text)
	if err := s.think(ctx); err != nil {
		return "", err
	}
	click := strings.Contains(q.Text, "click Rotate signing secret")
	switch {
	case q.Confirm:
		s.checkRevocation()
		s.team.RevokePrevious()
		return "", nil
	case strings.Contains(q.Text, "copy the old secret"):
		return s.team.Secrets().Previous.Reveal(), nil
	case click && !s.clicked:
		s.clicked = true
		s.team.Rotate()
		s.changed()
		if err := s.think(ctx); err != nil {
			return "", err
		}
	}
	if click && s.errs {
		s.errs, s.mistake = false, diffhooktest.NewSecret()
		return s.mistake.Reveal(), nil
	}
	text := s.team.Secrets().Current.Reveal()
	if !s.careful && s.chance(0.25) {
		s.wrongs++
		kinds := []string{"", `"` + text + `"`, s.platf.APIKey().Reveal(), s.signed[max(len(s.signed)-2, 0)].Reveal()}
		if click { // the fingerprint of a text that was cut off shows the mistake elsewhere
			s.cuts++
			kinds = append(kinds, text[:16+s.cuts%8])
		}
		return kinds[s.below(len(kinds))], nil
	}
	return " " + text + "\n", nil
}

func (s *storm) observe(step rotation.Step) {
	s.note(step.Text)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = s.late || step.Name == rotation.StepConfirm
	s.drain = step.Name == rotation.StepDrain
	if step.Name == s.restart {
		s.restart = ""
		s.waits.Go(s.hosts[1+s.rand.IntN(2)].bounce)
	}
}

// once runs do in a process that is interrupted at some time or gone at some point.
func (s *storm) once(at int, until time.Duration, do func(ctx context.Context, p rotation.SecretPlatform, st rotation.Store, o *rotation.SecretOptions) error) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), until)
	defer cancel()
	f := &fuse{at: at, kill: cancel}
	o := s.options()
	o.Observe = s.observe
	if s.generation == 2 {
		o.RetryHorizon, o.Poll = 0, 5*time.Minute
	}
	for i, h := range s.hosts {
		r := o.Receivers[h.label]
		if i > 0 {
			r = &rotation.Remote{URL: "https://" + h.label + ".example.com/", HTTPClient: &http.Client{Transport: diffhooktest.Transport(http.HandlerFunc(h.status))}}
		}
		if s.plain {
			r = deaf{pushless{r}}
		}
		o.Receivers[h.label] = fusedReceiver{r, f}
	}
	var p rotation.SecretPlatform = rotation.API(s.team.Client(nil))
	if s.stormCase.byHand {
		p = rotation.ByHand(s.ask)
	}
	s.runs++
	err := do(ctx, fusedSecrets{p, f}, fused{shaky{s}, f}, o)
	if err != nil {
		s.note(err.Error())
	}
	if f.dead.Load() {
		s.crashes++
	}
	return err
}

const (
	rotateRoute = "POST /api/signing-secret/rotate"
	loadRoute   = "GET /api/signing-secret"
	revokeRoute = "DELETE /api/signing-secret/previous"
)

// upsets befall DiffHook by turns.
var upsets = [][]diffhooktest.Fault{
	nil,
	{{Route: rotateRoute, Status: http.StatusServiceUnavailable}},
	{{Route: rotateRoute, Reset: diffhooktest.BeforeHandling}},
	{{Route: rotateRoute, Reset: diffhooktest.AfterHandling}},
	{{Route: rotateRoute, HTML: true, Handle: true}},
	{{Route: rotateRoute, Reset: diffhooktest.AfterHandling}, {Route: loadRoute, Skip: 1, Times: 4, Status: http.StatusServiceUnavailable}},
	{{Route: revokeRoute, Reset: diffhooktest.AfterHandling}, {Route: revokeRoute, Times: 4, Status: http.StatusServiceUnavailable}},
}

// rotate replaces the secret, and is run again after each error.
func (s *storm) rotate(n int) {
	s.settle(n)
	before := len(s.signed)
	old := s.signed[before-1]
	for try := 0; ; try++ {
		require.Less(s.t, try, 100, "it does not end")
		at, until := 0, 100*time.Hour
		switch {
		case n%4 == 1 && try < 3:
			at = 1 + s.below(30)
		case n%4 == 2 && try < 3:
			until = s.upTo(4 * time.Minute)
			s.interrupts++
		}
		err := s.once(at, until, func(ctx context.Context, p rotation.SecretPlatform, st rotation.Store, o *rotation.SecretOptions) error {
			return rotation.Secret(ctx, old.Fingerprint(), p, st, o)
		})
		if errors.Is(err, rotation.ErrMismatch) {
			s.takeOver()
		}
		if err == nil || errors.Is(err, rotation.ErrMismatch) && len(s.signed) > before && s.state().Phase == "idle" {
			break
		}
		if at > 0 { // the lease of the process that is gone, and how long it takes somebody to see it
			time.Sleep([]time.Duration{time.Second, 70 * time.Second, 15 * time.Minute}[s.below(3)])
		}
		time.Sleep(s.upTo(5 * time.Second))
	}
	s.platf.ClearFaults()
	s.waits.Wait()
	require.Len(s.t, s.signed, before+1, "one successor")
	require.Empty(s.t, s.early, "revoked too early")
	for _, h := range s.hosts {
		v, _ := h.now()
		body := diffhooktest.PageChanged()
		require.Error(s.t, v.Verify(s.t.Context(), body, old.Sign(body)), "the revoked secret")
		require.NoError(s.t, v.Verify(s.t.Context(), body, s.signed[before].Sign(body)), "the new secret")
	}
}

// settle waits until all sources have the end of the last rotation, and chooses the
// weather of the next.
func (s *storm) settle(n int) {
	s.mu.Lock()
	s.clicked, s.late, s.drain, s.restart, s.risky = false, false, false, "", true
	s.mu.Unlock()
	time.Sleep(100 * time.Second)
	s.store.mu.Lock()
	for _, h := range s.hosts {
		h.seen = s.store.history[len(s.store.history)-1]
		h.lag = s.upTo(100 * time.Second)
	}
	s.store.lag = time.Duration(s.below(3)) * time.Second
	s.store.mu.Unlock()
	steps := []rotation.StepName{rotation.StepCheck, rotation.StepRotate, rotation.StepLearn, rotation.StepDrain, rotation.StepConfirm, rotation.StepRevoke, rotation.StepDone}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.risky = n%4 == 0 || n%4 == 3
	switch {
	case s.stormCase.byHand && s.generation == 1 && n%10 == 8:
		s.errs = true
	case s.risky:
		s.restart = steps[n/2%len(steps)]
	default:
		s.restart = rotation.StepDrain // the sources have the new secret
	}
	for _, fault := range upsets[n%len(upsets)] {
		s.platf.Fail(fault)
	}
}

func (s *storm) state() rotation.DocumentState {
	state, err := rotation.State(s.t.Context(), s.store)
	require.NoError(s.t, err)
	return state
}

// takeOver follows the advice of the error if the document has a wrong paste.
func (s *storm) takeOver() {
	wrong := s.state()
	if wrong.Phase != "rotated" || wrong.Current == s.team.Secrets().Current.Fingerprint() {
		return
	}
	time.Sleep(time.Minute) // the retries that the old secret signed
	s.takeovers++
	s.careful = true
	for try, err := 0, errStorm; err != nil; try++ {
		require.Less(s.t, try, 100, "%v", err)
		err = s.once(0, 100*time.Hour, func(ctx context.Context, p rotation.SecretPlatform, st rotation.Store, o *rotation.SecretOptions) error {
			return rotation.RevokeSecret(ctx, wrong.Current, p, st, &rotation.RevokeOptions{Receivers: o.Receivers, Observe: o.Observe})
		})
		time.Sleep(3*time.Second + s.upTo(5*time.Second)) // the store lags
	}
	s.careful, s.early = false, "" // an emergency revokes at once
}

// pick returns a server that is up, and the end of the request to it.
func (s *storm) pick() (*host, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hosts[s.rand.IntN(len(s.hosts))]
	if h.down {
		h = s.hosts[0]
	}
	h.inside++
	return h, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		h.inside--
	}
}

func event(id string) []byte {
	return fmt.Appendf(nil, `{"event":"page.changed","monitor_id":%q,"triggered_at":%q}`, id, time.Now().UTC().Format(time.RFC3339))
}

// send sends an event through the load balancer. The last attempt always arrives.
func (s *storm) send(id string) {
	first, kind := s.below(4), s.below(3)
	past := min(first+1, 2) // the attempts from first on and before past fail
	s.mu.Lock()
	switch {
	case s.generation == 2:
		first, past = 0, max(s.rand.IntN(40)-29, 0)
	case !s.risky && first == 0:
		past = 2
	}
	s.mu.Unlock()
	var attempts atomic.Int64
	result := s.sender.SendTo(s.t.Context(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(attempts.Add(1)) - 1
		time.Sleep(s.upTo(time.Second))
		fails := n >= first && n < past
		if fails && kind == 0 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		if fails && kind == 1 {
			panic(http.ErrAbortHandler)
		}
		h, leave := s.pick()
		defer leave()
		_, handler := h.now()
		if fails { // the response is lost
			handler.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		handler.ServeHTTP(w, r)
	}), event(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range result.Attempts {
		s.answers[a.StatusCode]++
	}
}

// forge sends a forgery: with a secret that was revoked or made up, or with the
// signature of another body.
func (s *storm) forge() {
	body := event("forged")
	s.mu.Lock()
	s.forged++
	signatures := []string{diffhooktest.NewSecret().Sign(body), s.signed[len(s.signed)-1].Sign(event("genuine"))}
	if n := len(s.signed) - 2; n > 0 { // the last but one may be in force
		signatures = append(signatures, s.signed[s.rand.IntN(n)].Sign(body))
	}
	s.mu.Unlock()
	r := diffhooktest.NewRequest("/", diffhook.Secret{}, body)
	r.Header.Set([]string{diffhook.SignatureHeader, diffhook.SignatureHeaderGen2}[s.below(2)], signatures[s.below(len(signatures))])
	h, leave := s.pick()
	defer leave()
	_, handler := h.now()
	handler.ServeHTTP(httptest.NewRecorder(), r)
}

// blow sends events and forgeries until stop is closed.
func (s *storm) blow(stop chan struct{}) {
	var all sync.WaitGroup
	for n := 0; ; n++ {
		longest := 6 * time.Second
		s.mu.Lock()
		switch {
		case s.generation == 2 && s.drain:
			longest = time.Duration(s.stormCase.rotations) * time.Minute
		case s.stormCase.byHand:
			longest = 9 * time.Second
		}
		s.mu.Unlock()
		select {
		case <-stop:
			all.Wait()
			return
		case <-time.After(s.upTo(longest)):
		}
		id := fmt.Sprint("mon_", n)
		s.ids = append(s.ids, id)
		all.Go(func() { s.send(id) })
		all.Go(s.forge)
	}
}

func runStorm(t *testing.T, c stormCase, seed uint64) (s *storm) {
	synctest.Test(t, func(t *testing.T) {
		s = &storm{world: newWorld(t, c.byHand, 0, 0, 0), stormCase: c, rand: rand.New(rand.NewPCG(seed, 0)), texts: map[string]bool{}, answers: map[int]int{}}
		s.signed = []diffhook.Secret{s.first}
		s.sender = diffhooktest.NewSender(s.first, &diffhooktest.SenderOptions{Generation: c.generation, SignOnce: c.signOnce})
		s.platf.Configure(diffhooktest.Settings{OnExchange: func(e diffhooktest.Exchange) {
			s.changed()
			if e.Request.Route == revokeRoute {
				s.checkRevocation()
			}
		}})
		for _, label := range []string{"web-1", "web-2", "web-3"} {
			h := &host{server: s.servers[label], storm: s, label: label}
			h.server.source = h
			for h.server.restart() != nil {
				time.Sleep(time.Second)
			}
			s.hosts = append(s.hosts, h)
		}
		began := time.Now()
		stop, blown := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(blown)
			s.blow(stop)
		}()
		func() {
			defer close(stop) // also if a rotation fails the test
			for n := range c.rotations {
				s.rotate(n)
			}
		}()
		<-blown
		s.count()
		t.Logf("%v, in %v: %d of %d events lost, responses %v, %d forgeries; %d runs, of which %d crashed, %d were interrupted and %d revoked a wrong paste; %d wrong answers, %d absences; %d restarts, %d faults of the store",
			c, time.Since(began).Round(time.Minute), s.lost, len(s.ids), s.answers, s.forged, s.runs, s.crashes, s.interrupts, s.takeovers, s.wrongs, s.absences, s.restarts, s.storeFaults)
	})
	return s
}

func (s *storm) count() {
	handled := map[string]int{}
	for _, h := range s.hosts {
		v, _ := h.now()
		require.NoError(s.t, v.Drain(s.t.Context()))
		for id, n := range h.handled {
			handled[id] += n
		}
	}
	for _, id := range s.ids {
		if handled[id] == 0 {
			s.lost++
		}
	}
	require.Zero(s.t, handled["forged"], "a forgery was handled")
	for _, secret := range append(s.signed, s.mistake) {
		for text := range s.texts {
			if !secret.IsZero() && strings.Contains(text, secret.Reveal()) || strings.Contains(text, s.platf.APIKey().Reveal()) {
				require.Fail(s.t, "a step, a question or an error shows a secret")
			}
		}
	}
}
