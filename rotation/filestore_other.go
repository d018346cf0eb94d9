//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package rotation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
)

func lockFile(string) (unlock func(), err error) {
	return nil, fmt.Errorf("%w: FileStore has no file lock on %s; write a Store of your own", errors.ErrUnsupported, runtime.GOOS)
}

func keepOwner(*os.File, fs.FileInfo) error { return nil }

func replaceFile(from, path string) error { return os.Rename(from, path) }

func syncDirectory(string) error { return nil }
