package diffhook_test

import (
	"context"
	"net/http"
	"regexp"
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

// TestSecretReplaceReachesReceiversFirst: one that cannot be asked is found before
// anything has changed. What waiting does not mend is an error at once.
func TestSecretReplaceReachesReceiversFirst(t *testing.T) {
	answering := func(h http.Handler) diffhook.Receiver {
		return &diffhook.RemoteReceiver{URL: "https://web-2.internal/diffhook", HTTPClient: &http.Client{Transport: diffhooktest.Transport(h)}}
	}
	for _, test := range []struct {
		name     string
		receiver diffhook.Receiver
		err      error
		text     string
	}{
		{"no URL", &diffhook.RemoteReceiver{}, diffhook.ErrInvalidOptions, "the RemoteReceiver's URL is not one of https or http"},
		{"a nil RemoteReceiver", (*diffhook.RemoteReceiver)(nil), diffhook.ErrInvalidOptions, "the RemoteReceiver is nil"},
		{"a wrong token", answering(answeringJSON(http.StatusUnauthorized, `{}`)), diffhook.ErrUnexpectedResponse, "the receiver answered 401"},
		{"a wrong path", answering(http.NotFoundHandler()), diffhook.ErrUnexpectedResponse, "the receiver answered 404"},
		{"another page", answering(answeringJSON(http.StatusOK, `{}`)), diffhook.ErrUnexpectedResponse, "did not answer with a RotationStatus"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 1, "web-1")
				c.options.Receivers["web-2"] = test.receiver
				err := c.replace()
				require.ErrorIs(t, err, test.err)
				assert.ErrorContains(t, err, "nothing has been changed: the receiver web-2 gives no status: ")
				assert.ErrorContains(t, err, test.text)
				assert.Zero(t, time.Since(c.began))
				c.requireUntouched()

				c.options.RevokeNow = atOnce // the operator says to go on without it
				require.ErrorContains(t, c.replace(), "receivers that may still accept")
				assert.True(t, c.server.Secrets().NoPrevious)
			})
		})
	}
	for name, fails := range map[string]func(*changeover){
		"is down": func(c *changeover) { c.web["web-2"].fails = c.until(10 * time.Minute) },
		"is behind a proxy that answers 503": func(c *changeover) {
			proxied := diffhooktest.Transport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if time.Since(c.began) < 10*time.Minute {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				c.web["web-2"].v.Load().StatusHandler().ServeHTTP(w, r)
			}))
			c.options.Receivers["web-2"] = &diffhook.RemoteReceiver{URL: "https://web-2.internal", HTTPClient: &http.Client{Transport: proxied}}
		},
		"has an earlier secret": func(c *changeover) { c.add("web-2", c.laggingFrom(10*time.Minute)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 1, "web-1", "web-2")
				fails(c)
				go func() { c.at(10*time.Minute - time.Second); c.requireUntouchedButRefreshed() }()
				require.NoError(t, c.replace())
				assert.Contains(t, c.steps[0], "0s reaching: web-2 ")
				c.requireReplaced()
			})
		})
	}
}

// laggingFrom is a source that has another secret until a time since the
// beginning, and then what the store has.
func (c *changeover) laggingFrom(d time.Duration) diffhook.SecretSource {
	earlier := diffhook.Secrets{Current: diffhooktest.NewSecret()}
	return diffhook.SecretSourceFunc(func(ctx context.Context) (diffhook.Secrets, error) {
		if time.Since(c.began) < d {
			return earlier, nil
		}
		return c.store.Load(ctx)
	})
}

func (c *changeover) requireUntouchedButRefreshed() {
	assert.Zero(c, c.server.Count("POST /api/signing-secret/rotate"))
	assert.Len(c, c.store.saved, 1)
}

// deaf is a receiver that, once told to, answers nothing and ignores its context.
type deaf struct {
	diffhook.Receiver
	hang  atomic.Pointer[chan struct{}]
	calls atomic.Int32
}

func (d *deaf) Status(ctx context.Context) (diffhook.RotationStatus, error) {
	if hang := d.hang.Load(); hang != nil {
		d.calls.Add(1)
		<-*hang
	}
	return d.Receiver.Status(ctx)
}

// TestSecretReplaceDeafReceiver: calls that hang do not pile up.
func TestSecretReplaceDeafReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1", "web-2")
		web := &deaf{Receiver: c.web["web-2"]}
		c.options.Receivers["web-2"] = web
		release := make(chan struct{})
		c.options.Observe = func(_ context.Context, step diffhook.RotationStep) {
			if step.Name == "rotated" {
				web.hang.Store(&release)
			}
		}
		go func() {
			c.at(6 * time.Hour)
			web.hang.Store(nil)
			close(release)
		}()
		require.NoError(t, c.replace())
		assert.GreaterOrEqual(t, time.Since(c.began), 6*time.Hour)
		assert.LessOrEqual(t, web.calls.Load(), int32(4))
		c.requireReplaced()
	})
}

// TestSecretReplaceSupersededWhileWaiting: where somebody else rotates, what it
// waits for never comes.
func TestSecretReplaceSupersededWhileWaiting(t *testing.T) {
	for _, step := range []string{"learning", "draining"} {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 2, "web-1")
				if step == "learning" {
					c.add("web-2", c.behind(100*time.Hour))
				}
				c.options.PollInterval = time.Minute
				next := ""
				c.options.Observe = func(ctx context.Context, s diffhook.RotationStep) {
					if s.Name != step || next != "" {
						return
					}
					// The new secret has leaked.
					next = c.server.Secrets().Current.Fingerprint()
					opts := diffhook.SecretRotationOptions{Receivers: map[string]diffhook.Receiver{"web-1": c.web["web-1"]}}
					assert.NoError(t, c.client.SigningSecret.Revoke(ctx, next, c.store, &opts))
				}
				err := c.replace()
				require.ErrorIs(t, err, diffhook.ErrRotationOpen)
				assert.ErrorContains(t, err, "the one that replaces "+next)
				assert.Less(t, time.Since(c.began), time.Hour)
				assert.Equal(t, 2, c.server.Count("POST /api/signing-secret/rotate"))
			})
		})
	}
}

// TestSecretReplaceAgainstThePlatformsWord: deliveries in flight are signed with
// the old secret, whatever the platform says of it when it has rotated.
func TestSecretReplaceAgainstThePlatformsWord(t *testing.T) {
	previous := regexp.MustCompile(`"previous":\{[^}]*\}`)
	for name, edit := range map[string]func(string) string{
		"there is none": func(body string) string { return previous.ReplaceAllString(body, `"previous":null`) },
		"it ends in 20 s": func(body string) string {
			return strings.Replace(body, `"rotatedAt"`, `"expiresAt":"2000-01-01T00:00:20Z","rotatedAt"`, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newChangeover(t, 1, "web-1")
				c.edited(1, edit)
				var retries sync.WaitGroup
				for _, at := range []time.Duration{5 * time.Second, 65 * time.Second} {
					retries.Go(func() { c.at(at); assert.NoError(t, c.web["web-1"].deliver(c.old), at) })
				}
				require.NoError(t, c.replace())
				retries.Wait()
				assert.GreaterOrEqual(t, time.Since(c.began), 3*time.Minute, "2 minutes after the last use")
				require.ErrorIs(t, c.web["web-1"].deliver(c.old), diffhook.ErrSignatureMismatch)
			})
		})
	}
}

// TestSecretReplaceClocks: how long ago an earlier run has rotated is the platform's
// word, by the platform's clock. The operator's may be anything.
func TestSecretReplaceClocks(t *testing.T) {
	stamp := regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	for name, off := range map[string]time.Duration{"right": 0, "behind ours": -12 * time.Hour, "ahead of ours": 12 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				<-time.After(20 * time.Hour) // the server has been up for a while
				c := newChangeover(t, 2, "web-1")
				c.options.PollInterval, c.options.Quiet = time.Minute, time.Minute
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				require.ErrorIs(t, c.client.SigningSecret.Replace(ctx, c.old.Fingerprint(), c.store, &c.options), context.DeadlineExceeded)

				transport := diffhooktest.Transport(c.server)
				c.client = teamClient(c.server.DefaultTeam(), 2, &diffhook.ClientOptions{HTTPClient: &http.Client{
					Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
						shifted := rewrittenBy(transport, stamp, func(s string) string {
							at, err := time.Parse(time.RFC3339, s)
							require.NoError(t, err)
							return at.Add(off).Format(time.RFC3339)
						})
						resp, err := shifted.RoundTrip(r)
						if err == nil {
							resp.Header.Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
						}
						return resp, err
					}),
				}})
				require.NoError(t, c.replace())
				assert.Equal(t, 18*time.Hour, time.Since(c.began).Truncate(time.Hour))
				c.requireReplaced()
			})
		})
	}
}

// TestSecretReplaceRevokeNow: the operator decides, at any time.
func TestSecretReplaceRevokeNow(t *testing.T) {
	end := []string{
		"1m5s skipped: no receiver is waited for: RevokeNow says so",
		"1m5s revoked: DiffHook has revoked OLD",
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
			[]string{"0s draining: deliveries signed with OLD may be retried until 00:02:00Z"}, "",
		}, {
			"after it, and nobody is named", func(c *changeover) { clear(c.options.Receivers); c.options.RetryHorizon = time.Minute },
			[]string{
				"0s draining: deliveries signed with OLD may be retried until 00:01:00Z",
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
				var others sync.WaitGroup
				others.Go(func() { c.at(time.Minute + time.Second); test.while(c) })
				err := c.replace()
				others.Wait()
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

// TestSecretReplaceWindowEndedByPlatform: it has ended the window by itself, when a
// run that was interrupted goes on. Deliveries in flight still need the old secret.
func TestSecretReplaceWindowEndedByPlatform(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 2, "web-1")
		previous := regexp.MustCompile(`"previous":\{[^}]*\}`)
		c.edited(2, func(body string) string {
			if time.Since(c.began) >= time.Hour {
				return previous.ReplaceAllString(body, `"previous":null`)
			}
			return strings.Replace(body, `"rotated_at"`, `"expires_at":"2000-01-01T01:00:00Z","rotated_at"`, 1)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
		defer cancel()
		require.ErrorIs(t, c.client.SigningSecret.Replace(ctx, c.old.Fingerprint(), c.store, &c.options), context.DeadlineExceeded)
		c.at(2 * time.Hour)
		var retries sync.WaitGroup
		for _, at := range []time.Duration{3 * time.Hour, 10 * time.Hour, 17 * time.Hour} {
			retries.Go(func() { c.at(at); assert.NoError(t, c.web["web-1"].deliver(c.old), at) })
		}
		require.NoError(t, c.replace())
		retries.Wait()
		require.ErrorIs(t, c.web["web-1"].deliver(c.old), diffhook.ErrSignatureMismatch)
		assert.True(t, c.store.holds().Previous.IsZero())
	})
}

// TestSecretReplaceShowsNoFingerprintOf what is none: a receiver may put anything
// there.
func TestSecretReplaceShowsNoFingerprint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		c.options.Receivers["web-1"] = indiscreet{c.web["web-1"], c.old.Reveal()}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := c.client.SigningSecret.Replace(ctx, c.old.Fingerprint(), c.store, &c.options)
		require.ErrorContains(t, err, `web-1 has "what is no fingerprint" as current`)
		assertNoLeak(t, secretDetector(c.old), err)
	})
}

// indiscreet is a receiver that names its secret by its text.
type indiscreet struct {
	diffhook.Receiver
	text string
}

func (i indiscreet) Status(ctx context.Context) (diffhook.RotationStatus, error) {
	status, err := i.Receiver.Status(ctx)
	status.Current.Fingerprint = i.text
	return status, err
}

// TestSecretReplaceRevokedWhileLearning: where somebody else revokes the old secret
// while a receiver has yet to learn the new one, all refuse it, and soon.
func TestSecretReplaceRevokedWhileLearning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 1, "web-1")
		c.add("web-2", c.behind(time.Hour))
		var others sync.WaitGroup
		others.Go(func() { c.at(30 * time.Second); c.server.RevokePrevious() })
		require.NoError(t, c.replace())
		others.Wait()
		assert.LessOrEqual(t, time.Since(c.began), 2*time.Minute)
		for name, w := range c.web {
			require.Error(t, w.deliver(c.old), name)
		}
		assert.True(t, c.store.holds().NoPrevious)
		assert.NotContains(t, strings.Join(c.steps, "\n"), " learned: ")
		c.at(time.Hour)
		require.NoError(t, c.web["web-2"].deliver(c.server.Secrets().Current))
	})
}

// TestSecretReplaceRevokedBetweenRuns: the platform's own expiry has not come yet,
// so somebody has revoked the old secret, and it is refused at once.
func TestSecretReplaceRevokedBetweenRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChangeover(t, 2, "web-1")
		c.edited(2, func(body string) string {
			return strings.Replace(body, `"rotated_at"`, `"expires_at":"2000-01-02T00:00:00Z","rotated_at"`, 1)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		require.ErrorIs(t, c.client.SigningSecret.Replace(ctx, c.old.Fingerprint(), c.store, &c.options), context.DeadlineExceeded)
		c.server.RevokePrevious()
		c.at(10 * time.Minute)
		require.NoError(t, c.replace())
		assert.Equal(t, 10*time.Minute, time.Since(c.began))
		c.requireReplaced()
	})
}
