package rotation

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/scrub"
)

// SecretOptions configures [Secret]. The zero value, and a nil pointer, mean every
// default.
type SecretOptions struct {
	// Receivers are all servers that verify deliveries, by name. They are required
	// unless RevokeNow is set.
	Receivers map[string]Receiver

	// Publish sends secrets to servers that do not read the document. It is called
	// after each change and in each run, and again until it returns nil. Restart a
	// server only if the Status shows no Pending deliveries.
	Publish func(ctx context.Context, s diffhook.Secrets) error

	// RetryHorizon is how long DiffHook may retry a delivery that the old secret
	// signed. By default, 18 h, for generation 2. 2 minutes suffice for generation 1.
	RetryHorizon time.Duration

	// Quiet is the time for which no receiver must have used the old secret. By
	// default, RetryHorizon.
	Quiet time.Duration

	// Hold is the length of the hold at the receivers, at least 1 minute. The hold is
	// renewed until the rotation ends, or waits for over 10 minutes. By default and at
	// most, 1 h. Negative: no hold.
	Hold time.Duration

	// Poll is the time between two looks at the receivers. By default, 5 s.
	Poll time.Duration

	// RevokeNow does not wait until the old secret is drained: RetryHorizon and Quiet
	// do not count. All other checks stay.
	RevokeNow bool

	// Observe is called with each step, and never concurrently. By default, nothing is
	// called.
	Observe func(Step)
}

const (
	defaultHorizon = 18 * time.Hour
	defaultPoll    = 5 * time.Second
	longestHold    = time.Hour
	shortestHold   = time.Minute // longer than the time between two renewals: the end of a hold drops deliveries

	// shortDrain is the longest drain during which the hold stays on. A longer drain
	// begins after the new secret is confirmed.
	shortDrain = 10 * time.Minute
)

// Secret replaces the signing secret with the fingerprint old. After any error or
// crash, call Secret again: the rotation continues. The result is nil if the last
// rotation of the document replaced old.
//
// Secret compares the document, DiffHook and the receivers, and starts a hold. The new
// secret of p is saved, sent to receivers under seal, and published. When every
// source contains the new secret, no receiver used the old secret for Quiet, and
// RetryHorizon is over, Secret revokes the old secret. Then it waits until no source
// names the old secret.
//
// Errors match
//   - [ErrNotInForce], if the document does not name old;
//   - [ErrBusy], during another rotation;
//   - [ErrMismatch], if document, DiffHook and receivers differ;
//   - [ErrInvalidDocument] and [ErrConflict], for the document;
//   - [diffhook.ErrInvalidOptions], and the errors of p, s and ctx.
func Secret(ctx context.Context, old string, p SecretPlatform, s Store, opts *SecretOptions) error {
	o := valueOf(opts)
	if err := o.complete(); err != nil {
		return err
	}
	if p == nil || s == nil {
		return errNilArgument
	}
	r := newSecretRun(p, s, o)
	return r.carryOut(ctx, func() (bool, error) { return r.replaced(old) }, r.beat, map[phase]func(context.Context) error{
		phaseIdle:      r.request,
		phaseRequested: r.rotate,
		phaseRotated:   r.drain,
		phaseRevoked:   func(ctx context.Context) error { return r.finish(ctx, r.waitPoll) },
	})
}

func (o *SecretOptions) complete() error {
	switch {
	case o.RetryHorizon < 0 || o.Quiet < 0 || o.Poll < 0:
		return fmt.Errorf("%w: RetryHorizon, Quiet or Poll is negative; pass 0 for the default", diffhook.ErrInvalidOptions)
	case o.Hold > longestHold:
		return fmt.Errorf("%w: Hold is longer than %v; pass a shorter time", diffhook.ErrInvalidOptions, longestHold)
	case 0 < o.Hold && o.Hold < shortestHold:
		return fmt.Errorf("%w: Hold is shorter than %v, and ends before the renewal; pass a longer time", diffhook.ErrInvalidOptions, shortestHold)
	case len(o.Receivers) == 0 && !o.RevokeNow:
		return fmt.Errorf("%w: there are no Receivers; name all servers, or set RevokeNow if the old secret may be revoked at once", diffhook.ErrInvalidOptions)
	}
	o.RetryHorizon = cmp.Or(o.RetryHorizon, defaultHorizon)
	o.Quiet = cmp.Or(o.Quiet, o.RetryHorizon)
	o.Hold = cmp.Or(o.Hold, longestHold)
	o.Poll = cmp.Or(o.Poll, defaultPoll)
	return checkReceivers(o.Receivers)
}

// secretRun is a run of Secret or RevokeSecret.
type secretRun struct {
	*group
	platform SecretPlatform
	opts     SecretOptions

	compared  bool  // this run compared the document with DiffHook
	shown     bool  // DiffHook itself showed this run the new secret
	published phase // the phase for which Publish returned nil
	late      error // why the last look at the receivers was not complete
}

func newSecretRun(p SecretPlatform, s Store, o SecretOptions) *secretRun {
	return &secretRun{platform: p, opts: o, group: &group{
		run: newRun(s, kindSecret, o.Observe), receivers: o.Receivers, length: o.Hold,
		holds: make(turn, 1), last: make(map[string]diffhook.VerifierStatus),
	}}
}

func (r *secretRun) doc() secretDocument { return snapshot[secretDocument](r.journal) }

// replaced reports whether old is replaced. It returns an error if the document does
// not name old, or another rotation is not finished.
func (r *secretRun) replaced(old string) (done bool, err error) {
	d := r.doc()
	replacing := d.replacing()
	switch {
	case d.Leaked != "":
		return false, fmt.Errorf("%w: the revocation of %s is not finished; finish that first", ErrBusy, d.Leaked)
	case old == replacing:
		return false, nil
	case old == d.Replaced && d.Phase == phaseIdle:
		return true, nil
	case old == d.Current.Fingerprint():
		return false, fmt.Errorf("%w: the rotation of %s is not finished; finish that first", ErrBusy, replacing)
	case !isFingerprint(old):
		return false, fmt.Errorf("%w: old is not a fingerprint: 16 digits 0-9a-f", ErrNotInForce)
	}
	return false, fmt.Errorf("%w: the document names %s and not %s", ErrNotInForce, replacing, old)
}

// mustRevoke saves the fingerprint of s, with which DiffHook does not sign, for
// RevokeSecret. It returns err with that remedy.
func (r *secretRun) mustRevoke(ctx context.Context, s secretText, err error) error {
	_ = r.saveRevoke(ctx, s.Fingerprint()) // for people; the next run finds the mismatch again
	return fmt.Errorf("%w; if the app shows another secret, revoke %s: the revocation takes over the secret of DiffHook", err, s.Fingerprint())
}

func (r *secretRun) saveRevoke(ctx context.Context, fingerprint string) error {
	if r.doc().Revoke == fingerprint {
		return nil
	}
	return r.update(ctx, func(doc document) error {
		d := doc.(*secretDocument)
		if fingerprint != "" && d.Current.Fingerprint() != fingerprint { // as after a restore from a backup
			return fmt.Errorf("%w: the document does not name %s; try again", ErrConflict, fingerprint)
		}
		d.Revoke = fingerprint
		return nil
	})
}

func (r *secretRun) waitPoll(ctx context.Context) error { return pause(ctx, r.opts.Poll) }

// publish calls Publish, unless Publish has returned nil in this phase, or another run
// took over and publishes newer secrets. It reports whether servers can have the secrets.
func (r *secretRun) publish(ctx context.Context, d secretDocument) bool {
	if r.published == d.Phase || r.opts.Publish == nil {
		return true
	}
	err := r.checkRun(ctx)
	if err == nil {
		err = r.opts.Publish(ctx, d.secrets())
	}
	if err != nil {
		r.late = scrub.Foreign("publish the secrets", err, r.hidden()...)
		r.report(StepLearn, textOf(r.late), time.Time{})
		return false
	}
	r.published = d.Phase
	return true
}
