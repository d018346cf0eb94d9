package diffhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"runtime"
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
)

// requireLeakRefused checks that the leaked secret lets nothing in anywhere.
func (c *changeover) requireLeakRefused() {
	c.Helper()
	for name, w := range c.web {
		require.Error(c, w.deliver(c.old), name)
	}
}

// requireRevoked checks that the leaked secret is forgotten, and the receivers
// have the one that the platform signs with.
func (c *changeover) requireRevoked(rotations int) {
	c.Helper()
	now := c.server.Secrets()
	require.True(c, now.NoPrevious, "at the platform")
	require.Equal(c, rotations, c.server.Count("POST /api/signing-secret/rotate"))
	c.requireStoreClean()
	for name, w := range c.web {
		require.NoError(c, w.deliver(now.Current), name)
		require.ErrorIs(c, w.deliver(c.old), diffhook.ErrSignatureMismatch, name)
	}
}

func (c *changeover) requireStoreClean() {
	c.Helper()
	held := c.store.holds()
	require.True(c, held.Current.Equal(c.server.Secrets().Current) && held.Previous.IsZero(), "in the store")
}

// leakPrevious has the secret be replaced, and then leak.
func (c *changeover) leakPrevious() {
	c.store.held = c.server.Rotate()
	for _, w := range c.web {
		w.restart()
	}
}

// TestSecretRevoke: what it does depends on what the secret is at the moment.
// It takes no time, and does not ask how long the secret has been unused.
func TestSecretRevoke(t *testing.T) {
	const refused = "0s refused: every receiver refuses OLD"
	revoked := []string{"0s revoked: DiffHook has revoked OLD", "0s removed: the store has NEW as current and none as previous", refused}
	for _, test := range []struct {
		name      string
		set       func(*changeover)
		rotations int
		err       error
		want      []string
	}{
		{"the current secret", nil, 1, nil, append([]string{"0s rotated: DiffHook signs with NEW instead of OLD"}, revoked...)},
		{"the previous secret", (*changeover).leakPrevious, 0, nil, revoked},
		{
			"the secret before the previous one, which is in use nowhere", func(c *changeover) {
				c.leakPrevious()
				c.leakPrevious()
				c.server.RevokePrevious()
				c.store.held.Previous = diffhook.Secret{}
			}, 0, diffhook.ErrNotInForce, revoked[1:],
		},
		{
			"one that the platform has forgotten, and the store has not", func(c *changeover) {
				c.leakPrevious()
				c.server.RevokePrevious()
			}, 0, nil, revoked[1:],
		},
	} {
		for _, terse := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, terse %v", test.name, terse), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newChangeover(t, 1, "web-1", "web-2")
					c.server.Configure(diffhooktest.Settings{Terse: terse, OnExchange: recorder(t)})
					if test.set != nil {
						test.set(c)
					}
					require.ErrorIs(t, c.revoke(), test.err)
					for name, w := range c.web { // without having met a delivery
						assert.Equal(t, c.server.Secrets().Current.Fingerprint(), w.v.Load().Status().Current.Fingerprint, name)
					}
					c.requireLeakRefused()
					c.requireRevoked(test.rotations)
					c.requireSteps(append([]string{"0s telling: the receivers are told to refuse OLD"}, test.want...)...)
					c.web["web-1"].restart()
					c.requireRevoked(test.rotations)
					require.ErrorIs(t, c.revoke(), diffhook.ErrNotInForce, "there is nothing left to do")
				})
			})
		}
	}
}

// TestSecretRevokeByAPI: the receivers read the API, and there is no store.
func TestSecretRevokeByAPI(t *testing.T) {
	for generation := 1; generation <= 2; generation++ {
		for _, terse := range []bool{false, true} {
			for _, current := range []bool{true, false} {
				t.Run(fmt.Sprintf("generation %d, terse %v, current %v", generation, terse, current), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						c := newChangeover(t, generation)
						c.server.Configure(diffhooktest.Settings{Terse: terse, OnExchange: recorder(t)})
						web := c.add("web-1", teamClient(c.server.DefaultTeam(), generation, nil).SigningSecret)
						if !current {
							c.server.Rotate()
							require.NoError(t, web.Refresh(t.Context()))
							require.NoError(t, web.deliver(c.old))
						}
						err := c.client.SigningSecret.Revoke(t.Context(), c.old.Fingerprint(), nil, &c.options)
						require.ErrorIs(t, web.deliver(c.old), diffhook.ErrSignatureMismatch)
						require.NoError(t, web.deliver(c.server.Secrets().Current))
						require.NoError(t, err)
						assert.True(t, c.server.Secrets().NoPrevious, "at the platform")
					})
				})
			}
		}
	}
}

// TestSecretRevokeRefusesAtOnce: before the platform or the store has answered.
func TestSecretRevokeRefusesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1", "web-2")
		c.server.Fail(diffhooktest.Fault{Delay: 20 * time.Second})
		c.web["web-2"].fails = func(context.Context) error { c.at(9 * time.Second); return nil }
		done := make(chan error)
		go func() { done <- c.revoke() }()
		synctest.Wait()
		require.Error(t, c.web["web-1"].deliver(c.old))
		require.NoError(t, c.web["web-2"].deliver(c.old), "it has not answered")
		c.at(9*time.Second + 1)
		c.requireLeakRefused()
		require.NoError(t, <-done)
		c.requireRevoked(1)
	})
}

// Whatever fails, the rest is done, the error says what is left, the leaked
// secret lets nothing in, and the next run ends it.
func TestSecretRevokeFails(t *testing.T) {
	down := func(route string) func(*changeover) {
		return func(c *changeover) { c.server.Fail(diffhooktest.Fault{Route: route, Status: 503, Times: -1}) }
	}
	for _, test := range []struct {
		name  string
		set   func(*changeover)
		err   error
		text  []string
		check func(*changeover) // after the first run
		force bool              // that the next run needs it
	}{
		{
			name: "the platform is down, and the secret is current", set: down(""), err: diffhook.ErrServer,
			text: []string{"GET signing-secret: 503", `current "OLD", previous "": its current secret is the one to be revoked, and the platform has not given a new one`},
			check: func(c *changeover) {
				assert.Len(c, c.store.saved, 1)
				for _, w := range c.web { // 503: DiffHook tries again
					assert.Equal(c, http.StatusServiceUnavailable, diffhook.HTTPStatus(w.deliver(c.old)))
					assert.Equal(c, http.StatusServiceUnavailable, diffhook.HTTPStatus(w.deliver(diffhooktest.NewSecret())))
				}
			},
		}, {
			name: "the platform is down, and the secret is previous", err: diffhook.ErrServer,
			set:   func(c *changeover) { c.leakPrevious(); down("")(c) },
			text:  []string{"GET signing-secret: 503"},
			check: (*changeover).requireStoreClean,
		}, {
			name: "the platform does not rotate", set: down("POST"), err: diffhook.ErrServer,
			text: []string{"POST signing-secret/rotate: 503", "its current secret is the one to be revoked"},
		}, {
			name: "the platform does not revoke", set: down("DELETE"), err: diffhook.ErrServer,
			text:  []string{"DELETE signing-secret/previous: 503"},
			check: (*changeover).requireStoreClean,
		}, {
			name: "a terse platform does not revoke", err: diffhook.ErrServer,
			set: func(c *changeover) {
				c.server.Configure(diffhooktest.Settings{Terse: true})
				down("DELETE")(c)
			},
			text: []string{"DELETE signing-secret/previous: 503"},
		}, {
			name: "the answer to the rotation is lost, and what follows fails", err: diffhook.ErrOutcomeUnknown,
			set: func(c *changeover) {
				c.server.Fail(diffhooktest.Fault{Route: "POST /api/signing-secret/rotate", Reset: diffhooktest.AfterHandling})
				c.server.Fail(diffhooktest.Fault{Route: "GET", Skip: 1, Times: -1, Status: 503})
			},
			text: []string{"POST signing-secret/rotate"},
		}, {
			name: "the store cannot be read", err: errDown, force: true,
			set:   func(c *changeover) { c.store.before = func(string) error { return errDown } },
			text:  []string{"the store failed to load the signing secret: connection refused"},
			check: func(c *changeover) { assert.True(c, c.server.Secrets().NoPrevious, "at the platform") },
		}, {
			name: "the store does not save", err: errDown, force: true,
			set:   func(c *changeover) { c.fails("save", errDown) },
			text:  []string{"the store failed to save the signing secret: connection refused"},
			check: func(c *changeover) { assert.True(c, c.server.Secrets().NoPrevious, "at the platform") },
		}, {
			name: "the store shows the secrets in its error", err: errDown, force: true,
			set: func(c *changeover) {
				c.store.after = func(operation string, s *diffhook.Secrets) error {
					return errors.Join(&leakyError{*s}, errDown)
				}
			},
			text: []string{"the store failed to load the signing secret: cannot hold [REDACTED]"},
		}, {
			name: "all but the receivers is down", err: diffhook.ErrServer,
			set: func(c *changeover) {
				down("")(c)
				c.store.before = func(string) error { return errDown }
			},
			text: []string{"GET signing-secret: 503", "the store failed to load"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 1, "web-1", "web-2")
				test.set(c)
				err := c.revoke()
				require.ErrorIs(t, err, test.err)
				assert.NotContains(t, err.Error(), "\n")
				steps := c.text(strings.Join(c.steps, "\n"))
				for _, text := range test.text {
					assert.Contains(t, c.text(err.Error()), text)
					assert.Regexp(t, "(?m) failed: (at DiffHook|in the store): .*"+regexp.QuoteMeta(text), steps)
				}
				assert.Empty(t, secretDetector(c.old, c.server.Secrets().Current).find(steps))
				first := c.server.Secrets().Current
				assertNoLeak(t, secretDetector(c.old, first), err)
				c.requireLeakRefused()
				assert.Contains(t, c.text(c.steps[len(c.steps)-1]), " refused: every receiver refuses OLD")
				if test.check != nil {
					test.check(c)
				}

				c.server.ClearFaults()
				c.store.before, c.store.after = nil, nil
				if test.force { // the platform has forgotten what the store has as current
					require.ErrorIs(t, c.revoke(), diffhook.ErrStoreMismatch)
					assert.Len(t, c.store.saved, 1)
					c.options.Force = true
				}
				require.NoError(t, c.revoke(), "run it again until it returns nil")
				last := c.server.Secrets()
				assert.True(t, last.NoPrevious, "at the platform")
				assert.False(t, last.Current.Equal(c.old), "at the platform")
				assert.True(t, last.Current.Equal(first) || first.Equal(c.old), "rotated twice")
				c.requireStoreClean()
				for name, w := range c.web {
					require.NoError(t, w.deliver(last.Current), name)
					require.ErrorIs(t, w.deliver(c.old), diffhook.ErrSignatureMismatch, name)
				}
			})
		})
	}
}

// TestSecretRevokeReceiverDown: the others refuse it meanwhile.
func TestSecretRevokeReceiverDown(t *testing.T) {
	for name, fails := range map[string]func(c *changeover) func(context.Context) error{
		"connection refused": func(c *changeover) func(context.Context) error { return c.until(10 * time.Minute) },
		"context deadline exceeded": func(c *changeover) func(context.Context) error {
			return func(ctx context.Context) error { c.at(10 * time.Minute); return ctx.Err() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 1, "web-1", "web-2")
				c.web["web-2"].fails = fails(c)
				err := c.revoke()
				require.ErrorContains(t, err, "receivers that may still accept "+c.old.Fingerprint()+": web-2 gives no status ("+name+"); run it again when they answer")
				assert.LessOrEqual(t, time.Since(c.began), 2*time.Minute, "it waits for up to a minute, it says")
				require.ErrorIs(t, c.web["web-1"].deliver(c.old), diffhook.ErrSignatureMismatch)
				require.NoError(t, c.web["web-2"].deliver(c.old), "it could not be told")
				assert.True(t, c.server.Secrets().NoPrevious, "at the platform")
				c.requireStoreClean()

				c.at(11 * time.Minute)
				require.NoError(t, c.revoke(), "run it again until it returns nil")
				c.requireRevoked(1)
			})
		})
	}
}

// TestSecretRevokeLaggingSource: a source that still has the leaked secret, even
// as the current one, does not make a receiver accept it again.
func TestSecretRevokeLaggingSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		lagging := c.add("web-2", c.behind(time.Hour))
		require.NoError(t, c.revoke())
		next := c.server.Secrets().Current
		for _, at := range []time.Duration{0, 10 * time.Minute, time.Hour - 1} {
			c.at(at)
			require.ErrorIs(t, lagging.Refresh(t.Context()), diffhook.ErrSecretsUnavailable)
			require.ErrorIs(t, lagging.deliver(c.old), diffhook.ErrSecretsUnavailable)
			require.ErrorIs(t, lagging.deliver(next), diffhook.ErrSecretsUnavailable, "503, so that it is tried again")
			require.True(t, lagging.v.Load().Status().Current.Revoked)
		}
		c.at(time.Hour)
		require.NoError(t, lagging.deliver(next))
		require.ErrorIs(t, lagging.deliver(c.old), diffhook.ErrSignatureMismatch)
		c.requireRevoked(1)
	})
}

// TestSecretRevokeRefuses what Replace refuses too.
func TestSecretRevokeRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		old string
		set func(*changeover)
	}{
		"no fingerprint":         {old: "dh-not-a-fingerprint"},
		"a nil receiver":         {set: func(c *changeover) { c.options.Receivers["web-9"] = nil }},
		"a nil verifier":         {set: func(c *changeover) { c.options.Receivers["web-9"] = diffhook.LocalReceiver(nil) }},
		"a negative option":      {set: func(c *changeover) { c.options.Quiet = -1 }},
		"an upper-case one":      {old: "0123456789ABCDEF"},
		"a fingerprint and more": {old: "0123456789abcdef0"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 1, "web-1")
				if test.set != nil {
					test.set(c)
				}
				if test.old == "" {
					test.old = c.old.Fingerprint()
				}
				err := c.client.SigningSecret.Revoke(t.Context(), test.old, c.store, &c.options)
				require.ErrorIs(t, err, diffhook.ErrInvalidOptions)
				assert.NotContains(t, err.Error(), test.old)
				assert.Zero(t, c.server.Count(""))
				c.requireUntouched()
			})
		})
	}
}

// TestSecretRevokeWithoutReceivers does what it can, and says that it is not all.
func TestSecretRevokeWithoutReceivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1)
		err := c.client.SigningSecret.Revoke(t.Context(), c.old.Fingerprint(), c.store, nil)
		require.ErrorIs(t, err, diffhook.ErrInvalidOptions)
		assert.Contains(t, err.Error(), "all is done but at the receivers")
		c.requireRevoked(1)
		err = c.client.SigningSecret.Revoke(t.Context(), c.old.Fingerprint(), c.store, nil)
		require.ErrorIs(t, err, diffhook.ErrInvalidOptions, "nor does a second run reach them")
	})
}

// TestSecretRevokeUnknown: a name that means nothing is refused all the same, in
// case it means something where nobody can look.
func TestSecretRevokeUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		unknown := diffhooktest.NewSecret()
		require.ErrorIs(t, c.client.SigningSecret.Revoke(t.Context(), unknown.Fingerprint(), c.store, &c.options), diffhook.ErrNotInForce)
		assert.Zero(t, c.server.Count("POST"))
		assert.Zero(t, c.server.Count("DELETE"))
		require.NoError(t, c.web["web-1"].deliver(c.old))
		require.ErrorIs(t, c.web["web-1"].v.Load().Rotate(unknown, 0), diffhook.ErrInvalidSecret)
		held := c.store.holds()
		assert.True(t, held.Current.Equal(c.old) && held.NoPrevious, "what DiffHook says, for servers that nobody has told")
	})
}

// TestSecretRevokeSparesOthers: what a terse platform hides may be the secret that
// leaked, but not where somebody names another one, which deliveries in flight
// still need.
func TestSecretRevokeSparesOthers(t *testing.T) {
	for _, test := range []struct {
		name string
		set  func(*changeover) diffhook.SecretStore
	}{
		{"as the store says", func(c *changeover) diffhook.SecretStore {
			c.leakPrevious()
			return c.store
		}},
		{"as a receiver at the API says", func(c *changeover) diffhook.SecretStore {
			web := c.add("web-1", c.client.SigningSecret)
			c.server.Rotate()
			require.NoError(c, web.Refresh(c.Context()))
			return nil
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 1, "web-1")
				c.server.Configure(diffhooktest.Settings{Terse: true, OnExchange: recorder(t)})
				store := test.set(c)
				err := c.client.SigningSecret.Revoke(t.Context(), diffhooktest.NewSecret().Fingerprint(), store, &c.options)
				require.ErrorIs(t, err, diffhook.ErrNotInForce)
				assert.Zero(t, c.server.Count("DELETE"))
				assert.False(t, c.server.Secrets().NoPrevious, "at the platform")
				require.NoError(t, c.web["web-1"].deliver(c.old), "a delivery in flight")
			})
		})
	}
}

// TestSecretRevokeWrongStore: a store that knows nothing of the secret is not
// written to, and that the new secret is in no store is said.
func TestSecretRevokeWrongStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1)
		c.store = newMemoryStore(diffhook.Secrets{Current: diffhooktest.NewSecret()})
		require.ErrorIs(t, c.revoke(), diffhook.ErrStoreMismatch)
		assert.Len(t, c.store.saved, 1)
		assert.False(t, c.server.Secrets().Current.Equal(c.old), "at the platform")
		assert.True(t, c.server.Secrets().NoPrevious, "at the platform")
	})
}

// TestSecretRevokeTellsOfDisobedience: a receiver that does not carry the order
// out is not one that refuses, though its status may look like it; one that
// panics, or ends its goroutine, does not end the process.
func TestSecretRevokeTellsOfDisobedience(t *testing.T) {
	for name, test := range map[string]struct {
		revoke func() error
		want   string
	}{
		"an error":               {func() error { return errors.New("405") }, "web-1 does not obey (405)"},
		"a panic":                {func() error { panic("no") }, "web-1 does not obey (the receiver panicked: no)"},
		"the end of a goroutine": {func() error { runtime.Goexit(); return nil }, "web-1 does not obey (the receiver ended its goroutine)"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 1, "web-1")
				c.options.Receivers["web-1"] = disobedient{c.web["web-1"], test.revoke}
				require.ErrorContains(t, c.revoke(), test.want)
				assert.True(t, c.server.Secrets().NoPrevious, "the platform has done its part")
			})
		})
	}
}

// disobedient is a receiver that refuses no secret.
type disobedient struct {
	diffhook.Receiver
	revoke func() error
}

func (d disobedient) Revoke(context.Context, string) error { return d.revoke() }

// TestSecretRevokeHangingStore: it keeps the emergency from neither the platform
// nor the receivers, whatever its context says.
func TestSecretRevokeHangingStore(t *testing.T) {
	for _, hangs := range []string{"load", "save"} {
		t.Run(hangs, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 1, "web-1")
				release := make(chan struct{})
				defer close(release)
				c.store.before = func(operation string) error {
					if operation == hangs {
						<-release
					}
					return nil
				}
				err := c.revoke()
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assert.ErrorContains(t, err, "the store failed to "+hangs+" the signing secret: it has not answered")
				assert.LessOrEqual(t, time.Since(c.began), 20*time.Second)
				assert.False(t, c.server.Secrets().Current.Equal(c.old), "at the platform")
				assert.True(t, c.server.Secrets().NoPrevious, "at the platform")
				c.requireLeakRefused()
			})
		})
	}
}

// TestSecretRevokeSlowPlatform: receivers learn the new secret before the platform
// has revoked the old one, for they refuse all else meanwhile.
func TestSecretRevokeSlowPlatform(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		c.server.Fail(diffhooktest.Fault{Route: "DELETE", Delay: 10 * time.Minute, Times: -1})
		done := make(chan error)
		go func() { done <- c.revoke() }()
		c.at(time.Second)
		require.NoError(t, c.web["web-1"].deliver(c.server.Secrets().Current))
		c.requireLeakRefused()
		require.Error(t, <-done)
	})
}

// TestSecretRevokeGoesAhead of the client's other calls.
func TestSecretRevokeGoesAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		c.server.Configure(diffhooktest.Settings{}) // not worth recording
		client := c.server.Client(&diffhook.ClientOptions{Limiter: diffhook.PlanLimiter(diffhook.FreePlan)})
		ctx, cancel := context.WithCancel(t.Context())
		var queue sync.WaitGroup
		for range 300 {
			queue.Go(func() { _, _ = client.Monitors.List(ctx, nil) })
		}
		synctest.Wait()
		require.NoError(t, client.SigningSecret.Revoke(t.Context(), c.old.Fingerprint(), c.store, &c.options))
		assert.Less(t, time.Since(c.began), 10*time.Second, "three requests, with one of the others before each")
		cancel()
		queue.Wait()
		c.requireRevoked(1)
	})
}

// TestSecretRevokeGuessesNothing: what a terse platform hides is not revoked where
// nobody knows what it is, and that is said.
func TestSecretRevokeGuessesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1)
		c.server.Configure(diffhooktest.Settings{Terse: true, OnExchange: recorder(t)})
		c.server.Rotate()                      // deliveries in flight need the secret before it
		c.add("web-1", c.client.SigningSecret) // which has started since, and so does not know it
		wrong := diffhooktest.NewSecret().Fingerprint()
		err := c.client.SigningSecret.Revoke(t.Context(), wrong, nil, &c.options)
		require.ErrorIs(t, err, diffhook.ErrRotationOpen)
		assert.ErrorContains(t, err, "nobody knows whether it is "+wrong)
		assert.Zero(t, c.server.Count("DELETE"))
	})
	// One receiver is two rotations behind and names another secret. That must
	// not keep the leaked one in force.
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1)
		c.server.Configure(diffhooktest.Settings{Terse: true, OnExchange: recorder(t)})
		stuck := diffhook.Secrets{Current: c.old}
		c.server.Rotate()
		c.server.RevokePrevious()
		c.old = c.server.Secrets().Current
		web := c.add("web-1", c.client.SigningSecret)
		c.add("web-2", stuck)
		c.server.Rotate()
		require.NoError(t, web.Refresh(t.Context()))
		require.NoError(t, web.deliver(c.old))
		require.NoError(t, c.client.SigningSecret.Revoke(t.Context(), c.old.Fingerprint(), nil, &c.options))
		assert.True(t, c.server.Secrets().NoPrevious)
		require.Error(t, web.deliver(c.old))
	})
}

// TestSecretRevokeForgetfulStore: a store that does not keep NoPrevious leaves the
// leaked secret accepted by servers that nobody has told.
func TestSecretRevokeForgetfulStore(t *testing.T) {
	for _, latency := range []time.Duration{20 * time.Millisecond, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c := newChangeover(t, 1, "web-1")
			c.store.before = func(string) error { <-time.After(latency); return nil }
			c.store.after = func(_ string, s *diffhook.Secrets) error { s.NoPrevious = false; return nil }
			require.ErrorContains(t, c.revoke(), "it does not keep NoPrevious")
		})
	}
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		untold := &webServer{t: t, source: c.store}
		untold.restart()
		c.store.after = func(_ string, s *diffhook.Secrets) error { s.NoPrevious = false; return nil }
		err := c.revoke()
		require.ErrorIs(t, err, diffhook.ErrStoreMismatch)
		assert.ErrorContains(t, err, "it does not keep NoPrevious")
		require.ErrorIs(t, c.revoke(), diffhook.ErrStoreMismatch, "and it is not forgotten")
		require.NoError(t, untold.v.Load().Refresh(t.Context()))
		require.NoError(t, untold.deliver(c.old), "which is why")
	})
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		untold := &webServer{t: t, source: c.store}
		untold.restart()
		require.NoError(t, c.revoke())
		require.NoError(t, untold.v.Load().Refresh(t.Context()))
		require.ErrorIs(t, untold.deliver(c.old), diffhook.ErrSignatureMismatch)
	})
}

// TestSecretRevokeTellsAgain: a receiver that could not be told is told again
// soon, and not only when the platform and the store have done their part.
func TestSecretRevokeTellsAgain(t *testing.T) {
	for name, hang := range map[string]func(*changeover){
		"the platform hangs": func(c *changeover) { c.server.Fail(diffhooktest.Fault{Delay: time.Hour, Times: -1}) },
		"the store hangs once it has saved": func(c *changeover) {
			var saved atomic.Bool
			c.store.before = func(operation string) error {
				if saved.Load() {
					c.at(time.Hour)
				}
				if operation == "save" {
					saved.Store(true)
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 1, "web-1", "web-2")
				hang(c)
				c.web["web-1"].fails = c.until(time.Second)
				done := make(chan error)
				go func() { done <- c.revoke() }()
				c.at(10 * time.Second)
				require.Error(t, c.web["web-1"].deliver(c.old))
				require.Error(t, <-done)
				assert.LessOrEqual(t, time.Since(c.began), 4*time.Minute)
				c.at(time.Hour)
			})
		})
	}
}

// TestSecretRevokeSilentAPIWithoutEndpoint: where this run has rotated there is a
// previous secret, whatever a 404 says of it.
func TestSecretRevokeSilentAPIWithoutEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		c.withoutPrevious()
		c.server.Fail(diffhooktest.Fault{Route: "DELETE", Status: http.StatusNotFound, HTML: true, Times: -1})
		require.ErrorIs(t, c.revoke(), diffhook.ErrNotFound)
		assert.NotContains(t, strings.Join(c.steps, "\n"), "revoked: ")
	})
}

// TestSecretRevokeObservePanics: nothing goes on once the caller has recovered.
func TestSecretRevokeObservePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		c.web["web-1"].fails = func(context.Context) error { return errDown }
		c.options.Observe = func(_ context.Context, step diffhook.RotationStep) {
			if step.Name == "rotated" {
				panic("observe")
			}
		}
		assert.PanicsWithValue(t, "observe", func() { _ = c.revoke() })
		synctest.Wait()
		orders := c.web["web-1"].orders.Load()
		<-time.After(time.Hour)
		assert.Equal(t, orders, c.web["web-1"].orders.Load())
	})
}

// TestSecretRevokeReceiverRecovers: that its first calls hang for ever leaves places
// for the last.
func TestSecretRevokeReceiverRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		release := make(chan struct{})
		defer close(release)
		c.web["web-1"].fails = func(context.Context) error {
			if time.Since(c.began) < 45*time.Second {
				<-release
			}
			return nil
		}
		c.server.Fail(diffhooktest.Fault{Delay: time.Hour, Times: -1})
		require.Error(t, c.revoke())
		require.Error(t, c.web["web-1"].deliver(c.old))
		assert.Contains(t, c.steps[len(c.steps)-1], " refused: ")
	})
}
