package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/redact"
)

// RevokeOptions configures [RevokeSecret]. The zero value, and a nil pointer, mean
// every default. The fields are those of [SecretOptions].
type RevokeOptions struct {
	Receivers map[string]Receiver
	Publish   func(ctx context.Context, s diffhook.Secrets) error
	Poll      time.Duration
	Observe   func(Step)
}

// learnTime is how long RevokeSecret waits for receivers in one run.
const learnTime = 2 * time.Minute

// RevokeSecret ends the leaked signing secret with the given fingerprint at once. Run
// it again until it returns nil.
//
// First, every receiver rejects the secret. RevokeSecret then takes the document over
// from any other run. If leaked is the current secret, RevokeSecret asks p for a new
// secret, or takes over the secret that DiffHook signs with already, and drops every
// older secret. Deliveries that the leaked secret or an older secret signed are lost.
// The new secret is not given under seal: receivers get it from their source or by
// Publish, for which RevokeSecret waits for 2 minutes.
//
// The error joins all failures: receivers by name, and the errors of [Secret].
// [ErrNotInForce] means that the document does not name leaked; receivers reject it
// all the same.
func RevokeSecret(ctx context.Context, leaked string, p SecretPlatform, s Store, opts *RevokeOptions) error {
	var o RevokeOptions
	if opts != nil {
		o = *opts
	}
	switch {
	case !isFingerprint(leaked):
		return fmt.Errorf("%w: leaked is not a fingerprint: 16 digits 0-9a-f", diffhook.ErrInvalidOptions)
	case o.Poll < 0:
		return fmt.Errorf("%w: Poll must not be negative; pass 0 for the default", diffhook.ErrInvalidOptions)
	case p == nil || s == nil:
		return errNilArgument
	}
	if err := checkReceivers(o.Receivers); err != nil {
		return err
	}
	r := newSecretRun(p, s, SecretOptions{Receivers: o.Receivers, Publish: o.Publish, Poll: cmp.Or(o.Poll, defaultPoll), Observe: o.Observe, Hold: -1})
	r.report(StepReject, "receivers reject "+leaked, time.Time{})
	failed := r.reject(ctx, leaked)
	r.warn(failed)
	complete, err := r.endLeaked(ctx, leaked)
	if complete { // every receiver has been seen to reject it
		return err
	}
	return errors.Join(err, joined(failed))
}

// endLeaked does all but the first rejection. complete reports that no receiver
// accepts leaked any more.
func (r *secretRun) endLeaked(ctx context.Context, leaked string) (complete bool, err error) {
	if err := r.acquire(ctx, true); err != nil {
		return false, err
	}
	defer r.release(ctx)
	held, end := r.keep(ctx, func(ctx context.Context) { r.reject(ctx, leaked) })
	defer end()
	if d := r.doc(); d.Phase == phaseIdle && d.Replaced == leaked {
		return false, nil
	}
	if err := r.drop(held, leaked); err != nil {
		return false, causeOf(held, err)
	}
	if r.doc().Phase == phaseRequested {
		if err := r.replaceLeaked(held, leaked); err != nil {
			return false, causeOf(held, err)
		}
	}
	return r.finishLeaked(held)
}

// drop takes leaked out of the document, or saves that DiffHook is about to be asked
// for its successor.
func (r *secretRun) drop(ctx context.Context, leaked string) error {
	r.published = false
	return r.update(ctx, func(doc document) error {
		d := doc.(*secretDocument)
		d.Revoke = leaked
		switch {
		case d.Leaked == leaked, d.Phase == phaseRevoked && d.Replaced == leaked:
		case d.Current.Fingerprint() == leaked:
			d.Leaked, d.Previous = leaked, secretText{}
			d.enter(phaseRequested)
		case d.Previous.Fingerprint() == leaked:
			d.Replaced, d.Previous = leaked, secretText{}
			d.enter(phaseRevoked)
		default:
			return fmt.Errorf("%w: the document does not name %s; receivers were told to reject it", ErrNotInForce, leaked)
		}
		return nil
	})
}

// replaceLeaked saves the successor of a leaked current secret.
func (r *secretRun) replaceLeaked(ctx context.Context, leaked string) error {
	seen, err := r.signing(ctx, StepCheck, "look whether DiffHook has a new secret")
	if err != nil {
		return err
	}
	next := seen.Current
	if next.Fingerprint() == leaked {
		r.report(StepRotate, "rotate the leaked secret "+leaked, time.Time{})
		if err := r.checkLease(); err != nil {
			return err
		}
		if next, err = r.platform.Rotate(ctx); err != nil {
			return redact.Foreign("rotate the leaked secret", err, r.group.hidden()...)
		}
	}
	if err := checkNew(next, r.doc(), leaked); err != nil {
		return err
	}
	r.compared = true
	return r.advance(ctx, phaseRequested, func(d *secretDocument) {
		d.Current, d.Replaced, d.Leaked = secretText{next}, leaked, ""
		d.enter(phaseRevoked)
	})
}

// finishLeaked waits for the receivers for learnTime, and returns those that still do
// not have the new secret.
func (r *secretRun) finishLeaked(ctx context.Context) (complete bool, err error) {
	deadline := time.Now().Add(learnTime)
	// Servers get the new secret before a person is asked for a click.
	d := r.doc()
	r.publish(ctx, d.secrets())
	r.look(ctx, func(ctx context.Context, rc Receiver, _ diffhook.VerifierStatus) error { return rc.Refresh(ctx) })
	late := errors.New("diffhook: revoke the leaked secret: not every server has the new secret yet; look at the steps, and run it again")
	err = r.finish(ctx, func(bool) error {
		if time.Now().After(deadline) {
			return late
		}
		return r.waitPoll(ctx)
	})
	if errors.Is(err, late) {
		_, failed := r.look(ctx, func(ctx context.Context, rc Receiver, _ diffhook.VerifierStatus) error {
			return rc.Reject(ctx, r.doc().Replaced)
		})
		err = errors.Join(err, joined(maps.Clone(failed)))
	}
	return err == nil, causeOf(ctx, err)
}
