package diffhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// locate finds where the rotation stands: the store has Next until the new key
// is proven, then Previous until the old one is deleted.
func (r *keyRotation) locate(ctx context.Context) error {
	if err := r.load(ctx); err != nil {
		return err
	}
	if r.stored.Current.IsZero() {
		return fmt.Errorf("%w: it has no current key; save the key to be replaced in it", ErrStoreMismatch)
	}
	client := r.client
	if r.promoted() {
		client = r.successor() // to use the old one would keep it in use
	}
	if err := r.list(ctx, client); err != nil {
		return err
	}
	old, there := r.find(r.old)
	r.original = r.stored.Current
	r.findOrphans(ctx, old)
	switch {
	case !there && r.stored.Next.IsZero() && !r.promoted():
		return fmt.Errorf("%w: the team has no key with the id %s: it has been replaced already, or the id is wrong", ErrNotInForce, r.name())
	case !there && !r.stored.Next.IsZero():
		return fmt.Errorf("%w: the store has a key in Next that replaces another than %s, or the one it replaces has been deleted; put the store right by hand", ErrRotationOpen, r.name())
	case there && r.promoted() && !old.MayBe(r.stored.Previous):
		return fmt.Errorf("%w: the store has a key in Previous that is not %s; run that to its end first", ErrRotationOpen, r.name())
	case there && !r.promoted() && !old.MayBe(r.stored.Current):
		return fmt.Errorf("%w: its current key is not %s: is it the right store, and the right id?", ErrStoreMismatch, r.name())
	}
	may := func(k Key) bool { return k.MayBe(r.stored.Current) }
	if !r.promoted() && (!old.tells() || len(r.others(may)) > 0) {
		return r.checkTeam(ctx)
	}
	if there || !r.promoted() {
		return nil
	}
	works, err := r.works(ctx, r.stored.Previous)
	if works {
		return fmt.Errorf("%w: the store has a key in Previous that is not %s, and works; run that to its end first", ErrRotationOpen, r.name())
	}
	return err
}

// checkTeam sees that the store's current key is of the team whose keys were
// listed, before its successor is created there, where prefixes do not tell. It
// uses the key, which then has to be unused for Quiet from now on.
func (r *keyRotation) checkTeam(ctx context.Context) error {
	keys, err := r.client.WithCredentials(r.stored.Current).Keys.List(ctx, nil)
	if errors.Is(err, ErrUnauthorized) {
		return fmt.Errorf("%w: its current key does not work, so it is not %s: is it the right store, and the right id?", ErrStoreMismatch, r.name())
	}
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, func(k Key) bool { return k.ID == r.old }) {
		return fmt.Errorf("%w: its current key is of a team that has no key %s: is it this team's store?", ErrStoreMismatch, r.name())
	}
	return nil
}

// findOrphans looks for keys that an interrupted run may have created. old is
// zero where it has been deleted.
func (r *keyRotation) findOrphans(ctx context.Context, old Key) {
	held := r.stored.Next
	if r.promoted() || old.ID == "" {
		held = r.stored.Current
	}
	var successor Key // which is no orphan; zero where it cannot be told
	if may := r.others(func(k Key) bool { return k.MayBe(held) }); len(may) == 1 {
		successor = may[0]
	}
	r.label = cmp.Or(old.Label, successor.Label)
	r.addOrphans(ctx, r.others(func(k Key) bool {
		return sameLabel(k.Label, r.label) && k.Label != "" && k.LastUsedAt.IsZero() && k.ID != successor.ID
	}))
}

// addOrphans adds keys to those that perhaps nobody holds, and reports them.
func (r *keyRotation) addOrphans(ctx context.Context, keys []Key) {
	keys = slices.DeleteFunc(keys, func(k Key) bool {
		return slices.ContainsFunc(r.orphans, func(known Key) bool { return known.ID == k.ID })
	})
	if len(keys) > 0 {
		r.orphans = append(r.orphans, keys...)
		r.report(ctx, "orphans", "an interrupted rotation may have left keys that nobody holds: %s", describeKeys(keys))
	}
}

// others returns the listed keys, but for the old one, that match.
func (r *keyRotation) others(match func(Key) bool) (others []Key) {
	for _, k := range r.keys {
		if k.ID != r.old && match(k) {
			others = append(others, k)
		}
	}
	return others
}

// list lists the team's keys. A list that may not be whole is an error: a key
// that is not in it would pass for deleted. A list with an id or a last use that
// cannot be read is errUnclearKeys.
func (r *keyRotation) list(ctx context.Context, client *Client) error {
	var all *ListOptions
	keys, err := client.Keys.listForReplace(ctx, all)
	if err != nil {
		return err
	}
	if all.Full(len(keys)) {
		return errManyKeys
	}
	r.keys = keys
	return nil
}

var errUnclearKeys = fmt.Errorf("%w: GET keys: a key has no id, or a last use that cannot be read", ErrUnexpectedResponse)

var errManyKeys = fmt.Errorf("%w: the team has, or would have, more API keys than the API lists; delete those that nobody needs", ErrUnexpectedResponse)

func (r *keyRotation) find(id string) (Key, bool) {
	for _, k := range r.keys {
		if k.ID == id {
			return k, true
		}
	}
	return Key{}, false
}
