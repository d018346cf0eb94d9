package rotation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/redact"
)

// drain is phase rotated: it waits until servers have the new secret and the old
// secret is out of use, compares once more, and saves that servers no longer get the
// old secret.
func (r *secretRun) drain(ctx context.Context) error {
	d := r.doc()
	old, next := d.Previous, d.Current
	sealed, err := old.SealSuccessor(next.Secret)
	if err != nil {
		return fmt.Errorf("%w: seal the new secret: %w", ErrMismatch, err)
	}
	r.hold(ctx)
	confirmed := false // early: before a long drain, or in an overdue drain
	for {
		published := r.publish(ctx, d.secrets())
		statuses, failed := r.look(ctx, learner(old.Fingerprint(), next.Fingerprint(), sealed))
		learning := pendingReceivers(statuses, failed, func(s diffhook.VerifierStatus) string { return lacks(s, next.Fingerprint()) })
		switch until, using := r.inUse(d, statuses); {
		case !published:
		case learning != "":
			r.report(StepLearn, learning, time.Time{})
		case using != "":
			if !confirmed && (time.Until(until) > shortDrain || r.isOverdue(d)) {
				if err := r.confirm(ctx, next); err != nil {
					return err
				}
				r.endHold(ctx)
				confirmed = true
				r.rest()
			}
			r.report(StepDrain, using, until)
		default:
			return r.revokeDrained(ctx, old, next)
		}
		if err := r.waitPoll(ctx); err != nil {
			return err
		}
	}
}

// isOverdue reports whether the old secret should have been quiet for shortDrain. If
// it is not, DiffHook may still sign with it: the new secret may be a wrong paste.
func (r *secretRun) isOverdue(d secretDocument) bool {
	return time.Since(d.Since) > r.opts.RetryHorizon+r.opts.Quiet+shortDrain
}

// revokeDrained compares once more, and enters phase revoked.
func (r *secretRun) revokeDrained(ctx context.Context, old, next secretText) error {
	if err := r.wake(ctx); err != nil {
		return err
	}
	if err := r.confirm(ctx, next); err != nil {
		return err
	}
	return r.advance(ctx, phaseRotated, func(d *secretDocument) {
		d.Replaced, d.Previous = old.Fingerprint(), secretText{}
		d.enter(phaseRevoked)
	})
}

// confirm compares the new secret with the secret that DiffHook shows.
func (r *secretRun) confirm(ctx context.Context, next secretText) error {
	seen, err := r.signing(ctx, StepConfirm, "compare the new secret with DiffHook once more")
	if err != nil {
		return err
	}
	if !seen.Current.Equal(next.Secret) {
		return r.mustRevoke(ctx, next, fmt.Errorf("%w: DiffHook signs with %s, and the document has %s as the new secret: a wrong paste, or another rotation in the app; compare with the app", ErrMismatch, seen.Current.Fingerprint(), next.Fingerprint()))
	}
	r.compared = true
	return r.saveRevoke(ctx, "")
}

// mustRevoke saves that RevokeSecret continues, with a secret that DiffHook does not
// sign with. It returns err.
func (r *secretRun) mustRevoke(ctx context.Context, s secretText, err error) error {
	_ = r.saveRevoke(ctx, s.Fingerprint()) // for people: the next run finds the same
	return fmt.Errorf("%w; if the app shows another secret, revoke %s: the revocation takes over the secret of DiffHook", err, s.Fingerprint())
}

func (r *secretRun) saveRevoke(ctx context.Context, fingerprint string) error {
	if r.doc().Revoke == fingerprint {
		return nil
	}
	return r.update(ctx, func(doc document) error {
		doc.(*secretDocument).Revoke = fingerprint
		return nil
	})
}

// publish calls Publish until it has returned nil, and reports whether it has.
func (r *secretRun) publish(ctx context.Context, s diffhook.Secrets) bool {
	if r.published || r.opts.Publish == nil {
		return true
	}
	if err := r.opts.Publish(ctx, s); err != nil {
		r.report(StepLearn, textOf(redact.Foreign("publish the secrets", err, r.group.hidden()...)), time.Time{})
		return false
	}
	r.published = true
	return true
}

// learner gives a receiver the successor, and makes it read its source until the
// source has the successor too.
func learner(old, next, sealed string) func(context.Context, Receiver, diffhook.VerifierStatus) error {
	return func(ctx context.Context, r Receiver, s diffhook.VerifierStatus) error {
		if s.Source == next && s.Current.Fingerprint == next {
			return nil
		}
		if s.Current.Fingerprint == old {
			if err := r.AcceptSuccessor(ctx, sealed); err != nil {
				return err
			}
		}
		_ = r.Refresh(ctx) // the next status shows the error
		return nil
	}
}

// lacks returns a text if the receiver or the source of the receiver lacks the new secret.
func lacks(s diffhook.VerifierStatus, next string) string {
	switch {
	case s.Current.Fingerprint == next && s.Source == next && !s.Current.Rejected:
		return ""
	case s.Current.Fingerprint == next:
		return "has the new secret, and its source has not"
	}
	return "does not have the new secret"
}

// pendingReceivers returns the receivers that do not respond or of which lack returns
// a text.
func pendingReceivers(statuses map[string]diffhook.VerifierStatus, failed map[string]error, lack func(diffhook.VerifierStatus) string) string {
	texts := make(map[string]string)
	for name, err := range failed {
		texts[name] = textOf(err)
	}
	for name, s := range statuses {
		if text := lack(s); text != "" {
			texts[name] = name + " " + text
			if s.RefreshError != "" {
				texts[name] += ": " + redact.Bounded(s.RefreshError, 200)
			}
		}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		all = append(all, texts[name])
	}
	return strings.Join(all, "; ")
}

// inUse returns why the old secret may still be in use, and the earliest end of that.
// It returns "" if the old secret is drained.
func (r *secretRun) inUse(d secretDocument, statuses map[string]diffhook.VerifierStatus) (until time.Time, text string) {
	var pending []string
	for _, name := range slices.Sorted(maps.Keys(statuses)) {
		if statuses[name].Hold.Pending > 0 {
			pending = append(pending, name)
		}
	}
	old := mergeSecret(d.Previous.Fingerprint(), statuses)
	left := max(time.Until(d.Since.Add(r.opts.RetryHorizon)), 0)
	if len(statuses) > 0 {
		left = max(left, r.opts.Quiet-old.Unused)
	}
	switch {
	case left > 0 && !r.opts.RevokeNow:
		return time.Now().Add(left).Truncate(time.Second), "the old secret may still be in use"
	case len(pending) > 0:
		return time.Time{}, "deliveries wait in the memory of " + strings.Join(pending, ", ")
	}
	return time.Time{}, ""
}

// finish is phase revoked: it revokes the old secret, waits until no receiver accepts
// it, and ends the hold. again is called between two looks, and ends them by an error.
func (r *secretRun) finish(ctx context.Context, again func(published bool) error) error {
	d := r.doc()
	if err := r.revokeAtDiffHook(ctx, d); err != nil {
		return err
	}
	for {
		published := r.publish(ctx, d.secrets())
		statuses, failed := r.look(ctx, func(ctx context.Context, rc Receiver, s diffhook.VerifierStatus) error {
			if err := rc.Reject(ctx, d.Replaced); err != nil {
				return err
			}
			if s.Source != d.Current.Fingerprint() {
				_ = rc.Refresh(ctx) // the next status shows the error
			}
			return nil
		})
		learning := pendingReceivers(statuses, failed, func(s diffhook.VerifierStatus) string {
			if accepts(s, d.Replaced, s.Current) || accepts(s, d.Replaced, s.Previous) {
				return "accepts the old secret"
			}
			return lacks(s, d.Current.Fingerprint())
		})
		if published && learning == "" {
			break
		}
		if learning != "" {
			r.report(StepReject, learning, time.Time{})
		}
		if err := again(published); err != nil {
			return err
		}
	}
	r.endHold(ctx)
	if err := r.advance(ctx, phaseRevoked, func(d *secretDocument) {
		d.Revoke = ""
		d.enter(phaseIdle)
	}); err != nil {
		return err
	}
	r.report(StepDone, "the signing secret is "+d.Current.Fingerprint()+", and "+d.Replaced+" is out of force", time.Time{})
	return nil
}

// revokeAtDiffHook revokes the old secret, unless DiffHook shows that there is none.
func (r *secretRun) revokeAtDiffHook(ctx context.Context, d secretDocument) error {
	if !r.compared {
		seen, err := r.signing(ctx, StepConfirm, "compare the document with DiffHook before the old secret is revoked")
		switch {
		case err != nil:
			return err
		case !seen.Current.Equal(d.Current.Secret):
			return r.mustRevoke(ctx, d.Current, fmt.Errorf("%w: DiffHook signs with %s, and the document has %s: another rotation in the app", ErrMismatch, seen.Current.Fingerprint(), d.Current.Fingerprint()))
		case seen.NoPrevious:
			return nil
		}
	}
	r.compared = false
	r.report(StepRevoke, "revoke the secret before "+d.Current.Fingerprint(), time.Time{})
	if err := r.checkLease(); err != nil {
		return err
	}
	if err := r.platform.Revoke(ctx); err != nil {
		return redact.Foreign("revoke the old secret", err, r.group.hidden()...)
	}
	return nil
}
