package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// The explorer takes two runs of Secret through every order of their saves, questions
// and clicks, with one crash of each run, a machine that is suspended for longer than a
// lease, a source that lags and a server that restarts. It runs the real code: each
// order is replayed from the start, up to a state that is new. States are compared, and
// not explored twice. From each state, the runs must come to a good end.

// atlas is the part of the world that the explorer sees and steers.
type atlas struct {
	t       *testing.T
	names   map[string]string // of secrets, by fingerprint and text
	signs   []diffhook.Secret // by DiffHook: the current secret last
	revoked bool
	store   *memory
	lagged  int // the number of versions that the source of the server has
	server  *server
	runs    []*actor
	used    string // choices that are open once
	waits   int
	refused []func() int // deliveries that are tried again
	sent    int
	open    bool // nothing is steered any more
	fault   string
}

// actor is one run.
type actor struct {
	*atlas
	name    string
	mu      sync.Mutex
	pending map[string]chan bool // by what waits; true: go on, false: the process is gone
	recent  []string             // what was done since the last save
	gone    bool
	ended   bool
	err     error
}

func (a *actor) isGone() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.gone
}

func (a *actor) isEnded() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ended
}

// kill is a crash of the process.
func (a *actor) kill() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone = true
	for label, wake := range a.pending {
		delete(a.pending, label)
		go func() { wake <- false }()
	}
}

func (a *actor) step(label string) error {
	a.mu.Lock()
	if a.gone {
		a.mu.Unlock()
		return errCrash
	}
	if a.open {
		a.mu.Unlock()
		return nil
	}
	for a.pending[label] != nil {
		label += "'"
	}
	wake := make(chan bool)
	a.pending[label] = wake
	a.mu.Unlock()
	if !<-wake {
		return errCrash
	}
	return nil
}

// around steers a request and its response.
func (a *actor) around(label string, do func() error) error {
	if err := a.step(label); err != nil {
		return err
	}
	err := do()
	a.mu.Lock()
	a.recent = append(a.recent, label)
	if label == "save" {
		a.recent = nil
	}
	a.mu.Unlock()
	if crash := a.step(label + " done"); crash != nil {
		return crash
	}
	return err
}

func (a *actor) Get(ctx context.Context) ([]byte, string, error) {
	if a.isGone() {
		return nil, "", errCrash
	}
	return a.store.Get(ctx)
}

func (a *actor) Swap(ctx context.Context, version string, doc []byte) error {
	return a.around("save", func() error { return a.store.Swap(ctx, version, doc) })
}

func (a *actor) Signing(context.Context) (s diffhook.Secrets, err error) {
	return s, a.around("look", func() error {
		s.Current = a.signs[len(a.signs)-1]
		return nil
	})
}

func (a *actor) Rotate(context.Context) (s diffhook.Secret, err error) {
	return s, a.around("click", func() error {
		s = a.newSecret()
		a.signs = append(a.signs, s)
		return nil
	})
}

func (a *actor) Revoke(context.Context) error {
	return a.around("revoke", func() error {
		newest := a.signs[len(a.signs)-1].Fingerprint()
		v, _ := a.server.now()
		if s := v.Status(); s.Current.Fingerprint != newest || s.Source != newest || !strings.Contains(string(a.store.doc), a.signs[len(a.signs)-1].Reveal()) {
			// Another click between the last look and this one cannot be seen.
			if len(a.signs) == 2 {
				a.fault = "revoked before the successor was known"
			}
		}
		a.revoked = true
		return nil
	})
}

func (w *atlas) newSecret() diffhook.Secret {
	s := diffhooktest.NewSecret()
	name := fmt.Sprint("secret-", len(w.names)/2)
	w.names[s.Fingerprint()], w.names[s.Reveal()] = name, name
	return s
}

func newAtlas(t *testing.T) *atlas {
	w := &atlas{t: t, names: map[string]string{}, store: &memory{}}
	w.signs = []diffhook.Secret{w.newSecret()}
	require.NoError(t, rotation.NewSecret(t.Context(), w.store, w.signs[0]))
	w.lagged = 1
	w.server = &server{ctx: t.Context(), handled: map[string]int{}, mu: new(sync.Mutex)}
	w.server.source = diffhook.SecretSourceFunc(func(ctx context.Context) (diffhook.Secrets, error) {
		old := &memory{history: w.store.history[:min(w.lagged, len(w.store.history))]}
		if w.open {
			old.history = w.store.history
		}
		return rotation.Source(old).Load(ctx)
	})
	require.NoError(t, w.server.restart())
	for _, name := range []string{"A", "B"} {
		w.start(name)
	}
	return w
}

func (w *atlas) start(name string) *actor {
	a := &actor{atlas: w, name: name, pending: map[string]chan bool{}}
	w.runs = append(w.runs, a)
	go func() {
		err := rotation.Secret(w.t.Context(), w.signs[0].Fingerprint(), a, a, &rotation.SecretOptions{
			Receivers:    map[string]rotation.Receiver{"web": gated{current{w.server}, a}},
			RetryHorizon: 15 * time.Second, Quiet: 15 * time.Second,
		})
		a.mu.Lock()
		defer a.mu.Unlock()
		a.ended, a.err = true, err
	}()
	return a
}

// gated is the receiver of a run that may be gone.
type gated struct {
	rotation.Receiver
	*actor
}

func (g gated) Hold(ctx context.Context, d time.Duration) error {
	if g.isGone() {
		return errCrash
	}
	return g.Receiver.Hold(ctx, d)
}

func (g gated) AcceptSuccessor(ctx context.Context, sealed string) error {
	if g.isGone() {
		return errCrash
	}
	return g.Receiver.AcceptSuccessor(ctx, sealed)
}

func (g gated) Reject(ctx context.Context, fingerprint string) error {
	if g.isGone() {
		return errCrash
	}
	return g.Receiver.Reject(ctx, fingerprint)
}

// choices returns everything that can happen next.
func (w *atlas) choices() (all []string) {
	waiting := false
	for _, a := range w.runs {
		for label := range a.pending {
			all = append(all, a.name+":"+label)
			waiting = true
		}
		if len(a.pending) > 0 && !strings.Contains(w.used, "kill"+a.name) {
			all = append(all, "kill"+a.name)
		}
	}
	if !waiting && w.waits < 12 && !(w.runs[0].ended && w.runs[1].ended) {
		all = append(all, "wait")
	}
	for _, once := range []string{"suspend", "restart", "learn", "deliver"} {
		if !strings.Contains(w.used, once) {
			all = append(all, once)
		}
	}
	slices.Sort(all)
	return all
}

func (w *atlas) choose(choice string) {
	name, label, found := strings.Cut(choice, ":")
	switch {
	case found:
		a := w.runs[map[string]int{"A": 0, "B": 1}[name]]
		wake := a.pending[label]
		delete(a.pending, label)
		wake <- true
	case strings.HasPrefix(choice, "kill"):
		w.used += choice
		a := w.runs[map[string]int{"killA": 0, "killB": 1}[choice]]
		a.kill()
	case choice == "wait":
		w.waits++
		time.Sleep(5 * time.Second)
	case choice == "suspend":
		w.used += choice
		time.Sleep(61 * time.Second)
	case choice == "restart":
		w.used += choice
		require.NoError(w.t, w.server.restart())
	case choice == "learn":
		w.used += choice
		w.lagged = len(w.store.history)
	case choice == "deliver":
		w.used += choice
		w.deliver()
	}
	synctest.Wait()
}

// deliver sends a delivery that DiffHook signs now. A refused one comes again.
func (w *atlas) deliver() {
	w.sent++
	id := fmt.Sprint("mon_", w.sent)
	body := fmt.Sprintf(`{"event":"page.changed","monitor_id":%q,"triggered_at":"2026-03-16T14:22:00Z"}`, id)
	send := func() int {
		r := diffhooktest.NewRequest("/", w.signs[len(w.signs)-1], []byte(body))
		rec := httptest.NewRecorder()
		_, h := w.server.now()
		h.ServeHTTP(rec, r)
		return rec.Code
	}
	if send() >= 300 {
		w.refused = append(w.refused, send)
	}
}

var volatile = regexp.MustCompile(`"(since|run_until)":"[^"]*",?|"run":"[^"]*",?`)

// state returns the state under names that are the same in each replay.
func (w *atlas) state() string {
	doc := string(w.store.doc)
	for text, name := range w.names {
		doc = strings.ReplaceAll(doc, text, name)
	}
	lease := "free"
	if strings.Contains(doc, `"run":`) {
		lease = "held"
	}
	v, _ := w.server.now()
	s := v.Status()
	parts := []string{
		volatile.ReplaceAllString(doc, ""), lease, w.used, fmt.Sprint(len(w.signs), w.revoked, w.waits, len(w.refused), w.lagged >= len(w.store.history)),
		w.names[s.Current.Fingerprint], w.names[s.Previous.Fingerprint], w.names[s.Source], fmt.Sprint(s.Hold.Until.IsZero(), s.Hold.Held),
	}
	for _, a := range w.runs {
		var pending []string
		for label := range a.pending {
			pending = append(pending, label)
		}
		slices.Sort(pending)
		parts = append(parts, a.name, strings.Join(pending, ","), strings.Join(a.recent, ","), fmt.Sprint(a.ended, a.gone, errors.Is(a.err, rotation.ErrBusy)))
	}
	return strings.Join(parts, "|")
}

// end steers nothing any more, and requires a good end.
func (w *atlas) end() error {
	w.open = true
	for _, a := range w.runs {
		a.mu.Lock()
		for label, wake := range a.pending {
			delete(a.pending, label)
			go func() { wake <- true }()
		}
		a.mu.Unlock()
	}
	w.join()
	last := w.runs[1].err
	if w.runs[0].err == nil {
		last = nil
	}
	for range 20 {
		if last == nil || errors.Is(last, rotation.ErrMismatch) {
			break
		}
		time.Sleep(10 * time.Second)
		a := w.start("C")
		w.join()
		last = a.err
	}
	return w.check(last)
}

// join waits until all runs have ended.
func (w *atlas) join() {
	for _, a := range w.runs {
		for !a.isEnded() {
			time.Sleep(time.Second)
		}
	}
}

func (w *atlas) check(last error) error {
	newest := w.signs[len(w.signs)-1]
	if errors.Is(last, rotation.ErrMismatch) && len(w.signs) > 2 { // it says so, and RevokeSecret takes over
		state, err := rotation.State(w.t.Context(), w.store)
		a := &actor{atlas: w, name: "D"}
		err = errors.Join(err, rotation.RevokeSecret(w.t.Context(), state.Current, a, w.store, &rotation.RevokeOptions{Receivers: map[string]rotation.Receiver{"web": current{w.server}}}))
		if err != nil {
			return fmt.Errorf("RevokeSecret after two clicks: %w", err)
		}
		last = nil
	}
	v, _ := w.server.now()
	_ = v.Drain(w.t.Context())
	got, err := rotation.Source(w.store).Load(w.t.Context())
	body := diffhooktest.PageChanged()
	status := v.Status()
	for _, again := range w.refused {
		if code := again(); code >= 300 {
			w.fault = fmt.Sprint("a delivery was refused twice: ", code)
		}
	}
	switch {
	case last != nil || err != nil:
		return fmt.Errorf("the runs did not end well: %w", errors.Join(last, err))
	case w.fault != "":
		return errors.New(w.fault)
	case !got.Current.Equal(newest) || !got.Previous.IsZero():
		return errors.New("the document does not have the secret of DiffHook alone")
	case status.Current.Fingerprint != newest.Fingerprint():
		return errors.New("the server does not have the secret of DiffHook")
	case status.Hold.Dropped > 0:
		return errors.New("a held delivery was dropped")
	}
	for _, old := range w.signs[:len(w.signs)-1] {
		if v.Verify(w.t.Context(), body, old.Sign(body)) == nil {
			return errors.New("the server accepts a revoked secret")
		}
	}
	return nil
}

// replay makes the choices of a path, and returns the state and what can happen next.
func replay(t *testing.T, path []string, seen map[string]bool) (next []string) {
	synctest.Test(t, func(t *testing.T) {
		w := newAtlas(t)
		synctest.Wait()
		for _, choice := range path {
			w.choose(choice)
		}
		if state := w.state(); !seen[state] {
			seen[state] = true
			next = w.choices()
		}
		if next == nil && len(path) > 0 { // known, and its end too
			for _, a := range w.runs {
				a.kill()
			}
			w.join()
			return
		}
		require.NoError(t, w.end(), "after %v", path)
	})
	return next
}

func TestSecretInAllOrders(t *testing.T) {
	most := 1000 // paths, in a fixed random order; DIFFHOOK_TEST_PATHS=all takes every path
	if text := os.Getenv("DIFFHOOK_TEST_PATHS"); text != "" {
		most, _ = strconv.Atoi(text)
		if text == "all" {
			most = math.MaxInt
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	seen := map[string]bool{}
	queue := [][]string{nil}
	paths := 0
	for ; len(queue) > 0 && paths < most; paths++ {
		i := random.IntN(len(queue))
		path, last := queue[i], len(queue)-1
		queue[i], queue = queue[last], queue[:last]
		for _, choice := range replay(t, path, seen) {
			queue = append(queue, append(slices.Clip(path), choice))
		}
		if t.Failed() {
			return
		}
	}
	t.Log(len(seen), "states,", paths, "paths,", len(queue), "not taken")
}
