package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/scrub"
)

// request is phase idle. It compares the document with the receivers and DiffHook, and
// enters phase requested.
func (r *secretRun) request(ctx context.Context) error {
	current := r.doc().Current
	if err := r.compareReceivers(ctx, current.Fingerprint()); err != nil {
		return err
	}
	seen, err := r.signing(ctx, StepCheck, "compare the document with DiffHook", diffhook.Secret{})
	switch {
	case err != nil:
		return err
	case !seen.Current.Equal(current.Secret):
		return fmt.Errorf("%w: DiffHook signs with %s, and the document has %s: another team, or a rotation in the app; nothing was changed; after a rotation in the app, revoke %[3]s: the revocation takes over the secret of DiffHook", ErrMismatch, seen.Current.Fingerprint(), current.Fingerprint())
	case open(seen):
		return fmt.Errorf("%w: DiffHook still shows the older secret %s: a rotation in the app is not finished; revoke that secret in the app first", ErrMismatch, seen.Previous.Fingerprint())
	}
	r.compared = true
	return advance(ctx, r.run, phaseIdle, phaseRequested, func(*secretDocument) {})
}

// compareReceivers returns an error if a receiver does not respond, or differs from the
// document in the current secret or the secret of the source.
func (r *secretRun) compareReceivers(ctx context.Context, current string) error {
	r.report(StepCheck, "compare the document with the receivers", time.Time{})
	statuses, failed := r.look(ctx, func(ctx context.Context, rc Receiver, s diffhook.VerifierStatus) error {
		if s.Current.Fingerprint == current && s.Source == current {
			return nil
		}
		_ = rc.Refresh(ctx) // the next status shows the error
		return nil
	})
	for name, s := range statuses {
		switch {
		case s.Current.Fingerprint == current && s.Current.Rejected:
			failed[name] = fmt.Errorf("%w: receiver %s rejects %s, the secret in the document; if the secret has leaked, finish the revocation, and otherwise restart the server", ErrMismatch, name, current)
		case s.Current.Fingerprint != current || s.Source != current:
			failed[name] = fmt.Errorf("%w: receiver %s accepts %q, its source has %q, and the document has %s; compare them with the app%s", ErrMismatch, name, s.Current.Fingerprint, s.Source, current, r.refreshError(s))
		}
	}
	return joined(failed)
}

// refreshError returns the error of the source for the end of a text.
func (r *secretRun) refreshError(s diffhook.VerifierStatus) string {
	if s.RefreshError == "" {
		return ""
	}
	return ": " + scrub.Text(s.RefreshError, 200, r.hidden()...)
}

// signing returns the secrets of DiffHook.
func (r *secretRun) signing(ctx context.Context, step StepName, text string, old diffhook.Secret) (seen diffhook.Secrets, err error) {
	err = r.ask(step, text, func() (err error) {
		seen, err = r.platform.Signing(ctx, old)
		return err
	})
	if err == nil && seen.Current.IsZero() {
		err = fmt.Errorf("%w: the platform returned no secret", ErrMismatch)
	}
	return seen, err
}

// open reports whether DiffHook shows a previous secret, before the expiry of this secret.
func open(s diffhook.Secrets) bool {
	return !s.NoPrevious && !s.Previous.IsZero() && !s.Previous.Equal(s.Current) &&
		(s.PreviousExpires.IsZero() || time.Now().Before(s.PreviousExpires))
}

// rotate is phase requested. It begins the hold, and saves both secrets. Unless DiffHook
// signs with a new secret already, rotate asks for a new secret.
func (r *secretRun) rotate(ctx context.Context) error {
	d := r.doc()
	r.hold(ctx)
	next, err := r.successor(ctx, d.Current.Secret)
	if err != nil {
		return err
	}
	if err := checkNew(next, d, d.Current.Fingerprint()); err != nil {
		return err
	}
	return advance(ctx, r.run, phaseRequested, phaseRotated, func(d *secretDocument) {
		d.Previous, d.Current = d.Current, secretText{next}
	})
}

// successor returns the secret that replaces old. If an earlier run entered phase
// requested, DiffHook may have rotated already, or the request of that run may still
// arrive. So this run looks before the click, and also after a click whose response
// does not show the replaced secret.
func (r *secretRun) successor(ctx context.Context, old diffhook.Secret) (next diffhook.Secret, err error) {
	if !r.compared {
		if next, err := r.lookFor(ctx, old); err != nil || !next.IsZero() {
			return next, err
		}
	}
	rotated, err := r.click(ctx, old)
	switch {
	case errors.Is(err, diffhook.ErrOutcomeUnknown) && ctx.Err() == nil:
		next, lookErr := r.lookFor(ctx, old)
		if lookErr != nil || next.IsZero() {
			return next, errors.Join(err, lookErr)
		}
		return next, nil
	case err != nil || r.compared || !rotated.Previous.IsZero():
		return successorOf(old, rotated), err
	}
	return r.lookFor(ctx, old)
}

// lookFor returns the successor of old, or the zero Secret if DiffHook signs with old.
func (r *secretRun) lookFor(ctx context.Context, old diffhook.Secret) (next diffhook.Secret, err error) {
	seen, err := r.signing(ctx, StepCheck, "look whether DiffHook has a new secret", old)
	if err != nil || seen.Current.Equal(old) {
		return next, err
	}
	return successorOf(old, seen), nil
}

// click asks for a new secret in place of old, unless RevokeSecret took over, perhaps
// while the hold began.
func (r *secretRun) click(ctx context.Context, old diffhook.Secret) (rotated diffhook.Secrets, err error) {
	if err := r.checkRun(ctx); err != nil {
		return rotated, err
	}
	err = r.ask(StepRotate, "rotate the signing secret "+old.Fingerprint(), func() (err error) {
		rotated, err = r.platform.Rotate(ctx, old)
		return err
	})
	return rotated, err
}

// successorOf returns the secret that DiffHook signed with after old. After two clicks,
// this is the previous secret: servers must accept deliveries with it. Later, confirm
// finds the newest secret and stops the rotation.
func successorOf(old diffhook.Secret, seen diffhook.Secrets) diffhook.Secret {
	if open(seen) && !seen.Previous.Equal(old) {
		return seen.Previous
	}
	return seen.Current
}

// checkNew returns an error if next is no successor of the secret with the fingerprint
// old. Receivers reject the secret of the rotation before.
func checkNew(next diffhook.Secret, d secretDocument, old string) error {
	switch next.Fingerprint() {
	case "", old, d.Replaced:
		return fmt.Errorf("%w: the platform returned %q, which is not a new secret; run the rotation again", ErrMismatch, next.Fingerprint())
	}
	return nil
}
