package rotation

import (
	"context"
	"time"

	"github.com/diffhook/diffhook-go"
)

// SecretPlatform changes the signing secret at DiffHook: [ByHand] or [API]. A platform
// needs no memory: a rotation compares before a change, after a crash and before a
// revocation.
type SecretPlatform interface {
	// Signing returns the secret that DiffHook signs with now, and the previous secret.
	// A hidden previous secret stays zero. If old is not zero and DiffHook signs with
	// another secret, the rotation needs the previous secret: ask a person for it.
	Signing(ctx context.Context, old diffhook.Secret) (diffhook.Secrets, error)

	// Rotate makes DiffHook sign with a new secret in place of old, and returns the
	// secrets after the change. A hidden previous secret stays zero.
	Rotate(ctx context.Context, old diffhook.Secret) (diffhook.Secrets, error)

	// Revoke ends the previous secret, unless there is none.
	Revoke(ctx context.Context) error
}

// KeyPlatform changes API keys at DiffHook: [ByHand] or [API]. The pair as is a working
// pair of the document, which authorizes the requests of a method.
type KeyPlatform interface {
	// Check returns an error if Create cannot replace old. The error matches
	// [diffhook.ErrUnauthorized] if DiffHook does not accept old.
	Check(ctx context.Context, old Pair) error

	// Monitors returns the ids of the monitors of pair. The error matches
	// [diffhook.ErrUnauthorized] if DiffHook does not accept pair.
	Monitors(ctx context.Context, pair Pair) ([]string, error)

	// Discard deletes every key with any of the labels: the response with such a key
	// may have been lost.
	Discard(ctx context.Context, as Pair, labels []string) error

	// Create creates the successor of old, with the label.
	Create(ctx context.Context, old Pair, label string) (Pair, error)

	// Unused reports whether old is out of use since a time.
	Unused(ctx context.Context, as, old Pair, since time.Time) (bool, error)

	// Delete deletes old. It returns nil if old does not exist.
	Delete(ctx context.Context, as, old Pair) error
}
