package rotation_test

import (
	"context"
	"net/http"
	"strings"
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
	gen      int               // 2: client credentials
	clients  map[string]bool   // working clients of generation 2, by id
	labels   map[string]string // labels of clients, by id
	keyAsks  []rotation.Question
	leaves   int
	wrong    map[int]string
	secret   string // the secret of the newest client
	usedLast bool   // the person sees a use of the old key, once
}

func newKeyWorld(t *testing.T, byHand bool, gen int) *keyWorld {
	t.Helper()
	platf := diffhooktest.New()
	t.Cleanup(platf.Close)
	return newKeyWorldAt(t, platf, platf.DefaultTeam(), byHand, gen)
}

// newKeyWorldAt is newKeyWorld at a server.
func newKeyWorldAt(t *testing.T, platf *diffhooktest.Server, team *diffhooktest.Team, byHand bool, gen int) *keyWorld {
	t.Helper()
	w := &keyWorld{world: &world{t: t, platf: platf, team: team, store: &memory{}, byHand: byHand}, gen: gen, clients: map[string]bool{}, labels: map[string]string{}}
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

func (p fusedKeys) Check(ctx context.Context, old rotation.Pair) error {
	return p.around("check", func() error { return p.KeyPlatform.Check(ctx, old) })
}

func (p fusedKeys) Discard(ctx context.Context, as rotation.Pair, labels []string) error {
	return p.around("discard", func() error { return p.KeyPlatform.Discard(ctx, as, labels) })
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

// act clicks and answers for a question.
func (w *keyWorld) act(text string) string {
	label := func(text string) string {
		_, after, _ := strings.Cut(text, "label ")
		return strings.TrimRight(strings.Fields(after)[0], ".,;")
	}
	switch {
	case strings.Contains(text, "click New API key") && w.gen == 2:
		id, secret := w.team.NewClientCredentials()
		w.clients[id], w.labels[id], w.secret = true, label(text), secret
		return id
	case strings.Contains(text, "client secret"):
		return w.secret
	case strings.Contains(text, "click New API key"):
		return w.team.NewKey(label(text)).Key.Reveal()
	case strings.Contains(text, "look for a key"), strings.Contains(text, "delete the old key"):
		w.remove(text)
	case strings.Contains(text, "last used"):
		if w.usedLast {
			w.usedLast = false
			return "yes"
		}
		return "no"
	}
	return ""
}

// remove deletes the keys in a question.
func (w *keyWorld) remove(text string) {
	for id, alive := range w.clients { // a question shows the last characters of an id
		deleted := strings.Contains(text, id[len(id)-4:])
		if strings.Contains(text, "look for a key") {
			deleted = named(text, w.labels[id])
		}
		if alive && deleted {
			w.team.RevokeClientCredentials(id)
			w.clients[id] = false
		}
	}
	for _, key := range w.team.Keys() {
		if named(text, key.Label) && !key.Revoked {
			w.team.RevokeKey(key.ID)
		}
	}
}

// named reports whether a question names a label, alone or in a list.
func named(text, label string) bool {
	return label != "" && (strings.Contains(text, "label "+label) || strings.Contains(text, " or "+label))
}

// requireReplaced requires a working key in the document, and no other key of the
// rotation alive.
func (w *keyWorld) requireReplaced() {
	w.t.Helper()
	state, err := rotation.State(w.t.Context(), w.store)
	require.NoError(w.t, err)
	require.Equal(w.t, "idle", state.Phase)
	w.requireOneKey()
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

// requireOneKey requires a single key of the rotation alive, other than the old key.
func (w *keyWorld) requireOneKey() {
	w.t.Helper()
	alive := 0
	for _, key := range w.team.Keys() {
		if !key.Revoked && (key.ID == w.first.ID || key.Label == "production" || strings.HasPrefix(key.Label, "web-")) {
			alive++
			require.NotEqual(w.t, w.first.Key, key.Key.Reveal())
		}
	}
	for id, ok := range w.clients {
		if ok {
			alive++
			require.NotEqual(w.t, w.first.ID, id)
		}
	}
	require.Equal(w.t, 1, alive, "living keys")
}

func mustCredentials(t *testing.T, p rotation.Pair) diffhook.Credentials {
	t.Helper()
	creds, err := p.Credentials()
	require.NoError(t, err)
	return creds
}

func aliveKeys(team *diffhooktest.Team) (n int) {
	for _, k := range team.Keys() {
		if !k.Revoked {
			n++
		}
	}
	return n
}
