package diffhook

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// reach waits, before anything has changed, until every receiver answers and has
// the old secret. What waiting does not mend, such as a wrong URL, is an error.
func (r *secretRotation) reach(ctx context.Context) error {
	if r.stage != stageCurrent {
		return nil
	}
	answers := r.receivers.ask(ctx, r.names)
	for _, name := range r.names {
		err := answers[name].err
		if wrong := errors.Is(err, ErrUnexpectedResponse) || errors.Is(err, ErrInvalidOptions); wrong && !r.toldNow(ctx) {
			return newForeignError("nothing has been changed: the receiver "+name+" gives no status", err, r.texts()...)
		}
	}
	_, err := r.awaitCurrent(ctx, "reaching", r.old)
	return err
}

// teach waits until every receiver has the new secret.
func (r *secretRotation) teach(ctx context.Context) error {
	behind, err := r.awaitCurrent(ctx, "learning", r.platform.Current.Fingerprint())
	if err == nil && len(behind) == 0 && len(r.names) > 0 {
		r.report(ctx, "learned", "every receiver has %s as current", r.platform.Current.Fingerprint())
	}
	return err
}

// awaitCurrent waits until every receiver has a secret as current, and returns
// those that have not where it is not waited for any more. They are made to read
// their source.
func (r *secretRotation) awaitCurrent(ctx context.Context, step, fingerprint string) (behind leftReceivers, err error) {
	var refreshed time.Time
	err = r.poll(ctx, step, r.opts.PollInterval, func() (string, error) {
		behind = r.behind(ctx, fingerprint)
		if len(behind) > 0 && time.Since(refreshed) >= refreshEvery {
			refreshed = time.Now()
			r.refresh(ctx, behind.names())
			behind = r.behind(ctx, fingerprint)
		}
		if len(behind) == 0 || r.toldNow(ctx) {
			return "", nil
		}
		stage := r.stage
		if err := r.look(ctx); err != nil || r.stage != stage { // revoked: it is to be refused now
			return "", err
		}
		return behind.String(), nil
	})
	return behind, err
}

func (r *secretRotation) refresh(ctx context.Context, names []string) {
	r.receivers.each(ctx, names, func(ctx context.Context, _ string, receiver Receiver) error { return receiver.Refresh(ctx) })
}

// look asks the platform, now and then, whether somebody else has rotated or
// revoked meanwhile.
func (r *secretRotation) look(ctx context.Context) error {
	if r.stage != stageOpen || time.Since(r.looked) < max(platformPoll, r.opts.RetryHorizon/60) {
		return nil
	}
	r.looked = time.Now()
	now, err := r.service.load(ctx)
	switch p := &r.platform; {
	case err != nil, now.Current.Fingerprint() == r.old: // it, or what answers for it, may be behind
	case !now.Current.Equal(p.Current):
		return r.anotherOpen(p.Current)
	case p.open() && now.NoPrevious: // an API that never said that there is one says nothing by that
		r.stage = stageRevoked
		r.report(ctx, "skipped", "the old secret is not waited for: somebody else has revoked %s at the platform", r.old)
	}
	return nil
}

// drain waits until nothing needs the old secret.
func (r *secretRotation) drain(ctx context.Context) error {
	horizon := r.horizon()
	var merged MergedStatus
	err := r.poll(ctx, "draining", r.opts.PollInterval, func() (string, error) {
		if r.stage == stageRevoked || r.toldNow(ctx) {
			return "", nil
		}
		if err := r.look(ctx); err != nil || r.stage == stageRevoked {
			return "", err
		}
		answers := r.receivers.ask(ctx, r.names)
		merged = mergeSecret(r.old, answered(answers))
		left := r.left(answers, r.needs)
		if wait := time.Until(horizon); wait > 0 && len(left) == 0 {
			return "deliveries signed with " + r.old + " may be retried until " + horizon.UTC().Format(time.RFC3339), nil
		}
		if len(r.names) == 0 {
			return "no receiver is named, so RevokeNow decides", nil
		}
		return left.String(), nil
	})
	if err == nil && r.stage != stageRevoked && !r.told {
		r.report(ctx, "drained", "%s has not been used for %v; deliveries that it verified: %d", r.old, merged.Unused.Truncate(time.Millisecond), merged.Uses)
	}
	return err
}

// horizon returns when the last delivery signed before the rotation has been
// retried for the last time. Where an earlier run rotated, it is the platform
// that says how long ago, by its own clock. That is not believed beyond the short
// horizon of generation 1, for which this run waits again; and where it says
// nothing, all of the horizon is.
func (r *secretRotation) horizon() time.Time {
	if !r.rotated.IsZero() {
		return r.rotated.Add(r.opts.RetryHorizon)
	}
	left := r.opts.RetryHorizon
	if p := &r.platform; !p.rotatedAt.IsZero() {
		now := p.at
		if now.IsZero() {
			now = r.began
		}
		left -= max(0, now.Sub(p.rotatedAt))
	}
	return r.began.Add(max(left, min(r.opts.RetryHorizon, horizonGen1)))
}

// toldNow asks RevokeNow, until it has said true.
func (r *secretRotation) toldNow(ctx context.Context) bool {
	if !r.told && r.opts.RevokeNow != nil && r.opts.RevokeNow() {
		r.told = true
		r.report(ctx, "skipped", "no receiver is waited for: RevokeNow says so")
	}
	return r.told
}

// refuse has every receiver refuse the old secret, and sees that it does.
func (r *secretRotation) refuse(ctx context.Context) error {
	if len(r.names) == 0 {
		return nil
	}
	deadline := time.Now().Add(refuseTimeout)
	names, left := r.names, leftReceivers(nil)
	err := r.poll(ctx, "refusing", min(r.opts.PollInterval, defaultReceiverPoll), func() (string, error) {
		errs := r.receivers.each(ctx, names, r.order)
		left = r.left(r.receivers.ask(ctx, names), r.acceptsOld)
		for name, err := range errs {
			if left[name] == "" {
				left[name] = "does not obey (" + r.show(err) + ")"
			}
		}
		names = left.names() // the others have obeyed
		if time.Now().After(deadline) {
			return "", nil
		}
		return left.String(), nil
	})
	if err == nil && len(left) > 0 {
		err = r.mayAccept(left)
	}
	if err == nil {
		r.report(ctx, "refused", "every receiver refuses %s", r.old)
	}
	return err
}

func (r *secretRotation) mayAccept(left leftReceivers) error {
	return fmt.Errorf("diffhook: receivers that may still accept %s: %s; run it again when they answer", r.old, left)
}

// left returns the receivers that why says something of, and those that do not
// answer.
func (r *secretRotation) left(answers map[string]receiverAnswer, why func(RotationStatus) string) leftReceivers {
	left := make(leftReceivers)
	for name, a := range answers {
		text := ""
		if a.err != nil {
			text = "gives no status (" + r.show(a.err) + ")"
		} else {
			text = why(a.status)
		}
		if text != "" {
			left[name] = text
		}
	}
	return left
}

// show returns the text of a receiver's error, without the secrets.
func (r *secretRotation) show(err error) string {
	return scrub(strings.TrimPrefix(err.Error(), "diffhook: "), 200, r.texts()...)
}

// behind asks all receivers, and returns those that do not have the secret with
// the fingerprint as current.
func (r *secretRotation) behind(ctx context.Context, fingerprint string) leftReceivers {
	return r.left(r.receivers.ask(ctx, r.names), func(s RotationStatus) string { return lacks(s, fingerprint) })
}

// lacks says that a receiver has another secret as current.
func lacks(s RotationStatus, fingerprint string) string {
	if s.accepts(fingerprint, s.Current) {
		return ""
	}
	has := s.Current.Fingerprint
	if has != "" && checkFingerprint(has) != nil {
		has = "what is no fingerprint"
	}
	return fmt.Sprintf("has %q as current, not %s", has, fingerprint)
}

// needs says why a receiver needs the old secret: it is behind, or has not gone
// without for long enough.
func (r *secretRotation) needs(s RotationStatus) string {
	if text := lacks(s, r.platform.Current.Fingerprint()); text != "" {
		return text
	}
	if s.unused(r.old) >= r.opts.Quiet {
		return ""
	}
	last, used := s.mayHaveUsed(r.old)
	text := "has counted only since"
	if used {
		text = "used it at"
	}
	return fmt.Sprintf("%s %s, waiting until %s", text, last.Format(time.RFC3339), last.Add(r.opts.Quiet).Format(time.RFC3339))
}

// acceptsOld says that a receiver accepts the old secret, in either role.
func (r *secretRotation) acceptsOld(s RotationStatus) string {
	if s.accepts(r.old, s.Current) || s.accepts(r.old, s.Previous) {
		return "accepts it"
	}
	return ""
}
