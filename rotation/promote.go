package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/diffhook/diffhook-go"
)

// promote is phase created. When the new key works, applications get the key from the
// document. A key that does not work is forgotten, and the next run discards it.
func (r *keyRun) promote(ctx context.Context) error {
	d := r.doc()
	old, next := Pair(d.pairText), Pair(*d.Next)
	err := r.try(ctx, old, next)
	if isUnfit(err) {
		if saveErr := advance(ctx, r.run, phaseCreated, phaseRequested, func(d *keyDocument) { d.Next = nil }); saveErr != nil {
			return errors.Join(err, saveErr)
		}
		return fmt.Errorf("%w: the new key %s with the label %s does not fit: %w; run the rotation again, which discards the key and asks for another", ErrMismatch, shownID(next.ID), d.Label, err)
	}
	if err != nil {
		return err
	}
	return advance(ctx, r.run, phaseCreated, phasePromoted, func(d *keyDocument) {
		before := d.pairText
		d.pairText, d.Previous, d.Next = *d.Next, &before, nil
	})
}

// errOldDead is the error of a rotation after a deletion of the old key in the app. The
// new key may be right: it stays in the document.
var errOldDead = fmt.Errorf("%w: the old key was deleted before applications got the new key; move the document away, and create a document with the new key, which the field next contains", ErrMismatch)

// isUnfit reports whether err is of a new key that does not fit.
func isUnfit(err error) bool {
	return (errors.Is(err, diffhook.ErrUnauthorized) || errors.Is(err, ErrMismatch)) && !errors.Is(err, errOldDead)
}

// try waits until next works, and compares the monitors that both keys see.
func (r *keyRun) try(ctx context.Context, old, next Pair) error {
	return poll(ctx, func() (final bool, err error) {
		var before, after []string
		err = r.ask(StepTry, "try the new key "+shownID(next.ID), func() (err error) {
			if after, err = r.platform.Monitors(ctx, next); err != nil {
				return err
			}
			if before, err = r.platform.Monitors(ctx, old); errors.Is(err, diffhook.ErrUnauthorized) {
				return errOldDead
			}
			return err
		})
		if err == nil && !sameTeam(before, after) {
			err = fmt.Errorf("%w: the new key sees other monitors than the old key, and may be of another team", ErrMismatch)
		}
		return !isUnfit(err), err
	})
}

// poll calls look until the error is final or spreadTime is over, and returns the
// error: DiffHook may need the time for a new or a deleted key.
func poll(ctx context.Context, look func() (final bool, err error)) error {
	for deadline := time.Now().Add(spreadTime); ; {
		final, err := look()
		if final || time.Now().After(deadline) {
			return err
		}
		if err := pause(ctx, tryInterval); err != nil {
			return err
		}
	}
}

// sameTeam reports whether two lists of monitors can be of the same team. Other people
// may change monitors between the lists.
func sameTeam(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	return slices.ContainsFunc(a, func(id string) bool { return slices.Contains(b, id) })
}

// retire is phase promoted. When the old key is out of use, retire deletes the key.
func (r *keyRun) retire(ctx context.Context) error {
	d := r.doc()
	current, old := Pair(d.pairText), Pair(*d.Previous)
	if err := r.deleteOld(ctx, current, old); err != nil {
		return err
	}
	if err := r.waitDead(ctx, old); err != nil {
		return err
	}
	err := advance(ctx, r.run, phasePromoted, phaseIdle, func(d *keyDocument) {
		d.Replaced, d.Previous, d.Label = old.ID, nil, ""
	})
	if err == nil {
		r.report(StepDone, "the API key is "+shownID(current.ID)+", and "+shownID(old.ID)+" is deleted", time.Time{})
	}
	return err
}

// deleteOld deletes the old key when that is out of use and the new key works. Somebody
// may have deleted the new key, during the wait or instead of a key to discard.
func (r *keyRun) deleteOld(ctx context.Context, current, old Pair) error {
	err := r.waitUnused(ctx, current, old)
	if err == nil {
		err = r.discard(ctx, r.doc())
	}
	if err == nil {
		err = r.tryOnceMore(ctx, current)
	}
	if errors.Is(err, diffhook.ErrUnauthorized) {
		return fmt.Errorf("%w: %w; the old key stays: move the document away, and create a document with the old key, which the field previous contains", ErrMismatch, err)
	}
	if err != nil {
		return err
	}
	return r.ask(StepDelete, "delete the old key "+shownID(old.ID), func() error { return r.platform.Delete(ctx, current, old) })
}

// tryOnceMore returns an error if the new key does not work any more. A new key can take
// seconds to work everywhere, and a run that fails here waits for Quiet anew.
func (r *keyRun) tryOnceMore(ctx context.Context, current Pair) error {
	return poll(ctx, func() (final bool, err error) {
		err = r.ask(StepTry, "try the new key "+shownID(current.ID)+" before the old key is deleted", func() error {
			_, err := r.platform.Monitors(ctx, current)
			return err
		})
		return err == nil, err
	})
}

// waitUnused waits until the old key is out of use for Quiet. Each run waits anew:
// applications may have restarted with the old key.
func (r *keyRun) waitUnused(ctx context.Context, current, old Pair) error {
	if r.opts.DeleteNow {
		return nil
	}
	for since := time.Now(); ; since = time.Now() {
		until := since.Add(r.opts.Quiet).Truncate(time.Second)
		err := r.update(ctx, func(doc document) error {
			doc.head().WaitUntil = until.UTC()
			return nil
		})
		if err != nil {
			return err
		}
		r.report(StepDrain, "the old key "+shownID(old.ID)+" may still be in use", until)
		if r.opts.Quiet > shortDrain {
			r.rest()
		}
		if err := pause(ctx, r.opts.Quiet); err != nil {
			return err
		}
		if err := r.wake(ctx); err != nil {
			return err
		}
		unused := false
		err = r.ask(StepDrain, "look when the old key was last used", func() (err error) {
			unused, err = r.platform.Unused(ctx, current, old, since)
			return err
		})
		if err != nil || unused {
			return err
		}
	}
}

// waitDead waits until a request with the deleted key gets 401.
func (r *keyRun) waitDead(ctx context.Context, old Pair) error {
	return poll(ctx, func() (final bool, err error) {
		err = r.ask(StepDelete, "try whether DiffHook still accepts the old key "+shownID(old.ID), func() error {
			_, err := r.platform.Monitors(ctx, old)
			return err
		})
		switch {
		case errors.Is(err, diffhook.ErrUnauthorized):
			return true, nil
		case err == nil:
			return false, fmt.Errorf("%w: the old key %s still works after its deletion; look in the app whether another key was deleted", ErrMismatch, shownID(old.ID))
		}
		return false, err
	})
}
