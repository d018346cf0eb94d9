package rotation_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// revokeOnce runs RevokeSecret once, until the process is gone.
func (w *world) revokeOnce(leaked string, at int, change func(*rotation.RevokeOptions)) (*fuse, error) {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	f := &fuse{at: at, kill: cancel}
	o := w.options()
	ro := &rotation.RevokeOptions{Receivers: o.Receivers, Observe: o.Observe}
	for name, r := range ro.Receivers {
		ro.Receivers[name] = fusedReceiver{r, f}
	}
	if change != nil {
		change(ro)
	}
	return f, rotation.RevokeSecret(ctx, leaked, w.platform(f), fused{w.store, f}, ro)
}

// requireRejected requires no server with the secret in force.
func (w *world) requireRejected(leaked diffhook.Secret) {
	w.t.Helper()
	body := diffhooktest.PageChanged()
	for name, s := range w.servers {
		v, _ := s.now()
		require.Error(w.t, v.Verify(w.t.Context(), body, leaked.Sign(body)), name)
	}
}

// The emergency in each phase, by hand and by the API.
func TestRevokeSecretInEachPhase(t *testing.T) {
	for name, byHand := range platforms {
		for _, phase := range []string{"idle", "requested", "rotated: the old secret", "rotated: the new secret"} {
			t.Run(name+", "+phase, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, byHand, 0, 30*time.Second)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					leaked, ended := w.first, make(chan error, 1)
					if phase != "idle" {
						go func() { // a running rotation, which loses the document
							o := w.options()
							observe := o.Observe
							o.Observe = func(s rotation.Step) {
								observe(s)
								if phase == "requested" && s.Name == rotation.StepRotate {
									time.Sleep(30 * time.Second)
								}
							}
							ended <- rotation.Secret(ctx, w.first.Fingerprint(), w.platform(&fuse{}), w.store, o)
						}()
						time.Sleep(map[bool]time.Duration{true: 8 * time.Second, false: 40 * time.Second}[phase == "requested"])
					}
					if phase == "rotated: the new secret" {
						leaked = w.team.Secrets().Current
					}
					require.NoError(t, w.revoke(leaked.Fingerprint()))
					w.requireRejected(leaked)
					require.False(t, w.team.Secrets().Current.Equal(leaked))
					require.True(t, w.team.Secrets().Previous.IsZero())
					w.requireCurrent()
					require.NoError(t, w.revoke(leaked.Fingerprint()), "again: nothing to do")
					if phase != "idle" {
						require.Error(t, <-ended, "the rotation lost the document")
					}
				})
			})
		}
	}
}

// A crash at any point of a revocation.
func TestRevokeSecretContinuesAfterACrashAtEveryPoint(t *testing.T) {
	for name, byHand := range platforms {
		t.Run(name, func(t *testing.T) {
			eachPoint(t, func(t *testing.T, at int) (gone bool) {
				w := newWorld(t, byHand, 0, 20*time.Second)
				f, err := w.revokeOnce(w.first.Fingerprint(), at, nil)
				if err != nil {
					time.Sleep(5 * time.Second)
					_, err = w.revokeOnce(w.first.Fingerprint(), 0, nil)
				}
				require.NoError(t, err, f.label)
				require.Equal(t, 1, w.rotations, f.label)
				w.requireRejected(w.first)
				require.True(t, w.team.Secrets().Previous.IsZero())
				return f.dead.Load()
			})
		})
	}
}

// Receivers reject the leaked secret first, whatever else fails, and the error joins all
// failures.
func TestRevokeSecretRejectsWhateverElseFails(t *testing.T) {
	broken := errors.New("down")
	for name, fail := range map[string]func(w *world, o *rotation.RevokeOptions){
		"the store": func(w *world, _ *rotation.RevokeOptions) { w.store.get = func() error { return broken } },
		"DiffHook":  func(w *world, _ *rotation.RevokeOptions) { w.person.leaves = 1 },
		"Publish": func(_ *world, o *rotation.RevokeOptions) {
			o.Publish = func(context.Context, diffhook.Secrets) error { return broken }
		},
		"another receiver": func(_ *world, o *rotation.RevokeOptions) {
			o.Receivers["web-2"] = brokenReceiver{o.Receivers["web-2"], func() bool { return true }}
		},
		"another source": func(w *world, _ *rotation.RevokeOptions) {
			w.servers["web-2"].source = diffhook.Secrets{Current: w.first}
			require.NoError(w.t, w.servers["web-2"].restart())
		},
		"an unknown document": func(w *world, _ *rotation.RevokeOptions) {
			w.rewrite(w.first.Reveal(), diffhooktest.NewSecret().Reveal())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, true, 0, 0)
				began := time.Now()
				_, err := w.revokeOnce(w.first.Fingerprint(), 0, func(o *rotation.RevokeOptions) { fail(w, o) })
				require.Error(t, err)
				require.NotContains(t, err.Error(), w.first.Reveal())
				require.Less(t, time.Since(began), 5*time.Minute)
				v, _ := w.servers["web-1"].now()
				body := diffhooktest.PageChanged()
				require.Error(t, v.Verify(t.Context(), body, w.first.Sign(body)))
				switch name {
				case "another receiver", "another source":
					require.ErrorContains(t, err, "web-2")
				case "Publish":
					require.ErrorIs(t, err, broken)
				}
			})
		})
	}
}

// No receiver accepts a successor under the seal of the leaked secret, and the new secret
// is not sealed.
func TestRevokeSecretSealsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, false, 10*time.Second)
		sealed, err := w.first.SealSuccessor(diffhooktest.NewSecret())
		require.NoError(t, err)
		pushes := 0
		_, err = w.revokeOnce(w.first.Fingerprint(), 0, func(o *rotation.RevokeOptions) {
			o.Receivers["web-1"] = countingReceiver{o.Receivers["web-1"], &pushes}
		})
		require.NoError(t, err)
		require.Zero(t, pushes)
		v, _ := w.servers["web-1"].now()
		require.ErrorIs(t, v.AcceptSuccessor(sealed), diffhook.ErrInvalidSecret)
	})
}

type countingReceiver struct {
	rotation.Receiver
	pushes *int
}

func (r countingReceiver) AcceptSuccessor(ctx context.Context, sealed string) error {
	*r.pushes++
	return r.Receiver.AcceptSuccessor(ctx, sealed)
}

// A rotation does not go on during an unfinished revocation. The error names the
// revocation.
func TestSecretWaitsForRevokeSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true, 0)
		w.person.leaves = 1
		_, err := w.revokeOnce(w.first.Fingerprint(), 0, nil)
		require.ErrorIs(t, err, errAbsent)
		_, err = w.run(w.first.Fingerprint(), 0, nil)
		require.ErrorIs(t, err, rotation.ErrBusy)
		require.ErrorContains(t, err, w.first.Fingerprint())
		state, err := rotation.State(t.Context(), w.store)
		require.NoError(t, err)
		require.Equal(t, rotation.Call{Function: rotation.FunctionRevokeSecret, ID: w.first.Fingerprint()}, state.Continue)
	})
}

// A wrong paste in an emergency: RevokeSecret does not return nil while DiffHook signs with
// another secret, and the next call that the state names ends the leaked secret.
func TestRevokeSecretFindsAWrongPaste(t *testing.T) {
	for name, question := range map[string]int{"of the secret in the app": 1, "of the new secret": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, true, 0, 30*time.Second)
				wrong := diffhooktest.NewSecret()
				w.person.wrong = map[int]string{question: wrong.Reveal()}
				w.person.before = func(n int, q rotation.Question) {
					if n == question && n == 2 {
						w.person.click()
					}
				}
				err := w.revoke(w.first.Fingerprint())
				require.ErrorIs(t, err, rotation.ErrMismatch)
				require.Zero(t, w.revocations)
				w.continues(rotation.FunctionRevokeSecret, wrong.Fingerprint())
				require.NoError(t, w.revoke(wrong.Fingerprint()))
				require.Equal(t, 1, w.rotations)
				w.requireRejected(w.first)
				w.requireRejected(wrong)
				require.True(t, w.team.Secrets().Previous.IsZero())
				w.requireCurrent()
			})
		})
	}
}

// The leaked secret is from a rotation in the app, which the document does not name: servers
// reject the secret, and then the document takes the secret over. The run does not wait in
// vain, and the next call that the state names ends the leaked secret.
func TestRevokeSecretStopsAtASecretThatServersReject(t *testing.T) {
	for name, byHand := range platforms {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, byHand, 0, 30*time.Second)
				leaked := w.team.Rotate().Current
				require.ErrorIs(t, w.revoke(leaked.Fingerprint()), rotation.ErrNotInForce)
				err := w.revoke(w.first.Fingerprint())
				require.ErrorIs(t, err, rotation.ErrMismatch)
				require.ErrorContains(t, err, "rejects "+leaked.Fingerprint())
				w.continues(rotation.FunctionRevokeSecret, leaked.Fingerprint())
				require.NoError(t, w.revoke(leaked.Fingerprint()))
				w.requireRejected(leaked)
				w.requireCurrent()
			})
		})
	}
}

func TestRevokeSecretOptions(t *testing.T) {
	m := &memory{}
	p := rotation.ByHand(nil)
	good := diffhooktest.NewSecret()
	for name, err := range map[string]error{
		"the secret itself": rotation.RevokeSecret(t.Context(), good.Reveal(), p, m, nil),
		"a negative poll":   rotation.RevokeSecret(t.Context(), good.Fingerprint(), p, m, &rotation.RevokeOptions{Poll: -1}),
		"no platform":       rotation.RevokeSecret(t.Context(), good.Fingerprint(), nil, m, nil),
		"a nil receiver":    rotation.RevokeSecret(t.Context(), good.Fingerprint(), p, m, &rotation.RevokeOptions{Receivers: map[string]rotation.Receiver{"a": nil}}),
	} {
		require.ErrorIs(t, err, diffhook.ErrInvalidOptions, name)
		require.NotContains(t, fmt.Sprint(err), good.Reveal())
	}
	require.Zero(t, m.swaps)
}

// In an emergency, servers that read the document at once get the new secret before a
// person is asked for another click.
func TestRevokeSecretReachesServersBeforeTheClick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, true, 0, 0)
		o := w.options()
		asked := false
		observe := func(s rotation.Step) {
			if s.Name != rotation.StepRevoke {
				return
			}
			asked = true
			for name, s := range w.servers {
				v, _ := s.now()
				require.Equal(t, w.team.Secrets().Current.Fingerprint(), v.Status().Current.Fingerprint, name)
			}
		}
		require.NoError(t, rotation.RevokeSecret(t.Context(), w.first.Fingerprint(), rotation.ByHand(w.person.ask), w.store,
			&rotation.RevokeOptions{Receivers: o.Receivers, Observe: observe}))
		require.True(t, asked)
	})
}
