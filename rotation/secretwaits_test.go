package rotation_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// The old secret is revoked only when all conditions hold.
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
	synctest.Test(t, func(t *testing.T) { // RevokeNow waits for neither, and still for the source
		w := newWorld(t, false, 40*time.Second)
		began := time.Now()
		_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) { o.RevokeNow = true })
		require.NoError(t, err)
		require.Less(t, time.Since(began), 2*time.Minute)
		require.GreaterOrEqual(t, time.Since(began), 40*time.Second)
		w.requireRotated()
	})
	synctest.Test(t, func(t *testing.T) { // a server is down
		w := newWorld(t, false, 0, 0)
		var up atomic.Bool
		time.AfterFunc(time.Hour, func() { up.Store(true) })
		_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) {
			o.Receivers["web-2"] = brokenReceiver{o.Receivers["web-2"], func() bool { return !up.Load() && w.rotations > 0 }}
		})
		require.NoError(t, err)
		require.True(t, up.Load(), "the run waited for web-2")
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

// Each condition of a revocation alone.
func TestSecretWaitsForEachCondition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the retry horizon, though the old secret is quiet
		w := newWorld(t, false, 0)
		began := time.Now()
		_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) { o.RetryHorizon, o.Quiet = 5*time.Minute, time.Minute })
		require.NoError(t, err)
		require.GreaterOrEqual(t, time.Since(began), 5*time.Minute)
	})
	synctest.Test(t, func(t *testing.T) { // a delivery in memory, also with RevokeNow
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

// Servers get the new secret under seal: without a hold, a source 100 s late loses
// nothing, if the rotation calls the API.
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

// A long wait for a server, or for a source, saves few versions of the document: Secrets
// Manager allows 100 a day.
func TestLongWaitForServersSavesLittle(t *testing.T) {
	for name, change := range map[string]func(*world, *diffhook.Secrets){
		"without the new secret": func(w *world, s *diffhook.Secrets) { *s = diffhook.Secrets{Current: w.first} },
		"with the old secret":    (*world).keepFirst,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, true, 0)
				w.lag(w.servers["web-1"], time.Now().Add(2*time.Hour), func(s *diffhook.Secrets) { change(w, s) })
				_, err := w.run(w.first.Fingerprint(), 0, nil)
				require.NoError(t, err)
				require.Less(t, w.store.saves(), 60, "a save for each heartbeat would be 360")
				w.requireRotated()
			})
		})
	}
}

// A long wait saves nothing, and a run that begins then takes the wait over.
func TestLongWaitIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, false, 0)
		long := func(o *rotation.SecretOptions) { o.RetryHorizon, o.Poll = 2*time.Hour, time.Minute }
		first := make(chan error, 1)
		go func() {
			_, err := w.run(w.first.Fingerprint(), 0, long)
			first <- err
		}()
		time.Sleep(time.Hour)
		require.Less(t, w.store.saves(), 20, "a save for each heartbeat would be 180")
		_, err := w.run(w.first.Fingerprint(), 0, long)
		require.NoError(t, err)
		require.ErrorIs(t, <-first, rotation.ErrBusy)
		require.Less(t, w.store.saves(), 40)
		w.requireRotated()
	})
	synctest.Test(t, func(t *testing.T) {
		w := newKeyWorld(t, false, 1)
		_, err := w.run(0, func(o *rotation.KeyOptions) { o.Quiet = 8 * time.Hour })
		require.NoError(t, err)
		require.Less(t, w.store.saves(), 20, "a save for each heartbeat would be 1,440")
		w.requireReplaced()
	})
}

// The run reports a restart with deliveries in memory, also after a change of the clock,
// and no other restart.
func TestSecretReportsWhatAHoldLoses(t *testing.T) {
	for name, restarts := range map[string]bool{"a restart": true, "a set clock": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, true, 0)
				w.person.before = func(n int, _ rotation.Question) {
					if n == 2 {
						w.person.click()
						_, h := w.servers["web-1"].now()
						diffhooktest.NewSender(w.team.Secrets().Current, nil).SendTo(t.Context(), h, diffhooktest.PageChanged())
						w.person.wrong = map[int]string{2: w.team.Secrets().Current.Reveal()}
						time.Sleep(30 * time.Second)
						if restarts {
							require.NoError(t, w.servers["web-1"].restart())
						}
					}
				}
				_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) {
					o.Receivers["web-1"] = &shiftingReceiver{Receiver: o.Receivers["web-1"]}
				})
				require.NoError(t, err)
				warned := ""
				for _, s := range w.steps {
					if s.Name == rotation.StepWarning {
						warned += s.Text
					}
				}
				require.Equal(t, restarts, strings.Contains(warned, "web-1 has restarted: 1 deliver"), warned)
			})
		})
	}
}

// shiftingReceiver is a verifier after a change of the clock: each status counts Since
// anew.
type shiftingReceiver struct {
	rotation.Receiver
	by atomic.Int64
}

func (r *shiftingReceiver) Status(ctx context.Context) (diffhook.VerifierStatus, error) {
	status, err := r.Receiver.Status(ctx)
	status.Since = status.Since.Add(time.Duration(r.by.Add(1)))
	return status, err
}

// A receiver knows the secrets. No step shows a secret that a receiver repeats.
func TestStepsHideSecretsOfReceivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, false, 40*time.Second)
		_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) {
			o.Receivers["web-1"] = tellingReceiver{o.Receivers["web-1"], func() string {
				secrets := w.team.Secrets()
				return secrets.Current.Reveal() + " and " + secrets.Previous.Reveal()
			}}
		})
		require.NoError(t, err)
		said := false
		for _, s := range w.steps {
			said = said || strings.Contains(s.Text, "the source fails")
			require.NotContains(t, s.Text, w.first.Reveal())
			require.NotContains(t, s.Text, w.team.Secrets().Current.Reveal())
		}
		require.True(t, said, "a step has the error of the source")
	})
}

// tellingReceiver has a text in the error of the source.
type tellingReceiver struct {
	rotation.Receiver
	text func() string
}

func (r tellingReceiver) Status(ctx context.Context) (diffhook.VerifierStatus, error) {
	status, err := r.Receiver.Status(ctx)
	status.RefreshError = "the source fails: " + r.text()
	return status, err
}

// A server that answers slowly, each time in less than the bound of a call, is as good as a
// fast one.
func TestSecretWithSlowReceivers(t *testing.T) {
	for name, run := range map[string]func(w *world, change func(map[string]rotation.Receiver)) error{
		"Secret": func(w *world, change func(map[string]rotation.Receiver)) error {
			_, err := w.run(w.first.Fingerprint(), 0, func(o *rotation.SecretOptions) { change(o.Receivers) })
			return err
		},
		"RevokeSecret": func(w *world, change func(map[string]rotation.Receiver)) error {
			_, err := w.revokeOnce(w.first.Fingerprint(), 0, func(o *rotation.RevokeOptions) { change(o.Receivers) })
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, false, 0)
				time.AfterFunc(time.Hour, func() { w.store.failGets(func() error { return errAbsent }) }) // else it would never end
				require.NoError(t, run(w, func(receivers map[string]rotation.Receiver) {
					receivers["web-1"] = slowReceiver{receivers["web-1"], 6 * time.Second}
				}))
				w.requireRotated()
			})
		})
	}
}

// slowReceiver answers each call after some time.
type slowReceiver struct {
	rotation.Receiver
	after time.Duration
}

func (r slowReceiver) wait(ctx context.Context) error {
	select {
	case <-time.After(r.after):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r slowReceiver) Status(ctx context.Context) (diffhook.VerifierStatus, error) {
	if err := r.wait(ctx); err != nil {
		return diffhook.VerifierStatus{}, err
	}
	return r.Receiver.Status(ctx)
}

func (r slowReceiver) Refresh(ctx context.Context) error {
	return errors.Join(r.wait(ctx), r.Receiver.Refresh(ctx))
}

func (r slowReceiver) Reject(ctx context.Context, fingerprint string) error {
	return errors.Join(r.wait(ctx), r.Receiver.Reject(ctx, fingerprint))
}

func (r slowReceiver) Hold(ctx context.Context, d time.Duration) error {
	return errors.Join(r.wait(ctx), r.Receiver.Hold(ctx, d))
}

func (r slowReceiver) AcceptSuccessor(ctx context.Context, sealed string) error {
	return errors.Join(r.wait(ctx), r.Receiver.AcceptSuccessor(ctx, sealed))
}
