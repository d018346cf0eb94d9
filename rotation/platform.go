package rotation

import (
	"context"
	"time"

	"github.com/diffhook/diffhook-go"
)

// SecretPlatform is where DiffHook changes the signing secret: [ByHand] or [API]. A
// rotation compares before it asks, after a crash and before it revokes, so that a
// platform needs no memory.
type SecretPlatform interface {
	// Signing returns the secrets that DiffHook signs with now. A previous secret that
	// is not shown stays zero. If old is not zero, and DiffHook signs with another
	// secret, the rotation needs the previous secret: a person is asked for it.
	Signing(ctx context.Context, old diffhook.Secret) (diffhook.Secrets, error)

	// Rotate makes DiffHook sign with a new secret in place of old. It returns the
	// secrets after that. A previous secret that is not shown stays zero.
	Rotate(ctx context.Context, old diffhook.Secret) (diffhook.Secrets, error)

	// Revoke ends the previous secret, unless there is none.
	Revoke(ctx context.Context) error
}

// KeyPlatform is where DiffHook changes API keys: [ByHand] or [API]. The requests of
// each method are made as a working pair of the document.
type KeyPlatform interface {
	// Check returns an error if Create cannot replace old. The error matches
	// [diffhook.ErrUnauthorized] if DiffHook does not accept old.
	Check(ctx context.Context, old Pair) error

	// Monitors returns the ids of monitors that pair can see. The error matches
	// [diffhook.ErrUnauthorized] if DiffHook does not accept pair.
	Monitors(ctx context.Context, pair Pair) ([]string, error)

	// Discard deletes every key with any of the labels: a response with a new key may
	// be lost.
	Discard(ctx context.Context, as Pair, labels []string) error

	// Create creates the successor of old, with the label.
	Create(ctx context.Context, old Pair, label string) (Pair, error)

	// Unused reports whether old has not been used since a time.
	Unused(ctx context.Context, as, old Pair, since time.Time) (bool, error)

	// Delete deletes old. An old that does not exist is no error.
	Delete(ctx context.Context, as, old Pair) error
}
