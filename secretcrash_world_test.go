package diffhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// crashConfig is the world in which it happens.
type crashConfig struct {
	generation int
	emergency  bool          // Revoke, and not Replace
	terse      bool          // the platform does not show the replaced secret
	store      bool          // else the receivers read the API
	lag        time.Duration // until the store shows what was saved in it
	restart    bool          // the receivers restart after each interruption
}

func (c crashConfig) String() string {
	s := fmt.Sprintf("generation %d", c.generation)
	for _, option := range []struct {
		set  bool
		name string
	}{{c.terse, "terse"}, {c.store, "store"}, {!c.store, "receivers at the API"}, {c.lag > 0, "late store"}, {c.restart, "restarting"}} {
		if option.set {
			s += ", " + option.name
		}
	}
	return s
}

func crashConfigs(emergency bool) (configs []crashConfig) {
	for _, generation := range []int{1, 2} {
		for _, terse := range []bool{false, true} {
			for _, restart := range []bool{false, true} {
				for _, lag := range []time.Duration{0, 2 * time.Second} {
					configs = append(configs, crashConfig{generation, emergency, terse, true, lag, restart})
				}
				configs = append(configs, crashConfig{generation, emergency, terse, false, 0, restart})
			}
		}
	}
	return configs
}

// untold reports a world in which nobody remembers the replaced secret once the
// receivers have restarted. Deliveries that it signed are lost there, and what
// the platform does not show must not be revoked by guessing.
func (c crashConfig) untold() bool { return c.terse && !c.store && c.restart }

// horizon is the default. Quiet is shorter, so that neither stands for the other.
func (c crashConfig) horizon() time.Duration {
	return map[int]time.Duration{1: 2 * time.Minute, 2: 18 * time.Hour}[c.generation]
}

func (c crashConfig) quiet() time.Duration { return c.horizon() / 4 }

// attempts are times after a rotation at which a delivery that was signed before
// it may come, the last possible one included.
func (c crashConfig) attempts() []time.Duration {
	return map[int][]time.Duration{
		1: {0, 5 * time.Second, 65 * time.Second},
		2: {0, time.Minute, 511 * time.Minute, 17*time.Hour + 10*time.Minute},
	}[c.generation]
}

// What may happen at a point. A kill ends the process: a panic that nothing in
// the library recovers. All else is seen by a process that lives on.
const (
	upsetKill     = "killed"
	upsetCancel   = "cancelled"
	upsetFail     = "an error"
	upsetHang     = "no answer"
	upsetDeaf     = "no answer, whatever the context says"
	upsetPlatform = "platform, " // and the name of one of platformFaults
)

var platformFaults = map[string]diffhooktest.Fault{
	"reset before":   {Reset: diffhooktest.BeforeHandling},
	"reset after":    {Reset: diffhooktest.AfterHandling},
	"503":            {Status: http.StatusServiceUnavailable},
	"502 page after": {Status: http.StatusBadGateway, HTML: true, Handle: true},
	"truncated":      {Truncate: true},
	"a minute late":  {Delay: time.Minute},
}

// upset is what happens, and at which point.
type upset struct {
	point    int
	at       string // the point's name
	receiver bool   // a point of the receivers, which have a count of their own
	what     string
	attempts int // of the client; 0: the default
}

func (u upset) String() string {
	s := fmt.Sprintf("%d %s, %s", u.point, u.at, u.what)
	if u.attempts > 0 {
		s += ", not repeated"
	}
	return strings.ReplaceAll(s, "/", "|")
}

var errKilled = errors.New("test: killed")

type crashKilled struct{}

// crashWorld is a team, its store and its receivers, and what is known of them
// without asking the library.
type crashWorld struct {
	*testing.T
	crashConfig
	server  *diffhooktest.Server
	old     diffhook.Secret
	vault   *lateStore // nil: there is no store
	fleet   []*crashReceiver
	release chan struct{}  // ends what hangs
	retries sync.WaitGroup // the old secret's deliveries in flight

	mu       sync.Mutex
	next     diffhook.Secret // zero until the platform has rotated
	rotated  time.Time
	revoked  bool // at the platform
	upset    *upset
	cancel   context.CancelFunc
	force    bool     // of the next run
	dead     bool     // the process, by upsetKill
	points   []string // of this run
	receiver []string
}

func newCrashWorld(t *testing.T, config crashConfig) *crashWorld {
	w := &crashWorld{T: t, crashConfig: config, server: diffhooktest.New(), release: make(chan struct{})}
	w.server.DefaultTeam().SetPlan(diffhooktest.Plan{RequestsPerMinute: 1e6})
	w.server.Configure(diffhooktest.Settings{Terse: w.terse, OnExchange: func(diffhooktest.Exchange) { w.look() }})
	w.old = w.server.Secrets().Current
	if w.store {
		w.vault = &lateStore{world: w}
		w.vault.put(diffhook.Secrets{Current: w.old}, time.Time{})
	}
	for _, name := range []string{"web-1", "web-2", "web-3"} {
		r := &crashReceiver{name: name, world: w}
		r.restart()
		w.fleet = append(w.fleet, r)
	}
	return w
}

// close ends the world's goroutines. An exchange for a token that nobody waits
// for any more takes its time.
func (w *crashWorld) close() {
	close(w.release)
	w.retries.Wait()
	<-time.After(time.Hour)
	w.server.Close()
}

// look is called whenever the platform may have changed. It must have rotated
// once at most, and forget the old secret only when that is drained.
func (w *crashWorld) look() {
	now := w.server.Secrets()
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Current.Equal(w.old) {
		return
	}
	if w.next.IsZero() {
		w.next, w.rotated = now.Current, time.Now()
		if !w.emergency {
			w.retries.Go(w.retry)
		}
	}
	assert.True(w, now.Current.Equal(w.next), "rotated twice")
	assert.True(w, now.Previous.IsZero() || now.Previous.Equal(w.old), "rotated twice")
	if now.Previous.IsZero() && !w.revoked {
		w.revoked = true
		w.assertDrained()
	}
}

// assertDrained is the promise, by what the test knows itself.
func (w *crashWorld) assertDrained() {
	if w.emergency {
		return
	}
	assert.GreaterOrEqual(w, time.Since(w.rotated), w.horizon(), "revoked within the retry horizon")
	for _, r := range w.fleet {
		v, unused := r.state()
		assert.Equal(w, w.next.Fingerprint(), v.Status().Current.Fingerprint, "revoked before %s has the new secret", r.name)
		assert.GreaterOrEqual(w, unused, w.quiet(), "revoked while %s uses the old secret", r.name)
	}
}

// retry plays the deliveries that were signed before the rotation: every
// receiver must accept every attempt at them.
func (w *crashWorld) retry() {
	began := time.Now()
	for _, at := range w.attempts() {
		select {
		case <-w.release:
			return
		case <-time.After(at - time.Since(began)):
		}
		w.assertInFlight()
	}
}

func (w *crashWorld) assertInFlight() {
	for _, r := range w.fleet {
		err := r.deliver(w.Context(), w.old)
		if w.untold() && errors.Is(err, diffhook.ErrSignatureMismatch) {
			continue
		}
		assert.NoError(w, err, "a delivery in flight, at %s", r.name)
	}
}

// reach is called at every point of a run.
func (w *crashWorld) reach(receiver bool, name string) error {
	w.mu.Lock()
	if w.dead && !receiver { // what it does on other goroutines reaches nothing any more
		w.mu.Unlock()
		panic(crashKilled{})
	}
	points := &w.points
	if receiver {
		points = &w.receiver
	}
	*points = append(*points, name)
	u := w.upset
	if u == nil || u.receiver != receiver || u.point != len(*points)-1 {
		w.mu.Unlock()
		return nil
	}
	w.upset, w.dead = nil, u.what == upsetKill
	w.mu.Unlock()
	switch u.what {
	case upsetKill:
		panic(crashKilled{})
	case upsetCancel:
		w.cancel()
		return nil
	case upsetFail, upsetHang, upsetDeaf:
		return errors.New(u.what)
	}
	w.server.Fail(platformFaults[strings.TrimPrefix(u.what, upsetPlatform)])
	return nil
}

func (w *crashWorld) assertMet() {
	w.mu.Lock()
	defer w.mu.Unlock()
	assert.Nil(w, w.upset, "the point was not reached")
}

// run replaces the secret once, with a new client as in a new process.
func (w *crashWorld) run(u *upset) (err error) {
	ctx, stop := context.WithCancel(w.Context())
	defer stop()
	w.mu.Lock()
	w.upset, w.dead, w.cancel, w.points, w.receiver = u, false, stop, nil, nil
	w.mu.Unlock()
	defer func() {
		switch p := recover(); p {
		case nil:
		case crashKilled{}:
			err = errKilled
		default:
			panic(p)
		}
		w.assertHidden(fmt.Sprintf("%v %+v %#v", err, err, err))
	}()
	options := &diffhook.ClientOptions{HTTPClient: &http.Client{Transport: roundTripper(w.roundTrip)}}
	if u != nil {
		options.MaxAttempts = u.attempts
	}
	client := teamClient(w.server.DefaultTeam(), w.generation, options)
	var store diffhook.SecretStore
	if w.store {
		store = operatorsStore{w}
	}
	do := client.SigningSecret.Replace
	if w.emergency {
		do = client.SigningSecret.Revoke
	}
	return do(ctx, w.old.Fingerprint(), store, &diffhook.SecretRotationOptions{
		Receivers:    w.receivers(),
		Quiet:        w.quiet(),
		PollInterval: w.quiet(),
		Force:        w.force,
		Observe: func(_ context.Context, step diffhook.RotationStep) {
			w.assertHidden(step.Name + step.Text)
			_ = w.reach(false, "after step "+step.Name)
		},
	})
}

func (w *crashWorld) receivers() map[string]diffhook.Receiver {
	receivers := make(map[string]diffhook.Receiver)
	for _, r := range w.fleet {
		receivers[r.name] = r
	}
	return receivers
}

func (w *crashWorld) assertHidden(shown string) {
	for _, s := range []diffhook.Secret{w.old, w.server.Secrets().Current} {
		assert.NotContains(w, shown, s.Reveal())
	}
}

// roundTrip is the operator's way to the platform.
func (w *crashWorld) roundTrip(r *http.Request) (*http.Response, error) {
	name := r.Method + " " + r.URL.Path
	if err := w.reach(false, "before "+name); err != nil {
		return nil, err
	}
	resp, err := diffhooktest.Transport(w.server).RoundTrip(r)
	if err := w.reach(false, "after "+name); err != nil {
		return nil, err
	}
	return resp, err
}

// interrupted is what happens before somebody runs it again: time passes,
// receivers may restart, and deliveries come.
func (w *crashWorld) interrupted(gap time.Duration) {
	w.server.ClearFaults()
	<-time.After(gap)
	if w.crashConfig.restart {
		for _, r := range w.fleet {
			r.restart()
		}
	}
	w.mu.Lock()
	current, inFlight := w.server.Secrets().Current, !w.revoked && !w.next.IsZero() && time.Since(w.rotated) < slices.Max(w.attempts())
	w.mu.Unlock()
	if w.emergency || w.store && !w.vault.shows(current) {
		return // nothing has told the receivers
	}
	for _, r := range w.fleet {
		if v, _ := r.state(); r.deliver(w.Context(), current) != nil {
			require.NoError(w, v.Refresh(w.Context()))
			assert.NoError(w, r.deliver(w.Context(), current), "the new secret, after one refresh, at %s", r.name)
		}
	}
	if inFlight {
		w.assertInFlight()
	}
}

// finish runs it again, undisturbed, and checks the end.
func (w *crashWorld) finish(before error) {
	err := w.run(nil)
	if w.untold() && errors.Is(err, diffhook.ErrRotationOpen) {
		return
	}
	if w.emergency && err != nil {
		err = w.insist(err)
	}
	if before == nil || err != nil {
		require.ErrorIs(w, err, diffhook.ErrNotInForce, "nothing may be left to do after: %v", before)
	}
	w.assertEnd()
	rotations, deletes := w.server.Count("POST /api/signing-secret/rotate"), w.server.Count("DELETE")
	require.ErrorIs(w, w.run(nil), diffhook.ErrNotInForce, "once more")
	assert.Equal(w, rotations, w.server.Count("POST /api/signing-secret/rotate"), "once more")
	assert.Equal(w, deletes, w.server.Count("DELETE"), "once more")
	w.assertEnd()
}

// insist is what the operator decides where the emergency cannot tell how far an
// earlier run got, and says so rather than guess.
func (w *crashWorld) insist(err error) error {
	switch {
	case errors.Is(err, diffhook.ErrStoreMismatch):
		// It could be the API key of another team.
		shown, loadErr := w.vault.Load(w.Context())
		require.NoError(w, loadErr)
		require.True(w, shown.Current.Equal(w.old) && w.server.Secrets().NoPrevious, "%v", err)
		w.force = true
		return w.run(nil)
	case errors.Is(err, diffhook.ErrRotationOpen):
		// What the platform hides could be another secret.
		require.True(w, w.terse && !w.store && !w.server.Secrets().NoPrevious, "%v", err)
		client := teamClient(w.server.DefaultTeam(), w.generation, nil)
		require.NoError(w, client.SigningSecret.RevokePrevious(w.Context()))
		return w.run(nil)
	}
	return err
}

// assertEnd: one secret everywhere, and the old one nowhere.
func (w *crashWorld) assertEnd() {
	now := w.server.Secrets()
	require.False(w, w.next.IsZero(), "it was never rotated")
	assert.True(w, now.Current.Equal(w.next), "the platform")
	assert.True(w, now.Previous.IsZero(), "the platform")
	if w.store {
		held := w.vault.newest()
		assert.True(w, held.Current.Equal(w.next), "the store")
		assert.True(w, held.Previous.IsZero(), "the store")
	}
	for _, r := range w.fleet {
		v, _ := r.state()
		if w.emergency {
			<-time.After(w.lag)
			synctest.Wait() // for a read that has just been given up to return
			require.NoError(w, v.Refresh(w.Context()), "which it need not have been able to before")
		}
		assert.NoError(w, r.deliver(w.Context(), w.next), r.name)
		assert.ErrorIs(w, r.deliver(w.Context(), w.old), diffhook.ErrSignatureMismatch, r.name)
		assert.Equal(w, w.next.Fingerprint(), v.Status().Current.Fingerprint, r.name)
		assert.Zero(w, v.Status().Previous, r.name)
	}
}
