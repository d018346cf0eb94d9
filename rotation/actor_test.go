package rotation_test

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

// actor is a run of Secret in an atlas: the store, the platform and the receiver of the
// run. The run stops before and after each save and each request, until it is chosen.
type actor struct {
	*atlas
	mu    sync.Mutex
	calls map[string]*call // the waiting calls, by label; nil: before the run
	gone  bool             // killed
	ended bool
	err   error

	// The next action of the run depends on these fields.
	step     string      // the last step
	done     []string    // the requests since the last save
	last     *docState   // the last document that the run saved and saw
	unseen   *docState   // the saved document before the run saw it
	tried    []*docState // the failed or unseen saves, since the last seen save
	failedAt time.Time
	beatAt   time.Time // the begin of the pause of the heartbeat
	run      string    // the name of the run in the lease
	deprived bool      // the run saw the lease of another run
	asks     bool      // the run is about to see the server after a rejection
	saw      string    // the server after a rejection
	sees     string    // the server in the last look
}

// call is a waiting save or request.
type call struct {
	wake    chan bool // true: go on; false: the process is gone
	result  string
	doc     *docState // the document of a save
	version string
	ctx     context.Context // ends the stop of a rejection; nil: no end
}

func (a *actor) start() {
	a.calls = map[string]*call{}
	go func() {
		err := a.begin(a)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.ended, a.err = true, err
	}()
}

// rotate runs Secret.
func (a *actor) rotate() error {
	return rotation.Secret(a.t.Context(), a.first, a, a, &rotation.SecretOptions{
		Receivers:    map[string]rotation.Receiver{"web": gated{current{a.server}, a}},
		RetryHorizon: drain, Quiet: drain, Poll: tick, Observe: a.observe,
	})
}

func (a *actor) observe(s rotation.Step) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.Name != rotation.StepWarning {
		a.step = string(s.Name) + " " + s.Text
	}
}

func (a *actor) isGone() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.gone
}

func (a *actor) hasEnded() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ended
}

func (a *actor) isAlive() bool { return a.calls != nil && !a.isGone() && !a.hasEnded() }

// choose takes a choice of a run.
func (a *actor) choose(label string) {
	switch label {
	case "start":
		a.start()
	case "kill":
		a.kill()
	default:
		a.mu.Lock()
		c := a.calls[label]
		delete(a.calls, label)
		a.mu.Unlock()
		c.wake <- true
	}
}

// stops returns the labels of the waiting calls.
func (a *actor) stops() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.calls))
}

// kill is a crash of the process.
func (a *actor) kill() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone = true
	a.wake(false)
}

// letGo lets all calls go on.
func (a *actor) letGo() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wake(true)
}

func (a *actor) wake(on bool) {
	for label, c := range a.calls {
		delete(a.calls, label)
		go func() { c.wake <- on }()
	}
}

// stop waits until the call is chosen.
func (a *actor) stop(label string, c *call) error {
	c.wake = make(chan bool)
	a.mu.Lock()
	if a.gone {
		a.mu.Unlock()
		return errCrash
	}
	if a.free.Load() {
		a.mu.Unlock()
		return nil
	}
	if a.calls[label] != nil {
		panic("two calls at once: " + label) // a run saves and asks in turn
	}
	a.calls[label] = c
	a.mu.Unlock()
	var over <-chan struct{}
	if c.ctx != nil {
		over = c.ctx.Done()
	}
	select {
	case on := <-c.wake:
		if !on {
			return errCrash
		}
		return nil
	case <-over: // the same, whether the stop or the end of ctx came first
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.calls, label)
		return c.ctx.Err()
	}
}

// around stops before a request, and after a request with an effect: any other response
// leads to the next stop at once.
func (a *actor) around(label string, do func() (result string)) error {
	if err := a.stop(label, &call{}); err != nil {
		return err
	}
	result := do()
	if label != "look" {
		if err := a.stop(label+" done", &call{result: result}); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done = append(a.done, label+" "+result)
	return nil
}

func (a *actor) Get(ctx context.Context) ([]byte, string, error) {
	if a.isGone() {
		return nil, "", errCrash
	}
	content, version, err := a.store.Get(ctx)
	doc := a.parse(content)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.unseen != nil && *a.unseen == *doc {
		a.seen()
	}
	a.deprived = a.deprived || a.run != "" && doc.Run != a.run
	if a.deprived && a.unseen == nil && time.Now().After(a.failedAt) { // the run does not try again
		a.tried = nil
	}
	return content, version, err
}

func (a *actor) Swap(ctx context.Context, version string, content []byte) error {
	doc := a.parse(content)
	if err := a.stop("save", &call{doc: doc, version: version}); err != nil {
		return err
	}
	err := a.store.Swap(ctx, version, content)
	if err == nil {
		err = a.stop("save done", &call{doc: doc})
	}
	if errors.Is(err, errCrash) {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tried, a.failedAt, a.unseen = append(a.tried, doc), time.Now(), nil
	if err == nil {
		a.unseen = doc
	}
	return err
}

// seen is the end of a save. The caller holds a.mu.
func (a *actor) seen() {
	doc := a.unseen
	renewed := a.last != nil && a.last.Phase == doc.Phase
	if renewed || a.run == "" { // by the heartbeat, or acquired
		a.beatAt = time.Now()
	}
	if !renewed {
		a.done = nil
	}
	a.run = cmp.Or(a.run, doc.Run)
	a.last, a.tried, a.unseen = doc, nil, nil
}

// Signing shows the secrets of DiffHook, as the API or a person does.
func (a *actor) Signing(context.Context, diffhook.Secret) (s diffhook.Secrets, err error) {
	return s, a.around("look", func() string {
		s = a.shown()
		return a.name(s.Current) + " " + a.name(s.Previous)
	})
}

// Rotate does not show the replaced secret, as by hand.
func (a *actor) Rotate(context.Context, diffhook.Secret) (s diffhook.Secrets, err error) {
	return s, a.around("click", func() string {
		s.Current = a.click(a.hasLease())
		return a.name(s.Current)
	})
}

func (a *actor) hasLease() bool {
	doc := a.parse(a.store.newest().doc)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.run == doc.Run && time.Now().Before(doc.RunUntil)
}

func (a *actor) Revoke(context.Context) error {
	return a.around("revoke", func() string {
		newest := a.newest()
		v, _ := a.server.now()
		known := strings.Contains(string(a.store.newest().doc), newest.Reveal())
		if s := v.Status(); s.Current.Fingerprint != newest.Fingerprint() || s.Source != newest.Fingerprint() || !known {
			a.fail("revoked before the successor was known")
		}
		a.forget()
		return ""
	})
}
