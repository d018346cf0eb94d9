package rotation

import (
	"context"
	"errors"
)

// ErrConflict stands in for the package's own until it is here.
var ErrConflict = errors.New("diffhook: the document has changed since it was read")

// Store stands in for the package's own until it is here.
type Store interface {
	Get(ctx context.Context) (doc []byte, version string, err error)
	Swap(ctx context.Context, version string, doc []byte) error
}
