package diffhook_test

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// TestKeyReplaceNotPromoted: where the store may have given the new key to
// applications, it is not deleted under them.
func TestKeyReplaceNotPromoted(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(k *keyTest)
		want error
		runs bool // to the end, when it is run again
	}{
		{"saved, with an error", func(k *keyTest) { k.failSave(2, io.ErrShortWrite, true) }, io.ErrShortWrite, true},
		{"not saved", func(k *keyTest) { k.failSave(2, io.ErrShortWrite, false) }, io.ErrShortWrite, true},
		{"a store that cannot be read", func(k *keyTest) {
			promoted := false
			k.store.after = func(operation string, keys *diffhook.APIKeys) error {
				promoted = promoted || !keys.Previous.IsZero()
				if promoted && operation == "load" {
					return io.ErrClosedPipe
				}
				return nil
			}
		}, io.ErrClosedPipe, true},
		{"a store without a place for the old key", func(k *keyTest) {
			k.store.after = func(_ string, keys *diffhook.APIKeys) error { keys.Previous = diffhook.APIKey{}; return nil }
		}, diffhook.ErrStoreMismatch, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeyTest(t)
				c.set(k)
				_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
				require.ErrorIs(t, err, c.want)
				require.Len(t, k.newKeys(), 1)
				current := k.store.holds().Current
				assert.False(t, k.revoked(k.old))
				assert.NoError(t, listKeys(t.Context(), k.client.WithCredentials(current)))
				for _, saved := range k.store.saved {
					assert.NoError(t, listKeys(t.Context(), k.client.WithCredentials(saved.Current)), "an application may have read it")
				}
				assert.NoError(t, listKeys(t.Context(), k.client))

				k.store.before, k.store.after = nil, nil
				_, err = k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
				if !c.runs {
					require.ErrorIs(t, err, diffhook.ErrStoreMismatch)
					return
				}
				require.NoError(t, err)
				assert.True(t, k.revoked(k.old))
			})
		})
	}
}

// TestKeyReplaceSlowStore: what was saved need not be there at once.
func TestKeyReplaceSlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyTest(t)
		var before diffhook.APIKeys
		var saved time.Time
		k.store.before = func(operation string) error {
			if operation == "save" {
				before, saved = k.store.holds(), time.Now()
			}
			return nil
		}
		k.store.after = func(operation string, keys *diffhook.APIKeys) error {
			if operation == "load" && !saved.IsZero() && time.Since(saved) < 20*time.Second {
				*keys = before
			}
			return nil
		}
		began := time.Now()
		_, err := k.replace(diffhook.KeyRotationOptions{DeleteNow: atOnce})
		require.NoError(t, err)
		assert.Equal(t, 3*20*time.Second, time.Since(began))
		k.requireStore(diffhook.APIKeys{Current: k.newKeys()[0].Key})
	})
}

// TestKeyReplaceShowsNoKey: whatever goes wrong, and whatever those say that the
// customer gave: nothing that comes out shows a key.
func TestKeyReplaceShowsNoKey(t *testing.T) {
	all := func(k *keyTest) (texts []string) {
		for _, key := range k.team.Keys() {
			texts = append(texts, key.Key.Reveal(), strconv.Quote(key.Key.Reveal()))
		}
		return texts
	}
	type options = diffhook.KeyRotationOptions
	for _, c := range []struct {
		name string
		set  func(k *keyTest, opts *options)
	}{
		{"nothing", func(*keyTest, *options) {}},
		{"the store fails to load", func(k *keyTest, _ *options) {
			k.store.before = func(string) error { return fmt.Errorf("no access for %v", all(k)[:2]) }
		}},
		{"the store fails to save", func(k *keyTest, _ *options) {
			k.store.after = func(operation string, _ *diffhook.APIKeys) error {
				if operation == "load" {
					return nil
				}
				return fmt.Errorf("exec: vault kv put %v: %w", all(k)[:len(all(k))-1], io.ErrShortWrite)
			}
		}},
		{"the store does not keep it", func(k *keyTest, _ *options) {
			k.store.after = func(_ string, keys *diffhook.APIKeys) error { keys.Next = diffhook.APIKey{}; return nil }
		}},
		{"the new key is not proven", func(k *keyTest, opts *options) {
			opts.Prove = func(context.Context, *diffhook.Client) error {
				return fmt.Errorf("exec: curl -H 'Authorization: Bearer %s': %w", k.store.holds().Next.Reveal(), errNotProven)
			}
		}},
		{"the credentials fail", func(k *keyTest, opts *options) {
			promoted := false
			observe := opts.Observe
			opts.Observe = func(ctx context.Context, step diffhook.RotationStep) {
				promoted = promoted || step.Name == "promoted"
				observe(ctx, step)
			}
			k.client.SetCredentials(diffhook.CredentialsFunc(func(context.Context) (string, error) {
				if promoted {
					return "", fmt.Errorf("cannot read %s", k.old.Key.Reveal())
				}
				return k.old.Key.Reveal(), nil
			}))
		}},
		{"an outcome is unknown", func(k *keyTest, _ *options) {
			k.server.Fail(diffhooktest.Fault{Route: "POST /api/keys", Truncate: true})
		}},
		{"it cannot be undone", func(k *keyTest, opts *options) {
			k.server.Fail(diffhooktest.Fault{Route: "DELETE /api/keys/{id}", HTML: true, Times: -1})
			opts.Prove = func(context.Context, *diffhook.Client) error { return errNotProven }
		}},
		{"the label is a key", func(k *keyTest, opts *options) {
			k.relabel(k.old.Key.Reveal())
			k.server.Fail(diffhooktest.Fault{Route: "POST /api/keys", Reset: diffhooktest.AfterHandling})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newLongKeyTest(t) // nor is a label that is a key
				opts := options{Observe: k.observe, DeleteNow: atOnce}
				c.set(k, &opts)
				orphans, err := k.replace(opts)
				if c.name == "nothing" {
					require.NoError(t, err)
				} else {
					require.Error(t, err)
				}
				if c.name == "the label is a key" {
					require.Len(t, orphans, 1)
					orphans = nil // they have their labels as they are
				}
				var keys []diffhook.APIKey
				for _, key := range k.team.Keys() {
					keys = append(keys, key.Key)
				}
				detector := hiddenPart(keys...)
				require.NotEmpty(t, detector.find(all(k)[0]))
				assertOpaque(t, detector, err, error(io.EOF))
				assertOpaque(t, detector, orphans, []diffhook.Key{})
				assert.Empty(t, detector.find(strings.Join(k.texts, "\n")))
				for _, text := range k.texts {
					assert.NotContains(t, text, "\n")
				}
			})
		})
	}
}

// TestAPIKeysOpacity: what a store holds shows no key, wherever it is kept and
// however it is shown.
func TestAPIKeysOpacity(t *testing.T) {
	third := "dh_live_copper-OCTOPUS_reads-the-tidal-GAZETTE"
	held := diffhook.APIKeys{Current: mustAPIKey(t, longKeyText), Next: mustAPIKey(t, otherKeyText), Previous: mustAPIKey(t, third)}
	other := diffhook.APIKeys{Current: mustAPIKey(t, shortKeyText)}
	detector := newLeakDetector(longKeyText[1:], otherKeyText[1:], third[1:])
	for _, shape := range shapesOf[diffhook.APIKeys]() {
		t.Run(shape.name, func(t *testing.T) {
			t.Parallel()
			assertOpaque(t, detector, shape.hold(held), shape.hold(other))
		})
	}
}
