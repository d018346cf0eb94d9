package diffhook

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Revoke ends a signing secret that has leaked, at once and everywhere it can
// reach: the receivers refuse it, the platform rotates if it is the current one
// and revokes it, and it is removed from the store. old is its fingerprint.
//
// A part that fails does not keep it from the others; the errors are joined.
// Run it again until it returns nil, or [ErrNotFound]: the secret is in force
// nowhere, unless its name is wrong. Deliveries signed with it are lost.
// Where the platform cannot be reached and old is current there, receivers that
// refuse it answer 503 until they learn a new one: no forgery is let in.
//
// Options and errors are those of [SigningSecretService.Replace]. It does not
// wait for anything to drain, but for up to a minute for receivers to answer.
// Name all of them: one that is not told can accept the secret until its source
// says [Secrets].NoPrevious, or for its RotationWindow.
func (s *SigningSecretService) Revoke(ctx context.Context, old string, store SecretStore, opts *SecretRotationOptions) error {
	r, err := s.newRotation(old, store, opts)
	if err != nil {
		return err
	}
	var known atomic.Bool
	told := make(chan struct{})
	go func() {
		defer close(told)
		r.each(ctx, r.names, func(ctx context.Context, _ string, receiver Receiver) error {
			if knew(ctx, receiver, old) {
				known.Store(true)
			}
			return receiver.Revoke(ctx, old)
		})
	}()
	errStore := r.loadInTime(ctx)
	r.findOld()
	errPlatform := r.endAtPlatform(ctx)
	if r.storeKnows() || r.stage != stageUnknown {
		known.Store(true)
	}
	if errStore == nil {
		errStore = r.endInStore(ctx)
	}
	<-told
	r.each(ctx, r.names, func(ctx context.Context, _ string, receiver Receiver) error { return receiver.Refresh(ctx) })
	for part, err := range map[string]error{"the platform": errPlatform, "the store": errStore} {
		if err != nil {
			r.report(ctx, "failed", "%s: %v", part, err)
		}
	}
	err = errors.Join(errPlatform, errStore, r.refuse(ctx))
	switch {
	case err != nil:
		return err
	case !known.Load():
		return r.notFound()
	case len(r.names) == 0:
		return fmt.Errorf("%w: all is done but at the receivers, of which none is named: each may accept the secret for its RotationWindow more, unless its source says NoPrevious; name them, or restart them", ErrInvalidOptions)
	}
	return nil
}

// knew reports whether a receiver accepts the secret. It does not keep it from
// being told for long.
func knew(ctx context.Context, receiver Receiver, fingerprint string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	answer := make(chan bool, 1)
	go func() {
		_ = guarded(func() error {
			status, err := receiver.Status(ctx)
			answer <- err == nil && (status.accepts(fingerprint, status.Current) || status.accepts(fingerprint, status.Previous))
			return err
		})
	}()
	select {
	case knew := <-answer:
		return knew
	case <-ctx.Done():
		return false
	}
}

// loadInTime reads the store, and goes on without it where it hangs.
func (r *secretRotation) loadInTime(ctx context.Context) error {
	if r.store == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	type answer struct {
		stored Secrets
		err    error
	}
	loaded := make(chan answer, 1)
	go callSource(ctx, r.store.Load, func(stored Secrets, err error) { loaded <- answer{stored, err} })
	select {
	case a := <-loaded:
		if a.err != nil {
			return r.storeError("load", a.err, a.stored.Current, a.stored.Previous)
		}
		r.stored = a.stored.normalized()
		return nil
	case <-ctx.Done():
		return r.storeError("load", errReadTimeout)
	}
}

// endAtPlatform is the emergency at the platform. It sets the stage where the
// platform has the old secret.
func (r *secretRotation) endAtPlatform(ctx context.Context) (err error) {
	if r.platform, err = r.service.load(ctx); err != nil {
		return err
	}
	if r.platform.Current.Fingerprint() == r.old {
		r.stage = stageCurrent
		if err := r.rotate(ctx); err != nil {
			return err
		}
	}
	mayBe := r.stage == stageOpen // one that is not shown, and that nobody names another
	if r.platform.hides() && !mayBe {
		name := r.hiddenPrevious(ctx)
		mayBe = name == r.old || name == "" && r.platform.hasPrevious
	}
	if !r.platform.hasAsPrevious(r.old, mayBe) {
		return nil
	}
	if err := r.service.RevokePrevious(ctx); err != nil && (r.platform.hasPrevious || !errors.Is(err, ErrNotFound)) {
		return err
	}
	r.stage = stageRevoked
	r.report(ctx, "revoked", "DiffHook has forgotten %s", r.old)
	return nil
}

// endInStore is the emergency in the store, which does not need the
// platform where it knows a newer secret.
func (r *secretRotation) endInStore(ctx context.Context) error {
	if !r.storeKnows() {
		if r.store != nil && !r.platform.Current.IsZero() && !r.stored.Current.Equal(r.platform.Current) {
			return r.notThisTeams()
		}
		return nil
	}
	next := r.stored.Current
	if next.Fingerprint() == r.old {
		next = r.platform.Current
	}
	if next.IsZero() || next.Fingerprint() == r.old {
		return r.mismatch("its current secret is the one to be revoked, and the platform has not given a new one")
	}
	return r.saveAs(ctx, "removed", Secrets{Current: next, NoPrevious: true})
}
