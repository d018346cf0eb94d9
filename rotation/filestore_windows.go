package rotation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

const (
	deleteOnClose    = 0x04000000 // FILE_FLAG_DELETE_ON_CLOSE
	sharingViolation = syscall.Errno(32)
)

// lockFile opens a file beside path, exclusively. Windows removes the file with the
// handle, also if the process is killed. If another process or goroutine has opened the
// file, lockFile returns nil, nil.
func lockFile(path string) (unlock func(), err error) {
	name, err := syscall.UTF16PtrFromString(path + ".lock")
	if err != nil {
		return nil, err
	}
	handle, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL|deleteOnClose, 0)
	switch {
	case err == nil:
		return func() { _ = syscall.CloseHandle(handle) }, nil
	case errors.Is(err, sharingViolation), errors.Is(err, syscall.ERROR_ACCESS_DENIED): // open, or about to be removed
		return nil, nil
	}
	return nil, fmt.Errorf("lock %s.lock: %w", path, err)
}

func keepOwner(*os.File, fs.FileInfo) error { return nil }

// replaceFile renames from to path. While a reader keeps path open, it tries again.
func replaceFile(from, path string) (err error) {
	for range 50 {
		err = os.Rename(from, path)
		if !errors.Is(err, sharingViolation) && !errors.Is(err, syscall.ERROR_ACCESS_DENIED) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

func syncDirectory(string) error { return nil }
