package diffhook_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// TestKeyReplaceInUse: the key that this client uses is never deleted, nor the
// one that the store gives.
func TestKeyReplaceInUse(t *testing.T) {
	t.Run("the client is switched back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := newKeyTest(t)
			_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: func() bool {
				k.client.SetCredentials(k.old.Key)
				return true
			}})
			require.NoError(t, err)
			assert.Equal(t, []string{"created", "stored", "proven", "promoted", "switched", "skipped", "switched", "deleted", "removed"}, k.names)
			assert.NoError(t, listKeys(t.Context(), k.client))
		})
	})
	for name, change := range map[string]func(k *keyTest, keys *diffhook.APIKeys){
		"the store is put back":                 func(k *keyTest, keys *diffhook.APIKeys) { *keys = diffhook.APIKeys{Current: k.old.Key} },
		"the store has them the other way":      func(_ *keyTest, keys *diffhook.APIKeys) { keys.Current, keys.Previous = keys.Previous, keys.Current },
		"the store has a third key":             func(k *keyTest, keys *diffhook.APIKeys) { keys.Current = k.team.NewKey("third").Key },
		"the store has forgotten the old key":   func(_ *keyTest, keys *diffhook.APIKeys) { keys.Previous = diffhook.APIKey{} },
		"the store is in the next rotation":     func(k *keyTest, keys *diffhook.APIKeys) { keys.Next = k.team.NewKey("next").Key },
		"the store has lost everything":         func(_ *keyTest, keys *diffhook.APIKeys) { *keys = diffhook.APIKeys{} },
		"the store has the old key as the next": func(k *keyTest, keys *diffhook.APIKeys) { keys.Next = k.old.Key },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeyTest(t)
				var changed diffhook.APIKeys
				_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: func() bool {
					change(k, &k.store.held)
					changed = k.store.held
					return true
				}})
				require.ErrorIs(t, err, diffhook.ErrStoreMismatch)
				assert.ErrorContains(t, err, "the old key is kept")
				assert.Zero(t, k.server.Count("DELETE /api/keys/{id}"))
				k.requireStore(changed)
			})
		})
	}
	for name, fault := range map[string]diffhooktest.Fault{
		"the new key does not list":  {Route: "GET /api/keys", Skip: 1, Status: http.StatusForbidden},
		"the platform fails":         {Route: "GET /api/keys", Skip: 1, Status: http.StatusBadGateway},
		"the platform does not know": {Route: "DELETE /api/keys/{id}", Status: http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeyTest(t)
				k.server.Fail(fault)
				_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
				require.Error(t, err)
				assert.False(t, k.revoked(k.old))
				k.requireStore(diffhook.APIKeys{Current: k.newKeys()[0].Key, Previous: k.old.Key})
				_, err = k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
				require.NoError(t, err)
				assert.Len(t, k.newKeys(), 1)
			})
		})
	}
	t.Run("the store cannot be read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := newKeyTest(t)
			_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: func() bool {
				k.store.before = func(string) error { return io.ErrClosedPipe }
				return true
			}})
			require.ErrorIs(t, err, io.ErrClosedPipe)
			assert.False(t, k.revoked(k.old))
		})
	})
}

// TestKeyReplaceDeadSuccessor: a rotation that goes on does not take on trust
// that the key in the store still works.
func TestKeyReplaceDeadSuccessor(t *testing.T) {
	t.Run("when it goes on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := newKeyTest(t)
			made := k.team.NewKey(k.old.Label)
			k.team.RevokeKey(made.ID)
			k.store.held = diffhook.APIKeys{Current: made.Key, Previous: k.old.Key}
			_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
			require.ErrorIs(t, err, diffhook.ErrUnauthorized)
			assert.False(t, k.revoked(k.old))
			assert.NoError(t, listKeys(t.Context(), k.client), "the client was given a key that does not work")
		})
	})
	for _, own := range []bool{true, false} {
		t.Run(fmt.Sprint("while it drains, by a client with a key of its own: ", own), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeyTest(t)
				if own {
					k.client = teamClient(k.team, 1, nil)
					k.team.SetKeyUsed(k.old.ID, time.Now())
				}
				polls := 0
				_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: func() bool {
					if polls++; polls == 5 {
						k.team.RevokeKey(k.newKeys()[0].ID)
					}
					return false
				}})
				require.ErrorIs(t, err, diffhook.ErrUnauthorized)
				assert.Equal(t, 5, polls)
				assert.False(t, k.revoked(k.old))
				k.requireStore(diffhook.APIKeys{Current: k.newKeys()[0].Key, Previous: k.old.Key})
			})
		})
	}
}

// TestKeyReplaceUsedAgain: just when it was to be deleted.
func TestKeyReplaceUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newLongKeyTest(t)
		other := teamClient(k.team, 1, nil).WithCredentials(k.old.Key)
		began := time.Now()
		_, err := k.replace(diffhook.KeyRotationOptions{Quiet: time.Hour, Observe: func(ctx context.Context, step diffhook.RotationStep) {
			if k.observe(ctx, step); step.Name == "drained" && time.Since(began) < 90*time.Minute {
				<-time.After(20 * time.Second) // the store takes its time
				assert.NoError(t, listKeys(t.Context(), other))
			}
		}})
		require.NoError(t, err)
		assert.GreaterOrEqual(t, time.Since(began), 2*time.Hour)
		assert.Equal(t, []string{"drained", "draining", "drained", "deleted", "removed"}, k.names[len(k.names)-5:])
	})
}

// TestKeyReplaceDeletedByOthers: there is nothing left to wait for.
func TestKeyReplaceDeletedByOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyTest(t)
		polls := 0
		_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: func() bool {
			if polls++; polls == 3 {
				k.team.RevokeKey(k.old.ID)
			}
			return false
		}})
		require.NoError(t, err)
		assert.Equal(t, 3, polls)
		assert.NotContains(t, k.names, "drained")
		assert.NotContains(t, k.names, "deleted")
		assert.NoError(t, listKeys(t.Context(), k.client))
		k.requireStore(diffhook.APIKeys{Current: k.newKeys()[0].Key})
	})
}
