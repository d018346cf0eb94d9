package rotation_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// atlas is the world of TestSecretInAllOrders: two runs of Secret, a server with a
// source, and DiffHook. Everything happens by choices.
type atlas struct {
	t      *testing.T
	first  string // the fingerprint of the replaced secret
	store  *memory
	begin  func(*actor) error
	lagged int // the number of versions in the source of the server
	server *server
	runs   []*actor
	sent   []*delivery
	free   atomic.Bool // no run stops any more
	lapsed bool
	docs   sync.Map // the parsed documents, by text

	mu      sync.Mutex        // guards the fields below
	names   map[string]string // the names of secrets, by fingerprint and text
	signs   []diffhook.Secret // the secrets of DiffHook: the current secret last
	revoked bool              // DiffHook shows no previous secret
	late    bool              // a click landed after the lease of the run
	process process
	fault   string
}

// process is the part of a server's state outside the status.
type process struct {
	bare     bool // the server lost a hold in a restart, or lacks the new secret
	pushed   string
	rejected []string
}

// delivery is a delivery of DiffHook. A refused delivery comes again at the end.
type delivery struct {
	id      string
	refused bool
	signer  diffhook.Secret
	excused bool // the holding process ended
}

const (
	tick  = 20 * time.Second // between two looks at the server, and two heartbeats
	drain = 19 * time.Second // less than a tick
	lapse = 4 * tick         // longer than a lease
)

func newAtlas(t *testing.T) *atlas {
	w := &atlas{t: t, names: map[string]string{}, store: &memory{}, begin: (*actor).rotate}
	w.click(true)
	w.first = w.newest().Fingerprint()
	require.NoError(t, rotation.NewSecret(t.Context(), w.store, w.newest()))
	w.lagged = 1
	w.server = &server{ctx: t.Context(), handled: map[string]int{}, mu: new(sync.Mutex)}
	w.server.options.MinRefreshInterval = -1
	w.server.source = diffhook.SecretSourceFunc(func(ctx context.Context) (diffhook.Secrets, error) {
		return rotation.Source(&memory{history: w.known()}).Load(ctx)
	})
	require.NoError(t, w.server.restart())
	w.runs = []*actor{{atlas: w}, {atlas: w}}
	return w
}

// known returns the versions of the document in the source of the server.
func (w *atlas) known() []saved {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	if w.free.Load() {
		return w.store.history
	}
	return w.store.history[:w.lagged]
}

// click makes DiffHook sign with a new secret.
func (w *atlas) click(inLease bool) diffhook.Secret {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.late = w.late || !inLease; len(w.signs) > 1 && !w.late {
		w.fault = "two clicks, each in the lease of a run"
	}
	name := fmt.Sprint("secret-", len(w.signs))
	s, err := diffhook.NewSecret("test-signing-" + name) // short, because each walk reads it often
	require.NoError(w.t, err)
	w.names[s.Fingerprint()], w.names[s.Reveal()] = name, name
	w.signs, w.revoked = append(w.signs, s), len(w.signs) == 0
	return s
}

// shown returns the secrets in the app.
func (w *atlas) shown() (s diffhook.Secrets) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.Current = w.signs[len(w.signs)-1]
	if !w.revoked {
		s.Previous = w.signs[len(w.signs)-2]
	}
	return s
}

func (w *atlas) newest() diffhook.Secret { return w.shown().Current }

// forget makes DiffHook show no previous secret.
func (w *atlas) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.revoked = true
}

func (w *atlas) fail(fault string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = fault
}

func (w *atlas) name(s diffhook.Secret) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.names[s.Fingerprint()]
}

// all returns every signing secret so far.
func (w *atlas) all() []diffhook.Secret {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.signs)
}

// here returns the process of the server.
func (w *atlas) here() process {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.process
	p.rejected = slices.Sorted(slices.Values(p.rejected))
	return p
}

// roles returns the runs in the order of their states. The names of the runs have no
// effect.
func (w *atlas) roles() []*actor {
	runs := slices.Clone(w.runs)
	slices.SortStableFunc(runs, func(a, b *actor) int { return strings.Compare(a.state(), b.state()) })
	return runs
}

// runChoices returns the choices of the runs, and whether time can go on.
func (w *atlas) runChoices() (all []string) {
	waiting, alive, fresh := false, false, false
	for i, a := range w.roles() {
		role := fmt.Sprint(i+1, ":")
		switch {
		case a.calls == nil && !fresh:
			fresh = true
			all = append(all, role+"start")
		case a.isAlive():
			alive = true
			labels := a.stops()
			for _, label := range labels {
				all = append(all, role+label)
			}
			if len(labels) > 0 {
				all = append(all, role+"kill")
				waiting = true
			}
		}
	}
	switch {
	case alive && !waiting:
		all = append(all, "wait")
	case alive && !w.lapsed || !alive && fresh:
		all = append(all, "lapse")
	}
	return all
}

// choices returns all possible next events.
func (w *atlas) choices() []string {
	all := w.runChoices()
	if w.secretsOf(w.known()) != w.secretsOf([]saved{w.store.newest()}) {
		all = append(all, "learn")
	}
	if v, _ := w.server.now(); v.Status().Hold.Held == 0 && !slices.ContainsFunc(w.sent, func(d *delivery) bool { return d.refused }) {
		all = append(all, "deliver")
	}
	all = append(all, "restart")
	slices.Sort(all)
	return all
}

func (w *atlas) choose(choice string) {
	role, label, found := strings.Cut(choice, ":")
	switch {
	case found:
		w.roles()[strings.Index("12", role)].choose(label)
	case choice == "wait":
		time.Sleep(tick)
	case choice == "lapse":
		w.lapsed = slices.ContainsFunc(w.runs, (*actor).isAlive) || w.lapsed
		time.Sleep(lapse)
	case choice == "restart":
		w.restart()
	case choice == "learn":
		w.lagged = w.store.newest().version
	case choice == "deliver":
		d := &delivery{id: fmt.Sprint("mon_", len(w.sent)), signer: w.newest()}
		w.sent = append(w.sent, d)
		d.refused = w.send(d) >= 300
		if d.refused && !w.here().bare {
			w.fail("a server refused a delivery without a restart")
		}
	}
	synctest.Wait()
	w.checkRevoked()
}

// restart ends the process of the server. Held deliveries are lost, as documented.
func (w *atlas) restart() {
	for _, d := range w.sent {
		d.excused = d.excused || !d.refused && w.server.count(d.id) == 0
	}
	v, _ := w.server.now()
	held := !v.Status().Hold.Until.IsZero()
	require.NoError(w.t, w.server.restart())
	v, _ = w.server.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.process = process{bare: w.process.bare || held || v.Status().Current.Fingerprint != w.signs[len(w.signs)-1].Fingerprint()}
}

// send sends a new delivery, and returns the status code.
func (w *atlas) send(d *delivery) int {
	body := fmt.Sprintf(`{"event":"page.changed","monitor_id":%q,"triggered_at":"2026-03-16T14:22:00Z"}`, d.id)
	rec := httptest.NewRecorder()
	_, h := w.server.now()
	h.ServeHTTP(rec, diffhooktest.NewRequest("/", w.newest(), []byte(body)))
	return rec.Code
}
