package rotation

import (
	"context"
	"time"

	"github.com/diffhook/diffhook-go"
)

// SecretOptions configures [Secret]. The zero value, and a nil pointer, mean every
// default.
type SecretOptions struct {
	// Receivers are all servers that verify deliveries, by name. They are required
	// unless RevokeNow is set.
	Receivers map[string]Receiver

	// Publish is called with the secrets that servers must have, until it returns
	// nil, and once in each run. It is for servers that do not read the document.
	// Restart a server only if its Status has no Pending deliveries.
	Publish func(ctx context.Context, s diffhook.Secrets) error

	// RetryHorizon is how long DiffHook may retry a delivery that the old secret
	// signed. By default, 18 h, for generation 2. 2 minutes suffice for generation 1.
	RetryHorizon time.Duration

	// Quiet is how long no receiver must have used the old secret. By default,
	// RetryHorizon.
	Quiet time.Duration

	// Hold is the length of the hold at the receivers, renewed until the new secret
	// is confirmed. By default and at most, 1 h. Negative: no hold.
	Hold time.Duration

	// Poll is the time between two looks at the receivers. By default, 5 s.
	Poll time.Duration

	// RevokeNow does not wait until the old secret is drained: RetryHorizon and Quiet
	// do not count. All other checks stay.
	RevokeNow bool

	// Observe is called with each step, one at a time. By default, nothing is.
	Observe func(Step)
}

// RevokeOptions configures [RevokeSecret]. The zero value, and a nil pointer, mean
// every default. The fields are those of [SecretOptions].
type RevokeOptions struct {
	Receivers map[string]Receiver
	Publish   func(ctx context.Context, s diffhook.Secrets) error
	Poll      time.Duration
	Observe   func(Step)
}

// Secret replaces the signing secret with the fingerprint old.
func Secret(ctx context.Context, old string, p SecretPlatform, s Store, opts *SecretOptions) error {
	panic("not built yet")
}

// RevokeSecret ends the leaked signing secret with the given fingerprint at once.
func RevokeSecret(ctx context.Context, leaked string, p SecretPlatform, s Store, opts *RevokeOptions) error {
	panic("not built yet")
}
