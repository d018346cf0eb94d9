package diffhook_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// TestKeyReplaceRefusals: what cannot be right is refused before anything is
// created, deleted or saved.
func TestKeyReplaceRefusals(t *testing.T) {
	other := mustAPIKey(t, otherKeyText)
	type call struct {
		id    string
		store diffhook.KeyStore
		opts  diffhook.KeyRotationOptions
	}
	for _, c := range []struct {
		name   string
		set    func(k *keyTest, c *call)
		want   error
		silent bool // nothing is asked for, either
	}{
		{"no id", func(_ *keyTest, c *call) { c.id = "" }, diffhook.ErrInvalidOptions, true},
		{"no store", func(_ *keyTest, c *call) { c.store = nil }, diffhook.ErrInvalidOptions, true},
		{"negative Quiet", func(_ *keyTest, c *call) { c.opts.Quiet = -1 }, diffhook.ErrInvalidOptions, true},
		{"negative PollInterval", func(_ *keyTest, c *call) { c.opts.PollInterval = -1 }, diffhook.ErrInvalidOptions, true},

		{"unknown id", func(_ *keyTest, c *call) { c.id = "key_none" }, diffhook.ErrNotInForce, false},
		{"the key for its id", func(k *keyTest, c *call) { c.id = k.old.Key.Reveal() }, diffhook.ErrNotInForce, false},
		{"the label for the id", func(k *keyTest, c *call) { c.id = k.old.Label }, diffhook.ErrNotInForce, false},
		{"key of another team", func(k *keyTest, c *call) { c.id = k.server.NewTeam(diffhooktest.Plan{}).Keys()[0].ID }, diffhook.ErrNotInForce, false},
		// The rotation would end the key of another application.
		{"id of another key", func(k *keyTest, c *call) { c.id = k.team.Keys()[0].ID }, diffhook.ErrStoreMismatch, false},
		{"store of another key", func(k *keyTest, _ *call) { k.store.held.Current = k.team.Keys()[0].Key }, diffhook.ErrStoreMismatch, false},
		{"store of another team's key", func(k *keyTest, _ *call) { k.store.held.Current = other }, diffhook.ErrStoreMismatch, false},
		{"empty store", func(k *keyTest, _ *call) { k.store.held = diffhook.APIKeys{} }, diffhook.ErrStoreMismatch, false},
		{"store with the other keys only", func(k *keyTest, _ *call) {
			k.store.held = diffhook.APIKeys{Next: other, Previous: k.old.Key}
		}, diffhook.ErrStoreMismatch, false},

		// A key would be forgotten that is alive and not replaced yet.
		{"another rotation is not drained", func(k *keyTest, _ *call) {
			k.store.held.Previous = k.team.NewKey("before").Key
		}, diffhook.ErrRotationOpen, false},
		{"another rotation is not proven", func(k *keyTest, c *call) {
			k.store.held.Next = k.team.NewKey("next").Key
			c.id = "key_none"
		}, diffhook.ErrRotationOpen, false},
		{"unknown id, with a rotation that is not drained", func(k *keyTest, c *call) {
			k.store.held = diffhook.APIKeys{Current: k.team.NewKey("new").Key, Previous: k.old.Key}
			c.id, c.opts.DeleteNow = "key_none", atOnce
		}, diffhook.ErrRotationOpen, false},

		{"store that cannot be read", func(k *keyTest, _ *call) {
			k.store.before = func(string) error { return io.ErrClosedPipe }
		}, io.ErrClosedPipe, false},
		{"client whose key is revoked", func(k *keyTest, _ *call) { k.team.RevokeKey(k.old.ID) }, diffhook.ErrUnauthorized, false},
		{"platform out of order", func(k *keyTest, _ *call) {
			k.server.Fail(diffhooktest.Fault{Status: http.StatusServiceUnavailable})
		}, diffhook.ErrServer, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeyTest(t)
				with := call{id: k.old.ID, store: k.store}
				with.opts.Observe = k.observe
				c.set(k, &with)
				held, keys := k.store.holds(), k.team.Keys()
				orphans, err := k.client.Keys.Replace(t.Context(), with.id, with.store, &with.opts)
				require.ErrorIs(t, err, c.want)
				assert.Empty(t, orphans)
				assert.Empty(t, k.texts)
				k.requireStore(held)
				assert.Zero(t, k.server.Count("POST /api/keys"))
				assert.Zero(t, k.server.Count("DELETE /api/keys/{id}"))
				assert.Len(t, k.team.Keys(), len(keys))
				if c.silent {
					assert.Zero(t, k.server.Count(""))
				}
				assert.Empty(t, hiddenPart(k.old.Key).find(fmt.Sprintf("%v %+v %#v", err, err, err)))
			})
		})
	}
}

// TestKeyReplaceOfMany: a key that is not in the list would pass for deleted.
func TestKeyReplaceOfMany(t *testing.T) {
	for _, n := range []int{198, 199, 200, 201} {
		for name, deleteNow := range map[string]func() bool{"": nil, ", deleted now": atOnce} {
			t.Run(fmt.Sprint(n, " keys", name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					k := newLongKeyTest(t)
					for len(k.team.Keys()) < n {
						k.team.NewKey("other")
					}
					ctx, cancel := context.WithTimeout(t.Context(), 100*time.Minute+time.Second)
					defer cancel()
					_, err := k.client.Keys.Replace(ctx, k.old.ID, k.store, &diffhook.KeyRotationOptions{Quiet: time.Hour, DeleteNow: deleteNow})
					if n < 199 {
						require.NoError(t, err)
						return
					}
					// The 199 are 200 with the new one.
					require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
					assert.ErrorContains(t, err, "more API keys than the API lists")
					assert.Len(t, k.team.Keys(), n, "nothing was created")
					assert.Zero(t, k.server.Count("DELETE /api/keys/{id}"))
					k.requireStore(diffhook.APIKeys{Current: k.old.Key})
				})
			})
		}
	}
}

// TestKeyReplaceOfTooManyMeanwhile: waiting would not help.
func TestKeyReplaceOfTooManyMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newLongKeyTest(t)
		began := time.Now()
		_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: func() bool {
			for time.Since(began) > time.Hour && len(k.team.Keys()) < 201 {
				k.team.NewKey("other")
			}
			return false
		}})
		require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
		assert.Less(t, time.Since(began), 2*time.Hour)
		assert.False(t, k.revoked(k.old))
		k.requireStore(diffhook.APIKeys{Current: k.newKeys()[0].Key, Previous: k.old.Key})
	})
}

// TestKeyReplaceWithoutPrefixes: which of the API's keys a key is cannot be told
// by its prefix. What is not certain is not deleted.
func TestKeyReplaceWithoutPrefixes(t *testing.T) {
	test := func(name string, test func(t *testing.T, k *keyTest)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, newKeyTestOf(t, newBubbleServer(t), shortPrefixes)) })
		})
	}
	for _, terse := range []bool{false, true} {
		test(fmt.Sprint("it runs, terse: ", terse), func(t *testing.T, k *keyTest) {
			k.server.Configure(diffhooktest.Settings{Terse: terse, OnExchange: recorder(t)})
			_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
			require.NoError(t, err)
			assert.True(t, k.revoked(k.old))
			k.requireStore(diffhook.APIKeys{Current: k.newKeys()[0].Key})
		})
	}
	test("what was created is deleted again", func(t *testing.T, k *keyTest) {
		_, err := k.replace(diffhook.KeyRotationOptions{Prove: func(context.Context, *diffhook.Client) error { return errNotProven }})
		require.ErrorIs(t, err, errNotProven)
		assert.True(t, k.newKeys()[0].Revoked)
	})
	// The one other key of the team, of another application, seems to be the
	// one in the store.
	test("the stored key has been deleted", func(t *testing.T, k *keyTest) {
		next := k.team.NewKey(k.old.Label)
		k.team.RevokeKey(next.ID)
		k.store.held.Next = next.Key
		orphans, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
		require.NoError(t, err)
		assert.Empty(t, orphans)
		assert.False(t, k.revoked(k.team.Keys()[0]), "the key of another application")
		k.requireStore(diffhook.APIKeys{Current: k.newKeys()[1].Key})
	})
	for _, notProven := range []error{errNotProven, diffhook.ErrUnauthorized} { // of another service, perhaps
		test("the stored key is one of several, and not proven: "+notProven.Error(), func(t *testing.T, k *keyTest) {
			next := k.team.NewKey(k.old.Label)
			k.store.held.Next = next.Key
			_, err := k.replace(diffhook.KeyRotationOptions{Prove: func(context.Context, *diffhook.Client) error { return notProven }})
			require.ErrorIs(t, err, notProven)
			assert.ErrorContains(t, err, "the new key stays in the store as Next")
			for _, other := range k.team.Keys() {
				assert.False(t, other.Revoked)
			}
			k.requireStore(diffhook.APIKeys{Current: k.old.Key, Next: next.Key})
		})
	}
	test("the store is another team's", func(t *testing.T, k *keyTest) {
		production := k.server.NewTeam(diffhooktest.Plan{})
		k.store.held.Current = production.Keys()[0].Key
		_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
		require.ErrorIs(t, err, diffhook.ErrStoreMismatch)
		assert.ErrorContains(t, err, "is it this team's store?")
		assert.Empty(t, k.newKeys())
		assert.Len(t, k.store.saved, 1)
	})
	test("the store's key has been revoked", func(t *testing.T, k *keyTest) {
		k.store.held.Current = k.team.NewKey("before").Key
		k.team.RevokeKey(k.team.Keys()[2].ID)
		_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
		require.ErrorIs(t, err, diffhook.ErrStoreMismatch)
		assert.ErrorContains(t, err, "its current key does not work")
		assert.Zero(t, k.server.Count("POST /api/keys"))
	})
	// Another key is drained and deleted; the one in the store must not be
	// forgotten over it.
	test("id of another key", func(t *testing.T, k *keyTest) {
		other := k.team.NewKey("of another application")
		_, err := k.client.Keys.Replace(t.Context(), other.ID, k.store, &diffhook.KeyRotationOptions{DeleteNow: atOnce})
		require.ErrorIs(t, err, diffhook.ErrStoreMismatch)
		assert.False(t, k.revoked(k.old))
		held := k.store.holds()
		assert.True(t, held.Current.Equal(k.old.Key) || held.Previous.Equal(k.old.Key), "the store has forgotten a live key")
	})
	for _, hour := range []int{1, 3, 5, 0} { // when another key was created; 0: the platform is terse
		test(fmt.Sprint("id of the new key, with another one of hour ", hour), func(t *testing.T, k *keyTest) {
			k.server.Configure(diffhooktest.Settings{Terse: hour == 0, OnExchange: recorder(t)})
			made := k.team.NewKey(k.old.Label)
			ages := map[string]int{k.team.Keys()[0].ID: hour, k.old.ID: 2, made.ID: 4}
			for id, hour := range ages {
				k.team.AgeKey(id, time.Duration(6-hour)*time.Hour)
			}
			k.store.held = diffhook.APIKeys{Current: made.Key, Previous: k.old.Key}
			_, err := k.client.Keys.Replace(t.Context(), made.ID, k.store, &diffhook.KeyRotationOptions{DeleteNow: atOnce})
			require.ErrorIs(t, err, diffhook.ErrStoreMismatch)
			assert.False(t, k.revoked(made), "the key that applications use")
		})
	}
	test("it goes on", func(t *testing.T, k *keyTest) {
		made := k.team.NewKey(k.old.Label)
		k.store.held = diffhook.APIKeys{Current: made.Key, Previous: k.old.Key}
		_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
		require.NoError(t, err)
		assert.True(t, k.revoked(k.old))
		k.requireStore(diffhook.APIKeys{Current: made.Key})
	})
	test("id of the client's own key", func(t *testing.T, k *keyTest) {
		own := k.team.Keys()[0]
		k.client = k.client.WithCredentials(own.Key)
		_, err := k.client.Keys.Replace(t.Context(), own.ID, k.store, &diffhook.KeyRotationOptions{DeleteNow: atOnce})
		require.ErrorIs(t, err, diffhook.ErrInvalidOptions)
		assert.NoError(t, listKeys(t.Context(), k.client))
		for _, key := range k.team.Keys() {
			assert.False(t, key.Revoked)
		}
	})
	test("id of the new key, which is the only one", func(t *testing.T, k *keyTest) {
		made := k.team.NewKey(k.old.Label)
		k.store.held = diffhook.APIKeys{Current: made.Key, Previous: k.old.Key}
		k.client.SetCredentials(made.Key)
		k.team.RevokeKey(k.old.ID)
		k.team.RevokeKey(k.team.Keys()[0].ID)
		_, err := k.client.Keys.Replace(t.Context(), made.ID, k.store, &diffhook.KeyRotationOptions{DeleteNow: atOnce})
		require.ErrorIs(t, err, diffhook.ErrStoreMismatch)
		assert.False(t, k.revoked(made), "the key that applications use")
	})
}

// TestKeyReplaceWithCommonPrefixes: prefixes that are long, and the same for all
// keys, tell no more than short ones.
func TestKeyReplaceWithCommonPrefixes(t *testing.T) {
	// Nor do characters that stand for others.
	synctest.Test(t, func(t *testing.T) {
		k := newKeyTestOf(t, newBubbleServer(t), func(next http.RoundTripper) http.RoundTripper {
			return rewritten(next, `"prefix":"[^"]*"`, `"prefix":"dh_live_••••"`)
		})
		k.team.RevokeKey(k.team.Keys()[0].ID) // so that there is one key only
		k.store.held.Current = k.server.NewTeam(diffhooktest.Plan{}).Keys()[0].Key
		_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
		require.ErrorIs(t, err, diffhook.ErrStoreMismatch)
		assert.Empty(t, k.newKeys())
	})
	synctest.Test(t, func(t *testing.T) {
		k := newKeyTestOf(t, newBubbleServer(t), func(next http.RoundTripper) http.RoundTripper {
			return rewritten(next, `"prefix":"[^"]*"`, `"prefix":"dh_live_prod"`)
		})
		k.store.held.Current = mustAPIKey(t, "dh_live_prod"+strings.Repeat("k", 20)) // of another team
		_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
		require.ErrorIs(t, err, diffhook.ErrStoreMismatch)
		assert.Empty(t, k.newKeys())
		assert.Len(t, k.store.saved, 1)
	})
}
