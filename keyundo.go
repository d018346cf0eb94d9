package diffhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// undo deletes the new key, which no application uses, and puts the store back:
// in this order, so that a key is never live without being in the store. Which of
// the API's keys it is, is certain only where this run has created it. cause is
// why it is undone.
func (r *keyRotation) undo(ctx context.Context, text APIKey, cause error) error {
	if r.created.ID == "" {
		return fmt.Errorf("%w; the new key stays in the store as Next: run it again or, to give up, delete it and take it out of the store", cause)
	}
	err := lately(ctx, func(ctx context.Context) error {
		err := r.client.Keys.Delete(ctx, r.created.ID)
		if errors.Is(err, ErrNotFound) { // which a proxy may say of a key that lives
			if alive, checkErr := r.works(ctx, text); !alive && checkErr == nil {
				err = nil
			}
		}
		return err
	})
	if err != nil {
		r.orphans = append(r.orphans, r.created)
		return fmt.Errorf("%w; and the new key could not be deleted, so it may be live, and held by nobody: %s: %w", cause, describeKeys(r.orphans[len(r.orphans)-1:]), err)
	}
	r.report(ctx, "undone", "%s is deleted again", scrub(r.created.ID, 40))
	r.stored = APIKeys{} // it may be anything
	if err := lately(ctx, func(ctx context.Context) error { return r.saveAs(ctx, "undone", APIKeys{Current: r.original}) }); err != nil {
		return fmt.Errorf("%w; the new key is deleted, and the store could not be put back: %w", cause, err)
	}
	return fmt.Errorf("%w; undone: the new key is deleted, and the store is as it was", cause)
}

// lostAnswer finds the keys that a call of unknown outcome may have created: new
// ones with its label or, in case the API changes labels, all that are new.
func (r *keyRotation) lostAnswer(ctx context.Context, cause error) error {
	before := r.keys
	if err := lately(ctx, func(ctx context.Context) error { return r.list(ctx, r.client) }); err != nil {
		return fmt.Errorf("%w; the keys could not be listed to look for it: %w", cause, err)
	}
	all := r.others(func(k Key) bool { return !slices.ContainsFunc(before, func(b Key) bool { return b.ID == k.ID }) })
	created := slices.DeleteFunc(slices.Clone(all), func(k Key) bool { return !sameLabel(k.Label, r.label) })
	if len(created) == 0 {
		created = all
	}
	if len(created) == 0 {
		return fmt.Errorf("%w; if a key was created, it is not listed yet", cause)
	}
	r.orphans = append(r.orphans, created...)
	return fmt.Errorf("%w; live keys that perhaps nobody holds: %s", cause, describeKeys(created))
}

func describeKeys(keys []Key) string {
	texts := make([]string, len(keys))
	for i, k := range keys {
		texts[i] = fmt.Sprintf("%s (%s, created %s)", scrub(k.ID, 40), scrub(k.Label, 40), k.CreatedAt.Format(time.RFC3339))
	}
	return strings.Join(texts, ", ")
}

// sameLabel compares labels, of which an API may trim one.
func sameLabel(a, b string) bool { return strings.TrimSpace(a) == strings.TrimSpace(b) }

// lately does what is still to be done where ctx may have ended.
func lately(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return do(ctx)
}
