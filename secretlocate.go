package diffhook

import (
	"context"
	"fmt"
	"time"
)

// locate finds where the rotation stands. It changes nothing.
func (r *secretRotation) locate(ctx context.Context) (err error) {
	stored, errStore := r.callStore(ctx, r.loadStore)
	if r.platform, err = r.service.load(ctx); err != nil {
		return err
	}
	if err := r.loaded(stored, errStore); err != nil { // now, when what it must not show is known
		return err
	}
	switch p := &r.platform; {
	case p.Current.Fingerprint() == r.old:
		r.stage = stageCurrent
		if !r.opts.Force && (p.open() || p.hides() && !r.stored.Previous.IsZero() && !r.stored.expired()) {
			return r.anotherOpen(p.Previous)
		}
		if r.store != nil && r.stored.Current.Fingerprint() != r.old {
			return r.mismatch("DiffHook signs with another secret than it has as current; is it this team's store?")
		}
	case p.hasAsPrevious(r.old, p.hides() && r.hiddenPrevious(ctx) == r.old):
		r.stage = stageOpen
		if r.store != nil && !r.storeKnows() && !r.stored.Current.Equal(p.Current) && !r.opts.Force {
			return fmt.Errorf("%w If so, run it again with Force", r.notThisTeams())
		}
	case p.hasPrevious:
		return r.anotherOpen(p.Previous)
	case r.stored.Current.Fingerprint() == r.old:
		if !r.opts.Force {
			return r.unknownToPlatform()
		}
		r.stage = stageRevoked
	case r.store != nil && !r.stored.Current.Equal(p.Current):
		return r.notThisTeams()
	case r.storeKnows():
		r.stage = stageRevoked
		// An expiry that save has put off: the platform has ended it by itself, and
		// deliveries in flight need it. A later one is the platform's own, and has
		// not come yet: somebody has revoked it.
		expires := r.stored.PreviousExpires
		if !expires.IsZero() && !r.stored.expired() && time.Until(expires) <= r.opts.RetryHorizon+expiryMargin {
			r.stage = stageOpen
		}
	default:
		return r.locateAtReceivers(ctx)
	}
	r.findOld()
	return nil
}

// locateAtReceivers is for when the platform and the store have done with the
// old secret, if there ever was one of that name.
func (r *secretRotation) locateAtReceivers(ctx context.Context) error {
	answers := r.receivers.ask(ctx, r.names)
	if merged := mergeSecret(r.old, answered(answers)); len(merged.CurrentAt)+len(merged.PreviousAt) > 0 {
		r.stage = stageRevoked
		return r.checkTeam(ctx)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("diffhook: asking the receivers: %w; run it again to go on", contextError(ctx))
	}
	if left := r.left(answers, r.acceptsOld); len(left) > 0 {
		return r.mayAccept(left)
	}
	return r.notInForce()
}

// checkTeam sees, where only the receivers know the old secret, that they are of
// the team whose API key this is: the store or one of them has what DiffHook
// signs with, perhaps when it has read its source again.
func (r *secretRotation) checkTeam(ctx context.Context) error {
	current := r.platform.Current.Fingerprint()
	if r.opts.Force || r.stored.Current.Fingerprint() == current {
		return nil
	}
	if len(r.behind(ctx, current)) < len(r.names) {
		return nil
	}
	r.refresh(ctx, r.names)
	if len(r.behind(ctx, current)) < len(r.names) {
		return nil
	}
	return fmt.Errorf("%w: DiffHook does not know %s, and no receiver has %s, which it signs with; is it this team's API key? If so, run it again with Force", ErrStoreMismatch, r.old, current)
}

// findOld takes the old secret from whoever shows it, to be saved as previous.
func (r *secretRotation) findOld() {
	for _, s := range r.known() {
		if s.Fingerprint() == r.old {
			r.oldSecret = s
		}
	}
}

func (r *secretRotation) notInForce() error {
	return fmt.Errorf("%w: no signing secret with the fingerprint %s is in force: it has been replaced or revoked already, or the fingerprint is wrong", ErrNotInForce, r.old)
}

func (r *secretRotation) anotherOpen(previous Secret) error {
	name := "a secret that the API does not show"
	if !previous.IsZero() {
		name = previous.Fingerprint()
	}
	return fmt.Errorf("%w: the one that replaces %s; run that to its end first", ErrRotationOpen, name)
}

func (r *secretRotation) mismatch(text string) error {
	return fmt.Errorf("%w: current %q, previous %q: %s", ErrStoreMismatch, r.stored.Current.Fingerprint(), r.stored.Previous.Fingerprint(), text)
}

func (r *secretRotation) unknownToPlatform() error {
	return r.mismatch("DiffHook signs with another secret and does not know this one; is it this team's store, and this team's API key? If so, run it again with Force")
}

func (r *secretRotation) notThisTeams() error {
	return r.mismatch("it has neither the secret to be replaced nor the one that DiffHook signs with; is it this team's store?")
}

// hiddenPrevious returns the fingerprint of the platform's previous secret where
// the platform does not show it, by the store or, where that does not know, by a
// receiver; "" where nobody knows.
func (r *secretRotation) hiddenPrevious(ctx context.Context) string {
	return r.previousBy(func() map[string]RotationStatus { return answered(r.receivers.ask(ctx, r.names)) })
}

// previousBy is hiddenPrevious with what the receivers say.
func (r *secretRotation) previousBy(statuses func() map[string]RotationStatus) string {
	now := r.platform.Current.Fingerprint()
	replaced := func(current, previous string) string {
		if current != now {
			return current // which has not heard of the rotation yet
		}
		return previous
	}
	if name := replaced(r.stored.Current.Fingerprint(), r.stored.Previous.Fingerprint()); name != "" && r.store != nil {
		return name
	}
	name := ""
	for _, status := range statuses() {
		if known := replaced(status.Current.Fingerprint, status.Previous.Fingerprint); known == r.old || name == "" {
			name = known
		}
	}
	return name
}
