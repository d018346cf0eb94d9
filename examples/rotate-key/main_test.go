package main

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

func withoutCredentials(t *testing.T) {
	t.Setenv("DIFFHOOK_API_KEY", "")
	t.Setenv("DIFFHOOK_CLIENT_ID", "")
	t.Setenv("DIFFHOOK_CLIENT_SECRET", "")
}

func TestDemonstration(t *testing.T) {
	withoutCredentials(t)
	var out bytes.Buffer
	err := run(t.Context(), &out, nil)
	text := out.String()
	require.NoError(t, err, text)
	for _, line := range []string{
		`key_\w+  default .* more than 90 days ago: replace it, with -old key_\w+ -store FILE`,
		`A careless log line: starting with key=dh_live_…\n`,
		`FindAPIKeys found dh_live_…\w{4} in it, at 18\.`,
		`created   key_\w+ \(dh_live_…\w{4}\) replaces key_\w+\n.*stored .* as next\n\n2\.`,
		`proven .*\n.*promoted .*\n.*switched `,
		`draining  the old key was created or last used at`,
		`deleted   key_\w+ gets 401 from now on`,
		`3\. Afterwards\nkey_\w+  default            created \S+\nThe old key: .*401 INVALID_API_KEY`,
		`The application made \d+ calls, of which 0 failed\.`,
		`All went as told\.`,
	} {
		at := regexp.MustCompile(line).FindStringIndex(text)
		require.NotNil(t, at, "%s\n%s", line, out.String())
		text = text[at[0]+1:] // in this order
	}
	for offset := range diffhook.FindAPIKeys(out.Bytes()) {
		assert.Fail(t, "a key is shown", "at %d", offset)
	}
}

// What the wait is for: an application that does not look for the new key, and
// an old one that is not waited for.
func TestDemonstrationWithoutWaiting(t *testing.T) {
	var out bytes.Buffer
	err := demonstrate(t.Context(), &out, time.Nanosecond, time.Hour)
	require.EqualError(t, err, "the application failed", out.String())
	assert.NotContains(t, out.String(), "All went as told")
}

func TestDemonstrationInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, demonstrate(ctx, new(bytes.Buffer), time.Second, time.Second), context.Canceled)
}

// With credentials or flags it is DiffHook that would be called: with bad ones,
// nobody is.
func TestBadCredentials(t *testing.T) {
	withoutCredentials(t)
	out := new(bytes.Buffer)
	require.ErrorIs(t, run(t.Context(), out, []string{"-old", "key_1", "-store", "keys.json"}), diffhook.ErrInvalidAPIKey)
	require.ErrorContains(t, run(t.Context(), out, []string{"-quiet", "a while"}), "invalid value")
	t.Setenv("DIFFHOOK_API_KEY", "not a key")
	require.ErrorIs(t, run(t.Context(), out, nil), diffhook.ErrInvalidAPIKey)
	t.Setenv("DIFFHOOK_API_KEY", diffhooktest.New().APIKey().Reveal())
	require.ErrorContains(t, run(t.Context(), out, []string{"-old", "key_1"}), "name the -store")
}

func TestReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		platform := diffhooktest.New()
		defer platform.Close()
		team, old := platform.DefaultTeam(), platform.DefaultTeam().Keys()[0]
		store := fileStore(filepath.Join(t.TempDir(), "keys.json"))
		require.NoError(t, os.WriteFile(string(store), []byte(`{"current": "`+old.Key.Reveal()+`"}`), 0o600))
		var out bytes.Buffer
		began := time.Now()

		// Interrupted while it waits, it goes on from there.
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		require.ErrorIs(t, replace(ctx, &out, platform.Client(nil), old.ID, store, diffhook.KeyRotationOptions{}), context.DeadlineExceeded)
		require.Len(t, team.Keys(), 2)
		next := team.Keys()[1]
		held, err := store.Load(t.Context())
		require.NoError(t, err)
		assert.True(t, held.Current.Equal(next.Key) && held.Previous.Equal(old.Key) && held.Next.IsZero())
		assert.False(t, team.Keys()[0].Revoked)

		client := platform.Client(nil)
		require.NoError(t, replace(t.Context(), &out, client, old.ID, store, diffhook.KeyRotationOptions{}))
		assert.GreaterOrEqual(t, time.Since(began), 24*time.Hour, "by default")
		require.Len(t, team.Keys(), 2)
		assert.True(t, team.Keys()[0].Revoked)
		content, err := os.ReadFile(string(store))
		require.NoError(t, err)
		assert.JSONEq(t, `{"current": "`+next.Key.Reveal()+`"}`, string(content))
		require.NoError(t, list(t.Context(), &out, client), "with the new key")

		_, err = client.Keys.List(t.Context(), nil)
		require.NoError(t, err)
		require.ErrorIs(t, replace(t.Context(), &out, client, old.ID, store, diffhook.KeyRotationOptions{}), diffhook.ErrNotInForce)
		for range diffhook.FindAPIKeys(out.Bytes()) {
			assert.Fail(t, "a key is shown")
		}
	})
}

func TestReplaceTellsOrphans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		platform := diffhooktest.New()
		defer platform.Close()
		team, old := platform.DefaultTeam(), platform.DefaultTeam().Keys()[0]
		orphan := team.NewKey(old.Label) // that a run of which nothing is left created
		store := fileStore(filepath.Join(t.TempDir(), "keys.json"))
		require.NoError(t, store.Save(t.Context(), diffhook.APIKeys{Current: old.Key}))
		var out bytes.Buffer
		require.NoError(t, replace(t.Context(), &out, platform.Client(nil), old.ID, store, diffhook.KeyRotationOptions{DeleteNow: func() bool { return true }}))
		assert.Contains(t, out.String(), "Nobody may hold "+orphan.ID)
	})
}

func TestReplaceWithWrongStore(t *testing.T) {
	platform := diffhooktest.NewServer(t)
	team := platform.DefaultTeam()
	store := fileStore(filepath.Join(t.TempDir(), "keys.json"))
	try := func() error {
		return replace(t.Context(), new(bytes.Buffer), platform.Client(nil), team.Keys()[0].ID, store, diffhook.KeyRotationOptions{})
	}
	require.ErrorIs(t, try(), fs.ErrNotExist)
	require.NoError(t, store.Save(t.Context(), diffhook.APIKeys{Current: platform.NewTeam(diffhooktest.Plan{}).APIKey()}))
	require.ErrorIs(t, try(), diffhook.ErrStoreMismatch)
	assert.Len(t, team.Keys(), 1)
}

func TestFileStore(t *testing.T) {
	dir := t.TempDir()
	store := fileStore(filepath.Join(dir, "keys.json"))
	team := diffhooktest.New().DefaultTeam()
	a, b, c := team.NewKey("a").Key, team.NewKey("b").Key, team.NewKey("c").Key
	for _, want := range []diffhook.APIKeys{{Current: a}, {Current: a, Next: b}, {Current: b, Previous: a}, {Current: a, Next: b, Previous: c}, {}} {
		require.NoError(t, store.Save(t.Context(), want))
		got, err := store.Load(t.Context())
		require.NoError(t, err)
		assert.True(t, got.Current.Equal(want.Current) && got.Next.Equal(want.Next) && got.Previous.Equal(want.Previous))
		info, err := os.Stat(string(store))
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o600), info.Mode())
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Len(t, entries, 1, "no key lies about")
	}
}

// Who reads while it is written gets all keys of one write.
func TestFileStoreChangesAllAtOnce(t *testing.T) {
	store := fileStore(filepath.Join(t.TempDir(), "keys.json"))
	team := diffhooktest.New().DefaultTeam()
	a, b := team.NewKey("a").Key, team.NewKey("b").Key
	require.NoError(t, store.Save(t.Context(), diffhook.APIKeys{Current: a, Previous: b}))
	done := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			got, err := store.Load(t.Context())
			if assert.NoError(t, err) {
				assert.True(t, got.Current.Equal(a) && got.Previous.Equal(b) || got.Current.Equal(b) && got.Previous.Equal(a))
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for range 50 {
		require.NoError(t, store.Save(t.Context(), diffhook.APIKeys{Current: b, Previous: a}))
		require.NoError(t, store.Save(t.Context(), diffhook.APIKeys{Current: a, Previous: b}))
	}
	close(done)
	reader.Wait()
}

func TestFileStoreFailures(t *testing.T) {
	dir := t.TempDir()
	key := diffhooktest.New().APIKey()
	require.ErrorIs(t, fileStore(filepath.Join(dir, "missing", "keys.json")).Save(t.Context(), diffhook.APIKeys{Current: key}), fs.ErrNotExist)

	// A write that fails changes nothing, and leaves no key behind.
	inTheWay := filepath.Join(dir, "in-the-way")
	require.NoError(t, os.Mkdir(inTheWay, 0o700))
	require.Error(t, fileStore(inTheWay).Save(t.Context(), diffhook.APIKeys{Current: key}))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1)

	path := filepath.Join(dir, "keys.json")
	for name, content := range map[string]string{"not JSON": key.Reveal(), "not a key": `{"next": "violet-walrus"}`, "not a text": `{"current": 1}`} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		keys, err := fileStore(path).Load(t.Context())
		require.Error(t, err, name)
		assert.Zero(t, keys.Current.Reveal()+keys.Next.Reveal())
		assert.NotContains(t, err.Error(), strings.TrimPrefix(key.Reveal(), "dh_live_"))
		assert.NotContains(t, err.Error(), "walrus")
	}
}
