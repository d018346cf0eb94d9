package diffhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// keyTest is a key that is to be replaced, and what it takes.
type keyTest struct {
	t      *testing.T
	server *diffhooktest.Server
	team   *diffhooktest.Team
	old    diffhooktest.Key
	client *diffhook.Client // uses old
	store  *memoryStore[diffhook.APIKeys]
	steps
}

// newKeyTest is for a bubble. Its client tries nothing twice.
func newKeyTest(t *testing.T) *keyTest {
	t.Helper()
	return newKeyTestOf(t, newBubbleServer(t), nil)
}

// newLongKeyTest is newKeyTest with more requests than are worth recording.
func newLongKeyTest(t *testing.T) *keyTest {
	t.Helper()
	s := diffhooktest.New()
	t.Cleanup(s.Close)
	return newKeyTestOf(t, s, nil)
}

func newKeyTestOf(t *testing.T, s *diffhooktest.Server, transport func(http.RoundTripper) http.RoundTripper) *keyTest {
	t.Helper()
	k := &keyTest{t: t, server: s, team: s.DefaultTeam(), old: s.DefaultTeam().NewKey("production-server")}
	opts := &diffhook.ClientOptions{MaxAttempts: 1}
	if transport != nil {
		opts.HTTPClient = &http.Client{Transport: transport(diffhooktest.Transport(s))}
	}
	k.client = teamClient(k.team, 1, opts).WithCredentials(k.old.Key)
	k.store = newMemoryStore(diffhook.APIKeys{Current: k.old.Key})
	return k
}

// replace replaces the key as opts say, and records the steps.
func (k *keyTest) replace(opts diffhook.KeyRotationOptions) ([]diffhook.Key, error) {
	if opts.Observe == nil {
		opts.Observe = k.observe
	}
	return k.client.Keys.Replace(k.t.Context(), k.old.ID, k.store, &opts)
}

// hiddenPart finds what lists do not show of the emulator's keys, and what is
// not the same in all of them.
func hiddenPart(keys ...diffhook.APIKey) leakDetector {
	texts := make([]string, len(keys))
	for i, key := range keys {
		texts[i] = key.Reveal()[len("dh_live_WXYZemulator"):]
	}
	return newLeakDetector(texts...)
}

func atOnce() bool { return true }

// newKeys returns the keys that were created by requests, the oldest first.
func (k *keyTest) newKeys() []diffhooktest.Key { return k.team.Keys()[2:] }

func (k *keyTest) revoked(key diffhooktest.Key) bool {
	for _, other := range k.team.Keys() {
		if other.ID == key.ID {
			return other.Revoked
		}
	}
	return false
}

func (k *keyTest) requireStore(want diffhook.APIKeys) {
	k.t.Helper()
	require.Empty(k.t, diffKeys(want, k.store.holds()))
}

func diffKeys(want, got any) string { return cmp.Diff(want, got, cmp.Comparer(diffhook.APIKey.Equal)) }

// TestReplaceKey: create, migrate, delete.
func TestReplaceKey(t *testing.T) {
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

// TestReplaceKeyWithoutOptions: nil is the zero value.
func TestReplaceKeyWithoutOptions(t *testing.T) {
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

// TestReplaceKeyRefusals: what cannot be right is refused before anything is
// created, deleted or saved.
func TestReplaceKeyRefusals(t *testing.T) {
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

// TestReplaceKeyOfMany: a key that is not in the list would pass for deleted.
func TestReplaceKeyOfMany(t *testing.T) {
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

// TestReplaceKeyOfTooManyMeanwhile: waiting would not help.
func TestReplaceKeyOfTooManyMeanwhile(t *testing.T) {
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

var errNotProven = errors.New("the canary did not start")

// TestReplaceKeyProve: the customer's check comes after ours, with the new key,
// and before any application uses it.
func TestReplaceKeyProve(t *testing.T) {
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

// TestReplaceKeyUndone: a failure before the switch leaves all as it was.
func TestReplaceKeyUndone(t *testing.T) {
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

// failSave has the n-th save fail, before or after it is done.
func (k *keyTest) failSave(n int, err error, done bool) {
	fails := func(operation string) error {
		if operation != "save" {
			return nil
		}
		if n--; n == 0 {
			return err
		}
		return nil
	}
	if done {
		k.store.after = func(operation string, _ *diffhook.APIKeys) error { return fails(operation) }
	} else {
		k.store.before = fails
	}
}

// TestReplaceKeyNotPromoted: where the store may have given the new key to
// applications, it is not deleted under them.
func TestReplaceKeyNotPromoted(t *testing.T) {
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

// TestReplaceKeySlowStore: what was saved need not be there at once.
func TestReplaceKeySlowStore(t *testing.T) {
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

// TestReplaceKeyCannotUndo: then it says which key is left.
func TestReplaceKeyCannotUndo(t *testing.T) {
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

// TestReplaceKeyUndoneByOthers: a key that is deleted already is none that is left.
func TestReplaceKeyUndoneByOthers(t *testing.T) {
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

// TestReplaceKeyUndoneButNot: a 404 that does not come from the API, or that means
// another thing, does not pass for a key that is gone.
func TestReplaceKeyUndoneButNot(t *testing.T) {
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

func idsOf(keys []diffhook.Key) (ids []string) {
	for _, k := range keys {
		ids = append(ids, k.ID)
	}
	return ids
}

// TestReplaceKeyOutcomeUnknown: what may have been created is told, never
// guessed: of several that may be it, none is deleted.
func TestReplaceKeyOutcomeUnknown(t *testing.T) {
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
					k := newKeyTest(t)
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

// TestReplaceKeyOutcomeUnknownUnlisted: not even what may be it can be told.
func TestReplaceKeyOutcomeUnknownUnlisted(t *testing.T) {
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

// TestReplaceKeyInterruptedInCreation: the request is on its way when the context
// ends. Its answer is waited for, and what it created is undone.
func TestReplaceKeyInterruptedInCreation(t *testing.T) {
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

// TestReplaceKeyInterruptedWithoutAnswer: it is still found out what was created.
func TestReplaceKeyInterruptedWithoutAnswer(t *testing.T) {
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

// TestReplaceKeyGoesOn: with the key that an earlier run has stored.
func TestReplaceKeyGoesOn(t *testing.T) {
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

// shortPrefixes is a platform that shows of every key what all have in common.
func shortPrefixes(next http.RoundTripper) http.RoundTripper {
	return rewritten(next, `"prefix":"[^"]*"`, `"prefix":"dh_live_"`)
}

// rewritten replaces what a pattern matches in answers.
func rewritten(next http.RoundTripper, pattern, with string) http.RoundTripper {
	return rewrittenBy(next, regexp.MustCompile(pattern), func(string) string { return with })
}

func rewrittenBy(next http.RoundTripper, pattern *regexp.Regexp, with func(string) string) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		edited := pattern.ReplaceAllStringFunc(string(body), with)
		resp.Body, resp.ContentLength = io.NopCloser(strings.NewReader(edited)), int64(len(edited))
		resp.Header.Del("Content-Length")
		return resp, nil
	})
}

// TestReplaceKeyWithoutPrefixes: which of the API's keys a key is cannot be told
// by its prefix. What is not certain is not deleted.
func TestReplaceKeyWithoutPrefixes(t *testing.T) {
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

func TestReplaceKeyContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyTest(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := k.client.Keys.Replace(ctx, k.old.ID, k.store, nil)
		require.ErrorIs(t, err, context.Canceled)
		assert.Zero(t, k.server.Count(""))
	})
}

// TestReplaceKeyOrphanText: on one line, whatever a label has in it.
func TestReplaceKeyOrphanText(t *testing.T) {
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

// TestReplaceKeyOfChangedLabel: an API that trims or shortens labels hides no key
// by that.
func TestReplaceKeyOfChangedLabel(t *testing.T) {
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

// relabel puts a key with another label in the place of the old one.
func (k *keyTest) relabel(label string) {
	k.old = k.team.NewKey(label)
	k.store.held.Current = k.old.Key
}

// TestReplaceKeyShowsNoKey: whatever goes wrong, and whatever those say that the
// customer gave: nothing that comes out shows a key.
func TestReplaceKeyShowsNoKey(t *testing.T) {
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
