package diffhook_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// TestKeyReplaceUndone: a failure before the switch leaves all as it was.
func TestKeyReplaceUndone(t *testing.T) {
	notProven := func(context.Context, *diffhook.Client) error { return errNotProven }
	for _, c := range []struct {
		name  string
		set   func(k *keyTest)
		prove func(context.Context, *diffhook.Client) error
		want  error
		asked bool // Prove
	}{
		{"not proven", func(*keyTest) {}, notProven, errNotProven, true},
		{"the new key does not work", func(k *keyTest) {
			k.server.Fail(diffhooktest.Fault{Route: "GET /api/monitors", Status: http.StatusUnauthorized})
		}, nil, diffhook.ErrUnauthorized, false},
		{"the platform fails", func(k *keyTest) {
			k.server.Fail(diffhooktest.Fault{Route: "GET /api/monitors", Reset: diffhooktest.BeforeHandling})
		}, nil, io.ErrUnexpectedEOF, false},
		{"the new key cannot be saved", func(k *keyTest) { k.failSave(1, io.ErrShortWrite, false) }, nil, io.ErrShortWrite, false},
		{"the new key is saved, with an error", func(k *keyTest) { k.failSave(1, io.ErrShortWrite, true) }, nil, io.ErrShortWrite, false},
		{"the store has no place for it", func(k *keyTest) {
			k.store.after = func(_ string, keys *diffhook.APIKeys) error { keys.Next = diffhook.APIKey{}; return nil }
		}, nil, diffhook.ErrStoreMismatch, false},
		{"the context ends", nil, nil, context.Canceled, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeyTest(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				asked := false
				opts := diffhook.KeyRotationOptions{Observe: k.observe, Prove: func(proveCtx context.Context, client *diffhook.Client) error {
					asked = true
					if c.set == nil {
						cancel()
						return proveCtx.Err()
					}
					return c.prove(proveCtx, client)
				}}
				if c.set != nil {
					c.set(k)
				}
				orphans, err := k.client.Keys.Replace(ctx, k.old.ID, k.store, &opts)
				require.ErrorIs(t, err, c.want)
				assert.ErrorContains(t, err, "; undone: the new key is deleted, and the store is as it was")
				assert.NotContains(t, err.Error(), "\n")
				assert.Equal(t, c.asked, asked)
				assert.Empty(t, orphans)
				assert.NotContains(t, k.names, "promoted")
				require.Len(t, k.newKeys(), 1)
				assert.True(t, k.newKeys()[0].Revoked)
				k.requireStore(diffhook.APIKeys{Current: k.old.Key})
				assert.NoError(t, listKeys(t.Context(), k.client))

				// Nothing is in the way of another try.
				k.store.before, k.store.after = nil, nil
				_, err = k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
				require.NoError(t, err)
				k.requireStore(diffhook.APIKeys{Current: k.newKeys()[1].Key})
			})
		})
	}
}

// TestKeyReplaceCannotUndo: then it says which key is left.
func TestKeyReplaceCannotUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyTest(t)
		k.server.Fail(diffhooktest.Fault{Route: "DELETE /api/keys/{id}", Status: http.StatusServiceUnavailable})
		orphans, err := k.replace(diffhook.KeyRotationOptions{Prove: func(context.Context, *diffhook.Client) error { return errNotProven }})
		require.ErrorIs(t, err, errNotProven)
		require.ErrorIs(t, err, diffhook.ErrServer)
		assert.NotContains(t, err.Error(), "\n")
		assert.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown)
		made := k.newKeys()[0]
		assert.Equal(t, []string{made.ID}, idsOf(orphans))
		assert.ErrorContains(t, err, made.ID+" (production-server, created "+made.CreatedAt.Format(time.RFC3339)+")")
		assert.False(t, made.Revoked)
		assert.True(t, k.store.holds().Current.Equal(k.old.Key))
		assert.NoError(t, listKeys(t.Context(), k.client))
	})
}

// TestKeyReplaceUndoneByOthers: a key that is deleted already is none that is left.
func TestKeyReplaceUndoneByOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyTest(t)
		orphans, err := k.replace(diffhook.KeyRotationOptions{Prove: func(context.Context, *diffhook.Client) error {
			k.team.RevokeKey(k.newKeys()[0].ID)
			return errNotProven
		}})
		require.ErrorIs(t, err, errNotProven)
		require.NotErrorIs(t, err, diffhook.ErrNotFound)
		assert.Empty(t, orphans)
		k.requireStore(diffhook.APIKeys{Current: k.old.Key})
	})
}

// TestKeyReplaceUndoneButNot: a 404 that does not come from the API, or that means
// another thing, does not pass for a key that is gone.
func TestKeyReplaceUndoneButNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyTest(t)
		k.server.Fail(diffhooktest.Fault{Route: "DELETE /api/keys/{id}", Status: http.StatusNotFound, HTML: true})
		orphans, err := k.replace(diffhook.KeyRotationOptions{Prove: func(context.Context, *diffhook.Client) error { return errNotProven }})
		require.ErrorIs(t, err, errNotProven)
		made := k.newKeys()[0]
		assert.False(t, made.Revoked)
		assert.Equal(t, []string{made.ID}, idsOf(orphans))
		assert.ErrorContains(t, err, "could not be deleted, so it may be live, and held by nobody: "+made.ID)
		assert.True(t, k.store.holds().Next.Equal(made.Key), "not even the store")
	})
}

// TestKeyReplaceOutcomeUnknown: what may have been created is told, never
// guessed: of several that may be it, none is deleted.
func TestKeyReplaceOutcomeUnknown(t *testing.T) {
	for name, fault := range map[string]diffhooktest.Fault{
		"answer lost":         {Reset: diffhooktest.AfterHandling},
		"answer cut off":      {Truncate: true},
		"502 after it":        {Status: http.StatusBadGateway, Handle: true},
		"502 of a proxy":      {HTML: true, Handle: true},
		"never arrived":       {Reset: diffhooktest.BeforeHandling},
		"500":                 {Status: http.StatusInternalServerError},
		"answered too late":   {Delay: 31 * time.Second},
		"redirected after it": {Status: http.StatusSeeOther, Handle: true},
	} {
		for _, others := range []int{0, 2} {
			t.Run(fmt.Sprint(name, ", created by others meanwhile: ", others), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					k := newKeyTestOf(t, newBubbleServer(t), func(next http.RoundTripper) http.RoundTripper {
						return roundTripper(func(r *http.Request) (*http.Response, error) {
							if r.Method == http.MethodGet {
								time.Sleep(time.Millisecond) // for the emulator to notice that it was left
							}
							return next.RoundTrip(r)
						})
					})
					for range 3 { // before, and so not of this run
						k.team.SetKeyUsed(k.team.NewKey(k.old.Label).ID, time.Now())
					}
					fault.Route = "POST /api/keys"
					k.server.Fail(fault)
					var want []string
					record := recorder(t)
					k.server.Configure(diffhooktest.Settings{OnExchange: func(x diffhooktest.Exchange) {
						if record != nil {
							record(x)
						}
						if x.Request.Method != http.MethodPost {
							return
						}
						for range others {
							want = append(want, k.team.NewKey(k.old.Label).ID)
							k.team.NewKey("of another label")
						}
					}})
					known := len(k.team.Keys())
					orphans, err := k.replace(diffhook.KeyRotationOptions{})
					synctest.Wait() // for the emulator to notice that it was left
					require.ErrorIs(t, err, diffhook.ErrOutcomeUnknown)
					for _, created := range k.team.Keys()[known:] {
						if created.Label == k.old.Label && !slices.Contains(want, created.ID) {
							want = append(want, created.ID)
						}
					}
					assert.ElementsMatch(t, want, idsOf(orphans))
					for _, id := range want {
						assert.ErrorContains(t, err, id)
					}
					if len(want) == 0 {
						assert.ErrorContains(t, err, "if a key was created, it is not listed yet")
					}
					assert.Zero(t, k.server.Count("DELETE /api/keys/{id}"))
					k.requireStore(diffhook.APIKeys{Current: k.old.Key})
					assert.Len(t, k.store.saved, 1)

					// Run again, it tells them again, and goes on without.
					k.server.Configure(diffhooktest.Settings{OnExchange: record})
					orphans, err = k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
					require.NoError(t, err)
					assert.ElementsMatch(t, want, idsOf(orphans))
					assert.Equal(t, len(want) > 0, k.names[0] == "orphans")
					for _, other := range k.team.Keys() {
						assert.Equal(t, other.ID == k.old.ID, other.Revoked)
					}
				})
			})
		}
	}
}

// TestKeyReplaceOutcomeUnknownUnlisted: not even what may be it can be told.
func TestKeyReplaceOutcomeUnknownUnlisted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyTest(t)
		k.server.Fail(diffhooktest.Fault{Route: "POST /api/keys", Reset: diffhooktest.AfterHandling})
		k.server.Fail(diffhooktest.Fault{Route: "GET /api/keys", Skip: 1, Status: http.StatusServiceUnavailable})
		orphans, err := k.replace(diffhook.KeyRotationOptions{})
		require.ErrorIs(t, err, diffhook.ErrOutcomeUnknown)
		require.ErrorIs(t, err, diffhook.ErrServer)
		assert.Empty(t, orphans)
		assert.ErrorContains(t, err, "the keys could not be listed to look for it")
		assert.NotContains(t, err.Error(), "\n")

		orphans, err = k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
		require.NoError(t, err)
		require.Len(t, orphans, 1)
		assert.Equal(t, k.newKeys()[0].ID, orphans[0].ID)
	})
}

// TestKeyReplaceInterruptedInCreation: the request is on its way when the context
// ends. Its answer is waited for, and what it created is undone.
func TestKeyReplaceInterruptedInCreation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newBubbleServer(t)
		k := newKeyTestOf(t, server, func(http.RoundTripper) http.RoundTripper {
			return diffhooktest.Transport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					<-time.After(5 * time.Second)
				}
				server.ServeHTTP(w, r)
			}))
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := k.client.Keys.Replace(ctx, k.old.ID, k.store, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown)
		k.requireStore(diffhook.APIKeys{Current: k.old.Key})
		assert.True(t, k.revoked(k.newKeys()[0]))
	})
}

// TestKeyReplaceInterruptedWithoutAnswer: it is still found out what was created.
func TestKeyReplaceInterruptedWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		k := newKeyTestOf(t, newBubbleServer(t), func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				resp, err := next.RoundTrip(r)
				if r.Method == http.MethodPost {
					cancel()
					return nil, ctx.Err() // the answer is not there yet
				}
				return resp, err
			})
		})
		orphans, err := k.client.Keys.Replace(ctx, k.old.ID, k.store, nil)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, diffhook.ErrOutcomeUnknown)
		assert.Equal(t, []string{k.newKeys()[0].ID}, idsOf(orphans))
	})
}

// TestKeyReplaceOrphanText: on one line, whatever a label has in it.
func TestKeyReplaceOrphanText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyTest(t)
		k.relabel("line 1\nline 2 " + longKeyText + strings.Repeat("é", 100))
		k.server.Fail(diffhooktest.Fault{Route: "POST /api/keys", Reset: diffhooktest.AfterHandling})
		orphans, err := k.replace(diffhook.KeyRotationOptions{})
		require.Len(t, orphans, 1)
		assert.NotContains(t, err.Error(), "\n")
		assert.Less(t, len(err.Error()), 600)
		assertDoesNotRepeat(t, err, longKeyText)
	})
}

// TestKeyReplaceOfChangedLabel: an API that trims or shortens labels hides no key
// by that.
func TestKeyReplaceOfChangedLabel(t *testing.T) {
	const label = " production"
	for name, changed := range map[string]string{"trimmed": "production", "shortened": " prod"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := newBubbleServer(t)
				var old diffhooktest.Key
				k := newKeyTestOf(t, server, func(next http.RoundTripper) http.RoundTripper {
					return roundTripper(func(r *http.Request) (*http.Response, error) {
						if r.Method == http.MethodPost {
							server.DefaultTeam().NewKey(changed) // as it is created
							return nil, io.ErrUnexpectedEOF      // and the answer lost
						}
						return next.RoundTrip(r)
					})
				})
				k.relabel(label)
				old = k.old
				orphans, err := k.replace(diffhook.KeyRotationOptions{})
				require.ErrorIs(t, err, diffhook.ErrOutcomeUnknown)
				created := k.team.Keys()[len(k.team.Keys())-1]
				assert.Equal(t, []string{created.ID}, idsOf(orphans))
				if name == "trimmed" { // so that also a later run finds it
					orphans, err = k.replace(diffhook.KeyRotationOptions{})
					require.ErrorIs(t, err, diffhook.ErrOutcomeUnknown)
					assert.Contains(t, idsOf(orphans), created.ID)
				}
				assert.False(t, k.revoked(old))
			})
		})
	}
}

// TestKeyReplaceNotCreated: an API that answers the creation with a key that was
// there before has that one neither deleted, as if it were new, nor taken for its
// own successor.
func TestKeyReplaceNotCreated(t *testing.T) {
	for name, edit := range map[string]func(k *keyTest, body string) string{
		"its id": func(k *keyTest, body string) string {
			return regexp.MustCompile(`"id":"[^"]*"`).ReplaceAllString(body, `"id":"`+k.old.ID+`"`)
		},
		"its text": func(k *keyTest, body string) string {
			return regexp.MustCompile(`"key":"[^"]*"`).ReplaceAllString(body, `"key":"`+k.old.Key.Reveal()+`"`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := diffhooktest.New() // whose answers are not those of the contract
				t.Cleanup(server.Close)
				var k *keyTest
				k = newKeyTestOf(t, server, func(next http.RoundTripper) http.RoundTripper {
					edited := rewrittenBy(next, regexp.MustCompile(`(?s)^.*$`), func(body string) string { return edit(k, body) })
					return roundTripper(func(r *http.Request) (*http.Response, error) {
						if r.Method == http.MethodPost {
							return edited.RoundTrip(r)
						}
						return next.RoundTrip(r)
					})
				})
				orphans, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce, Prove: func(context.Context, *diffhook.Client) error { return errNotProven }})
				require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
				require.ErrorIs(t, err, diffhook.ErrOutcomeUnknown)
				assert.Equal(t, []string{k.newKeys()[0].ID}, idsOf(orphans), "what was really created")
				assert.Zero(t, k.server.Count("DELETE /api/keys/{id}"))
				k.requireStore(diffhook.APIKeys{Current: k.old.Key})
			})
		})
	}
}
