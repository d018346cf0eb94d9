//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package rotation_test

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// A symbolic link stays a link, also if the first document does not exist yet.
func TestFileStoreCreatesTheFileBehindALink(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "etc", "data"), 0o700))
	require.NoError(t, os.Symlink(filepath.Join("etc", "data"), filepath.Join(dir, "data")))
	require.NoError(t, os.Symlink("../second.json", filepath.Join(dir, "data", "first.json"))) // of etc, not of dir
	require.NoError(t, os.Symlink(filepath.Join(dir, "doc.json"), filepath.Join(dir, "etc", "second.json")))
	s := rotation.FileStore(filepath.Join(dir, "data", "first.json"))
	require.NoError(t, rotation.NewSecret(t.Context(), s, diffhooktest.NewSecret()))
	info, err := os.Lstat(filepath.Join(dir, "doc.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}

// An existing file keeps the mode, and a symbolic link stays a link.
func TestFileStoreKeepsModeAndLink(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "doc.json"), filepath.Join(dir, "link.json")
	require.NoError(t, os.WriteFile(file, []byte("1"), 0o600))
	require.NoError(t, os.Chmod(file, 0o640))
	require.NoError(t, os.Symlink("doc.json", link))
	s := rotation.FileStore(link)
	_, version, err := s.Get(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Swap(t.Context(), version, []byte("2")))
	info, err := os.Lstat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode())
	info, err = os.Lstat(link)
	require.NoError(t, err)
	require.Equal(t, os.ModeSymlink, info.Mode().Type())

	fresh := rotation.FileStore(filepath.Join(dir, "new.json"))
	require.NoError(t, rotation.NewSecret(t.Context(), fresh, diffhooktest.NewSecret()))
	info, err = os.Stat(filepath.Join(dir, "new.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}

// A killed process can leave a file with the credentials beside the document. The next Swap
// removes this file, and no file of another program.
func TestFileStoreRemovesWhatAKillLeft(t *testing.T) {
	dir := t.TempDir()
	s := rotation.FileStore(filepath.Join(dir, "doc.json"))
	for _, name := range []string{"doc.json", ".doc.json.diffhook-123", ".doc.json.swp", ".other.json.diffhook-123"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("1"), 0o600))
	}
	_, version, err := s.Get(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Swap(t.Context(), version, []byte("2")))
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Len(t, left, 3, "%v", left)
	require.NoFileExists(t, filepath.Join(dir, ".doc.json.diffhook-123"))
}

// A process that holds the lock, such as a stopped run, is the reason in the error.
func TestFileStoreNamesTheLock(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	require.NoError(t, err)
	defer dir.Close()
	require.NoError(t, syscall.Flock(int(dir.Fd()), syscall.LOCK_EX))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	s := rotation.FileStore(filepath.Join(dir.Name(), "doc.json"))
	_, version, err := s.Get(ctx)
	require.NoError(t, err)
	err = s.Swap(ctx, version, []byte("1"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "the lock of "+dir.Name())
}
