package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// A tired person: each wrong answer is recognised and asked for again, and no question
// shows a secret.
func TestByHandAsksAgainAfterAWrongAnswer(t *testing.T) {
	const asksForCurrent, asksForNew = 1, 2
	for name, test := range map[string]struct {
		question int
		answer   func(w *world) string
		says     string
	}{
		"nothing":            {asksForCurrent, func(*world) string { return "" }, "empty"},
		"an API key":         {asksForCurrent, func(w *world) string { return w.platf.APIKey().Reveal() }, "API key"},
		"in quotes":          {asksForNew, func(w *world) string { return `"` + w.first.Reveal() + `"` }, "quotes"},
		"a masked text":      {asksForNew, func(*world) string { return "••••••••••••••••abcd" }, "masked"},
		"the old secret":     {asksForNew, func(w *world) string { return w.first.Reveal() }, "old secret"},
		"the end is cut off": {asksForNew, func(w *world) string { return diffhooktest.NewSecret().Reveal()[:20] }, "whole"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, true, 0)
				w.person.wrong = map[int]string{test.question: test.answer(w)}
				w.person.before = func(n int, _ rotation.Question) {
					if n == test.question && n == asksForNew {
						w.person.click()
					}
				}
				_, err := w.run(w.first.Fingerprint(), 0, nil)
				require.NoError(t, err)
				w.requireRotated()
				require.Contains(t, w.person.questions[test.question].Text, test.says)
				require.True(t, w.person.questions[test.question].Secret)
				for _, q := range w.person.questions {
					require.NotContains(t, q.Text, w.first.Reveal())
					require.NotContains(t, q.Text, w.team.Secrets().Current.Reveal())
					require.NotContains(t, q.Text, w.platf.APIKey().Reveal())
				}
			})
		})
	}
}

// Whoever never gives a right answer is not asked for ever.
func TestByHandGivesUp(t *testing.T) {
	n := 0
	_, err := rotation.ByHand(func(context.Context, rotation.Question) (string, error) { n++; return "x", nil }).Signing(t.Context(), diffhook.Secret{})
	require.ErrorIs(t, err, diffhook.ErrInvalidSecret)
	require.Less(t, n, 20)
}

// What does not fit: the rotation stops before DiffHook is asked for anything.
func TestSecretStopsBeforeTheRotationIfSomethingDoesNotFit(t *testing.T) {
	for name, test := range map[string]struct {
		change func(w *world)
		old    func(w *world) string
		want   error
	}{
		"another team":                  {change: func(w *world) { w.person.wrong = map[int]string{1: diffhooktest.NewSecret().Reveal()} }, want: rotation.ErrMismatch},
		"a rotation in the app":         {change: func(w *world) { w.team.Rotate() }, want: rotation.ErrMismatch},
		"a fingerprint that is unknown": {old: func(*world) string { return diffhooktest.NewSecret().Fingerprint() }, want: rotation.ErrNotInForce},
		"the secret, not a fingerprint": {old: func(w *world) string { return w.first.Reveal() }, want: rotation.ErrNotInForce},
		"a receiver with another source": {change: func(w *world) {
			w.servers["web-1"].source = diffhook.Secrets{Current: diffhooktest.NewSecret()}
			require.NoError(w.t, w.servers["web-1"].restart())
		}, want: rotation.ErrMismatch},
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

// A wrong paste that looks right, and a click by somebody else: both are found before
// anything is revoked and before the hold ends. The error names the way on, which
// loses no delivery.
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
				got, err := rotation.Source(w.store).Load(t.Context())
				require.NoError(t, err)
				require.True(t, got.Current.Equal(w.team.Secrets().Current))
			})
		})
	}
}

// A wrong paste before the click, in a run that continues: DiffHook goes on signing with
// the old secret, which is never quiet. The rotation does not wait for ever.
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

// A secret that an earlier rotation replaced, from a stale clipboard, is never taken for
// the new secret: servers reject it, and would never learn it.
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
				}
				require.ErrorIs(t, again(), rotation.ErrMismatch)
				require.Equal(t, 1, w.rotations, "no click yet")
				require.NoError(t, again())
				require.Equal(t, 2, w.rotations)
				got, err := rotation.Source(w.store).Load(t.Context())
				require.NoError(t, err)
				require.True(t, got.Current.Equal(w.team.Secrets().Current))
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

// A person leaves at each question and comes back.
func TestSecretContinuesAfterAPersonLeft(t *testing.T) {
	for leaves := 1; leaves <= 4; leaves++ {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, true, 0, 90*time.Second)
			w.person.leaves = leaves
			sent, lost := w.traffic(1, true, func() {
				_, err := w.run(w.first.Fingerprint(), 0, nil)
				require.ErrorIs(t, err, errAbsent)
				time.Sleep(40 * time.Minute)
				require.NoError(t, w.finish(w.first.Fingerprint()))
			})
			w.requireRotated()
			require.Zero(t, lost, "of %d, left at question %d", sent, leaves)
		})
	}
}

// A person who takes ten minutes for each answer. The loss without a hold is beside.
func TestSecretLosesNothingWhileThePersonIsSlow(t *testing.T) {
	for hold, wantLost := range map[time.Duration]bool{0: false, -1: true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, true, 0, 60*time.Second)
			w.person.think = 10 * time.Minute
			clicked := false
			w.person.before = func(n int, q rotation.Question) { // clicks, and then takes the time
				if n == 2 {
					w.person.click()
					clicked = true
					time.Sleep(10 * time.Minute)
					w.person.wrong = map[int]string{2: w.team.Secrets().Current.Reveal()}
				}
			}
			sent, lost := w.traffic(1, false, func() {
				_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) { o.Hold = hold })
				require.NoError(t, err)
			})
			require.True(t, clicked)
			w.requireRotated()
			t.Logf("hold %v: %d of %d lost", hold == 0, lost, sent)
			assert.Equal(t, wantLost, lost > 100, "%d of %d lost", lost, sent)
			if !wantLost {
				require.Zero(t, lost)
			}
		})
	}
}

// Two runs, of two people: the second returns ErrBusy and has asked nobody.
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

// A store that lags, conflicts, loses responses, fails or reformats.
func TestSecretWithTroubledStores(t *testing.T) {
	broken := errors.New("the store is down")
	for name, trouble := range map[string]func(m *memory){
		"reformats":      func(m *memory) { m.reformat = true },
		"lags":           func(m *memory) { m.lag = 3 * time.Second },
		"loses answers":  func(m *memory) { m.swap = func(_ int, do func() error) error { return errors.Join(do(), broken) } },
		"fails at times": func(m *memory) { m.swap = func(n int, do func() error) error { return sometimes(n, broken, do) } },
		"conflicts after it saved": func(m *memory) {
			m.swap = func(_ int, do func() error) error { return errors.Join(do(), rotation.ErrConflict) }
		},
		"cannot be read at times": func(m *memory) {
			n := 0
			m.get = func() error { n++; return sometimes(n, broken, func() error { return nil }) }
		},
	} {
		for platform, byHand := range platforms {
			t.Run(name+", "+platform, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, byHand, 0, 20*time.Second)
					trouble(w.store)
					sent, lost := w.traffic(1, false, func() { require.NoError(t, w.finish(w.first.Fingerprint())) })
					time.Sleep(time.Minute)
					w.store.lag, w.store.get = 0, nil
					w.requireRotated()
					require.Zero(t, lost, "of %d", sent)
				})
			})
		}
	}
}

func sometimes(n int, err error, do func() error) error {
	if n%3 == 0 {
		return err
	}
	return do()
}

// A store that fails after the rotation: the error says so, without the secret, and
// the next run finds the new secret at DiffHook.
func TestSecretFindsTheNewSecretThatWasNotSaved(t *testing.T) {
	for name, byHand := range platforms {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, byHand, 0)
				w.store.swap = func(_ int, do func() error) error {
					if w.rotations > 0 {
						return fmt.Errorf("refused to write %s after %s", w.team.Secrets().Current.Reveal(), w.first.Reveal())
					}
					return do()
				}
				_, err := w.run(w.first.Fingerprint(), 0, nil)
				require.ErrorContains(t, err, "refused to write")
				require.NotContains(t, err.Error(), w.team.Secrets().Current.Reveal())
				require.NotContains(t, err.Error(), w.first.Reveal())
				w.store.swap = nil
				require.NoError(t, w.finish(w.first.Fingerprint()))
				w.requireRotated()
			})
		})
	}
}

// The old secret is revoked only when all that the design asks for is true.
func TestSecretWaitsBeforeItRevokes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // RetryHorizon, and Quiet after the last use
		w := newWorld(t, false, 0)
		began := time.Now()
		old := diffhooktest.NewSender(w.first, nil)
		_, h := w.servers["web-1"].now()
		go func() {
			time.Sleep(90 * time.Second)
			old.SendTo(t.Context(), h, diffhooktest.PageChanged())
		}()
		_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) { o.RetryHorizon, o.Quiet = time.Minute, 3*time.Minute })
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(began), 90*time.Second+3*time.Minute)
		w.requireRotated()
	})
	synctest.Test(t, func(t *testing.T) { // RevokeNow waits for neither, and for the source all the same
		w := newWorld(t, false, 40*time.Second)
		began := time.Now()
		_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) { o.RevokeNow = true })
		require.NoError(t, err)
		require.Less(t, time.Since(began), 2*time.Minute)
		require.GreaterOrEqual(t, time.Since(began), 40*time.Second)
		w.requireRotated()
	})
	synctest.Test(t, func(t *testing.T) { // a server that is down
		w := newWorld(t, false, 0, 0)
		var up atomic.Bool
		time.AfterFunc(time.Hour, func() { up.Store(true) })
		_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) {
			o.Receivers["web-2"] = brokenReceiver{o.Receivers["web-2"], func() bool { return !up.Load() && w.rotations > 0 }}
		})
		require.NoError(t, err)
		require.True(t, up.Load(), "it has waited for web-2")
		w.requireRotated()
	})
	synctest.Test(t, func(t *testing.T) { // Publish fails for a while
		w := newWorld(t, true, 0)
		var ok atomic.Bool
		calls := 0
		time.AfterFunc(10*time.Minute, func() { ok.Store(true) })
		_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) {
			o.Publish = func(_ context.Context, s diffhook.Secrets) error {
				calls++
				if !ok.Load() {
					return errors.New("no room")
				}
				require.True(t, s.Current.Equal(w.team.Secrets().Current))
				require.True(t, s.NoPrevious || s.Previous.Equal(w.first))
				return nil
			}
		})
		require.NoError(t, err)
		require.True(t, ok.Load())
		require.Greater(t, calls, 2)
		w.requireRotated()
	})
}

// Each condition of a revocation by itself.
func TestSecretWaitsForEachCondition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the retry horizon, though the old secret is quiet
		w := newWorld(t, false, 0)
		began := time.Now()
		_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) { o.RetryHorizon, o.Quiet = 5*time.Minute, time.Minute })
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(began), 5*time.Minute)
	})
	synctest.Test(t, func(t *testing.T) { // a delivery that waits in memory, also with RevokeNow
		w := newWorld(t, false, 0)
		began := time.Now()
		_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) {
			o.RevokeNow = true
			o.Receivers["web-1"] = pendingReceiver{o.Receivers["web-1"], func() int {
				if time.Since(began) < 10*time.Minute {
					return 1
				}
				return 0
			}}
		})
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(began), 10*time.Minute)
	})
	synctest.Test(t, func(t *testing.T) { // a click by somebody else before a crashed run goes on to revoke
		w := newWorld(t, true, 0)
		w.person.leaves = 4
		_, err := w.run(w.first.Fingerprint(), 0, nil)
		require.ErrorIs(t, err, errAbsent)
		w.person.click()
		_, err = w.run(w.first.Fingerprint(), 0, nil)
		require.ErrorIs(t, err, rotation.ErrMismatch)
		require.Zero(t, w.revocations)
	})
}

type pendingReceiver struct {
	rotation.Receiver
	pending func() int
}

func (r pendingReceiver) Status(ctx context.Context) (diffhook.VerifierStatus, error) {
	s, err := r.Receiver.Status(ctx)
	s.Hold.Pending = r.pending()
	return s, err
}

// The new secret is pushed to servers: without a hold, a source that is 100 s late loses
// nothing, if DiffHook is asked through the API.
func TestSecretPushesTheSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, false, 100*time.Second, 60*time.Second)
		sent, lost := w.traffic(1, true, func() {
			_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) { o.Hold = -1 })
			require.NoError(t, err)
		})
		w.requireRotated()
		require.Zero(t, lost, "of %d", sent)
	})
}

// A rotation that somebody began in the app and did not finish, and a document that
// somebody edits during a run.
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

// brokenReceiver does not respond while it is down.
type brokenReceiver struct {
	rotation.Receiver
	down func() bool
}

func (r brokenReceiver) Status(ctx context.Context) (diffhook.VerifierStatus, error) {
	if r.down() {
		return diffhook.VerifierStatus{}, errors.New("connection refused")
	}
	return r.Receiver.Status(ctx)
}

func (r brokenReceiver) Reject(ctx context.Context, f string) error {
	if r.down() {
		return errors.New("connection refused")
	}
	return r.Receiver.Reject(ctx, f)
}

// Before a long wait, the new secret is confirmed and the hold ends. In generation 2
// nothing is lost either.
func TestSecretConfirmsBeforeALongWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true, 0, time.Minute)
		var ended time.Time
		sent, lost := w.traffic(2, true, func() {
			_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) {
				o.RetryHorizon, o.Poll = 2*time.Hour, time.Minute
				observe := o.Observe
				o.Observe = func(s rotation.Step) {
					observe(s)
					if s.Name == rotation.StepDrain && ended.IsZero() {
						ended = time.Now()
						v, _ := w.servers["web-1"].now()
						require.Zero(t, v.Status().Hold.Until)
					}
				}
			})
			require.NoError(t, err)
		})
		w.requireRotated()
		require.Zero(t, lost, "of %d", sent)
		require.False(t, ended.IsZero())
		require.Equal(t, []rotation.StepName{"check", "check", "rotate", "learn", "confirm", "drain", "confirm", "revoke", "reject", "done"}, w.names())
		require.Len(t, w.person.questions, 5)
	})
}

// A long wait saves nothing, and a run that begins then takes it over.
func TestLongWaitIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, false, 0)
		long := func(o *rotation.SecretOptions) { o.RetryHorizon, o.Poll = 3*time.Hour, time.Minute }
		first := make(chan error, 1)
		go func() {
			_, err := w.run(w.first.Fingerprint(), 0, long)
			first <- err
		}()
		time.Sleep(time.Hour)
		require.Less(t, w.store.saves(), 12)
		_, err := w.run(w.first.Fingerprint(), 0, long)
		require.NoError(t, err)
		require.ErrorIs(t, <-first, rotation.ErrBusy)
		require.Less(t, w.store.saves(), 25)
		w.requireRotated()
	})
	synctest.Test(t, func(t *testing.T) {
		w := newKeyWorld(t, false, 1)
		_, err := w.run(0, func(o *rotation.KeyOptions) { o.Quiet = 26 * time.Hour })
		require.NoError(t, err)
		require.Less(t, w.store.saves(), 12)
		w.requireReplaced()
	})
}

// A server that restarts with deliveries in memory, and one that cannot hold, are
// reported.
func TestSecretReportsWhatAHoldLoses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true, 0)
		w.person.before = func(n int, _ rotation.Question) {
			if n == 2 {
				w.person.click()
				_, h := w.servers["web-1"].now()
				diffhooktest.NewSender(w.team.Secrets().Current, nil).SendTo(t.Context(), h, diffhooktest.PageChanged())
				w.person.wrong = map[int]string{2: w.team.Secrets().Current.Reveal()}
				time.Sleep(30 * time.Second)
				require.NoError(t, w.servers["web-1"].restart())
			}
		}
		_, err := w.run(w.first.Fingerprint(), 0, nil)
		require.NoError(t, err)
		warned := ""
		for _, s := range w.steps {
			if s.Name == rotation.StepWarning {
				warned += s.Text
			}
		}
		require.Contains(t, warned, "web-1 has restarted: 1 deliver")
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
	} {
		m := &memory{}
		err := rotation.Secret(t.Context(), "", rotation.ByHand(nil), m, o)
		require.ErrorIs(t, err, diffhook.ErrInvalidOptions, name)
		require.Zero(t, m.swaps)
	}
	require.ErrorIs(t, rotation.Secret(t.Context(), "", nil, &memory{}, &rotation.SecretOptions{RevokeNow: true}), diffhook.ErrInvalidOptions)
}
