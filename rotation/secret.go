package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/redact"
)

// SecretOptions configures [Secret]. The zero value, and a nil pointer, mean every
// default.
type SecretOptions struct {
	// Receivers are all servers that verify deliveries, by name. They are required
	// unless RevokeNow is set.
	Receivers map[string]Receiver

	// Publish is called with the secrets that servers must have, until it returns
	// nil, once for each change and again in each run. It is for servers that do not
	// read the document. Restart a server only if its Status has no Pending
	// deliveries.
	Publish func(ctx context.Context, s diffhook.Secrets) error

	// RetryHorizon is how long DiffHook may retry a delivery that the old secret
	// signed. By default, 18 h, for generation 2. 2 minutes suffice for generation 1.
	RetryHorizon time.Duration

	// Quiet is for how long no receiver must have used the old secret. By default,
	// RetryHorizon.
	Quiet time.Duration

	// Hold is the length of the hold at the receivers, which is renewed until the new
	// secret is confirmed. By default and at most, 1 h. Negative: no hold.
	Hold time.Duration

	// Poll is the time between two looks at the receivers. By default, 5 s.
	Poll time.Duration

	// RevokeNow does not wait until the old secret is drained: RetryHorizon and Quiet
	// do not count. All other checks stay.
	RevokeNow bool

	// Observe is called with each step, one at a time. By default, nothing is.
	Observe func(Step)
}

const (
	defaultHorizon = 18 * time.Hour
	defaultPoll    = 5 * time.Second
	longestHold    = time.Hour

	// shortDrain is the longest drain during which the hold stays on. A longer drain
	// begins after the new secret is confirmed.
	shortDrain = 10 * time.Minute
)

// Secret replaces the signing secret with the fingerprint old. Run it again after any
// error or crash: it continues. It returns nil if old was replaced by the rotation that
// the document remembers.
//
// Secret compares the document, DiffHook and the receivers, and holds deliveries. It
// saves the new secret that p returns, gives it to each receiver under seal, and calls
// Publish. It revokes the old secret once every receiver's source has the new secret,
// no receiver has used the old secret for Quiet, and RetryHorizon is over: see
// docs/rotation.md.
//
// Errors match
//   - [ErrNotInForce], if the document does not name old;
//   - [ErrBusy], during another run or rotation;
//   - [ErrMismatch], if the document, DiffHook and the receivers differ;
//   - [ErrInvalidDocument] and [ErrConflict], for the document;
//   - [diffhook.ErrInvalidOptions], and the errors of p, s and ctx.
func Secret(ctx context.Context, old string, p SecretPlatform, s Store, opts *SecretOptions) error {
	var o SecretOptions
	if opts != nil {
		o = *opts
	}
	if err := o.complete(); err != nil {
		return err
	}
	r := newSecretRun(p, s, o)
	if r.platform == nil || r.store == nil {
		return errNilArgument
	}
	if err := r.load(ctx); err != nil {
		return err
	}
	if done, err := r.accepts(old); done || err != nil {
		return err
	}
	if err := r.acquire(ctx, false); err != nil {
		return err
	}
	defer r.release(ctx)
	held, end := r.keep(ctx, r.beat)
	defer end()
	return causeOf(held, r.run(held, old))
}

var errNilArgument = fmt.Errorf("%w: the platform or the store is nil", diffhook.ErrInvalidOptions)

func (o *SecretOptions) complete() error {
	switch {
	case o.RetryHorizon < 0 || o.Quiet < 0 || o.Poll < 0:
		return fmt.Errorf("%w: RetryHorizon, Quiet and Poll must not be negative; pass 0 for the defaults", diffhook.ErrInvalidOptions)
	case o.Hold > longestHold:
		return fmt.Errorf("%w: Hold is longer than %v", diffhook.ErrInvalidOptions, longestHold)
	case len(o.Receivers) == 0 && !o.RevokeNow:
		return fmt.Errorf("%w: there are no Receivers to look at; name all servers, or set RevokeNow if the old secret may be revoked at once", diffhook.ErrInvalidOptions)
	}
	o.RetryHorizon = cmp.Or(o.RetryHorizon, defaultHorizon)
	o.Quiet = cmp.Or(o.Quiet, o.RetryHorizon)
	o.Hold = cmp.Or(o.Hold, longestHold)
	o.Poll = cmp.Or(o.Poll, defaultPoll)
	return checkReceivers(o.Receivers)
}

// secretRun is one run of Secret or RevokeSecret.
type secretRun struct {
	*journal
	*group
	platform SecretPlatform
	opts     SecretOptions

	// compared reports that this run has compared the document with DiffHook in the
	// present phase.
	compared  bool
	published bool // the secrets of the present phase
}

func newSecretRun(p SecretPlatform, s Store, o SecretOptions) *secretRun {
	j := newJournal(s, kindSecret)
	return &secretRun{
		journal: j, platform: p, opts: o,
		group: &group{
			reporter: newReporter(o.Observe), receivers: o.Receivers, length: o.Hold,
			hidden: j.hidden, holds: make(turn, 1), last: make(map[string]diffhook.VerifierStatus),
		},
	}
}

// causeOf returns the reason for which keep ended held, if that is behind err.
func causeOf(held context.Context, err error) error {
	if cause := context.Cause(held); err != nil && cause != nil && errors.Is(err, context.Canceled) && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

func (r *secretRun) doc() secretDocument { return snapshot[secretDocument](r.journal) }

// accepts reports whether old has been replaced already, or returns an error if the
// document does not allow to replace it.
func (r *secretRun) accepts(old string) (done bool, err error) {
	d := r.doc()
	under := d.replacing()
	switch {
	case d.Leaked != "":
		return false, fmt.Errorf("%w: the revocation of %s is not finished; finish that first", ErrBusy, d.Leaked)
	case old == under:
		return false, nil
	case old == d.Replaced && d.Phase == phaseIdle:
		return true, nil
	case old == d.Current.Fingerprint():
		return false, fmt.Errorf("%w: the rotation of %s is not finished; finish that first", ErrBusy, under)
	case !isFingerprint(old):
		return false, fmt.Errorf("%w: old is not a fingerprint: 16 digits 0-9a-f", ErrNotInForce)
	}
	return false, fmt.Errorf("%w: the document names %s and not %s", ErrNotInForce, under, old)
}

// run carries out one phase of the document after the other.
func (r *secretRun) run(ctx context.Context, old string) error {
	for {
		done, err := r.accepts(old)
		if done || err != nil {
			return err
		}
		switch r.doc().Phase {
		case phaseIdle:
			err = r.request(ctx)
		case phaseRequested:
			err = r.rotate(ctx)
		case phaseRotated:
			err = r.drain(ctx)
		case phaseRevoked:
			err = r.finish(ctx, func(bool) error { return r.waitPoll(ctx) })
		}
		if err != nil {
			return err
		}
	}
}

// advance saves a change that is made in one phase.
func (r *secretRun) advance(ctx context.Context, from phase, change func(d *secretDocument)) error {
	err := r.update(ctx, func(doc document) error {
		if err := inPhase(doc, from); err != nil {
			return err
		}
		change(doc.(*secretDocument))
		return nil
	})
	r.published = false
	return err
}

func (r *secretRun) waitPoll(ctx context.Context) error { return pause(ctx, r.opts.Poll) }

// signing returns the secrets that DiffHook signs with.
func (r *secretRun) signing(ctx context.Context, step StepName, text string) (diffhook.Secrets, error) {
	r.report(step, text, time.Time{})
	if err := r.checkLease(); err != nil {
		return diffhook.Secrets{}, err
	}
	seen, err := r.platform.Signing(ctx)
	switch {
	case err != nil:
		return seen, redact.Foreign("read the secret that DiffHook signs with", err, r.group.hidden()...)
	case seen.Current.IsZero():
		return seen, fmt.Errorf("%w: the platform returned no secret", ErrMismatch)
	}
	return seen, nil
}

// request is phase idle: it compares, and saves that DiffHook is about to be asked.
func (r *secretRun) request(ctx context.Context) error {
	current := r.doc().Current
	if err := r.compareReceivers(ctx, current.Fingerprint()); err != nil {
		return err
	}
	seen, err := r.signing(ctx, StepCheck, "compare the document with DiffHook")
	switch {
	case err != nil:
		return err
	case !seen.Current.Equal(current.Secret):
		return fmt.Errorf("%w: DiffHook signs with %s, and the document has %s: another team, or a rotation in the app; nothing was changed", ErrMismatch, seen.Current.Fingerprint(), current.Fingerprint())
	case open(seen):
		return fmt.Errorf("%w: DiffHook still accepts the older secret %s: a rotation in the app is not finished; revoke that secret in the app first", ErrMismatch, seen.Previous.Fingerprint())
	}
	if err := r.advance(ctx, phaseIdle, func(d *secretDocument) { d.enter(phaseRequested) }); err != nil {
		return err
	}
	r.compared = true
	return nil
}

// open reports whether DiffHook shows a previous secret in force.
func open(s diffhook.Secrets) bool {
	return !s.NoPrevious && !s.Previous.IsZero() && !s.Previous.Equal(s.Current) &&
		(s.PreviousExpires.IsZero() || time.Now().Before(s.PreviousExpires))
}

// compareReceivers returns an error if a receiver does not respond, or has another
// secret than the document.
func (r *secretRun) compareReceivers(ctx context.Context, current string) error {
	r.report(StepCheck, "compare the document with the receivers", time.Time{})
	statuses, failed := r.look(ctx, func(ctx context.Context, rc Receiver, s diffhook.VerifierStatus) error {
		if s.Current.Fingerprint == current && s.Source == current {
			return nil
		}
		return rc.Refresh(ctx)
	})
	for name, s := range statuses {
		if s.Current.Fingerprint != current || s.Source != current || s.Current.Rejected {
			failed[name] = fmt.Errorf("%w: receiver %s accepts %q, its source has %q, and the document has %s", ErrMismatch, name, s.Current.Fingerprint, s.Source, current)
		}
	}
	return joined(failed)
}

// rotate is phase requested: it begins the hold. Unless DiffHook has a new secret, it
// asks for one. It saves both secrets.
func (r *secretRun) rotate(ctx context.Context) error {
	d := r.doc()
	r.hold(ctx)
	next, err := r.successor(ctx, d)
	if err != nil {
		return err
	}
	if err := checkNew(next, d, d.Current.Fingerprint()); err != nil {
		return err
	}
	return r.advance(ctx, phaseRequested, func(d *secretDocument) {
		d.Previous, d.Current = d.Current, secretText{next}
		d.enter(phaseRotated)
	})
}

// successor returns the new secret. In another run than the one that saved phase
// requested, DiffHook may have it already.
func (r *secretRun) successor(ctx context.Context, d secretDocument) (next diffhook.Secret, err error) {
	if !r.compared {
		seen, err := r.signing(ctx, StepCheck, "look whether DiffHook has a new secret")
		switch {
		case err != nil:
			return next, err
		case !seen.Current.Equal(d.Current.Secret) && open(seen) && !seen.Previous.Equal(d.Current.Secret):
			return next, r.mustRevoke(ctx, d.Current, fmt.Errorf("%w: DiffHook signs with %s and before with %s, and the document has %s: DiffHook has rotated more than once", ErrMismatch, seen.Current.Fingerprint(), seen.Previous.Fingerprint(), d.Current.Fingerprint()))
		case !seen.Current.Equal(d.Current.Secret):
			return seen.Current, nil
		}
	}
	r.compared = false // whatever comes of the request
	r.report(StepRotate, "rotate the signing secret "+d.Current.Fingerprint(), time.Time{})
	if err := r.checkLease(); err != nil {
		return next, err
	}
	next, err = r.platform.Rotate(ctx)
	switch {
	case errors.Is(err, diffhook.ErrOutcomeUnknown) && ctx.Err() == nil:
		return r.successorAfter(ctx, d, err)
	case err != nil:
		return next, redact.Foreign("rotate the signing secret", err, r.group.hidden()...)
	}
	return next, nil
}

// checkNew returns an error unless next may succeed the secret with the fingerprint
// old. Receivers have rejected the secret that an earlier rotation replaced.
func checkNew(next diffhook.Secret, d secretDocument, old string) error {
	switch next.Fingerprint() {
	case "", old, d.Replaced:
		return fmt.Errorf("%w: the platform returned no new secret but %q; run it again", ErrMismatch, next.Fingerprint())
	}
	return nil
}

// successorAfter looks for the new secret after a lost response.
func (r *secretRun) successorAfter(ctx context.Context, d secretDocument, lost error) (diffhook.Secret, error) {
	seen, err := r.signing(ctx, StepCheck, "look whether DiffHook has a new secret")
	if err == nil && !seen.Current.Equal(d.Current.Secret) {
		return seen.Current, nil
	}
	return diffhook.Secret{}, errors.Join(redact.Foreign("rotate the signing secret", lost, r.group.hidden()...), err)
}
