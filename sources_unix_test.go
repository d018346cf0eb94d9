//go:build unix

package diffhook_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// openSecret returns an open file with the text, and the path of the file.
func openSecret(t *testing.T, text string) (*os.File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	_, err = f.WriteString(text) // leaves the offset at the end
	require.NoError(t, err)
	return f, path
}

// TestFileSecretsReadsOpenFiles: a parent passes on an open file, perhaps deleted. The
// source reads the file again and again, each time from the start.
func TestFileSecretsReadsOpenFiles(t *testing.T) {
	deleted, path := openSecret(t, currentText+"\n")
	require.NoError(t, os.Remove(path))
	open, _ := openSecret(t, currentText+"\n")
	for name, file := range map[string]*os.File{"an open file": open, "a deleted file": deleted} {
		for _, dir := range []string{"/dev/fd", "/proc/self/fd"} {
			if !canOpen(filepath.Join(dir, strconv.Itoa(int(file.Fd())))) {
				continue // no such directory, or deleted files cannot be reopened
			}
			t.Run(name+" in "+dir, func(t *testing.T) {
				source := diffhook.FileSecrets(filepath.Join(dir, strconv.Itoa(int(file.Fd()))))
				for range 3 {
					got, err := source.Load(t.Context())
					require.NoError(t, err)
					assert.True(t, got.Current.Equal(mustSecret(t, currentText)))
				}
			})
		}
	}
	if runtime.GOOS == "linux" {
		require.True(t, canOpen("/dev/fd/"+strconv.Itoa(int(deleted.Fd()))), "the cases above have run")
	}

	// Later writes to the open file are read.
	if source := "/dev/fd/" + strconv.Itoa(int(deleted.Fd())); canOpen(source) {
		require.NoError(t, deleted.Truncate(0))
		_, err := deleted.WriteAt([]byte(previousText), 0)
		require.NoError(t, err)
		got, err := diffhook.FileSecrets(source).Load(t.Context())
		require.NoError(t, err)
		assert.True(t, got.Current.Equal(mustSecret(t, previousText)))
	}
	_, err := diffhook.FileSecrets("/dev/fd/9999").Load(t.Context())
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func canOpen(path string) bool {
	f, err := os.Open(path)
	if err == nil {
		err = f.Close()
	}
	return err == nil
}

// TestFileSecretsRejectsPipes: a pipe, as of a shell's <(…), is empty at the second
// read, and opening a pipe blocks. The source rejects it at the start, unopened.
func TestFileSecretsRejectsPipes(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))

	reading, writing, err := os.Pipe()
	require.NoError(t, err)
	defer reading.Close()
	_, err = writing.WriteString(currentText)
	require.NoError(t, err)
	require.NoError(t, writing.Close())

	socket := filepath.Join(dir, "socket")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer listener.Close()

	directory := filepath.Join(dir, "directory")
	writeFiles(t, directory, map[string]string{"current": currentText})
	require.NoError(t, syscall.Mkfifo(filepath.Join(directory, "previous"), 0o600))
	nested := filepath.Join(dir, "nested")
	require.NoError(t, os.MkdirAll(filepath.Join(nested, "current"), 0o700))

	for _, tc := range []struct{ name, path, names, why string }{
		{"a named pipe", fifo, fifo, "a pipe"},
		{"a link to a named pipe", linkTo(t, fifo), "fifo", "a pipe"},
		{"a pipe of a shell", "/dev/fd/" + strconv.Itoa(int(reading.Fd())), "/dev/fd/", "a pipe"},
		{"a socket", socket, socket, "a socket"},
		{"a device", os.DevNull, os.DevNull, "a device"},
		{"a pipe in a directory", directory, filepath.Join(directory, "previous"), "a pipe"},
		{"a directory in a directory", nested, filepath.Join(nested, "current"), "a directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := diffhook.FileSecrets(tc.path).Load(t.Context())
			require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
			assert.ErrorContains(t, err, tc.names)
			assert.ErrorContains(t, err, tc.why)
			assert.True(t, got.Current.IsZero())
			_, err = diffhook.NewVerifier(t.Context(), diffhook.FileSecrets(tc.path), nil)
			require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
		})
	}
	content := make([]byte, 100)
	n, err := reading.Read(content)
	require.NoError(t, err)
	assert.Equal(t, currentText, string(content[:n]), "nothing was taken from the pipe")
}
