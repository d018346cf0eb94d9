package rotation_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// Late requests, and the secrets of a server after a restart.

// lateClick is a platform with a late click of an earlier run, just before the click of
// this run.
type lateClick struct {
	rotation.SecretPlatform
	click func()
}

func (p lateClick) Rotate(ctx context.Context, old diffhook.Secret) (diffhook.Secrets, error) {
	p.click()
	return p.SecretPlatform.Rotate(ctx, old)
}

// A click lands between the look and the click of another run: the document gets the
// first of both secrets, the rotation stops, and RevokeSecret takes over the secret of
// DiffHook. No delivery is lost.
func TestSecretFindsTheSecretOfALateClick(t *testing.T) {
	for name, byHand := range platforms {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, byHand, 0, 40*time.Second)
				var late diffhook.Secret
				sent, lost := w.traffic(1, true, func() {
					w.interrupt("before rotate", func(at int) *fuse { f, _ := w.run(w.first.Fingerprint(), at, nil); return f })
					require.Zero(t, w.rotations)
					click := func() {
						w.team.Rotate()
						late = w.team.Secrets().Current
						time.Sleep(3 * time.Second) // deliveries with the secret of this click
					}
					err := rotation.Secret(t.Context(), w.first.Fingerprint(), lateClick{w.platform(&fuse{}), click}, w.store, w.options())
					require.ErrorIs(t, err, rotation.ErrMismatch)
					state, err := rotation.State(t.Context(), w.store)
					require.NoError(t, err)
					require.Equal(t, late.Fingerprint(), state.Current)
					require.NoError(t, w.revoke(state.Current), "the advice of the error")
				})
				require.Positive(t, sent)
				require.Zero(t, lost, "of %d", sent)
				w.requireCurrent()
			})
		})
	}
}

// The same after a crash: the look of a run finds two clicks.
func TestSecretFindsTheFirstOfTwoClicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true, 0)
		w.person.leaves = 2
		_, err := w.run(w.first.Fingerprint(), 0, nil)
		require.ErrorIs(t, err, errAbsent)
		w.person.click()
		first := w.team.Secrets().Current
		w.person.click()
		w.person.wrong = map[int]string{4: w.team.Secrets().Current.Reveal()} // the new secret, not the old secret
		_, err = w.run(w.first.Fingerprint(), 0, nil)
		require.ErrorIs(t, err, rotation.ErrMismatch)
		require.Contains(t, w.person.questions[4].Text, "That cannot be right")
		state, err := rotation.State(t.Context(), w.store)
		require.NoError(t, err)
		require.Equal(t, first.Fingerprint(), state.Current)
		require.Equal(t, w.first.Fingerprint(), state.Previous)
	})
}

// After a restart at the end of the rotation, a server does not accept the revoked
// secret, however late the source is.
func TestSecretWaitsUntilNoSourceHasTheOldSecret(t *testing.T) {
	for name, run := range map[string]func(w *world) error{
		"Secret":       func(w *world) error { return w.finish(w.first.Fingerprint()) },
		"RevokeSecret": func(w *world) error { return w.revoke(w.first.Fingerprint()) },
		"RevokeSecret of a replaced secret": func(w *world) error {
			ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
			defer cancel()
			require.Error(w.t, rotation.Secret(ctx, w.first.Fingerprint(), w.platform(&fuse{}), w.store, w.options()))
			state, err := rotation.State(w.t.Context(), w.store)
			require.NoError(w.t, err)
			require.Equal(w.t, "rotated", state.Phase)
			return w.revoke(w.first.Fingerprint())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, false, 0, 40*time.Second)
				require.NoError(t, run(w))
				for _, s := range w.servers {
					require.NoError(t, s.restart())
				}
				w.requireRejected(w.first)
			})
		})
	}
}

// While a source names the old secret as previous, perhaps for days, no hold stays on: every
// server has the new secret.
func TestSecretEndsTheHoldBeforeTheWaitForSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true, 0)
		s := w.servers["web-1"]
		late := time.Now().Add(5 * time.Hour)
		w.lag(s, late, w.keepFirst)
		time.AfterFunc(4*time.Hour, func() {
			v, _ := s.now()
			require.Zero(t, v.Status().Hold.Until)
		})
		require.NoError(t, w.finish(w.first.Fingerprint()))
		require.False(t, time.Now().Before(late))
		w.requireRotated()
	})
}

// A person pastes a secret from two rotations ago. Servers reject this secret for good,
// and the rotation does not wait for them.
func TestSecretStopsAtASecretThatServersReject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true, 0, 40*time.Second)
		require.NoError(t, w.finish(w.first.Fingerprint()))
		require.NoError(t, w.finish(w.team.Secrets().Current.Fingerprint()))
		asked := len(w.person.questions)
		w.person.before = func(n int, _ rotation.Question) {
			if n == asked+2 {
				w.person.click()
				w.person.wrong = map[int]string{n: w.first.Reveal()}
			}
		}
		third := w.team.Secrets().Current
		sent, lost := w.traffic(1, true, func() {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			err := rotation.Secret(ctx, third.Fingerprint(), w.platform(&fuse{}), w.store, w.options())
			require.ErrorIs(t, err, rotation.ErrMismatch)
			require.ErrorContains(t, err, w.first.Fingerprint())
			time.Sleep(time.Minute)
			require.NoError(t, w.revoke(w.first.Fingerprint()), "the advice of the error")
		})
		require.Zero(t, lost, "of %d", sent)
		w.requireCurrent()
	})
}

// The creation of a key arrives after another run looked for the label: before the old
// key is deleted, or after the end. The document names the label until the next rotation.
func TestKeyFindsAKeyThatAppearsLate(t *testing.T) {
	for name, p := range keyPlatforms {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newKeyWorld(t, p.byHand, p.gen)
				label := w.interruptCreate()
				appeared := false
				_, err := w.run(0, func(o *rotation.KeyOptions) {
					o.Observe = func(s rotation.Step) {
						if s.Name == rotation.StepDrain && !appeared {
							appeared = true
							w.appear(label)
						}
					}
				})
				require.NoError(t, err)
				require.True(t, appeared)
				w.requireReplaced()

				w.appear(label) // and after the end
				state, err := rotation.State(t.Context(), w.store)
				require.NoError(t, err)
				require.Equal(t, []string{label}, state.Outstanding)
				w.first = w.current()
				require.NoError(t, w.finish())
				w.requireReplaced()
				state, err = rotation.State(t.Context(), w.store)
				require.NoError(t, err)
				require.Empty(t, state.Outstanding)
			})
		})
	}
}

// interruptCreate is a run without the request for a key. It returns the label.
func (w *keyWorld) interruptCreate() string {
	w.interrupt("before create", func(at int) *fuse { f, _ := w.run(at, nil); return f })
	state, err := rotation.State(w.t.Context(), w.store)
	require.NoError(w.t, err)
	return state.Label
}

// interrupt runs processes, each from the first document on, and ends each at a later
// point, until the label of the point is right.
func (w *world) interrupt(label string, run func(at int) *fuse) {
	for at := 1; ; at++ {
		f := run(at)
		require.True(w.t, f.dead.Load())
		time.Sleep(2 * time.Minute) // longer than a lease
		if f.label == label {
			return
		}
		w.store.restore()
	}
}

// restore makes the first document the newest.
func (m *memory) restore() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.doc, m.history = m.history[0].doc, m.history[:1]
	m.version = m.history[0].version
}

// appear creates a key, as a late request does.
func (w *keyWorld) appear(label string) {
	if w.gen != 2 {
		w.team.NewKey(label)
		return
	}
	id, _ := w.team.NewClientCredentials()
	w.clients[id], w.labels[id] = true, label
}

// current returns the key of the document.
func (w *keyWorld) current() rotation.Pair {
	_, after, _ := strings.Cut(string(w.store.newest().doc), `"id":"`)
	id, after, _ := strings.Cut(after, `"`)
	pair := rotation.Pair{ID: id}
	if _, key, found := strings.Cut(after, `"key":"`); found {
		pair.Key, _, _ = strings.Cut(key, `"`)
		return pair
	}
	_, secret, _ := strings.Cut(after, `"secret":"`)
	pair.Secret, _, _ = strings.Cut(secret, `"`)
	return pair
}

// The labels of interrupted requests are bounded.
func TestKeyKeepsTwentyLabels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyWorld(t, false, 1)
		w.platf.Fail(diffhooktest.Fault{Route: "POST /api/keys", Times: 1000, Status: 403})
		for range 30 {
			_, err := w.run(0, nil)
			require.Error(t, err)
		}
		w.platf.ClearFaults()
		require.NoError(t, w.finish())
		w.requireReplaced()
		state, err := rotation.State(t.Context(), w.store)
		require.NoError(t, err)
		require.Len(t, state.Outstanding, 20)
	})
}

// The API creates keys of generation 1 only. Client credentials are refused before
// anything is saved, also in a rotation that was begun by hand.
func TestKeyByTheAPIRefusesGeneration2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyWorld(t, false, 2)
		_, err := w.run(0, nil)
		require.ErrorIs(t, err, diffhook.ErrInvalidOptions)
		state, err := rotation.State(t.Context(), w.store)
		require.NoError(t, err)
		require.Equal(t, "idle", state.Phase)

		w.byHand, w.leaves = true, 1
		_, err = w.run(0, nil)
		require.ErrorIs(t, err, errAbsent)
		before, err := rotation.State(t.Context(), w.store)
		require.NoError(t, err)
		w.byHand = false
		_, err = w.run(0, nil)
		require.ErrorIs(t, err, diffhook.ErrInvalidOptions)
		after, err := rotation.State(t.Context(), w.store)
		require.NoError(t, err)
		require.Equal(t, before, after)
	})
}
