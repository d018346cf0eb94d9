package diffhook_test

import (
	"context"
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
				"5s draining: deliveries signed with OLD may be retried until 00:02:00Z",
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
				"0s learning: web-2 gives no status (connection refused)",
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
				"1m5s draining: web-1 has counted only since 00:00:00Z, waiting until 00:02:00Z; web-2 gives no status (connection refused)",
				"2m0s draining: web-2 gives no status (connection refused)",
			}, end: "10m0s", unused: "10m0s",
		}, {
			name: "a receiver hangs, whatever its context says",
			set: func(c *changeover) {
				c.web["web-2"].fails = c.afterwards(func(context.Context) error { c.at(63 * time.Second); return nil })
			},
			want: []string{
				"30s learning: web-2 gives no status (context deadline exceeded)",
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
				"0s learning: web-1 gives no status (connection refused); web-2 gives no status (connection refused); web-3 gives no status (connection refused); web-4 gives no status (connection refused); web-5 gives no status (connection refused); and 2 more",
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
					fmt.Sprintf("%s drained: OLD has not been used for %s; deliveries that it verified: %d", test.end, test.unused, test.uses),
					test.end+" revoked: DiffHook has revoked OLD",
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
				assert.Contains(t, err.Error(), "diffhook: learning: web-1 gives no status (connection refused): ")
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
