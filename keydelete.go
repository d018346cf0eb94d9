package diffhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// delete ends the old key, once nothing has changed that it is not needed for.
func (r *keyRotation) delete(ctx context.Context) error {
	before, current := r.stored, r.stored.Current
	if err := r.load(ctx); err != nil {
		return err
	}
	if !r.holds(before) {
		return fmt.Errorf("%w: it has changed since the new key was saved as current; the old key is kept", ErrStoreMismatch)
	}
	successor := r.successor()
	if err := r.list(ctx, successor); err != nil {
		return err
	}
	old, there := r.find(r.old)
	if there && !r.told && r.used.look(old, r.keys, r.opts.Quiet) != "" { // it has been used since
		if err := r.drain(ctx); err != nil {
			return err
		}
		return r.delete(ctx)
	}
	if err := r.checkNotCurrent(ctx, successor); err != nil {
		return err
	}
	own, err := r.switchClient(ctx) // in case that it was switched back
	if err != nil {
		return err
	}
	if !own.Equal(current) && old.MayBe(own) {
		return fmt.Errorf("%w: this client may use %s itself, which is to be deleted; the key is kept", ErrInvalidOptions, r.name())
	}
	if there {
		if err := successor.Keys.Delete(ctx, r.old); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	// The one proof that what was deleted was, or was not, the one in the store.
	works, err := r.works(ctx, r.stored.Previous)
	if err != nil {
		return err
	}
	if works {
		return fmt.Errorf("%w: its previous key still works, though there is no key %s any more: find its id and run it with that", ErrStoreMismatch, r.name())
	}
	if there {
		r.report(ctx, "deleted", "%s gets 401 from now on", r.name())
	}
	return r.saveAs(ctx, "removed", APIKeys{Current: r.stored.Current})
}

// checkNotCurrent refuses to delete the key that applications use, where the id
// of that was given. If prefixes do not tell, its last use does: it must be
// another key's that is moved by a call with the current key.
func (r *keyRotation) checkNotCurrent(ctx context.Context, successor *Client) error {
	current, before := r.stored.Current, r.keys
	old, there := r.find(r.old)
	if r.created.ID != "" || !there || !old.MayBe(current) {
		return nil
	}
	if err := sleep(ctx, lastUseUnit); err != nil {
		return err
	}
	if err := r.list(ctx, successor); err != nil {
		return err
	}
	moved := slices.DeleteFunc(slices.Clone(r.keys), func(k Key) bool {
		return slices.ContainsFunc(before, func(b Key) bool { return b.ID == k.ID && b.LastUsedAt.Equal(k.LastUsedAt) })
	})
	others := slices.ContainsFunc(moved, func(k Key) bool { return k.ID != r.old && k.MayBe(current) })
	if again, there := r.find(r.old); there && (!others || !again.LastUsedAt.Equal(old.LastUsedAt)) {
		return fmt.Errorf("%w: its current key may be %s, which is to be deleted; the key is kept: if it is not that, delete it by hand", ErrStoreMismatch, r.name())
	}
	return nil
}
