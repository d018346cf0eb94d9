package main

import (
	"bytes"
	"context"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
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
		`20 deliveries signed with \w{16} have failed once`,
		`\w{16} is current at \[web-1 web-2 web-3\] and previous at \[\]: verified 30,`,
		`learning  web-3 has "\w{16}" as current, not \w{16}`,
		`draining  .*web-2 has counted only since`,
		`drained   \w{16} has not been used for 2(\.\d+)?s`,
		`is current at \[web-1 web-2 web-3\] and previous at \[\]`,
		`events: \d+, lost: 0\n   of which \d+ were signed with the old secret`,
		`signed with the old secret      web-3  401`,
		`forged with the leaked secret   web-3  204`,
		`refused   every receiver refuses`,
		`forged with the leaked secret   web-3  401`,
		`All went as told\.`,
	} {
		at := regexp.MustCompile(line).FindStringIndex(text)
		require.NotNil(t, at, "%s\n%s", line, out.String())
		text = text[at[0]+1:] // in this order
	}
}

// What the wait is for: without it, deliveries in flight are lost, and that is
// noticed.
func TestDemonstrationWithoutWaiting(t *testing.T) {
	var out bytes.Buffer
	err := demonstrate(t.Context(), &out, time.Nanosecond)
	require.EqualError(t, err, "20 events were lost", out.String())
	assert.NotContains(t, out.String(), "All went as told")
}

func TestDemonstrationInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	require.ErrorIs(t, demonstrate(ctx, &out, time.Second), context.Canceled)
}

// With credentials or flags it is DiffHook that would be called: with bad ones,
// nobody is.
func TestBadCredentials(t *testing.T) {
	withoutCredentials(t)
	var out bytes.Buffer
	require.ErrorIs(t, run(t.Context(), &out, []string{"-old", "0123456789abcdef"}), diffhook.ErrInvalidAPIKey)
	require.ErrorContains(t, run(t.Context(), &out, []string{"-receiver", "http://web-1.internal"}), "want name=URL")
	require.ErrorContains(t, run(t.Context(), &out, []string{"-receiver", "a=http://a", "-receiver", "a=http://b"}), "each name once")
	t.Setenv("DIFFHOOK_API_KEY", "not a key")
	require.ErrorIs(t, run(t.Context(), &out, nil), diffhook.ErrInvalidAPIKey)
}

// real is what rotate needs: a platform, a store and a receiver that reads it.
func real(t *testing.T) (platform *diffhooktest.Server, store dirStore, receivers map[string]diffhook.Receiver) {
	platform = diffhooktest.New()
	t.Cleanup(platform.Close)
	store = dirStore(t.TempDir())
	// As somebody put it there by hand.
	require.NoError(t, os.WriteFile(filepath.Join(string(store), "current"), []byte(platform.Secrets().Current.Reveal()+"\n"), 0o600))
	v, err := diffhook.NewVerifier(t.Context(), store, nil)
	require.NoError(t, err)
	receiver := remote("http://web-1.internal/diffhook/status", "token")
	receiver.HTTPClient = &http.Client{Transport: diffhooktest.Transport(authenticated("token", v.StatusHandler()))}
	return platform, store, map[string]diffhook.Receiver{"web-1": receiver}
}

func TestRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		platform, store, receivers := real(t)
		client, old := platform.Client(nil), platform.Secrets().Current
		var out bytes.Buffer
		require.NoError(t, rotate(t.Context(), &out, client, "", store, receivers))
		assert.Equal(t, "DiffHook signs with "+old.Fingerprint()+". To replace it, add -old "+old.Fingerprint()+"\n", out.String())
		assert.Zero(t, platform.Count("POST /api/signing-secret/rotate"))

		// Interrupted, it says how to go on.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, rotate(ctx, &out, client, old.Fingerprint(), store, receivers), context.DeadlineExceeded)
		out.Reset()
		require.NoError(t, rotate(t.Context(), &out, client, "", store, receivers))
		assert.Contains(t, out.String(), "First finish the rotation that replaces "+old.Fingerprint())
		held, err := diffhook.FileSecrets(string(store)).Load(t.Context())
		require.NoError(t, err)
		assert.True(t, held.Current.Equal(platform.Secrets().Current) && held.Previous.Equal(old))

		require.NoError(t, rotate(t.Context(), &out, client, old.Fingerprint(), store, receivers))
		assert.Contains(t, out.String(), "every receiver refuses "+old.Fingerprint())
		held, err = diffhook.FileSecrets(string(store)).Load(t.Context())
		require.NoError(t, err)
		assert.True(t, held.Current.Equal(platform.Secrets().Current) && held.Previous.IsZero())
		assert.Equal(t, 1, platform.Count("POST /api/signing-secret/rotate"))

		require.ErrorIs(t, rotate(t.Context(), &out, client, old.Fingerprint(), store, receivers), diffhook.ErrNotInForce)
	})
}

func TestRotateWithWrongStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		platform, store, receivers := real(t)
		require.NoError(t, store.Save(t.Context(), diffhook.Secrets{Current: diffhooktest.NewSecret()}))
		err := rotate(t.Context(), new(bytes.Buffer), platform.Client(nil), platform.Secrets().Current.Fingerprint(), store, receivers)
		require.ErrorIs(t, err, diffhook.ErrStoreMismatch)
		assert.Zero(t, platform.Count("POST /api/signing-secret/rotate"))
	})
}

func TestDirStore(t *testing.T) {
	dir := t.TempDir()
	store := dirStore(dir)
	for _, name := range []string{"current", "previous", "previous_expires", "not-ours"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("of a time without versions"), 0o600))
	}
	expires := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	for _, want := range []diffhook.Secrets{
		{Current: diffhooktest.NewSecret()},
		{Current: diffhooktest.NewSecret(), Previous: diffhooktest.NewSecret(), PreviousExpires: expires},
		{Current: diffhooktest.NewSecret(), Previous: diffhooktest.NewSecret()},
		{Current: diffhooktest.NewSecret(), NoPrevious: true},
	} {
		require.NoError(t, store.Save(t.Context(), want))
		got, err := diffhook.FileSecrets(dir).Load(t.Context())
		require.NoError(t, err)
		assert.True(t, got.Current.Equal(want.Current) && got.Previous.Equal(want.Previous) && got.PreviousExpires.Equal(want.PreviousExpires))
		assert.Equal(t, want.NoPrevious, got.NoPrevious)

		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 3, "..data, one version, and what is not ours: no old secret lies about")
		require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if info, _ := entry.Info(); entry.Type().IsRegular() {
				assert.Equal(t, fs.FileMode(0o600), info.Mode(), path)
			}
			return err
		}))
	}
}

// Who reads while it is written gets both secrets of one write.
func TestDirStoreChangesBothAtOnce(t *testing.T) {
	store := dirStore(t.TempDir())
	after := map[string]diffhook.Secret{} // by fingerprint: the one saved after it
	sets := []diffhook.Secrets{{Current: diffhooktest.NewSecret()}}
	for range 50 {
		previous := sets[len(sets)-1].Current
		next := diffhook.Secrets{Current: diffhooktest.NewSecret(), Previous: previous}
		after[previous.Fingerprint()] = next.Current
		sets = append(sets, next)
	}
	require.NoError(t, store.Save(t.Context(), sets[1]))
	var reader sync.WaitGroup
	done := make(chan struct{})
	reader.Go(func() {
		for {
			got, err := diffhook.FileSecrets(string(store)).Load(t.Context())
			if assert.NoError(t, err) {
				assert.True(t, after[got.Previous.Fingerprint()].Equal(got.Current))
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for _, set := range sets[1:] {
		require.NoError(t, store.Save(t.Context(), set))
	}
	close(done)
	reader.Wait()
}

// A write that fails changes nothing, and leaves no secret behind.
func TestDirStoreFailure(t *testing.T) {
	require.ErrorIs(t, dirStore(filepath.Join(t.TempDir(), "missing")).Save(t.Context(), diffhook.Secrets{}), fs.ErrNotExist)

	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "..data", "in the way"), 0o700))
	require.Error(t, dirStore(dir).Save(t.Context(), diffhook.Secrets{Current: diffhooktest.NewSecret()}))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1)
}
