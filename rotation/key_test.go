package rotation_test

import (
	"context"
	"errors"
	"fmt"
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

// A crash at any save, question or request: the document names each key alive.
func TestKeyContinuesAfterACrashAtEveryPoint(t *testing.T) {
	for name, p := range keyPlatforms {
		for _, pause := range []time.Duration{5 * time.Second, 15 * time.Minute} {
			t.Run(fmt.Sprint(name, ", run again after ", pause), func(t *testing.T) {
				eachPoint(t, func(t *testing.T, at int) (gone bool) {
					w := newKeyWorld(t, p.byHand, p.gen)
					f, err := w.run(at, nil)
					if err != nil {
						time.Sleep(pause)
						require.NoError(t, w.finish(), f.label)
					}
					w.requireReplaced()
					return f.dead.Load()
				})
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

// A key that does not fit: the error has the reason, and the next run discards the key
// and asks for another.
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
				require.ErrorContains(t, err, "web-", "the error names the label of the living key")
				require.NoError(t, w.finish())
				w.requireReplaced()
			})
		})
	}
}

// After a wrong answer, the question comes again.
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

// After a mismatch, nothing is created or deleted.
func TestKeyStopsIfSomethingDoesNotFit(t *testing.T) {
	for name, test := range map[string]struct {
		change func(w *keyWorld)
		want   error
	}{
		"the key of the document is dead": {func(w *keyWorld) { w.remove("label production") }, rotation.ErrMismatch},
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
	synctest.Test(t, func(t *testing.T) { // an old key works for ever
		w := newKeyWorld(t, false, 1)
		slow := &slowKeys{KeyPlatform: rotation.API(w.platf.Client(nil)), old: w.first, wait: time.Hour}
		slow.created = time.Now().Add(-time.Hour)
		err := rotation.Key(t.Context(), w.first.ID, slow, w.store, &rotation.KeyOptions{Label: "web", Quiet: time.Minute})
		require.ErrorIs(t, err, rotation.ErrMismatch)
	})
}

// slowKeys is a platform with slow changes.
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

// The old key is deleted after Quiet without a use, or at the wish of the operator.
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

// If the API hides the last use, the rotation stops.
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

// Two runs of two people, and a lost response to a creation.
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
		require.ErrorContains(t, err, "web-", "the error names the label of a key, perhaps alive")
		require.NoError(t, w.finish())
		w.requireReplaced()
	})
}

// A state shows the id of a key whole, unless it is of the form of a key: the call that
// continues a rotation is a call with that id.
func TestNewKeyTakesAnIDThatCanBeShown(t *testing.T) {
	key := diffhooktest.New().APIKey().Reveal()
	for name, id := range map[string]string{
		"long":        strings.Repeat("a long label ", 7),
		"two lines":   "production\nserver",
		"an escape":   "production\x1b[2J",
		"not UTF-8":   "production\xff",
		"from behind": "production\u202eserver",
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, rotation.NewKey(t.Context(), &memory{}, rotation.Pair{ID: id, Key: key}), diffhook.ErrInvalidCredentials)
		})
	}
	for _, id := range []string{"Production server, Zürich", strings.Repeat("x", 80)} {
		s := &memory{}
		require.NoError(t, rotation.NewKey(t.Context(), s, rotation.Pair{ID: id, Key: key}))
		state, err := rotation.State(t.Context(), s)
		require.NoError(t, err)
		require.Equal(t, id, state.Continue.ID)
	}
}
