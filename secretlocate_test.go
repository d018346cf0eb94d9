package diffhook_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// wholeRotations are what can be done with a secret by its name.
var wholeRotations = map[string]func(*diffhook.SigningSecretService, context.Context, string, diffhook.SecretStore, *diffhook.SecretRotationOptions) error{
	"Replace": (*diffhook.SigningSecretService).Replace,
	"Revoke":  (*diffhook.SigningSecretService).Revoke,
}

// TestSecretRotationOfAnotherTeam: the API key is of another team than the store
// and the receivers, as where the environment is staging's. That nothing is known
// of the secret there must not pass for its having been revoked, however often it
// is run: production's secret would be refused, and staging's accepted.
func TestSecretRotationOfAnotherTeam(t *testing.T) {
	for name, rotate := range wholeRotations {
		for _, with := range []struct {
			name         string
			store, terse bool
		}{{"a store", true, false}, {"receivers at the API", false, false}, {"receivers at a terse API", false, true}} {
			t.Run(name+", with "+with.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newChangeover(t, 1)
					c.server.Configure(diffhooktest.Settings{Terse: with.terse, OnExchange: recorder(t)})
					var store diffhook.SecretStore
					var source diffhook.SecretSource = c.client.SigningSecret
					if with.store {
						store, source = c.store, c.store
					}
					web := c.add("web-1", source)
					c.options.RevokeNow = atOnce // the operator is in a hurry too
					staging := c.server.NewTeam(diffhooktest.Plan{RequestsPerMinute: 1000})
					staging.Rotate()
					if !with.terse {
						staging.RevokePrevious()
					}
					before := staging.Secrets()
					for range 2 {
						err := rotate(teamClient(staging, 1, nil).SigningSecret, t.Context(), c.old.Fingerprint(), store, &c.options)
						require.ErrorIs(t, err, diffhook.ErrStoreMismatch)
						assert.ErrorContains(t, err, "this team's API key? If so, run it again with Force")
						require.NotErrorIs(t, err, diffhook.ErrNotInForce)
					}
					assert.Len(t, c.store.saved, 1)
					assert.True(t, c.server.Secrets().Current.Equal(c.old))
					assert.True(t, staging.Secrets().Current.Equal(before.Current) && staging.Secrets().Previous.Equal(before.Previous))
					require.Error(t, web.deliver(staging.Secrets().Current), "another team's delivery")
					if name == "Replace" {
						require.NoError(t, web.deliver(c.old))
					}
				})
			})
		}
	}
}

// TestSecretRotationBehindReplicaRotatesTwice: what answers for the platform shows
// the old secret as current, though it has been replaced. That another rotation
// follows cannot be prevented, but nothing is lost by it.
func TestSecretRotationBehindReplicaRotatesTwice(t *testing.T) {
	stale := func(c *changeover, silent bool) { // once
		asked := false
		previous := regexp.MustCompile(`,"previous":(null|\{[^}]*\})`)
		c.edited(1, func(body string) string {
			if !asked {
				asked = true
				return `{"data":{"secret":"` + c.old.Reveal() + `","previous":null}}`
			}
			if silent {
				return previous.ReplaceAllString(body, "")
			}
			return body
		})
	}
	test := func(name string, test func(c *changeover)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(newChangeover(t, 1, "web-1")) })
		})
	}
	// ends checks that what is signed with the third secret, and in flight with the
	// second, is accepted, and that the store knows both.
	ends := func(c *changeover, second diffhook.Secret) {
		third := c.server.Secrets().Current
		held := c.store.holds()
		assert.True(c, held.Current.Equal(third) && held.Previous.Equal(second), "%v", held)
		require.NoError(c, c.web["web-1"].Refresh(c.Context()))
		require.NoError(c, c.web["web-1"].deliver(third))
		require.NoError(c, c.web["web-1"].deliver(second), "a delivery in flight")
		assert.True(c, c.server.Secrets().Previous.Equal(second))
	}
	for _, again := range []bool{false, true} { // the store fails once more
		test(fmt.Sprint("Replace, and the store fails again: ", again), func(c *changeover) {
			c.fails("save", errDown)
			require.ErrorIs(c, c.replace(), errDown)
			second := c.server.Secrets().Current
			if !again {
				c.store.before = nil
			}
			stale(c, false)
			err := c.replace()
			require.ErrorIs(c, err, diffhook.ErrRotationOpen)
			assert.ErrorContains(c, err, "the one that replaces "+second.Fingerprint())
			c.store.before = nil
			c.old = second
			if again { // the store knows neither of the two
				require.ErrorIs(c, c.replace(), diffhook.ErrStoreMismatch)
				c.options.Force = true
			} else {
				ends(c, second)
			}
			require.NoError(c, c.replace())
			assert.True(c, c.store.holds().Current.Equal(c.server.Secrets().Current))
		})
	}
	for _, terse := range []bool{false, true} {
		for _, silent := range []bool{false, true} {
			test(fmt.Sprintf("Revoke, terse %v, silent %v", terse, silent), func(c *changeover) {
				c.server.Configure(diffhooktest.Settings{Terse: terse})
				c.leakPrevious()
				second := c.server.Secrets().Current
				stale(c, silent)
				require.NoError(c, c.revoke())
				ends(c, second)
				require.Error(c, c.web["web-1"].deliver(c.old))
			})
		}
	}
	test("Revoke, and the store fails", func(c *changeover) {
		c.leakPrevious()
		second := c.server.Secrets().Current
		stale(c, false)
		c.fails("save", errDown)
		require.ErrorIs(c, c.revoke(), errDown)
		c.store.before = nil
		require.NoError(c, c.revoke())
		ends(c, second)
		require.ErrorIs(c, c.revoke(), diffhook.ErrNotInForce)
	})
	test("Revoke, and the store has failed before", func(c *changeover) {
		c.fails("save", errDown)
		require.ErrorIs(c, c.replace(), errDown)
		second := c.server.Secrets().Current
		c.store.before = nil
		stale(c, false)
		require.NoError(c, c.revoke())
		ends(c, second)
	})
	test("Revoke, and the store is another team's", func(c *changeover) {
		c.leakPrevious()
		c.store.held = diffhook.Secrets{Current: diffhooktest.NewSecret()}
		stale(c, false)
		require.ErrorIs(c, c.revoke(), diffhook.ErrStoreMismatch)
		assert.Len(c, c.store.saved, 1)
	})
}

// TestSecretReplaceBehindReplica: what answers for the platform is a rotation
// behind. The secret that it signs with now would be taken for a revoked one, and
// the revoked one be saved.
func TestSecretReplaceBehindReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		revoked := c.old
		c.store.held = diffhook.Secrets{Current: c.server.Rotate().Current, NoPrevious: true}
		c.server.RevokePrevious()
		c.old = c.server.Secrets().Current
		require.NoError(t, c.web["web-1"].Refresh(t.Context()))
		c.edited(1, func(string) string { return `{"data":{"secret":"` + revoked.Reveal() + `","previous":null}}` })
		require.ErrorIs(t, c.replace(), diffhook.ErrStoreMismatch)
		assert.Len(t, c.store.saved, 1)
		require.NoError(t, c.web["web-1"].deliver(c.old))
	})
}

// withoutPrevious has the API say nothing of a previous secret, neither that
// there is one nor that there is none.
func (c *changeover) withoutPrevious() {
	previous := regexp.MustCompile(`,"previous":(null|\{[^}]*\})`)
	c.edited(1, func(body string) string { return previous.ReplaceAllString(body, "") })
}

// TestSecretReplaceAtSilentAPI: an API that says nothing of a previous secret does
// not say that there is none. The old one is drained, and revoked, all the same.
func TestSecretReplaceAtSilentAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		c.withoutPrevious()
		c.fails("save", errDown)
		require.ErrorIs(t, c.replace(), errDown)
		c.store.before = nil
		began := time.Now()
		require.NoError(t, c.replace())
		assert.GreaterOrEqual(t, time.Since(began), 2*time.Minute)
		c.requireReplaced()
	})
}

// TestSecretReplaceOpenByStore: where only the store says that an earlier rotation
// is not finished, that one still needs its secret.
func TestSecretReplaceOpenByStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		c.withoutPrevious()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		require.ErrorIs(t, c.client.SigningSecret.Replace(ctx, c.old.Fingerprint(), c.store, &c.options), context.DeadlineExceeded)
		second := c.server.Secrets().Current.Fingerprint()
		require.ErrorIs(t, c.client.SigningSecret.Replace(t.Context(), second, c.store, &c.options), diffhook.ErrRotationOpen)
		assert.Equal(t, 1, c.server.Count("POST"))
		require.NoError(t, c.web["web-1"].deliver(c.old), "a delivery in flight")

		c.store.held.PreviousExpires = time.Now() // it has ended by itself
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, c.client.SigningSecret.Replace(ctx, second, c.store, &c.options), context.DeadlineExceeded)
		assert.Equal(t, 2, c.server.Count("POST /api/signing-secret/rotate"))
	})
}

// TestSecretReplaceNotInForceIsCertain: a receiver that cannot be asked may still
// accept it, and a run that is interrupted knows nothing.
func TestSecretReplaceNotInForceIsCertain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1", "web-2")
		var down atomic.Bool
		c.options.Observe = func(_ context.Context, step diffhook.RotationStep) {
			if step.Name == "removed" {
				down.Store(true)
			}
		}
		c.web["web-2"].fails = func(ctx context.Context) error {
			if down.Load() {
				return errDown
			}
			return ctx.Err()
		}
		for range 2 {
			err := c.replace()
			require.ErrorContains(t, err, "receivers that may still accept "+c.old.Fingerprint()+": web-2 gives no status (connection refused)")
			require.NotErrorIs(t, err, diffhook.ErrNotInForce)
		}
		require.NoError(t, c.web["web-2"].deliver(c.old))

		down.Store(false)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		c.web["web-1"].fails = func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() }
		c.web["web-2"].fails = c.web["web-1"].fails
		err := c.client.SigningSecret.Replace(ctx, c.old.Fingerprint(), c.store, &c.options)
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, diffhook.ErrNotInForce)

		synctest.Wait()
		c.web["web-1"].fails, c.web["web-2"].fails = nil, nil
		require.NoError(t, c.replace())
		c.requireReplaced()
		require.ErrorIs(t, c.replace(), diffhook.ErrNotInForce)
	})
}

// TestSecretRotationWithoutEndpoints: the endpoints are assumed. An API that has
// none of them, or a proxy that says so, does not say that anything is done.
func TestSecretRotationWithoutEndpoints(t *testing.T) {
	for name, rotate := range wholeRotations {
		for _, route := range []string{"GET", "POST", "DELETE"} {
			for _, html := range []bool{false, true} {
				t.Run(strings.Join([]string{name, route, map[bool]string{false: "JSON", true: "HTML"}[html]}, ", "), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						c := newChangeover(t, 1, "web-1")
						c.server.Fail(diffhooktest.Fault{Route: route, Status: http.StatusNotFound, HTML: html, Times: -1})
						err := rotate(c.client.SigningSecret, t.Context(), c.old.Fingerprint(), c.store, &c.options)
						require.ErrorIs(t, err, diffhook.ErrNotFound)
						require.NotErrorIs(t, err, diffhook.ErrNotInForce)
						assert.False(t, c.server.Secrets().NoPrevious && !c.server.Secrets().Current.Equal(c.old), "at the platform")
					})
				})
			}
		}
	}
}

// What is refused before anything has been changed.
func TestSecretReplaceRefuses(t *testing.T) {
	other := diffhooktest.NewSecret()
	for _, test := range []struct {
		name     string
		old      func(*changeover) string // by default, the current secret's fingerprint
		set      func(*changeover)
		requests int
		err      error
		text     string
	}{
		{name: "no fingerprint", old: func(*changeover) string { return "" }, err: diffhook.ErrInvalidOptions, text: "16 digits"},
		{name: "the secret itself, which must not be repeated", old: func(c *changeover) string { return c.old.Reveal() }, err: diffhook.ErrInvalidOptions, text: "16 digits"},
		{name: "a short one", old: func(c *changeover) string { return c.old.Fingerprint()[1:] }, err: diffhook.ErrInvalidOptions, text: "16 digits"},
		{name: "in upper case", old: func(*changeover) string { return strings.Repeat("A", 16) }, err: diffhook.ErrInvalidOptions, text: "16 digits"},
		{name: "a nil receiver", set: func(c *changeover) { c.options.Receivers["web-9"] = nil }, err: diffhook.ErrInvalidOptions, text: `the Receiver "web-9" is nil`},
		{name: "a negative RetryHorizon", set: func(c *changeover) { c.options.RetryHorizon = -1 }, err: diffhook.ErrInvalidOptions, text: "must not be negative"},
		{name: "a negative Quiet", set: func(c *changeover) { c.options.Quiet = -1 }, err: diffhook.ErrInvalidOptions, text: "must not be negative"},
		{name: "a negative PollInterval", set: func(c *changeover) { c.options.PollInterval = -1 }, err: diffhook.ErrInvalidOptions, text: "must not be negative"},
		{name: "nothing that tells when it is drained", set: func(c *changeover) { clear(c.options.Receivers) }, err: diffhook.ErrInvalidOptions, text: "name the Receivers, or give RevokeNow"},
		{
			name: "the store cannot be read", requests: 1, err: errDown, text: "the store failed to load the signing secret: connection refused",
			set: func(c *changeover) { c.store.before = func(string) error { return errDown } },
		}, {
			name: "the key has been revoked", requests: 1, err: diffhook.ErrUnauthorized,
			set: func(c *changeover) { c.server.DefaultTeam().RevokeKey(c.server.DefaultTeam().Keys()[0].ID) },
		}, {
			name: "the platform is down", requests: 4, err: diffhook.ErrServer,
			set: func(c *changeover) {
				c.server.Fail(diffhooktest.Fault{Route: "GET /api/signing-secret", Status: 503, Times: 4})
			},
		}, {
			name: "a name that nobody knows", requests: 1, err: diffhook.ErrNotInForce, text: "0123456789abcdef is in force",
			old: func(*changeover) string { return "0123456789abcdef" },
		}, {
			name: "the secret before the last", requests: 1, err: diffhook.ErrRotationOpen, text: "the one that replaces BETWEEN;",
			set: func(c *changeover) {
				c.named[c.server.Rotate().Current.Fingerprint()] = "BETWEEN"
				c.server.Rotate()
			},
		}, {
			// What the API hides is what the store has as current, and not
			// what it has as previous.
			name: "the secret before the last, of a terse platform", requests: 1, err: diffhook.ErrRotationOpen, text: "run that to its end first",
			set: func(c *changeover) {
				c.server.Configure(diffhooktest.Settings{Terse: true})
				c.store.held = diffhook.Secrets{Current: c.server.Rotate().Current, Previous: c.old}
				c.server.Rotate()
			},
		}, {
			name: "the window of an earlier rotation is open", requests: 1, err: diffhook.ErrRotationOpen, text: "the one that replaces BEFORE; run that to its end first",
			set: func(c *changeover) { c.openWindow(false) },
		}, {
			name: "the window of an earlier rotation is open, of a terse platform", requests: 1, err: diffhook.ErrRotationOpen, text: "the one that replaces a secret that the API does not show;",
			set: func(c *changeover) { c.openWindow(true) },
		}, {
			name: "another team's store", requests: 1, err: diffhook.ErrStoreMismatch, text: `current "OTHER", previous ""`,
			set: func(c *changeover) { c.store.held = diffhook.Secrets{Current: other} },
		}, {
			name: "a store that is ahead", requests: 1, err: diffhook.ErrStoreMismatch, text: `current "OTHER", previous "OLD"`,
			set: func(c *changeover) { c.store.held = diffhook.Secrets{Current: other, Previous: c.old} },
		}, {
			name: "another team's store, when it has been rotated", requests: 1, err: diffhook.ErrStoreMismatch, text: `current "OTHER", previous ""`,
			set: func(c *changeover) { c.server.Rotate(); c.store.held = diffhook.Secrets{Current: other} },
		}, {
			name: "another team's store, when it has been revoked", requests: 1, err: diffhook.ErrStoreMismatch, text: `current "OTHER", previous ""`,
			set: func(c *changeover) {
				c.server.Rotate()
				c.server.RevokePrevious()
				c.store.held = diffhook.Secrets{Current: other}
			},
		}, {
			name: "an empty store", requests: 1, err: diffhook.ErrStoreMismatch, text: `current "", previous ""`,
			set: func(c *changeover) { c.store.held = diffhook.Secrets{} },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 1, "web-1")
				c.named[other.Fingerprint()] = "OTHER"
				if test.set != nil {
					test.set(c)
				}
				old := c.old.Fingerprint()
				if test.old != nil {
					old = test.old(c)
				}
				err := c.client.SigningSecret.Replace(t.Context(), old, c.store, &c.options)
				require.ErrorIs(t, err, test.err)
				assert.Contains(t, c.text(err.Error()), test.text)
				assert.Equal(t, test.requests, c.server.Count(""))
				c.requireUntouched()
				assert.Empty(t, c.steps)
				assertNoLeak(t, secretDetector(c.old, other), err)
			})
		})
	}
}

// TestSecretReplaceSuperseded: at a terse platform, where the receivers read the
// API, they know of the secret before the last. It is not the hidden one.
func TestSecretReplaceSuperseded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1)
		c.server.Configure(diffhooktest.Settings{Terse: true, OnExchange: recorder(t)})
		web := c.add("web-1", c.client.SigningSecret)
		between := c.server.Rotate().Current
		require.NoError(t, web.Refresh(t.Context()))
		c.server.Rotate()
		err := c.client.SigningSecret.Replace(t.Context(), c.old.Fingerprint(), nil, &c.options)
		require.ErrorIs(t, err, diffhook.ErrRotationOpen)
		assert.True(t, c.server.Secrets().Previous.Equal(between), "at the platform")
		require.NoError(t, web.deliver(between), "a delivery in flight")
	})
}

// openWindow has the old secret be the outcome of a rotation that is not
// finished.
func (c *changeover) openWindow(terse bool) {
	c.server.Configure(diffhooktest.Settings{Terse: terse, OnExchange: recorder(c.T)})
	before := c.old
	c.old = c.server.Rotate().Current
	c.named[before.Fingerprint()] = "BEFORE"
	c.store.held = diffhook.Secrets{Current: c.old, Previous: before}
}

func TestSecretReplaceForced(t *testing.T) {
	for _, terse := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newChangeover(t, 1, "web-1")
			c.openWindow(terse)
			c.options.Force = true
			require.NoError(t, c.replace())
			c.requireReplaced()
			assert.Equal(t, "0s stored: the store has NEW as current and OLD as previous", c.text(c.steps[1]))
		})
	}
}

// TestSecretReplaceExpired: a platform may end a window by itself, and so the
// earlier rotation.
func TestSecretReplaceExpired(t *testing.T) {
	for expires, want := range map[string]error{"2000-01-01T00:00:00Z": nil, "2000-01-01T00:00:01Z": diffhook.ErrRotationOpen} {
		synctest.Test(t, func(t *testing.T) {
			c := newChangeover(t, 1, "web-1")
			c.openWindow(false)
			c.edited(1, func(body string) string {
				return strings.Replace(body, `"rotatedAt"`, `"expiresAt":"`+expires+`","rotatedAt"`, 1)
			})
			c.options.RevokeNow = func() bool { return true }
			require.ErrorIs(t, c.replace(), want)
		})
	}
}

// TestSecretReplaceLeftovers: the platform has forgotten the secret, and the store
// or a receiver has not.
func TestSecretReplaceLeftovers(t *testing.T) {
	const learned, refused = "0s learned: every receiver has NEW as current", "0s refused: every receiver refuses OLD"
	for _, test := range []struct {
		name string
		held func(diffhook.Secrets) diffhook.Secrets // in the store
		want []string
	}{
		{
			"the store has it as previous", func(s diffhook.Secrets) diffhook.Secrets { return s },
			[]string{"0s stored: the store has NEW as current and none as previous", learned, refused},
		}, {
			"the store has it as current", func(s diffhook.Secrets) diffhook.Secrets { return diffhook.Secrets{Current: s.Previous} },
			[]string{"0s stored: the store has NEW as current and none as previous", learned, refused},
		}, {
			"a receiver accepts it", func(s diffhook.Secrets) diffhook.Secrets { return diffhook.Secrets{Current: s.Current} },
			[]string{learned, refused},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 1, "web-1")
				c.store.held = test.held(c.server.Rotate())
				c.server.RevokePrevious()
				require.NoError(t, c.web["web-1"].deliver(c.old))
				if c.store.held.Current.Equal(c.old) { // which an API key of another team would look like
					require.ErrorIs(t, c.replace(), diffhook.ErrStoreMismatch)
					assert.Empty(t, c.steps)
					c.options.Force = true
				}
				require.NoError(t, c.replace())
				c.requireSteps(test.want...)
				require.ErrorIs(t, c.web["web-1"].deliver(c.old), diffhook.ErrSignatureMismatch)
				assert.Zero(t, c.server.Count("POST"))
				assert.Zero(t, c.server.Count("DELETE"))
				require.ErrorIs(t, c.replace(), diffhook.ErrNotInForce)
			})
		})
	}
}

// TestSecretReplaceLaggingReceiversAtTerseAPI: that no receiver has learned the new
// secret yet does not make a team another one.
func TestSecretReplaceLaggingReceiversAtTerseAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1)
		c.server.Configure(diffhooktest.Settings{Terse: true, OnExchange: recorder(t)})
		api := c.client.SigningSecret
		c.add("web-1", diffhook.SecretSourceFunc(func(ctx context.Context) (diffhook.Secrets, error) {
			if time.Since(c.began) < 10*time.Minute {
				return diffhook.Secrets{Current: c.old}, nil
			}
			return api.Load(ctx)
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, api.Replace(ctx, c.old.Fingerprint(), nil, &c.options), context.DeadlineExceeded)
		require.NoError(t, api.Replace(t.Context(), c.old.Fingerprint(), nil, &c.options))
		assert.True(t, c.server.Secrets().NoPrevious)
		assert.Equal(t, 1, c.server.Count("POST"))
	})
}
