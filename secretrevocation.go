package diffhook

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Revoke ends a signing secret that has leaked, at once and everywhere it can
// reach: the receivers refuse it, the platform rotates if it is the current one,
// the store gets the new one, and the platform revokes the old one. old is its
// fingerprint; store is as for [SigningSecretService.Replace].
//
// A part that fails does not keep it from the others; the errors are joined.
// Run it again until it returns nil, or [ErrNotInForce]: the secret is in force
// nowhere, unless its name is wrong. Nothing is waited for to drain, but
// receivers for up to two minutes, and a store for 10 s to answer and 30 s to give
// back what was saved.
//
// Deliveries signed with the secret are lost and, where it was the current one,
// those signed with the one before it, which the platform drops at the rotation.
// Where the platform cannot be reached and old is current there, receivers
// answer 503 until they learn a new one: no forgery is let in.
//
// Of opts it uses Receivers, PollInterval, Observe and Force. Name all receivers:
// one that is not told can accept the secret until its source says
// [Secrets].NoPrevious, or for its RotationWindow. Without any, the rest is done
// and the error wraps [ErrInvalidOptions]. Where the store failed, a later run
// needs Force: by then the platform does not know what the store has, as if the
// API key were another team's ([ErrStoreMismatch]). So it is, without a store,
// where no receiver has yet read what the platform signs with and the platform
// does not show its previous secret: that one is not revoked then, until a later
// run. [ErrRotationOpen] means that nobody knows which one that is. Other errors
// are those of Replace.
func (s *SigningSecretService) Revoke(ctx context.Context, old string, store SecretStore, opts *SecretRotationOptions) error {
	r, err := s.newRotation(old, store, opts)
	if err != nil {
		return err
	}
	r.leaked = true
	telling, cancel := context.WithCancel(ctx) // also where Observe panics
	defer cancel()
	before, stopTelling := r.tell(telling)
	stored, errStore := r.callStore(ctx, r.loadStore)
	errPlatform := r.rotateLeaked(ctx)
	errStore = r.loaded(stored, errStore) // now, when what it must not show is known
	r.findReplaced()
	r.findOld()
	known := r.storeKnows()
	var want Secrets
	if errStore == nil {
		want, errStore = r.replaceInStore(ctx)
	}
	if errPlatform == nil {
		errPlatform = r.revokeLeaked(ctx, before)
	}
	if errStore == nil && !want.Current.IsZero() {
		errStore = r.confirmStored(ctx, "removed", want)
	}
	stopTelling()
	r.refresh(ctx, r.names)
	for _, status := range before() {
		known = known || r.acceptsOld(status) != ""
	}
	if errPlatform == nil && r.stage == stageUnknown && (r.store != nil || len(r.names) > 0) {
		errPlatform = r.checkTeam(ctx)
	}
	if errPlatform != nil {
		r.report(ctx, "failed", "at DiffHook: %v", errPlatform)
	}
	if errStore != nil {
		r.report(ctx, "failed", "in the store: %v", errStore)
	}
	err = joinOnLine(errPlatform, errStore, r.refuse(ctx))
	switch {
	case err != nil:
		return err
	case len(r.names) == 0:
		return fmt.Errorf("%w: all is done but at the receivers, of which none is named: each may accept the secret for its RotationWindow more, unless its source says NoPrevious; name them, or restart them", ErrInvalidOptions)
	case !known && r.stage == stageUnknown:
		return r.notInForce()
	}
	return nil
}

const (
	knewTime   = time.Second     // for which the order to a receiver is put off at most, to learn what it accepts
	tellPeriod = 2 * time.Second // from one order to the next, to those that have not obeyed
)

// tell has the receivers refuse the old secret, while other things are done, until
// it is stopped. before returns their statuses from before the order.
func (r *secretRotation) tell(ctx context.Context) (before func() map[string]RotationStatus, stop func()) {
	if len(r.names) > 0 {
		r.report(ctx, "telling", "the receivers are told to refuse %s", r.old)
	}
	var mu sync.Mutex
	statuses := make(map[string]RotationStatus)
	soon := time.Now().Add(knewTime + knewTime/10)
	telling, cancel := context.WithCancel(ctx)
	told, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		left := r.receivers.each(ctx, r.names, func(ctx context.Context, name string, receiver Receiver) error {
			if status, ok := statusSoon(ctx, receiver); ok {
				mu.Lock()
				statuses[name] = status
				mu.Unlock()
			}
			return r.order(ctx, name, receiver)
		})
		close(told)
		for len(left) > 0 && sleep(telling, tellPeriod) == nil {
			// Not those whose calls hang, which need their places for refuse.
			idle := slices.DeleteFunc(slices.Collect(maps.Keys(left)), r.receivers.isBusy)
			failed := r.receivers.each(telling, idle, r.order)
			maps.DeleteFunc(left, func(name string, _ error) bool { return slices.Contains(idle, name) && failed[name] == nil })
		}
	}()
	before = func() map[string]RotationStatus {
		select {
		case <-told:
		case <-time.After(time.Until(soon)):
		case <-ctx.Done():
		}
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(statuses)
	}
	return before, func() {
		<-told
		cancel()
		<-done
	}
}

// order has a receiver refuse the old secret.
func (r *secretRotation) order(ctx context.Context, _ string, receiver Receiver) error {
	return receiver.Revoke(ctx, r.old)
}

// statusSoon asks a receiver that may hang for its status.
func statusSoon(ctx context.Context, receiver Receiver) (status RotationStatus, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, knewTime)
	defer cancel()
	answer := make(chan RotationStatus, 1)
	go func() {
		defer cancel()
		_ = guarded(func() error {
			status, err := receiver.Status(ctx)
			if err == nil {
				answer <- status
			}
			return err
		})
	}()
	<-ctx.Done()
	select {
	case status = <-answer:
		return status, true
	default:
		return status, false
	}
}

// rotateLeaked has the platform sign with another secret, if it signs with the
// leaked one.
func (r *secretRotation) rotateLeaked(ctx context.Context) (err error) {
	if r.platform, err = r.service.load(ctx); err != nil {
		return err
	}
	if r.platform.Current.Fingerprint() == r.old {
		r.stage = stageCurrent
	}
	return r.rotate(ctx)
}

// findReplaced finds which secret this run has rotated away at a platform that does
// not show it. It is not the leaked one where the store says that this had been
// replaced already, and what showed it as current was behind.
func (r *secretRotation) findReplaced() {
	p := &r.platform
	if r.stage == stageOpen && p.hides() && r.stored.Previous.Fingerprint() == r.old && !r.stored.Current.Equal(p.Current) {
		p.Previous, p.hasPrevious = r.stored.Current, true
	}
}

// revokeLeaked has the platform revoke the leaked secret, if that is what it has
// as previous.
func (r *secretRotation) revokeLeaked(ctx context.Context, before func() map[string]RotationStatus) error {
	p := &r.platform
	mayBe := r.stage == stageOpen || r.stored.NoPrevious && r.stored.Current.Equal(p.Current) // an earlier run got so far
	if p.hides() && !mayBe {
		name := r.previousBy(before)
		if name == "" && p.hasPrevious {
			return fmt.Errorf("%w: DiffHook has a previous secret that it does not show, and nobody knows whether it is %s; if it may be, end it with SigningSecret.RevokePrevious", ErrRotationOpen, r.old)
		}
		mayBe = name == r.old
	}
	if !p.hasAsPrevious(r.old, mayBe) {
		return nil
	}
	if r.store == nil && r.stage == stageUnknown && p.hides() { // the receivers say so
		if err := r.checkTeam(ctx); err != nil {
			return err
		}
	}
	return r.revoked(ctx, r.service.RevokePrevious(ctx), p.hasPrevious || !r.rotated.IsZero())
}

// replaceInStore saves what is left when the leaked secret is gone, and returns
// it: nothing where there is nothing to save. The platform is not needed for it
// where the store knows a newer secret.
func (r *secretRotation) replaceInStore(ctx context.Context) (want Secrets, err error) {
	next := r.stored.Current
	leaked := next.Fingerprint() == r.old
	// Or another one has been rotated away, by a run to which the leaked one was
	// shown as current by what was behind. Deliveries in flight need it.
	innocent := r.platform.Previous
	replaced := !innocent.IsZero() && innocent.Fingerprint() != r.old && (leaked && r.stage == stageOpen || next.Equal(innocent))
	if leaked || replaced {
		next = r.platform.Current
	}
	switch {
	case r.store == nil:
		return Secrets{}, nil
	case r.storeKnows() && (next.IsZero() || next.Fingerprint() == r.old):
		return Secrets{}, r.mismatch("its current secret is the one to be revoked, and the platform has not given a new one")
	case leaked && !r.opts.Force && !r.platformKnows():
		return Secrets{}, r.unknownToPlatform()
	case r.storeKnows(), replaced:
	case r.platform.Current.IsZero():
		return Secrets{}, nil
	case !next.Equal(r.platform.Current):
		return Secrets{}, r.notThisTeams()
	case !r.platformKnows() && !(r.platform.NoPrevious && r.stored.Previous.IsZero()):
		return Secrets{}, nil
	}
	want = Secrets{Current: next, NoPrevious: true}
	if replaced {
		want = Secrets{Current: next, Previous: innocent}
	}
	if r.holds(want) {
		return Secrets{}, nil
	}
	return want, r.put(ctx, want)
}

// platformKnows reports whether the platform has the old secret, or has had it
// until this run.
func (r *secretRotation) platformKnows() bool {
	p := &r.platform
	return r.stage != stageUnknown || p.hasAsPrevious(r.old, p.hasPrevious && r.storeKnows())
}
