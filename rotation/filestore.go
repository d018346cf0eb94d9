package rotation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// FileStore returns the store with the document in the file at path. Swap replaces the
// file atomically, and returns when the change is durable. An existing file keeps mode
// and owner. The mode of a new file is 0600. A symbolic link stays. Processes on the same
// machine may share the file, and on several machines if the file system supports flock.
// The directory must be writable, and the file must not be a separate mount.
func FileStore(path string) Store { return fileStore{path} }

type fileStore struct{ path string }

// Get reads the file.
func (s fileStore) Get(ctx context.Context) (doc []byte, version string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err // Swap too stops here, before the file is replaced
	}
	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, versionOf(nil), nil
	}
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	doc, err = io.ReadAll(io.LimitReader(f, maxDocumentBytes+1))
	if err != nil {
		return nil, "", err
	}
	doc = append([]byte{}, doc...) // not nil: an empty file is a document
	return doc, versionOf(doc), nil
}

// versionOf returns the version of a content.
func versionOf(doc []byte) string {
	if doc == nil {
		return "none"
	}
	sum := sha256.Sum256(doc)
	return hex.EncodeToString(sum[:])
}

// Swap replaces the file.
func (s fileStore) Swap(ctx context.Context, version string, doc []byte) error {
	path, err := behindLinks(s.path)
	if err != nil {
		return err
	}
	unlock, err := waitForLock(ctx, path)
	if err != nil {
		return err
	}
	defer unlock()
	_, newest, err := s.Get(ctx)
	if err != nil {
		return err
	}
	if newest != version {
		return fmt.Errorf("%w: %s has another version", ErrConflict, s.path)
	}
	return replace(path, doc)
}

// behindLinks returns the file behind symbolic links, which need not exist.
func behindLinks(path string) (string, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return resolved, err
	}
	target, err := os.Readlink(path)
	switch {
	case err != nil: // no link
		return path, nil
	case !filepath.IsAbs(target):
		target = filepath.Dir(path) + string(filepath.Separator) + target // not Join: a link to a directory may be before ".."
	}
	return behindLinks(target)
}

func waitForLock(ctx context.Context, path string) (unlock func(), err error) {
	for {
		if unlock, err = lockFile(path); unlock != nil || err != nil {
			return unlock, err
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return nil, fmt.Errorf("wait for the lock of %s, which another process holds: %w", filepath.Dir(path), err)
		}
	}
}

// replace writes doc beside path, and renames it to path. The caller holds the lock: files
// with the same beginning are of killed processes, and contain credentials.
func replace(path string, doc []byte) error {
	dir, beginning := filepath.Dir(path), "."+filepath.Base(path)+".diffhook-"
	files, _ := os.ReadDir(dir)
	for _, file := range files {
		if strings.HasPrefix(file.Name(), beginning) {
			_ = os.Remove(filepath.Join(dir, file.Name()))
		}
	}
	f, err := os.CreateTemp(dir, beginning+"*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename
	defer f.Close()
	if replaced, err := os.Stat(path); err == nil {
		if err := errors.Join(keepOwner(f, replaced), f.Chmod(replaced.Mode().Perm())); err != nil {
			return fmt.Errorf("keep the owner and the mode of %s: %w", path, err)
		}
	}
	if _, err := f.Write(doc); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := replaceFile(f.Name(), path); err != nil {
		return err
	}
	return syncDirectory(path)
}
