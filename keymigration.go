package diffhook

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// lastUseUnit is longer than the second in which the platform tells times.
const lastUseUnit = 2 * time.Second

// switchOver gives this client the new key, where it uses the old one: for good,
// also in the place of a CredentialsFunc that has not learned of it.
func (r *keyRotation) switchOver(ctx context.Context) error {
	before := r.client.auth.Load()
	if before.exchange != nil {
		return nil
	}
	token, err := before.token(ctx)
	if err != nil {
		return r.foreignError("the client's credentials failed", err, r.stored)
	}
	using, err := NewAPIKey(token)
	if err != nil || !using.Equal(r.stored.Previous) {
		return nil // it has credentials of another kind, or of its own
	}
	if !r.alive {
		if err := r.list(ctx, r.successor()); err != nil {
			return err
		}
	}
	if !r.client.auth.CompareAndSwap(before, r.client.core.mustAuth(r.stored.Current)) {
		return r.switchOver(ctx)
	}
	r.report(ctx, "switched", "this client uses %v", r.stored.Current)
	return nil
}

// ownKey returns the API key that this client uses; zero where it is none.
func (r *keyRotation) ownKey(ctx context.Context) APIKey {
	auth := r.client.auth.Load()
	if auth.exchange != nil {
		return APIKey{}
	}
	token, err := auth.token(ctx)
	if err != nil {
		return APIKey{}
	}
	key, _ := NewAPIKey(token)
	return key
}

// drain waits until the old key is no longer used. Each look is a call with the
// new key, which so goes on being proven.
func (r *keyRotation) drain(ctx context.Context) error {
	var used lastUse
	return r.poll(ctx, "draining", r.opts.PollInterval, func() (string, error) {
		if r.opts.DeleteNow != nil && r.opts.DeleteNow() {
			r.report(ctx, "drained", "not waited for: DeleteNow says so")
			return "", nil
		}
		err := r.list(ctx, r.successor())
		if errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrForbidden) || errors.Is(err, errManyKeys) || ctx.Err() != nil {
			return "", err
		}
		if err != nil {
			return "the keys cannot be listed: " + briefly(err), nil
		}
		old, there := r.find(r.old)
		if !there {
			return "", nil
		}
		left := used.look(old, r.keys, r.opts.Quiet)
		if left == "" {
			r.report(ctx, "drained", "%s has not been used for %v", r.name(), r.opts.Quiet)
		}
		return left, nil
	})
}

// briefly says why a call failed in words that do not change with each call.
func briefly(err error) string {
	if api := (*APIError)(nil); errors.As(err, &api) {
		return fmt.Sprintf("the API answers %d", api.StatusCode)
	}
	return "the API does not answer"
}

// successor is a client with the new key.
func (r *keyRotation) successor() *Client { return r.client.WithCredentials(r.stored.Current) }

// lastUse is what is known of the old key's last use.
type lastUse struct {
	at   time.Time // by the platform's clock
	seen time.Time // by ours, when at was first told
}

// look says what is left to wait for. It goes by the platform's clock, which is
// at least at the latest time that the platform tells of any key, and where
// that stands still by the time that has passed here without a change.
func (u *lastUse) look(old Key, keys []Key, quiet time.Duration) (left string) {
	var now time.Time
	told := false
	for _, k := range keys {
		told = told || !k.LastUsedAt.IsZero()
		for _, at := range []time.Time{k.CreatedAt, k.LastUsedAt} {
			if at.After(now) && time.Until(at) <= 2*time.Hour { // else it is no date of today
				now = at
			}
		}
	}
	if !told {
		return "the platform does not tell when keys were used, so DeleteNow decides"
	}
	last := old.LastUsedAt
	if last.IsZero() {
		last = old.CreatedAt // never: but whoever was given it may be about to
	}
	if u.seen.IsZero() || !u.at.Equal(last) {
		u.at, u.seen = last, time.Now()
	}
	if max(now.Sub(u.at), time.Since(u.seen)) >= quiet {
		return ""
	}
	return fmt.Sprintf("the old key was created or last used at %s, which must be %v ago", u.at.Format(time.RFC3339), quiet)
}

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
	if err := r.checkNotCurrent(ctx, successor); err != nil {
		return err
	}
	old, there := r.find(r.old)
	if err := r.switchOver(ctx); err != nil { // in case that it was switched back
		return err
	}
	if own := r.ownKey(ctx); !own.Equal(current) && old.MayBe(own) {
		return fmt.Errorf("%w: this client may use %s itself, which is to be deleted; the key is kept", ErrStoreMismatch, r.name())
	}
	if there {
		if err := successor.Keys.Delete(ctx, r.old); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		r.report(ctx, "deleted", "%s gets 401 from now on", r.name())
	}
	works, err := r.previousWorks(ctx)
	if err != nil {
		return err
	}
	if works {
		return fmt.Errorf("%w: its previous key still works, though there is no key %s any more: find its id and run it with that", ErrStoreMismatch, r.name())
	}
	return r.saveAs(ctx, "removed", APIKeys{Current: r.stored.Current})
}

// previousWorks reports whether the key that has been replaced is alive: the one
// proof that a deleted key was, or was not, the one in the store.
func (r *keyRotation) previousWorks(ctx context.Context) (bool, error) {
	_, err := r.client.WithCredentials(r.stored.Previous).Monitors.List(ctx, &ListOptions{Limit: 1})
	if errors.Is(err, ErrUnauthorized) {
		return false, nil
	}
	return err == nil, err
}

// checkNotCurrent refuses to delete the key that applications use, where the id
// of that was given. If prefixes do not tell, its last use does: it must not be
// moved by a call with the current key.
func (r *keyRotation) checkNotCurrent(ctx context.Context, successor *Client) error {
	current := r.stored.Current
	old, there := r.find(r.old)
	if r.created || !there || !old.MayBe(current) {
		return nil
	}
	if err := sleep(ctx, lastUseUnit); err != nil {
		return err
	}
	if err := r.list(ctx, successor); err != nil {
		return err
	}
	again, there := r.find(r.old)
	others := r.others(func(k Key) bool { return k.MayBe(current) && !k.LastUsedAt.IsZero() })
	if there && (len(others) == 0 || !again.LastUsedAt.Equal(old.LastUsedAt)) {
		return fmt.Errorf("%w: its current key may be %s, which is to be deleted; the key is kept: if it is not that, delete it by hand", ErrStoreMismatch, r.name())
	}
	return nil
}
