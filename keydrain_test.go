package diffhook_test

import (
	"context"
	"fmt"
	"io"
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

// TestKeyReplaceSwitchesClient: the client is given the new key where it used
// the old one, however it came by it, and is otherwise left alone.
func TestKeyReplaceSwitchesClient(t *testing.T) {
	for _, c := range []struct {
		name     string
		client   func(t *testing.T, k *keyTest) *diffhook.Client
		switched bool
	}{
		{"key", func(_ *testing.T, k *keyTest) *diffhook.Client { return k.client }, true},
		{"pointer to the key", func(_ *testing.T, k *keyTest) *diffhook.Client { return k.client.WithCredentials(&k.old.Key) }, true},
		{"key in the environment", func(t *testing.T, k *keyTest) *diffhook.Client {
			t.Setenv("DIFFHOOK_API_KEY", k.old.Key.Reveal())
			return k.client.WithCredentials(diffhook.EnvCredentials())
		}, true},
		{"function that goes on giving the old key", func(_ *testing.T, k *keyTest) *diffhook.Client {
			return k.client.WithCredentials(diffhook.CredentialsFunc(func(context.Context) (string, error) { return k.old.Key.Reveal(), nil }))
		}, true},
		{"function that reads the store", func(_ *testing.T, k *keyTest) *diffhook.Client {
			return k.client.WithCredentials(diffhook.CredentialsFunc(func(context.Context) (string, error) { return k.store.holds().Current.Reveal(), nil }))
		}, false},
		{"another key", func(_ *testing.T, k *keyTest) *diffhook.Client { return teamClient(k.team, 1, nil) }, false},
		{"OAuth's credentials", func(_ *testing.T, k *keyTest) *diffhook.Client { return teamClient(k.team, 2, nil) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := t // synctest's T has no Setenv
			synctest.Test(t, func(t *testing.T) {
				k := newKeyTest(t)
				sibling := k.client.WithCredentials(k.old.Key)
				k.client = c.client(set, k)
				admin := k.client.WithCredentials(k.team.Keys()[0].Key)
				before := k.credential(k.client)
				_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
				require.NoError(t, err)
				if c.switched {
					assert.Contains(t, k.names, "switched")
					assert.Equal(t, k.credential(k.client.WithCredentials(k.newKeys()[0].Key)), k.credential(k.client))
				} else {
					assert.NotContains(t, k.names, "switched")
				}
				assert.NoError(t, listKeys(t.Context(), k.client))
				if !c.switched && c.name != "function that reads the store" {
					assert.Equal(t, before, k.credential(k.client))
				}
				assert.NoError(t, listKeys(t.Context(), admin))
				assert.ErrorIs(t, listKeys(t.Context(), sibling), diffhook.ErrUnauthorized, "another client is its owner's to switch")
			})
		})
	}
}

// credential returns what names the credential that a client uses now.
func (k *keyTest) credential(client *diffhook.Client) string {
	_ = listKeys(k.t.Context(), client)
	requests := k.server.Requests()
	return requests[len(requests)-1].Header.Get("Authorization")
}

// TestKeyReplaceCredentialsFail: which key the client uses cannot be told then,
// so it may be the one that would be deleted.
func TestKeyReplaceCredentialsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyTest(t)
		failing := false
		k.client = k.client.WithCredentials(diffhook.CredentialsFunc(func(context.Context) (string, error) {
			if failing {
				return "", io.ErrClosedPipe
			}
			return k.old.Key.Reveal(), nil
		}))
		_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce, Observe: func(_ context.Context, step diffhook.RotationStep) {
			failing = step.Name == "promoted"
		}})
		require.ErrorIs(t, err, io.ErrClosedPipe)
		assert.False(t, k.revoked(k.old))
		failing = false
		_, err = k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
		require.NoError(t, err)
		assert.NoError(t, listKeys(t.Context(), k.client))
	})
}

// TestKeyReplaceDrains: the old key's last use is told by the platform's clock,
// which need not be ours.
func TestKeyReplaceDrains(t *testing.T) {
	const day, never = 24 * time.Hour, -1
	for _, c := range []struct {
		name  string
		clock time.Duration // the platform's, less ours
		age   time.Duration // of the old key
		used  time.Duration // before the rotation begins
		quiet time.Duration
		want  time.Duration // that it takes
	}{
		{"used just now", 0, 0, 0, 0, 26 * time.Hour},
		{"used an hour ago", 0, day, time.Hour, 0, 25 * time.Hour},
		// A nightly job, on the night on which clocks are set back.
		{"used 25 h ago", 0, 2 * day, 25 * time.Hour, 0, time.Hour},
		{"used 26 h ago", 0, 2 * day, 26 * time.Hour, 0, 0},
		{"used a year ago", 0, 365 * day, 365 * day, 0, 0},
		{"Quiet is given", 0, day, time.Minute, 10 * time.Minute, 9 * time.Minute},
		{"never used for long", 0, 90 * day, never, 0, 0},
		// Those who have just been given it may still begin to.
		{"never used since an hour ago", 0, time.Hour, never, 0, 25 * time.Hour},

		{"the platform is ahead", time.Hour, day, time.Minute, time.Hour, 59 * time.Minute},
		{"the platform is far ahead, so that its dates are not believed", 100 * day, day, time.Minute, time.Hour, time.Hour},
		{"the platform is behind", -time.Hour, day, time.Minute, time.Hour, 59 * time.Minute},
		{"the platform is far behind", -100 * day, day, time.Minute, time.Hour, 59 * time.Minute},
		{"the platform is ahead, long unused", time.Hour, 2 * day, day, day, 0},
		{"the platform is behind, long unused", -time.Hour, 2 * day, day, day, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := diffhooktest.New() // with more requests than are worth recording
				t.Cleanup(s.Close)
				s.StartAt(time.Now().Add(c.clock))
				k := newKeyTestOf(t, s, nil)
				k.client = teamClient(k.team, 1, nil) // which does not use it
				k.team.AgeKey(k.old.ID, c.age)
				if c.used != never {
					k.team.SetKeyUsed(k.old.ID, s.Now().Add(-c.used))
				}
				began := time.Now()
				_, err := k.replace(diffhook.KeyRotationOptions{Quiet: c.quiet})
				require.NoError(t, err)
				assert.Equal(t, c.want, time.Since(began))
				assert.True(t, k.revoked(k.old))
			})
		})
	}
}

// TestKeyReplaceDrainsWithoutClock: where no time that the platform tells goes
// on, as where it tells the day only, ours does.
func TestKeyReplaceDrainsWithoutClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		day := time.Now().UTC().Format(`"lastUsedAt":"2006-01-02T00:00:00Z"`)
		k := newKeyTestOf(t, newBubbleServer(t), func(next http.RoundTripper) http.RoundTripper {
			return rewritten(next, `"lastUsedAt":"[^"]*"`, day)
		})
		began := time.Now()
		_, err := k.replace(diffhook.KeyRotationOptions{Quiet: time.Hour})
		require.NoError(t, err)
		assert.Equal(t, time.Hour, time.Since(began))
	})
}

// TestKeyReplaceDrainsByDatesThatCannotBe: a key from the future would make the
// old one seem unused for long.
func TestKeyReplaceDrainsByDatesThatCannotBe(t *testing.T) {
	for name, set := range map[string]func(team *diffhooktest.Team, id string){
		"created": func(team *diffhooktest.Team, id string) { team.AgeKey(id, -1000*24*time.Hour) },
		"used":    func(team *diffhooktest.Team, id string) { team.SetKeyUsed(id, time.Now().Add(3*time.Hour)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeyTest(t)
				set(k.team, k.team.NewKey("of another application").ID)
				began := time.Now()
				_, err := k.replace(diffhook.KeyRotationOptions{Quiet: time.Hour})
				require.NoError(t, err)
				assert.Equal(t, time.Hour, time.Since(began))
			})
		})
	}
}

// TestKeyReplaceDrainsByDatesThatAreMissing: that they are does not make a key long
// unused.
func TestKeyReplaceDrainsByDatesThatAreMissing(t *testing.T) {
	for name, edit := range map[string]func(old string) (pattern, with string){
		"when the old key was used, and when any was created": func(old string) (string, string) {
			return `"createdAt":"[^"]*",|("id":"` + old + `"[^{}]*"lastUsedAt":)"[^"]*"`, `${1}`
		},
		"when the old key was used, and when any was created, as 1970": func(old string) (string, string) {
			return `"createdAt":"[^"]*",|("id":"` + old + `"[^{}]*"lastUsedAt":)(?:null|"[^"]*")`, `${1}"1970-01-01T00:00:00Z"`
		},
		"when the old key was used, as 1970": func(old string) (string, string) {
			return `("id":"` + old + `"[^{}]*"lastUsedAt":)(?:null|"[^"]*")`, `${1}"1970-01-01T00:00:00Z"`
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var old diffhooktest.Key
				server := diffhooktest.New()
				t.Cleanup(server.Close)
				k := newKeyTestOf(t, server, func(next http.RoundTripper) http.RoundTripper {
					return roundTripper(func(r *http.Request) (*http.Response, error) {
						pattern, with := edit(old.ID)
						matches := regexp.MustCompile(pattern)
						return rewrittenBy(next, regexp.MustCompile(`(?s)^.*$`), func(body string) string {
							body = matches.ReplaceAllString(body, with)
							body = strings.ReplaceAll(body, `{"1970-01-01T00:00:00Z""id"`, `{"id"`) // where createdAt was
							return strings.ReplaceAll(body, `"lastUsedAt":,`, `"lastUsedAt":null,`)
						}).RoundTrip(r)
					})
				})
				old = k.old
				k.client = k.client.WithCredentials(k.team.Keys()[0].Key)
				began := time.Now()
				_, err := k.replace(diffhook.KeyRotationOptions{})
				require.NoError(t, err)
				assert.GreaterOrEqual(t, time.Since(began), 26*time.Hour)
			})
		})
	}
}

// TestKeyReplaceStillUsed: by an application that has not read the store since.
func TestKeyReplaceStillUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newLongKeyTest(t)
		other := teamClient(k.team, 1, nil).WithCredentials(k.old.Key)
		began, polls := time.Now(), 0
		var last time.Time
		_, err := k.replace(diffhook.KeyRotationOptions{Quiet: time.Hour, DeleteNow: func() bool {
			if polls++; polls%50 == 0 && polls <= 500 {
				last = time.Now()
				assert.NoError(t, listKeys(t.Context(), other))
			}
			return false
		}})
		require.NoError(t, err)
		assert.Equal(t, 499*time.Minute, last.Sub(began))
		assert.Equal(t, time.Hour, time.Since(last))
		draining := 0
		for _, name := range k.names {
			if name == "draining" {
				draining++
			}
		}
		assert.Equal(t, 1+10, draining, "it tells when what it waits for has changed, and not else")
	})
}

// TestKeyReplaceTerse: where the platform does not tell when keys were used,
// only the customer can.
func TestKeyReplaceTerse(t *testing.T) {
	terse := func(t *testing.T, test func(t *testing.T, k *keyTest)) {
		synctest.Test(t, func(t *testing.T) {
			k := newKeyTest(t)
			k.server.Configure(diffhooktest.Settings{Terse: true, OnExchange: recorder(t)})
			test(t, k)
		})
	}
	terse(t, func(t *testing.T, k *keyTest) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*24*time.Hour+time.Minute)
		defer cancel()
		opts := &diffhook.KeyRotationOptions{PollInterval: time.Hour, Observe: k.observe}
		_, err := k.client.Keys.Replace(ctx, k.old.ID, k.store, opts)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "DeleteNow decides")
		assert.ErrorContains(t, err, "run it again to go on")
		assert.False(t, k.revoked(k.old))
		assert.Equal(t, "draining", k.names[len(k.names)-1])
		assert.NoError(t, listKeys(t.Context(), k.client))
	})
	terse(t, func(t *testing.T, k *keyTest) {
		began := time.Now()
		_, err := k.replace(diffhook.KeyRotationOptions{PollInterval: time.Hour, DeleteNow: func() bool { return time.Since(began) >= 3*time.Hour }})
		require.NoError(t, err)
		assert.Equal(t, 3*time.Hour, time.Since(began))
		assert.True(t, k.revoked(k.old))
	})
}

// TestKeyReplaceWaitsOutErrors that pass, while the old key is drained.
func TestKeyReplaceWaitsOutErrors(t *testing.T) {
	for name, fault := range map[string]diffhooktest.Fault{
		"503":           {Status: http.StatusServiceUnavailable},
		"HTML":          {HTML: true},
		"429":           {Status: http.StatusTooManyRequests},
		"not sent":      {Reset: diffhooktest.BeforeHandling},
		"cut off":       {Truncate: true},
		"no answer":     {Delay: time.Minute},
		"not one of it": {Status: http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeyTest(t)
				fault.Times = 20
				opts := diffhook.KeyRotationOptions{Quiet: time.Hour, Observe: func(ctx context.Context, step diffhook.RotationStep) {
					if step.Name == "switched" {
						k.server.Fail(fault)
					}
					k.observe(ctx, step)
				}}
				began := time.Now()
				_, err := k.replace(opts)
				require.NoError(t, err)
				assert.GreaterOrEqual(t, time.Since(began), time.Hour)
				assert.True(t, k.revoked(k.old))
				assert.LessOrEqual(t, len(k.names), 11, "the same is told once: %v", k.texts)
			})
		})
	}
	// These do not: the new key is not what it should be.
	for status, want := range map[int]error{http.StatusUnauthorized: diffhook.ErrUnauthorized, http.StatusForbidden: diffhook.ErrForbidden} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeyTest(t)
				k.server.Fail(diffhooktest.Fault{Route: "GET /api/keys", Skip: 3, Status: status})
				_, err := k.replace(diffhook.KeyRotationOptions{})
				require.ErrorIs(t, err, want)
				assert.False(t, k.revoked(k.old))
			})
		})
	}
}

// TestKeyReplaceDrainEnds with its context, and goes on when it is run again: by
// a process that was started with the old key too.
func TestKeyReplaceDrainEnds(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprint("restarted: ", restarted), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeyTest(t)
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute+time.Second)
				defer cancel()
				opts := &diffhook.KeyRotationOptions{Quiet: time.Hour, Observe: k.observe}
				began := time.Now()
				_, err := k.client.Keys.Replace(ctx, k.old.ID, k.store, opts)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				assert.ErrorContains(t, err, "run it again to go on")
				assert.False(t, k.revoked(k.old))

				if restarted {
					k.client.SetCredentials(k.old.Key)
				}
				_, err = k.client.Keys.Replace(t.Context(), k.old.ID, k.store, opts)
				require.NoError(t, err)
				assert.InDelta(t, float64(time.Hour), float64(time.Since(began)), float64(time.Minute), "the time before counts")
				assert.True(t, k.revoked(k.old))
			})
		})
	}
}
