package diffhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

var errDown = errors.New("connection refused")

// until fails until a time since the beginning.
func (c *changeover) until(d time.Duration) func(context.Context) error {
	return func(context.Context) error {
		if time.Since(c.began) < d {
			return errDown
		}
		return nil
	}
}

// afterwards fails as then does, once the platform has rotated.
func (c *changeover) afterwards(then func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if c.server.Secrets().Current.Equal(c.old) {
			return nil
		}
		return then(ctx)
	}
}

// behind is a source that learns what the store has at a time since the
// beginning.
func (c *changeover) behind(d time.Duration) diffhook.SecretSource {
	return diffhook.SecretSourceFunc(func(ctx context.Context) (diffhook.Secrets, error) {
		if time.Since(c.began) < d {
			return diffhook.Secrets{Current: c.old}, nil
		}
		return c.store.Load(ctx)
	})
}

// TestSecretReplace shows all that is reported, and when: who is waited for, why
// and for how long, and that it is said once.
func TestSecretReplace(t *testing.T) {
	const (
		rotated  = "0s rotated: DiffHook signs with NEW instead of OLD"
		stored   = "0s stored: the store has NEW as current and OLD as previous"
		learned  = "0s learned: every receiver has NEW as current"
		counting = "0s draining: web-1 has counted only since 00:00:00Z, waiting until 00:02:00Z; web-2 has counted only since 00:00:00Z, waiting until 00:02:00Z"
	)
	for _, test := range []struct {
		name       string
		generation int // 0: 1
		set        func(*changeover)
		while      func(*changeover) // on a goroutine of its own
		want       []string          // between what begins and what ends every rotation
		end        string
		unused     string
		uses       int
		refreshes  int32 // of web-2; 0: any number
	}{
		{
			name: "the defaults",
			want: []string{learned, counting}, end: "2m0s", unused: "2m0s",
		}, {
			name: "the defaults of generation 2", generation: 2,
			want: []string{learned, strings.ReplaceAll(counting, "00:02:00Z", "18:00:00Z")}, end: "18h0m0s", unused: "18h0m0s",
		}, {
			name: "a retry has not come yet, though nothing has used it for long",
			set:  func(c *changeover) { c.options.Quiet = time.Nanosecond },
			want: []string{
				learned, strings.ReplaceAll(counting, "00:02:00Z", "00:00:00Z"),
				"5s draining: deliveries signed with it may be retried until 00:02:00Z",
			}, end: "2m0s", unused: "2m0s",
		}, {
			name: "a long Quiet",
			set:  func(c *changeover) { c.options.Quiet = 10 * time.Minute },
			want: []string{learned, strings.ReplaceAll(counting, "00:02:00Z", "00:10:00Z")}, end: "10m0s", unused: "10m0s",
		}, {
			name: "a RetryHorizon of one's own, which Quiet is then too, and a PollInterval",
			set: func(c *changeover) {
				c.options.RetryHorizon, c.options.PollInterval = 30*time.Minute, 7*time.Minute
			},
			want: []string{learned, strings.ReplaceAll(counting, "00:02:00Z", "00:30:00Z")}, end: "35m0s", unused: "35m0s",
		}, {
			name:  "a late retry: it is in use, and has to be quiet anew",
			while: func(c *changeover) { c.at(63 * time.Second); _ = c.web["web-1"].deliver(c.old) },
			want: []string{
				learned, counting,
				"1m5s draining: web-1 used it at 00:01:03Z, waiting until 00:03:03Z; web-2 has counted only since 00:00:00Z, waiting until 00:02:00Z",
				"2m0s draining: web-1 used it at 00:01:03Z, waiting until 00:03:03Z",
			}, end: "3m5s", unused: "2m2s", uses: 1,
		}, {
			name:  "a receiver restarts, and what it had counted is gone",
			while: func(c *changeover) { c.at(63 * time.Second); c.web["web-2"].restart() },
			want: []string{
				learned, counting,
				"1m5s draining: web-1 has counted only since 00:00:00Z, waiting until 00:02:00Z; web-2 has counted only since 00:01:03Z, waiting until 00:03:03Z",
				"2m0s draining: web-2 has counted only since 00:01:03Z, waiting until 00:03:03Z",
			}, end: "3m5s", unused: "2m2s",
		}, {
			name: "a receiver's source is behind: it is asked to read it once a minute",
			set:  func(c *changeover) { c.add("web-2", c.behind(150*time.Second)) },
			want: []string{
				`0s learning: web-2 has "OLD" as current, not NEW`,
				"3m0s learned: every receiver has NEW as current",
			}, end: "3m0s", unused: "3m0s", refreshes: 4,
		}, {
			name: "a receiver is down when it is to learn",
			set:  func(c *changeover) { c.web["web-2"].fails = c.afterwards(c.until(93 * time.Second)) },
			want: []string{
				"0s learning: web-2 does not answer (connection refused)",
				`1m35s learning: web-2 has "OLD" as current, not NEW`,
				"2m0s learned: every receiver has NEW as current",
			}, end: "2m0s", unused: "2m0s",
		}, {
			name: "a receiver goes down later, and comes back without having restarted",
			set: func(c *changeover) {
				c.web["web-2"].fails = func(ctx context.Context) error {
					if at := time.Since(c.began); at > 63*time.Second && at < 10*time.Minute {
						return errDown
					}
					return nil
				}
			},
			want: []string{
				learned, counting,
				"1m5s draining: web-1 has counted only since 00:00:00Z, waiting until 00:02:00Z; web-2 does not answer (connection refused)",
				"2m0s draining: web-2 does not answer (connection refused)",
			}, end: "10m0s", unused: "10m0s",
		}, {
			name: "a receiver hangs, whatever its context says",
			set: func(c *changeover) {
				c.web["web-2"].fails = c.afterwards(func(context.Context) error { c.at(63 * time.Second); return nil })
			},
			want: []string{
				"30s learning: web-2 does not answer (context deadline exceeded)",
				`1m5s learning: web-2 has "OLD" as current, not NEW`,
				"1m10s learned: every receiver has NEW as current",
				strings.Replace(counting, "0s", "1m10s", 1),
			}, end: "2m0s", unused: "2m0s",
		}, {
			name: "many receivers",
			set: func(c *changeover) {
				for i := range 7 {
					c.add(fmt.Sprint("web-", i+1), c.store).fails = c.afterwards(c.until(118 * time.Second))
				}
			},
			want: []string{
				"0s learning: web-1 does not answer (connection refused); web-2 does not answer (connection refused); web-3 does not answer (connection refused); web-4 does not answer (connection refused); web-5 does not answer (connection refused); and 2 more",
				"2m0s learned: every receiver has NEW as current",
			}, end: "2m0s", unused: "2m0s",
		}, {
			// Which one clock says of another's times means nothing.
			name: "the receivers' clocks are wrong",
			set: func(c *changeover) {
				c.web["web-1"].shift, c.web["web-2"].shift = -time.Hour, 24*time.Hour
			},
			while: func(c *changeover) { c.at(63 * time.Second); _ = c.web["web-1"].deliver(c.old) },
			want: []string{
				learned,
				"0s draining: web-1 has counted only since 1999-12-31T23:00:00Z, waiting until 1999-12-31T23:02:00Z; web-2 has counted only since 2000-01-02T00:00:00Z, waiting until 2000-01-02T00:02:00Z",
				"1m5s draining: web-1 used it at 1999-12-31T23:01:03Z, waiting until 1999-12-31T23:03:03Z; web-2 has counted only since 2000-01-02T00:00:00Z, waiting until 2000-01-02T00:02:00Z",
				"2m0s draining: web-1 used it at 1999-12-31T23:01:03Z, waiting until 1999-12-31T23:03:03Z",
			}, end: "3m5s", unused: "2m2s", uses: 1,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, max(1, test.generation), "web-1", "web-2")
				if test.set != nil {
					test.set(c)
				}
				if test.while != nil {
					go test.while(c)
				}
				require.NoError(t, c.replace())
				want := append([]string{rotated, stored}, test.want...)
				c.requireSteps(append(want,
					fmt.Sprintf("%s drained: OLD has not been used for %s; it verified %d deliveries", test.end, test.unused, test.uses),
					test.end+" revoked: DiffHook has forgotten OLD",
					test.end+" removed: the store has NEW as current and none as previous",
					test.end+" refused: every receiver refuses OLD",
				)...)
				if test.refreshes > 0 {
					assert.Equal(t, test.refreshes, c.web["web-2"].refreshes.Load())
				}
				c.requireReplaced()
				require.ErrorIs(t, c.replace(), diffhook.ErrNotInForce, "it has been done")
				<-time.After(time.Minute) // until what hung has ended
			})
		})
	}
}

// TestSecretReplaceByAPI: the receivers read the API, and there is no store.
func TestSecretReplaceByAPI(t *testing.T) {
	for generation := 1; generation <= 2; generation++ {
		for _, terse := range []bool{false, true} {
			t.Run(fmt.Sprintf("generation %d, terse %v", generation, terse), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newChangeover(t, generation)
					c.server.Configure(diffhooktest.Settings{Terse: terse, OnExchange: recorder(t)})
					web := c.add("web-1", teamClient(c.server.DefaultTeam(), generation, nil).SigningSecret)
					c.options.Observe = func(_ context.Context, step diffhook.RotationStep) {
						if step.Name == "learned" {
							assert.NoError(t, web.deliver(c.server.Secrets().Current))
							assert.NoError(t, web.deliver(c.old), "a delivery in flight")
						}
						c.steps = append(c.steps, step.Name)
					}
					require.NoError(t, c.client.SigningSecret.Replace(t.Context(), c.old.Fingerprint(), nil, &c.options))
					c.requireSteps("rotated", "learned", "draining", "drained", "revoked", "refused")
					require.NoError(t, web.deliver(c.server.Secrets().Current))
					require.ErrorIs(t, web.deliver(c.old), diffhook.ErrSignatureMismatch)
					assert.True(t, c.server.Secrets().NoPrevious)
				})
			})
		}
	}
}

// TestSecretReplaceRevokeNow: the operator decides, at any time.
func TestSecretReplaceRevokeNow(t *testing.T) {
	end := []string{
		"1m5s skipped: no receiver is waited for: RevokeNow says so",
		"1m5s revoked: DiffHook has forgotten OLD",
		"1m5s removed: the store has NEW as current and none as previous",
	}
	refused := "1m5s refused: every receiver refuses OLD"
	for _, test := range []struct {
		name string
		set  func(*changeover)
		want []string
		end  string
	}{
		{
			"while one has to learn", func(c *changeover) { c.add("web-2", c.behind(time.Hour)) },
			[]string{`0s learning: web-2 has "OLD" as current, not NEW`}, refused,
		}, {
			"while it drains", nil,
			[]string{
				"0s learned: every receiver has NEW as current",
				"0s draining: web-1 has counted only since 00:00:00Z, waiting until 00:02:00Z; web-2 has counted only since 00:00:00Z, waiting until 00:02:00Z",
			}, refused,
		}, {
			"within the retry horizon, and nobody is named", func(c *changeover) { clear(c.options.Receivers) },
			[]string{"0s draining: deliveries signed with it may be retried until 00:02:00Z"}, "",
		}, {
			"after it, and nobody is named", func(c *changeover) { clear(c.options.Receivers); c.options.RetryHorizon = time.Minute },
			[]string{
				"0s draining: deliveries signed with it may be retried until 00:01:00Z",
				"1m0s draining: no receiver is named, so RevokeNow decides",
			}, "",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 1, "web-1", "web-2")
				if test.set != nil {
					test.set(c)
				}
				said := false
				c.options.RevokeNow = func() bool {
					assert.False(t, said, "it is not called again")
					said = time.Since(c.began) > time.Minute
					return said
				}
				require.NoError(t, c.replace())
				want := append([]string{
					"0s rotated: DiffHook signs with NEW instead of OLD",
					"0s stored: the store has NEW as current and OLD as previous",
				}, test.want...)
				want = append(want, end...)
				if test.end != "" {
					want = append(want, test.end)
				}
				c.requireSteps(want...)
				if web := c.web["web-2"]; test.end != "" {
					require.Error(t, web.deliver(c.old))
				}
			})
		})
	}
}

// TestSecretReplaceTellsLaggingReceiver: one that refuses its only secret says
// 503, so that deliveries are retried, until it learns the new one.
func TestSecretReplaceTellsLaggingReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1)
		web := c.add("web-1", c.behind(time.Minute))
		c.options.RevokeNow = func() bool { return true }
		require.NoError(t, c.replace())
		next := c.server.Secrets().Current
		for _, s := range []diffhook.Secret{c.old, next} {
			require.Equal(t, http.StatusServiceUnavailable, diffhook.HTTPStatus(web.deliver(s)))
		}
		c.at(time.Minute)
		require.NoError(t, web.deliver(next))
		require.ErrorIs(t, web.deliver(c.old), diffhook.ErrSignatureMismatch)
	})
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

// edited has the answers about the signing secret changed on their way.
func (c *changeover) edited(generation int, edit func(body string) string) {
	transport := diffhooktest.Transport(c.server)
	edited := rewrittenBy(transport, regexp.MustCompile(`(?s)^.*$`), edit)
	c.client = teamClient(c.server.DefaultTeam(), generation, &diffhook.ClientOptions{HTTPClient: &http.Client{
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if isExchange(r) {
				return transport.RoundTrip(r)
			}
			return edited.RoundTrip(r)
		}),
	}})
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

// TestSecretReplaceAgain: how long a second run waits. It believes the platform's
// time of the rotation, but for what a clock that is wrong can hide.
func TestSecretReplaceAgain(t *testing.T) {
	rotatedAt := regexp.MustCompile(`"rotated_?[aA]t":"[^"]*"`)
	says := func(field string) func(string) string {
		return func(body string) string { return rotatedAt.ReplaceAllString(body, field) }
	}
	for _, test := range []struct {
		name       string
		generation int
		stop       time.Duration
		edit       func(string) string
		want       time.Duration
	}{
		{"soon", 1, time.Minute, nil, 3 * time.Minute},
		{"long after", 1, time.Hour, nil, time.Hour + 2*time.Minute},
		{"of generation 2, soon", 2, time.Minute, nil, 18 * time.Hour},
		{"of generation 2, shortly before the end", 2, 18*time.Hour - time.Minute, nil, 18*time.Hour + time.Minute},
		{"of generation 2, and the platform does not tell the time", 2, time.Hour, says(`"x":0`), 19 * time.Hour},
		{"the platform does not tell the time", 1, time.Hour, says(`"x":0`), time.Hour + 2*time.Minute},
		{"the platform's clock is an hour behind", 1, time.Minute, says(`"rotatedAt":"1999-12-31T23:00:00Z"`), 3 * time.Minute},
		{"the platform's clock is ahead", 1, time.Minute, says(`"rotatedAt":"2000-01-01T00:05:00Z"`), 3 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, test.generation, "web-1")
				if test.edit != nil {
					c.edited(test.generation, test.edit)
				}
				c.options.PollInterval = time.Second
				if test.generation == 2 {
					c.options.PollInterval = time.Minute
				}
				c.web["web-1"].fails = c.afterwards(c.until(test.stop)) // or it would be done
				ctx, cancel := context.WithTimeout(t.Context(), test.stop-time.Millisecond)
				defer cancel()
				err := c.client.SigningSecret.Replace(ctx, c.old.Fingerprint(), c.store, &c.options)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assert.Contains(t, err.Error(), "diffhook: learning: web-1 does not answer (connection refused): ")
				assert.Contains(t, err.Error(), "; run it again to go on")
				c.at(test.stop)
				require.NoError(t, c.replace())
				assert.Equal(t, test.want, time.Since(c.began))
				c.requireReplaced()
			})
		})
	}
}

// TestSecretReplaceInterrupted: what it was waiting for when its context ended
// is not that receivers were asked too late for an answer.
func TestSecretReplaceInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1)
		web := c.add("web-1", c.behind(time.Hour))
		ctx, cancel := context.WithCancel(t.Context())
		web.fails = func(ctx context.Context) error {
			if time.Since(c.began) > 30*time.Second {
				cancel()
			}
			return ctx.Err()
		}
		err := c.client.SigningSecret.Replace(ctx, c.old.Fingerprint(), c.store, &c.options)
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, `diffhook: learning: web-1 has "OLD" as current, not NEW: context canceled; run it again to go on`, c.text(err.Error()))
	})
}

// TestSecretReplaceInterruptedInRotation: the request is on its way when the
// context ends. The run waits for its answer: the next one, begun before it
// arrived, would find the old secret current and rotate again.
func TestSecretReplaceInterruptedInRotation(t *testing.T) {
	for name, run := range map[string]func(*diffhook.SigningSecretService, context.Context, string, diffhook.SecretStore, *diffhook.SecretRotationOptions) error{
		"replace": (*diffhook.SigningSecretService).Replace,
		"revoke":  (*diffhook.SigningSecretService).Revoke,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 1, "web-1")
				slow := diffhooktest.Transport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPost {
						<-time.After(5 * time.Second)
					}
					c.server.ServeHTTP(w, r)
				}))
				c.client = teamClient(c.server.DefaultTeam(), 1, &diffhook.ClientOptions{HTTPClient: &http.Client{Transport: slow}})
				for _, patience := range []time.Duration{time.Second, time.Hour} {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					err := run(c.client.SigningSecret, ctx, c.old.Fingerprint(), c.store, &c.options)
					if cancel(); patience == time.Hour {
						require.NoError(t, err)
					} else {
						require.ErrorIs(t, err, context.DeadlineExceeded)
						require.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown)
					}
				}
				c.requireReplaced()
			})
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

// TestSecretReplaceUnknownOutcome: the answer to the rotation was lost. It is
// looked for, and not sent again.
func TestSecretReplaceUnknownOutcome(t *testing.T) {
	for _, terse := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newChangeover(t, 1, "web-1")
			c.server.Configure(diffhooktest.Settings{Terse: terse, OnExchange: recorder(t)})
			c.server.Fail(diffhooktest.Fault{Route: "POST /api/signing-secret/rotate", Reset: diffhooktest.AfterHandling})
			require.NoError(t, c.replace())
			c.requireReplaced()
			assert.Equal(t, "0s rotated: DiffHook signs with NEW instead of OLD", c.text(c.steps[0]))
		})
	}
	synctest.Test(t, func(t *testing.T) { // it was lost on its way there
		c := newChangeover(t, 1, "web-1")
		c.server.Fail(diffhooktest.Fault{Route: "POST /api/signing-secret/rotate", Reset: diffhooktest.BeforeHandling})
		require.ErrorIs(t, c.replace(), diffhook.ErrOutcomeUnknown)
		assert.Empty(t, c.steps)
		assert.Len(t, c.store.saved, 1)
		require.NoError(t, c.replace())
		assert.Equal(t, 2, c.server.Count("POST /api/signing-secret/rotate"))
		assert.True(t, c.server.Secrets().NoPrevious)
	})
}

// TestSecretReplaceSameSecret: an API that says it rotated, and has not.
func TestSecretReplaceSameSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		c.edited(1, func(string) string { return `{"data":{"secret":"` + c.old.Reveal() + `","previous":null}}` })
		require.ErrorIs(t, c.replace(), diffhook.ErrUnexpectedResponse)
		assert.Len(t, c.store.saved, 1)
	})
}

// secretDetector finds parts of the emulator's secrets, but for the beginning
// that they all have.
func secretDetector(secrets ...diffhook.Secret) leakDetector {
	var texts []string
	for _, s := range secrets {
		texts = append(texts, strings.TrimPrefix(s.Reveal(), "test-signing-secret-"))
	}
	return newLeakDetector(texts...)
}

// leakyError is what a store says that shows what it was to hold.
type leakyError struct{ held diffhook.Secrets }

func (e *leakyError) Error() string {
	return fmt.Sprintf("cannot hold %s and %q", e.held.Current.Reveal(), e.held.Previous.Reveal())
}

// What a store does wrong once the platform has rotated. The next run, with a
// store that works, always goes on.
func TestSecretReplaceStores(t *testing.T) {
	keeps := func(keep func(diffhook.Secrets) diffhook.Secrets) func(*changeover) {
		return func(c *changeover) {
			c.store.after = func(operation string, s *diffhook.Secrets) error {
				if operation == "load" && !s.Current.Equal(c.old) {
					*s = keep(*s)
				}
				return nil
			}
		}
	}
	for _, test := range []struct {
		name string
		set  func(*changeover)
		err  error // nil: it succeeds
		text string
		took time.Duration
	}{
		{
			name: "it does not save", err: errDown, text: "diffhook: the store failed to save the signing secret: connection refused",
			set: func(c *changeover) { c.fails("save", errDown) },
		}, {
			name: "it shows the secrets in its error", err: errDown, text: `the store failed to save the signing secret: cannot hold [REDACTED] and "[REDACTED]"`,
			set: func(c *changeover) {
				c.store.after = func(operation string, s *diffhook.Secrets) error {
					if operation == "save" {
						return errors.Join(&leakyError{*s}, errDown)
					}
					return nil
				}
			},
		}, {
			name: "it shows what it loads in its error", err: errDown, text: `the store failed to load the signing secret: cannot hold [REDACTED] and "[REDACTED]"`,
			set: func(c *changeover) {
				c.store.after = func(operation string, s *diffhook.Secrets) error {
					if operation == "load" && !s.Current.Equal(c.old) {
						return errors.Join(&leakyError{*s}, errDown)
					}
					return nil
				}
			}, took: 30 * time.Second,
		}, {
			name: "it forgets the new secret", err: diffhook.ErrStoreMismatch, took: 30 * time.Second,
			text: `it gives back current "OLD" and previous "" where current "NEW" and previous "OLD" were saved; correct it and run it again`,
			set:  keeps(func(s diffhook.Secrets) diffhook.Secrets { return diffhook.Secrets{Current: s.Previous} }),
		}, {
			name: "it forgets the previous secret", err: diffhook.ErrStoreMismatch, took: 30 * time.Second,
			text: `it gives back current "NEW" and previous "" where current "NEW" and previous "OLD" were saved`,
			set:  keeps(func(s diffhook.Secrets) diffhook.Secrets { return diffhook.Secrets{Current: s.Current} }),
		}, {
			name: "it mixes them up", err: diffhook.ErrStoreMismatch, took: 30 * time.Second,
			text: `it gives back current "OLD" and previous "NEW"`,
			set: keeps(func(s diffhook.Secrets) diffhook.Secrets {
				return diffhook.Secrets{Current: s.Previous, Previous: s.Current}
			}),
		}, {
			name: "it takes its time", took: 2 * time.Minute,
			set: func(c *changeover) {
				c.store.after = func(operation string, s *diffhook.Secrets) error {
					if operation == "load" && time.Since(c.began) < 29*time.Second {
						*s = diffhook.Secrets{Current: c.old}
					}
					return nil
				}
			},
		}, {
			name: "it cannot be read for a while", took: 2 * time.Minute,
			set: func(c *changeover) {
				c.store.before = func(operation string) error {
					if at := time.Since(c.began); operation == "load" && c.server.Count("POST") > 0 && at < 29*time.Second {
						return errDown
					}
					return nil
				}
			},
		}, {
			name: "it keeps when the previous secret ends otherwise, which is its own affair", took: 2 * time.Minute,
			set: keeps(func(s diffhook.Secrets) diffhook.Secrets {
				s.PreviousExpires = time.Now().Add(time.Hour)
				return s
			}),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 1, "web-1")
				c.options.PollInterval = time.Second
				test.set(c)
				err := c.replace()
				require.ErrorIs(t, err, test.err)
				assert.Equal(t, test.took, time.Since(c.began))
				if err != nil {
					assert.Contains(t, c.text(err.Error()), test.text)
					assertNoLeak(t, secretDetector(c.old, c.server.Secrets().Current), err)
					assert.False(t, c.server.Secrets().NoPrevious, "revoked, and no receiver can know the new one")
					assert.Zero(t, c.web["web-1"].refreshes.Load(), "sent to read a store that is wrong")
					c.store.before, c.store.after = nil, nil
					require.NoError(t, c.replace())
				}
				c.requireReplaced()
			})
		})
	}
}

// fails has an operation of the store fail.
func (c *changeover) fails(operation string, err error) {
	c.store.before = func(o string) error {
		if o == operation {
			return err
		}
		return nil
	}
}

// What others do while it waits. The old secret is then not revoked, or not by
// it, and never one that it was not told to revoke.
func TestSecretReplaceOthers(t *testing.T) {
	for _, test := range []struct {
		name  string
		set   func(*changeover)
		while func(*changeover) // a minute after the beginning
		took  time.Duration     // 0: 2 minutes
		err   error
		text  string
	}{
		{
			name: "somebody rotates", err: diffhook.ErrRotationOpen, text: "the one that replaces MINE; run that to its end first",
			while: func(c *changeover) { c.named[c.server.Rotate().Previous.Fingerprint()] = "MINE" },
		}, {
			name: "somebody rotates at a terse platform", err: diffhook.ErrRotationOpen, text: "the one that replaces MINE; run that to its end first",
			set:   func(c *changeover) { c.server.Configure(diffhooktest.Settings{Terse: true}) },
			while: func(c *changeover) { c.named[c.server.Rotate().Previous.Fingerprint()] = "MINE" },
		}, {
			name: "somebody puts the store back", took: 10 * time.Minute, err: diffhook.ErrStoreMismatch, text: `current "OLD", previous "": it no longer has the new secret, NEW, as current`,
			while: func(c *changeover) { _ = c.store.Save(c.Context(), diffhook.Secrets{Current: c.old}) },
		}, {
			name:  "somebody revokes it early",
			while: func(c *changeover) { c.server.RevokePrevious() },
		}, {
			name: "somebody finishes it early",
			while: func(c *changeover) {
				c.server.RevokePrevious()
				_ = c.store.Save(c.Context(), diffhook.Secrets{Current: c.server.Secrets().Current})
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 1, "web-1")
				if test.set != nil {
					test.set(c)
				}
				c.options.Quiet = 10 * time.Minute
				go func() { c.at(time.Minute + time.Second); test.while(c) }()
				err := c.replace()
				require.ErrorIs(t, err, test.err)
				assert.Equal(t, max(2*time.Minute, test.took), time.Since(c.began))
				if err == nil {
					assert.Zero(t, c.server.Count("DELETE"), "there was nothing to revoke")
					c.requireReplaced()
					return
				}
				assert.Contains(t, c.text(err.Error()), test.text)
				assert.Zero(t, c.server.Count("DELETE"))
				assert.False(t, c.server.Secrets().NoPrevious)
				assert.NoError(t, c.web["web-1"].deliver(c.old))
			})
		})
	}
}

// TestSecretReplaceRaced: two at a time, which nothing can prevent. What the
// first one rotated to is not lost silently.
func TestSecretReplaceRaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		raced := false
		c.edited(1, func(body string) string {
			if !raced {
				raced = true
				c.named[c.server.Rotate().Current.Fingerprint()] = "THEIRS"
			}
			return body
		})
		err := c.replace()
		require.ErrorIs(t, err, diffhook.ErrRotationOpen)
		assert.Contains(t, c.text(err.Error()), "the one that replaces THEIRS;")
		assert.Zero(t, c.server.Count("DELETE"))
	})
}

// TestSecretReplaceShowsNoSecret, in all that it reports and returns, also where
// a receiver shows one in its error.
func TestSecretReplaceShowsNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1", "web-2")
		c.web["web-2"].fails = func(context.Context) error {
			if time.Since(c.began) > 30*time.Second {
				return nil
			}
			return &leakyError{c.server.Secrets()}
		}
		var shown []any
		c.options.Observe = func(_ context.Context, step diffhook.RotationStep) { shown = append(shown, step) }
		require.NoError(t, c.replace())
		assert.Greater(t, len(shown), 6)
		assert.Empty(t, secretDetector(c.old, c.server.Secrets().Current).find(fmt.Sprintf("%+v", shown)))
	})
}
