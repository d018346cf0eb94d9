package rotation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go"
)

// drain is phase rotated. It waits until servers have the new secret and the old secret
// is out of use, compares once more, and enters phase revoked.
func (r *secretRun) drain(ctx context.Context) error {
	d := r.doc()
	old, next := d.Previous, d.Current
	sealed, err := old.SealSuccessor(next.Secret)
	if err != nil {
		return fmt.Errorf("%w: seal the new secret: %w", ErrMismatch, err)
	}
	r.hold(ctx)
	confirmed := false // before a long drain, or in an overdue drain
	for began := time.Now(); ; {
		statuses, learned := r.lookAndReport(ctx, d, StepLearn, learner(old.Fingerprint(), next.Fingerprint(), sealed), lacks)
		if err := r.checkTaken(ctx, statuses, next.Fingerprint()); err != nil {
			return err
		}
		switch until, using := r.inUse(d, statuses); {
		case !learned:
		case using != "":
			if !confirmed && r.isLong(until, d) {
				if err := r.beginLongWait(ctx, next); err != nil {
					return err
				}
				confirmed = true
			}
			r.report(StepDrain, using, until)
		default:
			return r.revokeDrained(ctx, old, next)
		}
		r.restIfLong(began)
		if err := r.waitPoll(ctx); err != nil {
			return err
		}
	}
}

// restIfLong ends the renewal of the lease in a wait of over shortDrain.
func (r *secretRun) restIfLong(began time.Time) {
	if time.Since(began) > shortDrain {
		r.rest()
	}
}

// checkTaken returns an error if a receiver rejects the new secret of the source, and saves
// the fingerprint for RevokeSecret: an earlier rotation replaced this secret, or a
// revocation came before the document named it. The receiver never accepts it again.
func (r *secretRun) checkTaken(ctx context.Context, statuses map[string]diffhook.VerifierStatus, next string) error {
	for _, name := range slices.Sorted(maps.Keys(statuses)) {
		if s := statuses[name]; s.Source == next && (s.Current.Fingerprint != next || s.Current.Rejected) {
			_ = r.saveRevoke(ctx, next) // for people; the next run finds the mismatch again
			return fmt.Errorf("%w: receiver %s rejects %s, the new secret in the document: a wrong paste of an older secret, or a revoked secret; revoke %s", ErrMismatch, name, next, next)
		}
	}
	return nil
}

// beginLongWait confirms the new secret before the hold ends.
func (r *secretRun) beginLongWait(ctx context.Context, next secretText) error {
	if err := r.confirm(ctx, next); err != nil {
		return err
	}
	r.endHold(ctx)
	r.rest()
	return nil
}

// isLong reports whether the old secret stays in use for longer than shortDrain, or is
// overdue by more than shortDrain. In an overdue drain, the new secret may be a wrong
// paste, and DiffHook may still sign with the old secret.
func (r *secretRun) isLong(until time.Time, d secretDocument) bool {
	overdue := time.Since(d.Since) - (r.opts.RetryHorizon + r.opts.Quiet)
	return time.Until(until) > shortDrain || overdue > shortDrain
}

// revokeDrained compares once more, and enters phase revoked.
func (r *secretRun) revokeDrained(ctx context.Context, old, next secretText) error {
	if err := r.confirm(ctx, next); err != nil {
		return err
	}
	return advance(ctx, r.run, phaseRotated, phaseRevoked, func(d *secretDocument) {
		d.Replaced, d.Previous = old.Fingerprint(), secretText{}
	})
}

// confirm compares the new secret with DiffHook, perhaps after a rest.
func (r *secretRun) confirm(ctx context.Context, next secretText) error {
	if err := r.wake(ctx); err != nil {
		return err
	}
	seen, err := r.signing(ctx, StepConfirm, "compare the new secret with DiffHook once more", diffhook.Secret{})
	if err != nil {
		return err
	}
	if !seen.Current.Equal(next.Secret) {
		return r.mustRevoke(ctx, next, fmt.Errorf("%w: DiffHook signs with %s, and the document has %s as the new secret: a wrong paste, or another rotation in the app; compare with the app", ErrMismatch, seen.Current.Fingerprint(), next.Fingerprint()))
	}
	r.compared = true
	return r.saveRevoke(ctx, "")
}

// learner returns a function that sends a receiver the successor, and makes the receiver
// read the source until the successor is there too.
func learner(old, next, sealed string) func(context.Context, Receiver, diffhook.VerifierStatus) error {
	return func(ctx context.Context, r Receiver, s diffhook.VerifierStatus) (err error) {
		if s.Source == next && s.Current.Fingerprint == next {
			return nil
		}
		if s.Current.Fingerprint == old {
			err = r.AcceptSuccessor(ctx, sealed)
		}
		_ = r.Refresh(ctx) // the next status shows the error
		if err == nil {
			return nil
		}
		if s, statusErr := r.Status(ctx); statusErr == nil && s.Source == next {
			return nil // the next status shows the accepted secrets
		}
		return err
	}
}

// lacks returns a text if the receiver, or the source of the receiver, lacks the
// current secret.
func lacks(s diffhook.VerifierStatus, d secretDocument) string {
	switch next := d.Current.Fingerprint(); {
	case s.Current.Fingerprint == next && s.Source == next && !s.Current.Rejected:
		return ""
	case s.Current.Fingerprint == next:
		return "accepts the new secret, and its source lacks it"
	}
	return "lacks the new secret"
}

// lookAndReport publishes the secrets and looks at the receivers with learn. It reports
// receivers without a response, and the texts of lack. If there are none, and the
// secrets are published, complete is true.
func (r *secretRun) lookAndReport(ctx context.Context, d secretDocument, step StepName, learn func(context.Context, Receiver, diffhook.VerifierStatus) error, lack func(s diffhook.VerifierStatus, d secretDocument) string) (statuses map[string]diffhook.VerifierStatus, complete bool) {
	published := r.publish(ctx, d)
	statuses, failed := r.look(ctx, learn)
	var pending []string
	for _, name := range slices.Sorted(maps.Keys(r.receivers)) {
		s := statuses[name]
		switch text := lack(s, d); {
		case failed[name] != nil:
			pending = append(pending, textOf(failed[name]))
		case text != "":
			pending = append(pending, name+" "+text+r.refreshError(s))
		}
	}
	if published && len(pending) > 0 {
		text := strings.Join(pending, "; ")
		r.late = errors.New("diffhook: " + text)
		r.report(step, text, time.Time{})
	}
	return statuses, published && len(pending) == 0
}

// inUse returns why the old secret may still be in use, and the earliest end of this
// use. The text is "" if the old secret is drained.
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
