package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

// keyAtlas is the world of TestKeyInAllOrders: two runs of Key, and DiffHook.
type keyAtlas struct {
	*atlas
	alive map[string]string // the labels of working keys, by id
	made  int
}

const firstKey = "key-0"

var keyName = regexp.MustCompile(`\b(key|label)-\d+`) // the names of keys and labels in an error

func newKeyAtlas(t *testing.T) *keyAtlas {
	w := &keyAtlas{alive: map[string]string{}}
	w.atlas = &atlas{t: t, names: map[string]string{}, store: &memory{}, begin: w.rotate}
	require.NoError(t, rotation.NewKey(t.Context(), w.store, w.create("first")))
	w.runs = []*actor{{atlas: w.atlas}, {atlas: w.atlas}}
	return w
}

func (w *keyAtlas) create(label string) rotation.Pair {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := fmt.Sprint("key-", w.made)
	w.made++
	w.alive[id] = label
	return rotation.Pair{ID: id, Key: "dh_live_" + strings.Repeat("0", 31) + id[4:]}
}

func (w *keyAtlas) rotate(a *actor) error {
	return rotation.Key(w.t.Context(), firstKey, keyActor{a, w}, a, &rotation.KeyOptions{Quiet: drain, Observe: a.observe})
}

// keyActor is the platform of a run.
type keyActor struct {
	*actor
	w *keyAtlas
}

func (k keyActor) Check(ctx context.Context, old rotation.Pair) error {
	_, err := k.Monitors(ctx, old)
	return err
}

func (k keyActor) Monitors(_ context.Context, pair rotation.Pair) (ids []string, err error) {
	stopped := k.around("look", func() string {
		ids = []string{"mon_1"}
		if !k.w.isAlive(pair.ID) {
			err = diffhook.ErrUnauthorized
		}
		return fmt.Sprint(pair.ID, err != nil)
	})
	return ids, errors.Join(stopped, err)
}

// isAlive reports whether the key works.
func (w *keyAtlas) isAlive(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.alive[id] != ""
}

// remove deletes keys, by id and label.
func (w *keyAtlas) remove(del func(id, label string) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.alive, del)
}

func (k keyActor) Discard(_ context.Context, _ rotation.Pair, labels []string) error {
	return k.around("discard", func() string {
		k.w.remove(func(_, label string) bool { return slices.Contains(labels, label) })
		return ""
	})
}

func (k keyActor) Create(_ context.Context, _ rotation.Pair, label string) (pair rotation.Pair, err error) {
	return pair, k.around("create", func() string {
		pair = k.w.create(label)
		return pair.ID
	})
}

func (k keyActor) Unused(context.Context, rotation.Pair, rotation.Pair, time.Time) (bool, error) {
	return true, k.around("look", func() string { return "" })
}

func (k keyActor) Delete(_ context.Context, now, old rotation.Pair) error {
	return k.around("delete", func() string {
		if !k.w.isAlive(now.ID) {
			k.w.fail("the old key was deleted, and the new key is dead")
		}
		k.w.remove(func(id, _ string) bool { return id == old.ID })
		return ""
	})
}

func (w *keyAtlas) choices() []string {
	all := w.runChoices()
	slices.Sort(all)
	return all
}

func (w *keyAtlas) choose(choice string) {
	w.atlas.choose(choice)
	synctest.Wait()
}

func (w *keyAtlas) state() string {
	newest := w.parse(w.store.newest().doc)
	w.mu.Lock()
	alive, fault := fmt.Sprint(w.alive), w.fault
	w.mu.Unlock()
	parts := []string{w.describe(newest), fmt.Sprint(w.lapsed), w.rename(alive), fault}
	acquiring := false
	for _, a := range w.roles() {
		acquiring = acquiring || a.calls == nil || a.isAlive() && a.run == ""
		parts = append(parts, a.state())
		parts = append(parts, strings.Join(keyName.FindAllString(w.rename(a.said()), -1), ","))
	}
	if acquiring {
		parts = append(parts, "lease "+left(newest.RunUntil))
	}
	return strings.Join(parts, "|")
}

// said returns the text of the error of a run, unless the run was killed.
func (a *actor) said() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil || a.gone {
		return ""
	}
	return a.err.Error()
}

// end runs Key until the error is nil, and requires the name of each working key in the
// document or an error.
func (w *keyAtlas) end() error {
	w.letAllGo()
	var last error
	for range 20 {
		a := w.another()
		if last = a.err; last == nil {
			break
		}
		time.Sleep(10 * time.Second)
	}
	doc, _, err := w.store.Get(w.t.Context())
	if err := errors.Join(last, err); err != nil {
		return fmt.Errorf("the runs did not end well: %w", err)
	}
	named := string(doc)
	for _, a := range w.runs {
		named += a.said()
	}
	for id, label := range w.alive {
		if !strings.Contains(named, id) && !strings.Contains(named, label) {
			return fmt.Errorf("the key %s is forgotten", id)
		}
	}
	switch {
	case w.isAlive(firstKey):
		return errors.New("the old key is alive")
	case len(w.alive) == 0:
		return errors.New("no key is alive")
	case w.fault != "":
		return errors.New(w.fault)
	}
	return nil
}

// The model: two runs of Key, and time, with the stops and crashes of
// TestSecretInAllOrders. Each run begins at any time. Nobody uses the old key any more,
// and a new key works, and a deleted key stops, at once. The model has 3,346 states, with
// 12,666 choices, taken in 8,310 walks.
func TestKeyInAllOrders(t *testing.T) {
	explore(t, 500, func(t *testing.T) explored { return newKeyAtlas(t) })
}
