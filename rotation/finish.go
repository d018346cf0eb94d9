package rotation

import (
	"context"
	"fmt"
	"time"

	"github.com/diffhook/diffhook-go"
)

// finish is phase revoked. It revokes the old secret, ends the hold, and waits until no
// receiver accepts and no source names the old secret. Between two looks, finish calls
// again, whose error ends the wait.
func (r *secretRun) finish(ctx context.Context, again func(context.Context) error) error {
	d := r.doc()
	if err := r.revokeAtDiffHook(ctx, d); err != nil {
		return err
	}
	if err := r.waitRejected(ctx, again); err != nil {
		return err
	}
	if err := advance(ctx, r.run, phaseRevoked, phaseIdle, func(d *secretDocument) { d.Revoke = "" }); err != nil {
		return err
	}
	r.report(StepDone, "the signing secret is "+d.Current.Fingerprint()+", and "+d.Replaced+" is out of force", time.Time{})
	return nil
}

// waitRejected waits until no receiver accepts and no source names the replaced secret.
// The hold ends before a wait for sources alone, which may be long.
func (r *secretRun) waitRejected(ctx context.Context, again func(context.Context) error) error {
	d := r.doc()
	began, ended := time.Now(), false
	for {
		statuses, complete := r.lookAndReport(ctx, d, StepReject, rejecter(d.Replaced, d.Current.Fingerprint()), keeps)
		if !ended && r.allHave(statuses, d) {
			r.endHold(ctx)
			ended = true
		}
		if complete {
			return nil
		}
		if err := r.checkTaken(ctx, statuses, d.Current.Fingerprint()); err != nil {
			return err
		}
		r.restIfLong(began)
		if err := again(ctx); err != nil {
			return err
		}
	}
}

// allHave reports whether every receiver and every source has the new secret.
func (r *secretRun) allHave(statuses map[string]diffhook.VerifierStatus, d secretDocument) bool {
	for _, s := range statuses {
		if lacks(s, d) != "" {
			return false
		}
	}
	return len(statuses) == len(r.receivers)
}

// rejecter returns a function for look: the receiver rejects the old secret, and reads
// the source until the new secret is there alone.
func rejecter(old, next string) func(context.Context, Receiver, diffhook.VerifierStatus) error {
	return func(ctx context.Context, r Receiver, s diffhook.VerifierStatus) error {
		if err := r.Reject(ctx, old); err != nil {
			return err
		}
		if s.Source != next || s.SourcePrevious == old {
			_ = r.Refresh(ctx) // the next status shows the error
		}
		return nil
	}
}

// keeps returns a text if the receiver accepts the old secret, would accept it after a
// restart, or lacks the new secret.
func keeps(s diffhook.VerifierStatus, d secretDocument) string {
	switch old := d.Replaced; {
	case accepts(s, old, s.Current) || accepts(s, old, s.Previous):
		return "accepts the old secret"
	case s.SourcePrevious == old:
		return "rejects the old secret, and its source names it as the previous secret"
	}
	return lacks(s, d)
}

// revokeAtDiffHook revokes the old secret, unless DiffHook shows no old secret.
func (r *secretRun) revokeAtDiffHook(ctx context.Context, d secretDocument) error {
	if !r.compared {
		seen, err := r.signing(ctx, StepConfirm, "compare the document with DiffHook before the old secret is revoked", diffhook.Secret{})
		switch {
		case err != nil:
			return err
		case r.shown && seen.Current.Fingerprint() == d.Replaced: // a read that lags behind the rotation
		case !seen.Current.Equal(d.Current.Secret):
			return r.mustRevoke(ctx, d.Current, fmt.Errorf("%w: DiffHook signs with %s, and the document has %s: a wrong paste, or another rotation in the app", ErrMismatch, seen.Current.Fingerprint(), d.Current.Fingerprint()))
		case seen.NoPrevious:
			return nil
		}
	}
	return r.ask(StepRevoke, "revoke the secret that "+d.Current.Fingerprint()+" replaced", func() error { return r.platform.Revoke(ctx) })
}
