package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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

// keyWorld is a team with a key, a document, and a person at the app.
type keyWorld struct {
	*world
	first    rotation.Pair
	gen      int // 2: client credentials
	clients  map[string]bool
	keyAsks  []rotation.Question
	leaves   int
	wrong    map[int]string
	secret   string // of the client that was created last
	usedLast bool   // the person sees that the old key is in use, once
}

func newKeyWorld(t *testing.T, byHand bool, gen int) *keyWorld {
	t.Helper()
	w := &keyWorld{world: &world{t: t, platf: diffhooktest.New(), store: &memory{}, byHand: byHand}, gen: gen, clients: map[string]bool{}}
	t.Cleanup(w.platf.Close)
	w.team = w.platf.DefaultTeam()
	w.team.NewMonitor(diffhooktest.Monitor{URL: "https://example.com/", WebhookURL: "https://example.com/hook"})
	switch {
	case gen == 2:
		id, secret := w.team.NewClientCredentials()
		w.clients[id] = true
		w.first = rotation.Pair{ID: id, Secret: secret}
	case byHand:
		key := w.team.NewKey("production")
		w.first = rotation.Pair{ID: "production", Key: key.Key.Reveal()}
	default:
		key := w.team.NewKey("production")
		w.first = rotation.Pair{ID: key.ID, Key: key.Key.Reveal()}
	}
	require.NoError(t, rotation.NewKey(t.Context(), w.store, w.first))
	return w
}

type fusedKeys struct {
	rotation.KeyPlatform
	*fuse
}

func (p fusedKeys) Monitors(ctx context.Context, pair rotation.Pair) (ids []string, err error) {
	return ids, p.around("monitors", func() (err error) { ids, err = p.KeyPlatform.Monitors(ctx, pair); return err })
}

func (p fusedKeys) Discard(ctx context.Context, as rotation.Pair, label string) error {
	return p.around("discard", func() error { return p.KeyPlatform.Discard(ctx, as, label) })
}

func (p fusedKeys) Create(ctx context.Context, old rotation.Pair, label string) (pair rotation.Pair, err error) {
	return pair, p.around("create", func() (err error) { pair, err = p.KeyPlatform.Create(ctx, old, label); return err })
}

func (p fusedKeys) Unused(ctx context.Context, as, old rotation.Pair, since time.Time) (ok bool, err error) {
	return ok, p.around("unused", func() (err error) { ok, err = p.KeyPlatform.Unused(ctx, as, old, since); return err })
}

func (p fusedKeys) Delete(ctx context.Context, as, old rotation.Pair) error {
	return p.around("delete", func() error { return p.KeyPlatform.Delete(ctx, as, old) })
}

func (w *keyWorld) clientOptions() *diffhook.ClientOptions {
	return &diffhook.ClientOptions{BaseURL: w.platf.URL, HTTPClient: &http.Client{Transport: diffhooktest.Transport(w.platf)}}
}

func (w *keyWorld) run(at int, change func(*rotation.KeyOptions)) (*fuse, error) {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	f := &fuse{at: at, kill: cancel}
	var p rotation.KeyPlatform = rotation.API(w.platf.Client(nil))
	if w.byHand {
		hand := rotation.ByHand(w.ask)
		hand.Client = w.clientOptions()
		p = hand
	}
	o := &rotation.KeyOptions{Label: "web", Quiet: 2 * time.Minute, Observe: func(s rotation.Step) { w.steps = append(w.steps, s) }}
	if change != nil {
		change(o)
	}
	return f, rotation.Key(ctx, w.first.ID, fusedKeys{p, f}, fused{w.store, f}, o)
}

func (w *keyWorld) finish() (err error) {
	for range 20 {
		if _, err = w.run(0, nil); err == nil {
			return nil
		}
		time.Sleep(10 * time.Second)
	}
	return err
}

func (w *keyWorld) ask(_ context.Context, q rotation.Question) (string, error) {
	w.keyAsks = append(w.keyAsks, q)
	n := len(w.keyAsks)
	time.Sleep(5 * time.Second)
	answer := w.act(q.Text)
	if n == w.leaves {
		return "", errAbsent
	}
	if wrong, ok := w.wrong[n]; ok {
		return wrong, nil
	}
	return answer, nil
}

// act does what a question asks for.
func (w *keyWorld) act(text string) string {
	label := func(text string) string {
		_, after, _ := strings.Cut(text, "label ")
		return strings.TrimRight(strings.Fields(after)[0], ".,;")
	}
	switch {
	case strings.Contains(text, "click New API key") && w.gen == 2:
		id, secret := w.team.NewClientCredentials()
		w.clients[id], w.secret = true, secret
		return id
	case strings.Contains(text, "client secret"):
		return w.secret
	case strings.Contains(text, "click New API key"):
		return w.team.NewKey(label(text)).Key.Reveal()
	case strings.Contains(text, "look for a key"), strings.Contains(text, "delete the old key"):
		w.remove(text, label(text+" label none"))
	case strings.Contains(text, "last used"):
		if w.usedLast {
			w.usedLast = false
			return "yes"
		}
		return "no"
	}
	return ""
}

func (w *keyWorld) remove(text, label string) {
	if w.gen == 2 {
		for id := range w.clients { // all but the last two characters of an id are hidden
			stale := strings.Contains(text, id[len(id)-4:])
			if strings.Contains(text, "look for a key") {
				stale = id != w.first.ID
			}
			if stale && w.clients[id] {
				w.team.RevokeClientCredentials(id)
				w.clients[id] = false
			}
		}
		return
	}
	for _, key := range w.team.Keys() {
		if key.Label == label && !key.Revoked {
			w.team.RevokeKey(key.ID)
		}
	}
}

// requireReplaced requires that the document has the only key of the rotation that is
// alive, and that the key works.
func (w *keyWorld) requireReplaced() {
	w.t.Helper()
	state, err := rotation.State(w.t.Context(), w.store)
	require.NoError(w.t, err)
	require.Equal(w.t, "idle", state.Phase)
	alive := 0
	for _, key := range w.team.Keys() {
		if !key.Revoked && (key.Label == "production" || strings.HasPrefix(key.Label, "web-")) {
			alive++
		}
	}
	for id, ok := range w.clients {
		if ok {
			alive++
			require.NotEqual(w.t, w.first.ID, id)
		}
	}
	require.Equal(w.t, 1, alive, "keys that are alive")
	c, err := diffhook.NewClient(mustCredentials(w.t, w.first), w.clientOptions())
	require.NoError(w.t, err)
	_, err = c.Monitors.List(w.t.Context(), nil)
	require.ErrorIs(w.t, err, diffhook.ErrUnauthorized, "the old key is dead")
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	go func() { _ = rotation.Watch(ctx, w.store, c, time.Minute) }()
	synctest.Wait()
	_, err = c.Monitors.List(w.t.Context(), nil)
	require.NoError(w.t, err, "the key in the document works")
}

func mustCredentials(t *testing.T, p rotation.Pair) diffhook.Credentials {
	t.Helper()
	creds, err := p.Credentials()
	require.NoError(t, err)
	return creds
}

var keyPlatforms = map[string]struct {
	byHand bool
	gen    int
}{"by hand": {true, 1}, "by hand, generation 2": {true, 2}, "by the API": {false, 1}}

func TestKeyReplaces(t *testing.T) {
	for name, p := range keyPlatforms {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newKeyWorld(t, p.byHand, p.gen)
				_, err := w.run(0, nil)
				require.NoError(t, err)
				w.requireReplaced()
				_, err = w.run(0, nil)
				require.NoError(t, err, "a second run has nothing to do")
				doc := string(w.store.doc)
				require.NotContains(t, doc, w.first.Key+w.first.Secret)
				for _, q := range w.keyAsks {
					require.NotContains(t, q.Text, w.first.Key+w.first.Secret)
				}
				for _, s := range w.steps {
					require.NotContains(t, s.Text, w.first.Key+w.first.Secret)
				}
			})
		})
	}
}

// A process that is gone at any save, question or request: no key stays alive that the
// document does not name.
func TestKeyContinuesAfterACrashAtEveryPoint(t *testing.T) {
	for name, p := range keyPlatforms {
		for _, pause := range []time.Duration{5 * time.Second, 15 * time.Minute} {
			t.Run(fmt.Sprint(name, ", run again after ", pause), func(t *testing.T) {
				points := 0
				for at, gone := 1, true; gone; at++ {
					synctest.Test(t, func(t *testing.T) {
						w := newKeyWorld(t, p.byHand, p.gen)
						f, err := w.run(at, nil)
						if gone = f.dead.Load(); gone {
							points++
						}
						if err != nil {
							time.Sleep(pause)
							require.NoError(t, w.finish(), f.label)
						}
						w.requireReplaced()
					})
				}
				require.Greater(t, points, 20)
				t.Log(points, "points")
			})
		}
	}
}

func TestKeyContinuesAfterAPersonLeft(t *testing.T) {
	for _, gen := range []int{1, 2} {
		for leaves := 1; leaves <= 2+gen; leaves++ {
			synctest.Test(t, func(t *testing.T) {
				w := newKeyWorld(t, true, gen)
				w.leaves = leaves
				_, err := w.run(0, nil)
				require.ErrorIs(t, err, errAbsent)
				require.NoError(t, w.finish())
				w.requireReplaced()
			})
		}
	}
}

// A key that is not taken: the error says why, and the next run discards it and asks
// for another.
func TestKeyThatDoesNotFitIsDiscarded(t *testing.T) {
	for name, answer := range map[string]func(w *keyWorld) string{
		"does not work": func(*keyWorld) string { return "dh_live_0123456789abcdefghijklmnop" },
		"another team": func(w *keyWorld) string {
			other := w.platf.NewTeam(diffhooktest.Plan{})
			other.NewMonitor(diffhooktest.Monitor{URL: "https://example.org/", WebhookURL: "https://example.org/"})
			return other.APIKey().Reveal()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newKeyWorld(t, true, 1)
				pasted := answer(w)
				w.wrong = map[int]string{1: pasted}
				_, err := w.run(0, nil)
				require.ErrorIs(t, err, rotation.ErrMismatch)
				require.NotContains(t, err.Error(), pasted)
				require.ErrorContains(t, err, "web-", "the error names the label of the key that is alive")
				require.NoError(t, w.finish())
				w.requireReplaced()
			})
		})
	}
}

// Wrong answers are recognised and asked for again.
func TestByHandAsksAgainForAKey(t *testing.T) {
	for name, wrong := range map[string]func(w *keyWorld) string{
		"the old key":     func(w *keyWorld) string { return w.first.Key },
		"the secret":      func(w *keyWorld) string { return w.team.Secrets().Current.Reveal() },
		"nothing":         func(*keyWorld) string { return " " },
		"cut to a prefix": func(*keyWorld) string { return "dh_live_" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newKeyWorld(t, true, 1)
				created := ""
				hand := rotation.ByHand(func(_ context.Context, q rotation.Question) (string, error) {
					w.keyAsks = append(w.keyAsks, q)
					if len(w.keyAsks) == 1 {
						created = w.act(q.Text)
						return wrong(w), nil
					}
					return created, nil
				})
				pair, err := hand.Create(t.Context(), w.first, "web-1")
				require.NoError(t, err)
				require.Equal(t, created, pair.Key)
				require.Contains(t, w.keyAsks[1].Text, "That cannot be right")
			})
		})
	}
}

// What does not fit: nothing is created or deleted.
func TestKeyStopsIfSomethingDoesNotFit(t *testing.T) {
	for name, test := range map[string]struct {
		change func(w *keyWorld)
		want   error
	}{
		"the key of the document is dead": {func(w *keyWorld) { w.remove("", "production") }, rotation.ErrMismatch},
		"another id":                      {func(w *keyWorld) { w.first.ID = "production-2" }, rotation.ErrNotInForce},
		"the id of another key": {func(w *keyWorld) {
			other := w.team.NewKey("other")
			w.rewrite(w.first.ID, other.ID)
			w.first.ID = other.ID
		}, rotation.ErrMismatch},
		"no document": {func(w *keyWorld) { *w.store = memory{} }, rotation.ErrInvalidDocument},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newKeyWorld(t, false, 1)
				test.change(w)
				alive := aliveKeys(w.team)
				_, err := w.run(0, nil)
				require.ErrorIs(t, err, test.want)
				require.NotContains(t, err.Error(), w.first.Key)
				require.Equal(t, alive, aliveKeys(w.team))
			})
		})
	}
}

func aliveKeys(team *diffhooktest.Team) (n int) {
	for _, k := range team.Keys() {
		if !k.Revoked {
			n++
		}
	}
	return n
}

// A new key can take seconds to work and a deleted key seconds to stop: neither counts
// as a failure at once.
func TestKeyWaitsForDiffHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyWorld(t, false, 1)
		slow := &slowKeys{KeyPlatform: rotation.API(w.platf.Client(nil)), old: w.first, wait: 20 * time.Second}
		require.NoError(t, rotation.Key(t.Context(), w.first.ID, slow, w.store, &rotation.KeyOptions{Label: "web", Quiet: time.Minute}))
		require.Positive(t, slow.early)
		require.Positive(t, slow.late)
		w.requireReplaced()
	})
	synctest.Test(t, func(t *testing.T) { // an old key that never stops
		w := newKeyWorld(t, false, 1)
		slow := &slowKeys{KeyPlatform: rotation.API(w.platf.Client(nil)), old: w.first, wait: time.Hour}
		slow.created = time.Now().Add(-time.Hour)
		err := rotation.Key(t.Context(), w.first.ID, slow, w.store, &rotation.KeyOptions{Label: "web", Quiet: time.Minute})
		require.ErrorIs(t, err, rotation.ErrMismatch)
	})
}

// slowKeys is a platform whose changes take a while.
type slowKeys struct {
	rotation.KeyPlatform
	old              rotation.Pair
	wait             time.Duration
	created, deleted time.Time
	early, late      int
}

func (s *slowKeys) Create(ctx context.Context, old rotation.Pair, label string) (rotation.Pair, error) {
	if s.created.IsZero() {
		s.created = time.Now()
	}
	return s.KeyPlatform.Create(ctx, old, label)
}

func (s *slowKeys) Delete(ctx context.Context, as, old rotation.Pair) error {
	s.deleted = time.Now()
	return s.KeyPlatform.Delete(ctx, as, old)
}

func (s *slowKeys) Monitors(ctx context.Context, p rotation.Pair) ([]string, error) {
	ids, err := s.KeyPlatform.Monitors(ctx, p)
	switch {
	case p != s.old && time.Since(s.created) < s.wait:
		s.early++
		return nil, diffhook.ErrUnauthorized
	case p == s.old && errors.Is(err, diffhook.ErrUnauthorized) && time.Since(s.deleted) < s.wait:
		s.late++
		return nil, nil
	}
	return ids, err
}

// The old key is deleted only when it has been out of use for Quiet, or when the
// operator says so.
func TestKeyWaitsUntilTheOldKeyIsOutOfUse(t *testing.T) {
	for name, p := range keyPlatforms {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newKeyWorld(t, p.byHand, p.gen)
				w.usedLast = true
				began := time.Now()
				if !p.byHand {
					c, err := diffhook.NewClient(mustCredentials(t, w.first), w.clientOptions())
					require.NoError(t, err)
					time.AfterFunc(150*time.Second, func() { _, _ = c.Monitors.List(t.Context(), nil) })
					time.AfterFunc(90*time.Second, func() { _, _ = c.Monitors.List(t.Context(), nil) })
				}
				_, err := w.run(0, nil)
				require.NoError(t, err)
				require.GreaterOrEqual(t, time.Since(began), 4*time.Minute)
				w.requireReplaced()
			})
			synctest.Test(t, func(t *testing.T) {
				w := newKeyWorld(t, p.byHand, p.gen)
				began := time.Now()
				_, err := w.run(0, func(o *rotation.KeyOptions) { o.DeleteNow = true })
				require.NoError(t, err)
				require.Less(t, time.Since(began), time.Minute)
				w.requireReplaced()
			})
		})
	}
}

// An API that does not show the last use: the rotation stops rather than guess.
func TestKeyStopsIfTheLastUseIsHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyWorld(t, false, 1)
		w.platf.Configure(diffhooktest.Settings{Terse: true})
		_, err := w.run(0, nil)
		require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
		require.Equal(t, 3, aliveKeys(w.team))
		_, err = w.run(0, func(o *rotation.KeyOptions) { o.DeleteNow = true })
		require.NoError(t, err)
		w.requireReplaced()
	})
}

// Two runs of two people, and a response to a creation that is lost.
func TestKeyTwoRunsAndLostResponses(t *testing.T) {
	for name, p := range keyPlatforms {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newKeyWorld(t, p.byHand, p.gen)
				errs := make([]error, 4)
				var runs sync.WaitGroup
				for i := range errs {
					runs.Go(func() { time.Sleep(time.Duration(i) * time.Second); _, errs[i] = w.run(0, nil) })
				}
				runs.Wait()
				require.NoError(t, errs[0])
				for _, err := range errs[1:] {
					require.ErrorIs(t, err, rotation.ErrBusy)
				}
				w.requireReplaced()
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newKeyWorld(t, false, 1)
		w.platf.Fail(diffhooktest.Fault{Route: "POST /api/keys", Reset: diffhooktest.AfterHandling})
		_, err := w.run(0, nil)
		require.ErrorIs(t, err, diffhook.ErrOutcomeUnknown)
		require.ErrorContains(t, err, "web-", "the error names the label of the key that may be alive")
		require.NoError(t, w.finish())
		w.requireReplaced()
	})
}

// Credentials makes the first client of an application.
func TestCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, generation := range []int{1, 2} {
			w := newKeyWorld(t, false, generation)
			creds, err := rotation.Credentials(t.Context(), w.store)
			require.NoError(t, err)
			c := w.platf.Client(nil).WithCredentials(creds)
			_, err = c.Monitors.List(t.Context(), nil)
			require.NoError(t, err)
		}
		_, err := rotation.Credentials(t.Context(), &memory{})
		require.ErrorIs(t, err, rotation.ErrInvalidDocument)
	})
}

// Watch gives a client the credentials of the document, and keeps the last ones while
// the store fails.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyWorld(t, false, 1)
		c := w.platf.Client(nil)
		require.ErrorIs(t, rotation.Watch(t.Context(), &memory{}, c, 0), rotation.ErrInvalidDocument)
		require.ErrorIs(t, rotation.Watch(t.Context(), w.store, c, -1), diffhook.ErrInvalidOptions)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- rotation.Watch(ctx, w.store, c, time.Minute) }()
		_, err := w.run(0, nil)
		require.NoError(t, err)
		w.store.failGets(func() error { return errors.New("down") })
		time.Sleep(5 * time.Minute)
		w.store.failGets(nil)
		_, err = c.Monitors.List(t.Context(), nil)
		require.NoError(t, err)
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
}
