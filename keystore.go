package diffhook

import (
	"context"
	"errors"
	"fmt"
)

// APIKeys is what a [KeyStore] holds: the key in use and, while it is being
// replaced, another.
type APIKeys struct {
	// Current is the key that applications use.
	Current APIKey

	// Next has been created to replace Current and is not proven yet. It is
	// zero outside that part of a rotation, and for no application to use.
	Next APIKey

	// Previous has been replaced by Current and is not deleted yet. It is zero
	// outside that part of a rotation.
	Previous APIKey
}

// KeyStore is where an API key is kept for the applications that use it: a
// secrets manager, a file, a database. It holds three keys, so that none is lost
// when a rotation is interrupted: a key is shown once, at its creation.
type KeyStore interface {
	// Load returns what the last Save was given.
	Load(ctx context.Context) (APIKeys, error)

	// Save stores keys, all in one write. It needs [APIKey.Reveal] for that.
	Save(ctx context.Context, keys APIKeys) error
}

func (r *keyRotation) load(ctx context.Context) error {
	stored, err := r.store.Load(ctx)
	if err != nil {
		return r.foreignError("the store failed to load the API keys", err, stored)
	}
	r.stored = stored
	return nil
}

func (r *keyRotation) foreignError(doing string, err error, keys APIKeys) error {
	return newForeignError(doing, err, keys.Current.Reveal(), keys.Next.Reveal(), keys.Previous.Reveal())
}

// saveAs saves and compares, unless the store has what is wanted.
func (r *keyRotation) saveAs(ctx context.Context, step string, want APIKeys) error {
	if r.holds(want) {
		return nil
	}
	r.stored = APIKeys{} // not known until it is loaded
	if err := r.store.Save(ctx, want); err != nil {
		return r.foreignError("the store failed to save the API keys", err, want)
	}
	err := confirm(ctx, r.load, func() bool { return r.holds(want) })
	if errors.Is(err, ErrStoreMismatch) {
		return fmt.Errorf("%w: it does not give back the keys that were saved (current %v%s%s)", err, want.Current, role("next", want.Next), role("previous", want.Previous))
	}
	if err != nil {
		return err
	}
	r.report(ctx, step, "the store has %v as current%s%s", want.Current, role("next", want.Next), role("previous", want.Previous))
	return nil
}

func role(name string, key APIKey) string {
	if key.IsZero() {
		return ""
	}
	return fmt.Sprintf(", %v as %s", key, name)
}

func (r *keyRotation) holds(want APIKeys) bool {
	return r.stored.Current.Equal(want.Current) && r.stored.Next.Equal(want.Next) && r.stored.Previous.Equal(want.Previous)
}
