//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package rotation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// lockFile takes the lock of the directory of path, which ends with the process. It
// returns nil, nil if another process or goroutine holds the lock.
func lockFile(path string) (unlock func(), err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return func() { _ = dir.Close() }, nil
	}
	_ = dir.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return nil, nil
	}
	return nil, fmt.Errorf("lock %s: %w", filepath.Dir(path), err)
}

// keepOwner sets the owner of f to the owner of the replaced file.
func keepOwner(f *os.File, replaced fs.FileInfo) error {
	want, ok := replaced.Sys().(*syscall.Stat_t)
	info, err := f.Stat()
	if err != nil || !ok {
		return err
	}
	if got, ok := info.Sys().(*syscall.Stat_t); ok && got.Uid == want.Uid && got.Gid == want.Gid {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}

// replaceFile renames from to path.
func replaceFile(from, path string) error {
	err := os.Rename(from, path)
	if errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("%w: the file is a separate mount, which cannot be replaced; mount the directory", err)
	}
	return err
}

// syncDirectory makes a rename in the directory durable.
func syncDirectory(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // EINVAL: the file system does not sync directories
		return err
	}
	return nil
}
