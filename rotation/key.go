package rotation

import (
	"context"
	"time"
)

// KeyOptions configures [Key]. The zero value, and a nil pointer, mean every default.
type KeyOptions struct {
	// Label begins the label of the new key; random characters follow. By default,
	// "rotated".
	Label string

	// Quiet is how long the old key must be out of use before it is deleted. By
	// default, 26 h: longer than a day between two runs of a daily job.
	Quiet time.Duration

	// Poll is the time between two looks at DiffHook. By default, 5 s.
	Poll time.Duration

	// DeleteNow does not wait until the old key is out of use: Quiet does not count.
	DeleteNow bool

	// Observe is called with each step, one at a time. By default, nothing is.
	Observe func(Step)
}

// Key replaces the API key with the id old.
func Key(ctx context.Context, old string, p KeyPlatform, s Store, opts *KeyOptions) error {
	panic("not built yet")
}
