package diffhook

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// switchOver gives this client the new key, where it uses the old one: for good,
// also in the place of a CredentialsFunc that has not learned of it.
func (r *keyRotation) switchOver(ctx context.Context) error {
	_, err := r.switchClient(ctx)
	return err
}

// switchClient is switchOver, and returns the key that the client uses then: zero
// where its credentials are of another kind.
func (r *keyRotation) switchClient(ctx context.Context) (own APIKey, err error) {
	for {
		before := r.client.auth.Load()
		if before.exchange != nil {
			return APIKey{}, nil
		}
		token, err := before.token(ctx)
		if err != nil {
			return APIKey{}, r.foreignError("the client's credentials failed", err, r.stored)
		}
		if own, err = NewAPIKey(token); err != nil || !own.Equal(r.stored.Previous) {
			return own, nil
		}
		if r.client.auth.CompareAndSwap(before, r.client.core().mustAuth(r.stored.Current)) {
			r.report(ctx, "switched", "this client uses %v", r.stored.Current)
			return r.stored.Current, nil
		}
	}
}

// successor is a client with the new key.
func (r *keyRotation) successor() *Client { return r.client.WithCredentials(r.stored.Current) }

// drain waits until the old key is no longer used. Each look is a call with the
// new key, which so goes on being proven.
func (r *keyRotation) drain(ctx context.Context) error {
	return r.poll(ctx, "draining", r.opts.PollInterval, func() (string, error) {
		if r.opts.DeleteNow != nil && r.opts.DeleteNow() {
			r.told = true
			r.report(ctx, "skipped", "%s is deleted, whoever uses it: DeleteNow says so", r.name())
			return "", nil
		}
		err := r.list(ctx, r.successor())
		if errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrForbidden) || errors.Is(err, errManyKeys) {
			return "", err
		}
		if err != nil {
			return "the keys cannot be listed: " + briefly(err), nil
		}
		old, there := r.find(r.old)
		if !there {
			return "", nil
		}
		left := r.used.look(old, r.keys, r.opts.Quiet)
		if left == "" {
			r.report(ctx, "drained", "%s has not been used for %v", r.name(), r.opts.Quiet)
		}
		return left, nil
	})
}

// briefly says why a call failed in words that do not change with each call.
func briefly(err error) string {
	if errors.Is(err, errUnclearKeys) {
		return "a key has no id, or a last use that cannot be read"
	}
	if api := (*APIError)(nil); errors.As(err, &api) {
		return fmt.Sprintf("the API answers %d", api.StatusCode)
	}
	return "the API does not answer"
}

// lastUseUnit is longer than the second in which the platform tells times.
const lastUseUnit = 2 * time.Second

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
	if last.Before(old.CreatedAt) { // never, by whatever date: but whoever was given it may be about to
		last = old.CreatedAt
	}
	if u.seen.IsZero() || !u.at.Equal(last) {
		u.at, u.seen = last, time.Now()
	}
	unused := time.Since(u.seen)
	if u.at.Unix() > 0 { // else it is no date
		unused = max(unused, now.Sub(u.at))
	}
	if unused >= quiet {
		return ""
	}
	return fmt.Sprintf("the old key was created or last used at %s, waiting until %s", u.at.Format(time.RFC3339), u.at.Add(quiet).Format(time.RFC3339))
}
