package diffhook

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
// receivers for up to two minutes, and a store for 10 s at a time.
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
// API key were another team's ([ErrStoreMismatch]). [ErrRotationOpen] means that
// the platform has a previous secret that it does not show, and nobody knows
// which. Other errors are those of Replace.
func (s *SigningSecretService) Revoke(ctx context.Context, old string, store SecretStore, opts *SecretRotationOptions) error {
	r, err := s.newRotation(old, store, opts)
	if err != nil {
		return err
	}
	r.leaked = true
	before, told := r.tell(ctx)
	stored, errStore := r.callStore(ctx, r.loadStore)
	errPlatform := r.rotateLeaked(ctx)
	errStore = r.loaded(stored, errStore) // now, when the texts to be hidden are known
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
	<-told
	r.refresh(ctx, r.names)
	for _, status := range before() {
		known = known || r.acceptsOld(status) != ""
	}
	if known && errPlatform == nil && r.stage == stageUnknown {
		errPlatform = r.checkTeam(ctx)
	}
	for part, err := range map[string]error{"the platform": errPlatform, "the store": errStore} {
		if err != nil {
			r.report(ctx, "failed", "%s: %v", part, err)
		}
	}
	err = errors.Join(errPlatform, errStore, r.refuse(ctx))
	switch {
	case err != nil:
		return err
	case !known && r.stage == stageUnknown:
		return r.notInForce()
	case len(r.names) == 0:
		return fmt.Errorf("%w: all is done but at the receivers, of which none is named: each may accept the secret for its RotationWindow more, unless its source says NoPrevious; name them, or restart them", ErrInvalidOptions)
	}
	return nil
}

// knewTime is how long the order to a receiver is put off at most, to learn what
// it accepts.
const knewTime = time.Second

// tell has all receivers refuse the old secret. told is closed when they do, or
// have not answered; before returns their statuses from before the order.
func (r *secretRotation) tell(ctx context.Context) (before func() map[string]RotationStatus, told <-chan struct{}) {
	if len(r.names) > 0 {
		r.report(ctx, "telling", "the receivers are told to refuse %s", r.old)
	}
	var mu sync.Mutex
	statuses := make(map[string]RotationStatus)
	asked, done := time.After(knewTime+knewTime/10), make(chan struct{})
	go func() {
		defer close(done)
		r.receivers.each(ctx, r.names, func(ctx context.Context, name string, receiver Receiver) error {
			if status, ok := statusSoon(ctx, receiver); ok {
				mu.Lock()
				statuses[name] = status
				mu.Unlock()
			}
			return receiver.Revoke(ctx, r.old)
		})
	}()
	return func() map[string]RotationStatus {
		select {
		case <-done:
		case <-asked:
		case <-ctx.Done():
		}
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(statuses)
	}, done
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
	return r.revoked(ctx, r.service.RevokePrevious(ctx), p.hasPrevious)
}

// replaceInStore saves what is left when the leaked secret is gone, and returns
// it: nothing where there is nothing to save. The platform is not needed for it
// where the store knows a newer secret.
func (r *secretRotation) replaceInStore(ctx context.Context) (want Secrets, err error) {
	next := r.stored.Current
	if next.Fingerprint() == r.old {
		next = r.platform.Current
	}
	switch {
	case r.store == nil:
		return Secrets{}, nil
	case r.storeKnows() && (next.IsZero() || next.Fingerprint() == r.old):
		return Secrets{}, r.mismatch("its current secret is the one to be revoked, and the platform has not given a new one")
	case r.stored.Current.Fingerprint() == r.old && !r.opts.Force && !r.platformKnows():
		return Secrets{}, r.unknownToPlatform()
	case r.storeKnows():
	case r.platform.Current.IsZero():
		return Secrets{}, nil
	case !next.Equal(r.platform.Current):
		return Secrets{}, r.notThisTeams()
	case !r.platformKnows():
		return Secrets{}, nil
	}
	want = Secrets{Current: next, NoPrevious: true}
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
