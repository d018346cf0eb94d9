package rotation_test

import (
	"context"
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

// After a mismatch, the rotation stops before a request to DiffHook.
func TestSecretStopsBeforeTheRotationIfSomethingDoesNotFit(t *testing.T) {
	for name, test := range map[string]struct {
		change func(w *world)
		old    func(w *world) string
		want   error
		text   string // in the error
	}{
		"another team":                  {change: func(w *world) { w.person.wrong = map[int]string{1: diffhooktest.NewSecret().Reveal()} }, want: rotation.ErrMismatch},
		"a rotation in the app":         {change: func(w *world) { w.team.Rotate() }, want: rotation.ErrMismatch, text: "the revocation takes over the secret of DiffHook"},
		"an unknown fingerprint":        {old: func(*world) string { return diffhooktest.NewSecret().Fingerprint() }, want: rotation.ErrNotInForce},
		"the secret, not a fingerprint": {old: func(w *world) string { return w.first.Reveal() }, want: rotation.ErrNotInForce},
		"a receiver with another source": {change: func(w *world) {
			w.servers["web-1"].source = diffhook.Secrets{Current: diffhooktest.NewSecret()}
			require.NoError(w.t, w.servers["web-1"].restart())
		}, want: rotation.ErrMismatch},
		"a receiver that rejects the secret": {change: func(w *world) {
			v, _ := w.servers["web-1"].now()
			require.NoError(w.t, v.Reject(w.first.Fingerprint()))
		}, want: rotation.ErrMismatch, text: "web-1 rejects"},
		"a document from a backup": {change: func(w *world) {
			require.NoError(w.t, w.finish(w.first.Fingerprint()))
			w.store.restore()
			w.rotations, w.revocations, w.steps = 0, 0, nil
		}, want: rotation.ErrMismatch, text: "the document has"},
		"no document":    {change: func(w *world) { *w.store = memory{} }, want: rotation.ErrInvalidDocument},
		"a newer format": {change: func(w *world) { w.rewrite(`"format":1`, `"format":2`) }, want: rotation.ErrInvalidDocument},
		"another kind":   {change: func(w *world) { w.rewrite("signing-secret", "api-key") }, want: rotation.ErrInvalidDocument},
		"no JSON":        {change: func(w *world) { w.rewrite("{", "") }, want: rotation.ErrInvalidDocument},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, true, 0)
				old := w.first.Fingerprint()
				if test.old != nil {
					old = test.old(w)
				}
				if test.change != nil {
					test.change(w)
				}
				before := w.store.doc
				_, err := w.run(old, 0, nil)
				require.ErrorIs(t, err, test.want)
				require.ErrorContains(t, err, test.text)
				require.NotContains(t, err.Error(), w.first.Reveal())
				require.Zero(t, w.rotations+w.revocations)
				requireSamePhase(t, before, w.store.doc)
				require.NotContains(t, w.names(), rotation.StepRotate)
				v, _ := w.servers["web-1"].now()
				require.Zero(t, v.Status().Hold.Until, "no hold stays on")
			})
		})
	}
}

func requireSamePhase(t *testing.T, before, after []byte) {
	t.Helper()
	require.Equal(t, strings.Contains(string(before), `"idle"`), strings.Contains(string(after), `"idle"`))
	require.NotContains(t, string(after), "requested")
}

// rewrite changes the text of the document.
func (w *world) rewrite(from, to string) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.store.doc = []byte(strings.Replace(string(w.store.doc), from, to, 1))
	w.store.version++
	w.store.history = append(w.store.history, saved{time.Now(), w.store.doc, w.store.version})
}

// A wrong paste in the right form, and a click by somebody else: the rotation finds both
// before the revocation and before the end of the hold. The error names the next call,
// which loses no delivery.
func TestSecretStopsAndRevokeSecretTakesOver(t *testing.T) {
	for name, change := range map[string]func(w *world, n int){
		"a wrong paste": func(w *world, n int) {
			if n == 2 {
				w.person.click()
			}
		},
		"a click by somebody else": func(w *world, n int) {
			if n == 3 {
				w.person.click()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, true, 0, 40*time.Second)
				if name == "a wrong paste" {
					w.person.wrong = map[int]string{2: diffhooktest.NewSecret().Reveal()}
				}
				w.person.before = func(n int, _ rotation.Question) { change(w, n) }
				sent, lost := w.traffic(1, false, func() {
					_, err := w.run(w.first.Fingerprint(), 0, nil)
					require.ErrorIs(t, err, rotation.ErrMismatch)
					require.Zero(t, w.revocations)
					_, err = w.run(w.first.Fingerprint(), 0, nil)
					require.ErrorIs(t, err, rotation.ErrMismatch, "another run finds the same")
					require.Zero(t, w.revocations)
					state, err := rotation.State(t.Context(), w.store)
					require.NoError(t, err)
					require.Equal(t, "rotated", state.Phase)
					time.Sleep(time.Minute)
					require.NoError(t, w.revoke(state.Current))
				})
				require.Positive(t, sent)
				require.Zero(t, lost, "of %d", sent)
				w.requireCurrent()
			})
		})
	}
}

// During a rotation, the document is restored from a backup, and somebody rotates in the app.
// The state names no call for a secret that the document does not name.
func TestStateNamesNoLostSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true, 0)
		w.person.before = func(n int, _ rotation.Question) {
			if n == 3 { // before the revocation
				w.person.click()
				for _, s := range w.store.history {
					if strings.Contains(string(s.doc), `"requested"`) {
						w.rewrite(string(w.store.doc), string(s.doc))
						break
					}
				}
			}
		}
		_, err := w.run(w.first.Fingerprint(), 0, nil)
		require.ErrorIs(t, err, rotation.ErrMismatch)
		w.continues(rotation.FunctionSecret, w.first.Fingerprint())
	})
}

// A wrong paste before the click, in a run that continues: DiffHook still signs with the
// old secret, which is never quiet. The rotation does not wait for ever.
func TestSecretStopsIfTheOldSecretStaysInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true, 0, 40*time.Second)
		w.person.leaves = 2 // instead of the click
		w.person.wrong = map[int]string{3: diffhooktest.NewSecret().Reveal()}
		sent, lost := w.traffic(1, true, func() {
			_, err := w.run(w.first.Fingerprint(), 0, nil)
			require.ErrorIs(t, err, errAbsent)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			o := w.options()
			err = rotation.Secret(ctx, w.first.Fingerprint(), w.platform(&fuse{}), w.store, o)
			require.ErrorIs(t, err, rotation.ErrMismatch)
			require.Zero(t, w.rotations+w.revocations)
			state, err := rotation.State(t.Context(), w.store)
			require.NoError(t, err)
			require.NoError(t, w.revoke(state.Current), "the advice of the error")
			w.early = ""
			require.NoError(t, w.finish(w.first.Fingerprint()))
		})
		require.Zero(t, lost, "of %d", sent)
		w.requireRotated()
	})
}

// The secret of an earlier rotation, from a stale clipboard, is never taken for the new
// secret: servers reject the secret for good. RevokeSecret asks for the click instead.
func TestSecretStopsAtASecretThatWasReplacedBefore(t *testing.T) {
	for name, revoke := range map[string]bool{"Secret": false, "RevokeSecret": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, true, 0)
				require.NoError(t, w.finish(w.first.Fingerprint()))
				second := w.team.Secrets().Current
				asked := len(w.person.questions)
				w.person.wrong = map[int]string{asked + 3: w.first.Reveal()}
				again := func() error { _, err := w.run(second.Fingerprint(), 0, nil); return err }
				w.person.leaves = asked + 2 // instead of the click
				require.ErrorIs(t, again(), errAbsent)
				if revoke {
					again = func() error { return w.revoke(second.Fingerprint()) }
				} else {
					require.ErrorIs(t, again(), rotation.ErrMismatch)
					require.Equal(t, 1, w.rotations, "no click yet")
				}
				require.NoError(t, again())
				require.Equal(t, 2, w.rotations)
				w.requireCurrent()
			})
		})
	}
}

func (w *world) revoke(leaked string) error {
	var p rotation.SecretPlatform = rotation.API(w.team.Client(nil))
	if w.byHand {
		p = rotation.ByHand(w.person.ask)
	}
	o := w.options()
	return rotation.RevokeSecret(w.t.Context(), leaked, p, w.store, &rotation.RevokeOptions{Receivers: o.Receivers, Observe: o.Observe})
}

// Two runs, of two people: the second returns ErrBusy and asks nobody.
func TestSecondRunIsBusy(t *testing.T) {
	for name, byHand := range platforms {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, byHand, 0, 30*time.Second)
				errs := make([]error, 8)
				var runs sync.WaitGroup
				for i := range errs {
					runs.Go(func() {
						time.Sleep(time.Duration(i%4) * 20 * time.Second)
						_, errs[i] = w.run(w.first.Fingerprint(), 0, nil)
					})
				}
				runs.Wait()
				done := 0
				for _, err := range errs {
					if err == nil {
						done++
						continue
					}
					require.ErrorIs(t, err, rotation.ErrBusy)
				}
				require.Equal(t, 1, done)
				w.requireRotated()
			})
		})
	}
}

// An unfinished rotation of somebody else in the app, and an edited document during a
// run.
func TestSecretStopsIfSomebodyElseIsAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, false)
		w.team.Rotate()
		w.rewrite(w.first.Reveal(), w.team.Secrets().Current.Reveal())
		_, err := w.run(w.team.Secrets().Current.Fingerprint(), 0, func(o *rotation.SecretOptions) { o.RevokeNow = true })
		require.ErrorIs(t, err, rotation.ErrMismatch)
		require.Zero(t, w.rotations+w.revocations)
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, false, 0)
		_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) {
			o.Observe = func(s rotation.Step) {
				if s.Name == rotation.StepRotate {
					w.rewrite(`"requested"`, `"idle"`)
				}
			}
		})
		require.ErrorIs(t, err, rotation.ErrConflict)
	})
}

// An option out of range changes nothing.
func TestSecretOptions(t *testing.T) {
	v := rotation.Local(new(diffhook.Verifier))
	for name, o := range map[string]*rotation.SecretOptions{
		"no receivers":       nil,
		"a nil receiver":     {Receivers: map[string]rotation.Receiver{"a": nil}},
		"a negative horizon": {Receivers: map[string]rotation.Receiver{"a": v}, RetryHorizon: -1},
		"a long hold":        {Receivers: map[string]rotation.Receiver{"a": v}, Hold: 2 * time.Hour},
		"a short hold":       {Receivers: map[string]rotation.Receiver{"a": v}, Hold: 20 * time.Second}, // as long as the pause of the heartbeat
	} {
		m := &memory{}
		err := rotation.Secret(t.Context(), "", rotation.ByHand(nil), m, o)
		require.ErrorIs(t, err, diffhook.ErrInvalidOptions, name)
		require.Zero(t, m.swaps)
	}
	require.ErrorIs(t, rotation.Secret(t.Context(), "", nil, &memory{}, &rotation.SecretOptions{RevokeNow: true}), diffhook.ErrInvalidOptions)
}

// JSON has no text that is not UTF-8: a document would have another secret.
func TestDocumentTakesUTF8Alone(t *testing.T) {
	secret, err := diffhook.NewSecret("not UTF-8: \xff " + diffhooktest.NewSecret().Reveal())
	require.NoError(t, err)
	s := &memory{}
	require.Error(t, rotation.NewSecret(t.Context(), s, secret))
	require.Zero(t, s.saves())
}
