package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/diffhook/diffhook-go"
)

// RevokeOptions configures [RevokeSecret]. The zero value, and a nil pointer, mean
// every default. The fields are those of [SecretOptions].
type RevokeOptions struct {
	Receivers map[string]Receiver
	Publish   func(ctx context.Context, s diffhook.Secrets) error
	Poll      time.Duration
	Observe   func(Step)
}

// learnTime bounds the wait of RevokeSecret for the receivers, in each run.
const learnTime = 2 * time.Minute

// RevokeSecret ends the leaked signing secret with the given fingerprint at once. Call
// it again until it returns nil.
//
// First, every receiver rejects the secret. RevokeSecret then takes the document over
// from any other run. If leaked is the current secret, RevokeSecret asks p for a new
// secret, unless DiffHook signs with a new secret already, drops every older secret, and
// compares once more before the revocation. Deliveries that the older secrets signed are
// lost. The new secret is not sent under seal: receivers get it from their source or by
// Publish, for which RevokeSecret waits for 2 minutes.
//
// The error joins all failures: receivers by name, and the errors of [Secret]. If the
// document does not name leaked, the error matches [ErrNotInForce], and receivers reject
// leaked all the same.
func RevokeSecret(ctx context.Context, leaked string, p SecretPlatform, s Store, opts *RevokeOptions) error {
	o := valueOf(opts)
	switch {
	case !isFingerprint(leaked):
		return fmt.Errorf("%w: leaked is not a fingerprint: 16 digits 0-9a-f", diffhook.ErrInvalidOptions)
	case o.Poll < 0:
		return fmt.Errorf("%w: Poll is negative; pass 0 for the default", diffhook.ErrInvalidOptions)
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
	if err := r.acquire(ctx, true); err != nil {
		return errors.Join(err, joined(failed))
	}
	beat := func(ctx context.Context) { r.reject(ctx, leaked) }
	return r.leased(ctx, beat, func(ctx context.Context) error {
		if d := r.doc(); d.Phase == phaseIdle && d.Replaced == leaked {
			// A server may have been down, or left out, when the revocation ended.
			return r.waitRejected(ctx, r.untilLearned())
		}
		if err := r.endLeaked(ctx, leaked); err != nil {
			return errors.Join(err, joined(failed))
		}
		return nil // every receiver rejects leaked
	})
}

// endLeaked carries out the phases of the revocation.
func (r *secretRun) endLeaked(ctx context.Context, leaked string) error {
	if err := r.drop(ctx, leaked); err != nil {
		return err
	}
	if r.phase() == phaseRequested {
		if err := r.replaceLeaked(ctx, leaked); err != nil {
			return err
		}
	}
	return r.finishLeaked(ctx)
}

// drop takes a previous secret out of the document. For a current secret, drop enters
// phase requested.
func (r *secretRun) drop(ctx context.Context, leaked string) error {
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
			return fmt.Errorf("%w: the document does not name %s, which receivers reject now", ErrNotInForce, leaked)
		}
		return nil
	})
}

// replaceLeaked saves the successor of a leaked current secret. After a wrong paste in an
// earlier run, DiffHook may still sign with the secret that was replaced before. The
// comparison before the revocation finds a wrong paste in this run.
func (r *secretRun) replaceLeaked(ctx context.Context, leaked string) error {
	seen, err := r.signing(ctx, StepCheck, "look whether DiffHook has a new secret", diffhook.Secret{})
	if shown := seen.Current.Fingerprint(); err == nil && (shown == leaked || shown == r.doc().Replaced) {
		seen, err = r.click(ctx, seen.Current)
	}
	if err != nil {
		return err
	}
	if err := checkNew(seen.Current, r.doc(), leaked); err != nil {
		return err
	}
	r.shown = !seen.Previous.IsZero() // by DiffHook itself: a person pastes the current secret alone
	return advance(ctx, r.run, phaseRequested, phaseRevoked, func(d *secretDocument) {
		d.Current, d.Replaced, d.Leaked = secretText{seen.Current}, leaked, ""
	})
}

// finishLeaked waits for the receivers for learnTime. After that, a receiver without the
// new secret, or a source with the old secret, is an error.
func (r *secretRun) finishLeaked(ctx context.Context) error {
	again := r.untilLearned()
	// Servers get the new secret before a person is asked for a click.
	r.publish(ctx, r.doc())
	r.look(ctx, func(ctx context.Context, rc Receiver, _ diffhook.VerifierStatus) error { return rc.Refresh(ctx) })
	return r.finish(ctx, again)
}

// untilLearned returns a function for waitRejected: the wait ends after learnTime.
func (r *secretRun) untilLearned() func(context.Context) error {
	deadline := time.Now().Add(learnTime)
	return func(ctx context.Context) error {
		if time.Now().Before(deadline) {
			return r.waitPoll(ctx)
		}
		again := errors.New("diffhook: revoke the leaked secret: a server or its source has not changed over yet; run the revocation again")
		return errors.Join(again, r.late, joined(r.reject(ctx, r.doc().Replaced)))
	}
}
