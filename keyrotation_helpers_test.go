package diffhook_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
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

var errNotProven = errors.New("the canary did not start")

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

func idsOf(keys []diffhook.Key) (ids []string) {
	for _, k := range keys {
		ids = append(ids, k.ID)
	}
	return ids
}

// shortPrefixes is a platform that shows of every key what all have in common.
func shortPrefixes(next http.RoundTripper) http.RoundTripper {
	return rewritten(next, `"prefix":"[^"]*"`, `"prefix":"dh_live_"`)
}

// relabel puts a key with another label in the place of the old one.
func (k *keyTest) relabel(label string) {
	k.old = k.team.NewKey(label)
	k.store.held.Current = k.old.Key
}
