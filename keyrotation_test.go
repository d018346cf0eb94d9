package diffhook_test

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// TestKeyReplace: create, migrate, delete.
func TestKeyReplace(t *testing.T) {
	for generation := 1; generation <= 2; generation++ {
		t.Run("generation "+strconv.Itoa(generation), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeyTest(t)
				before := k.old.Key
				want := []string{"created", "stored", "proven", "promoted", "switched", "draining", "drained", "deleted", "removed"}
				if generation == 2 { // OAuth's credentials are not the key
					k.client = teamClient(k.team, 2, nil)
					want = slices.DeleteFunc(want, func(name string) bool { return name == "switched" })
				}
				require.NoError(t, listKeys(t.Context(), teamClient(k.team, 1, nil).WithCredentials(before)))
				began := time.Now()
				orphans, err := k.replace(diffhook.KeyRotationOptions{PollInterval: time.Hour})
				require.NoError(t, err)
				assert.Empty(t, orphans)
				assert.Equal(t, want, k.names)
				assert.Equal(t, 26*time.Hour, time.Since(began))

				require.Len(t, k.newKeys(), 1)
				made := k.newKeys()[0]
				assert.Equal(t, k.old.Label, made.Label)
				assert.Empty(t, diffKeys([]diffhook.APIKeys{
					{Current: before},
					{Current: before, Next: made.Key},
					{Current: made.Key, Previous: before},
					{Current: made.Key},
				}, k.store.saved))
				assert.True(t, k.revoked(k.old))
				assert.False(t, k.revoked(made))
				assert.NoError(t, listKeys(t.Context(), k.client))

				// And then it is done, whoever asks again.
				posts := k.server.Count("POST /api/keys")
				orphans, err = k.replace(diffhook.KeyRotationOptions{})
				require.ErrorIs(t, err, diffhook.ErrNotInForce)
				assert.Empty(t, orphans)
				assert.Equal(t, posts, k.server.Count("POST /api/keys"))
				k.requireStore(diffhook.APIKeys{Current: made.Key})
			})
		})
	}
}

// TestKeyReplaceWithoutOptions: nil is the zero value.
func TestKeyReplaceWithoutOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newLongKeyTest(t)
		began := time.Now()
		_, err := k.client.Keys.Replace(t.Context(), k.old.ID, k.store, nil)
		require.NoError(t, err)
		assert.Equal(t, 26*time.Hour, time.Since(began))
		polls := int(26*time.Hour/time.Minute) + 1
		assert.Equal(t, 1+polls+1, k.server.Count("GET /api/keys"), "a look a minute, and those before and after")
	})
}

// TestKeyReplaceProve: the customer's check comes after ours, with the new key,
// and before any application uses it.
func TestKeyReplaceProve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyTest(t)
		asked := 0
		_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce, Prove: func(ctx context.Context, client *diffhook.Client) error {
			asked++
			made := k.newKeys()[0]
			k.requireStore(diffhook.APIKeys{Current: k.old.Key, Next: made.Key})
			assert.False(t, made.LastUsedAt.IsZero(), "it is proven to work before")
			assert.Equal(t, 1, k.server.Count("GET /api/monitors"))
			k.team.SetKeyUsed(made.ID, time.Time{})
			assert.NoError(t, listKeys(ctx, client))
			assert.False(t, k.newKeys()[0].LastUsedAt.IsZero(), "the client uses the new key")
			return ctx.Err()
		}})
		require.NoError(t, err)
		assert.Equal(t, 1, asked)
	})
}

// TestKeyReplaceGoesOn: with the key that an earlier run has stored.
func TestKeyReplaceGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyTest(t)
		next := k.team.NewKey(k.old.Label)
		k.store.held.Next = next.Key
		_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
		require.NoError(t, err)
		assert.Equal(t, "proven", k.names[0])
		assert.Zero(t, k.server.Count("POST /api/keys"))
		k.requireStore(diffhook.APIKeys{Current: next.Key})
	})
	t.Run("the key has been deleted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := newKeyTest(t)
			next := k.team.NewKey(k.old.Label)
			k.team.RevokeKey(next.ID)
			k.store.held.Next = next.Key
			_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
			require.NoError(t, err)
			k.requireStore(diffhook.APIKeys{Current: k.newKeys()[1].Key})
		})
	})
	t.Run("the key is not proven", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := newKeyTest(t)
			next := k.team.NewKey(k.old.Label)
			k.store.held.Next = next.Key
			_, err := k.replace(diffhook.KeyRotationOptions{Prove: func(context.Context, *diffhook.Client) error { return errNotProven }})
			require.ErrorIs(t, err, errNotProven)
			assert.ErrorContains(t, err, "the new key stays in the store as Next")
			// A store that lags can show as Next what applications have as current.
			assert.False(t, k.revoked(next))
			k.requireStore(diffhook.APIKeys{Current: k.old.Key, Next: next.Key})
		})
	})
	t.Run("the key is not listed yet", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var next diffhooktest.Key
			listed := 0
			k := newKeyTestOf(t, newBubbleServer(t), func(transport http.RoundTripper) http.RoundTripper {
				return roundTripper(func(r *http.Request) (*http.Response, error) {
					if listed++; listed > 1 {
						return transport.RoundTrip(r)
					}
					entry := `\{[^{}]*"id":"` + next.ID + `"[^{}]*\}`
					return rewritten(transport, entry+",|,"+entry, "").RoundTrip(r)
				})
			})
			next = k.team.NewKey(k.old.Label)
			k.store.held.Next = next.Key
			_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
			require.NoError(t, err)
			assert.Zero(t, k.server.Count("POST /api/keys"))
		})
	})
	t.Run("the key is refused once, by mistake", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := newKeyTest(t)
			next := k.team.NewKey(k.old.Label)
			k.store.held.Next = next.Key
			k.server.Fail(diffhooktest.Fault{Route: "GET /api/monitors", Status: http.StatusUnauthorized})
			orphans, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
			require.NoError(t, err)
			assert.Empty(t, orphans)
			k.requireStore(diffhook.APIKeys{Current: next.Key})
		})
	})
	t.Run("the key is refused, though it is listed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := newKeyTest(t)
			next := k.team.NewKey(k.old.Label)
			k.team.SetKeyUsed(next.ID, time.Now()) // so that it does not look like one that nobody holds
			k.store.held.Next = next.Key
			k.server.Fail(diffhooktest.Fault{Route: "GET /api/monitors", Status: http.StatusUnauthorized, Times: 2})
			orphans, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
			require.NoError(t, err)
			assert.Equal(t, []string{next.ID}, idsOf(orphans))
			assert.False(t, k.revoked(next))
		})
	})
}

func TestKeyReplaceContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyTest(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := k.client.Keys.Replace(ctx, k.old.ID, k.store, nil)
		require.ErrorIs(t, err, context.Canceled)
		assert.Zero(t, k.server.Count(""))
	})
}
