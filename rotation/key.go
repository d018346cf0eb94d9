package rotation

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/redact"
)

// KeyOptions configures [Key]. The zero value, and a nil pointer, mean every default.
type KeyOptions struct {
	// Label begins the label of the new key; random characters follow. By default,
	// "rotated".
	Label string

	// Quiet is for how long the old key must be out of use before it is deleted. By
	// default, 26 h: longer than the pause of a daily job.
	Quiet time.Duration

	// Poll is the time between two looks at DiffHook. By default, 5 s.
	Poll time.Duration

	// DeleteNow does not wait until the old key is out of use: Quiet does not count.
	// All other checks stay.
	DeleteNow bool

	// Observe is called with each step, one at a time. By default, nothing is.
	Observe func(Step)
}

const (
	defaultKeyQuiet = 26 * time.Hour
	spreadTime      = 2 * time.Minute // until a new key works, or a deleted key does not
	tryInterval     = 2 * time.Second
)

// Key replaces the API key with the id old: in generation 2 the client id, and by hand
// in generation 1 the label. After any error or crash, run it again: it continues. It
// returns nil if old was replaced by the rotation that the document remembers.
//
// Key asks p for a new key, whose label is saved before. When the new key works and
// sees the same monitors as the old key, the document gives it to applications, see
// [Watch]. When the old key has not been used for Quiet, Key deletes it, and waits
// until a request with it gets 401. A key whose creation was interrupted is discarded
// by its label. Key does not change the credentials of any Client.
//
// Errors match those of [Secret], without receivers.
func Key(ctx context.Context, old string, p KeyPlatform, s Store, opts *KeyOptions) error {
	var o KeyOptions
	if opts != nil {
		o = *opts
	}
	if err := o.complete(); err != nil {
		return err
	}
	if p == nil || s == nil {
		return errNilArgument
	}
	r := &keyRun{journal: newJournal(s, kindKey), reporter: newReporter(o.Observe), platform: p, opts: o}
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
	held, end := r.keep(ctx, func(context.Context) {})
	defer end()
	return causeOf(held, r.turn(held, old))
}

func (o *KeyOptions) complete() error {
	if o.Quiet < 0 || o.Poll < 0 {
		return fmt.Errorf("%w: Quiet and Poll must not be negative; pass 0 for the defaults", diffhook.ErrInvalidOptions)
	}
	if _, err := diffhook.NewAPIKey(strings.TrimSpace(o.Label)); err == nil || redact.Bounded(o.Label, 60) != o.Label {
		return fmt.Errorf("%w: the label of the new key is a key, longer than 60 bytes or not printable; pass a label such as production-server", diffhook.ErrInvalidOptions)
	}
	o.Label = cmp.Or(o.Label, "rotated")
	o.Quiet = cmp.Or(o.Quiet, defaultKeyQuiet)
	o.Poll = cmp.Or(o.Poll, defaultPoll)
	return nil
}

// keyRun is one run of Key.
type keyRun struct {
	*journal
	*reporter
	platform KeyPlatform
	opts     KeyOptions

	requested bool // this run has saved phase requested, and not asked yet
}

func (r *keyRun) doc() keyDocument { return snapshot[keyDocument](r.journal) }

// accepts reports whether old has been replaced already, or returns an error if the
// document does not allow to replace it.
func (r *keyRun) accepts(old string) (done bool, err error) {
	d := r.doc()
	under := d.ID // the key that a rotation replaces
	if d.Phase == phasePromoted {
		under = d.Previous.ID
	}
	switch {
	case old == under:
		return false, nil
	case old == d.Replaced && old != "" && d.Phase == phaseIdle:
		return true, nil
	case old == d.ID:
		return false, fmt.Errorf("%w: the rotation of %s is not finished; finish that first", ErrBusy, shownID(under))
	}
	return false, fmt.Errorf("%w: the document names the key %s and not %s", ErrNotInForce, shownID(under), shownID(old))
}

// turn carries out one phase of the document after the other.
func (r *keyRun) turn(ctx context.Context, old string) error {
	for {
		done, err := r.accepts(old)
		if done || err != nil {
			return err
		}
		switch r.doc().Phase {
		case phaseIdle:
			err = r.request(ctx)
		case phaseRequested:
			err = r.create(ctx)
		case phaseCreated:
			err = r.promote(ctx)
		case phasePromoted:
			err = r.retire(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// advance saves a change that is made in one phase.
func (r *keyRun) advance(ctx context.Context, from, to phase, change func(d *keyDocument)) error {
	return r.update(ctx, func(doc document) error {
		if err := inPhase(doc, from); err != nil {
			return err
		}
		d := doc.(*keyDocument)
		change(d)
		d.enter(to)
		return nil
	})
}

// ask calls the platform.
func (r *keyRun) ask(step StepName, text string, call func() error) error {
	r.report(step, text, time.Time{})
	if err := r.checkLease(); err != nil {
		return err
	}
	if err := call(); err != nil {
		return redact.Foreign(text, err, r.hidden()...)
	}
	return nil
}

// request is phase idle: the key of the document must work. It saves the label of the
// new key.
func (r *keyRun) request(ctx context.Context) error {
	d := r.doc()
	err := r.ask(StepCheck, "try the key "+shownID(d.ID), func() error {
		_, err := r.platform.Monitors(ctx, Pair(d.pairText))
		return err
	})
	if errors.Is(err, diffhook.ErrUnauthorized) {
		return fmt.Errorf("%w: the key in the document does not work; create the document anew, with a key that works: %w", ErrMismatch, err)
	}
	if err != nil {
		return err
	}
	label := r.opts.Label + "-" + strings.ToLower(rand.Text()[:6])
	r.requested = true
	return r.advance(ctx, phaseIdle, phaseRequested, func(d *keyDocument) { d.Label = label })
}

// create is phase requested: it discards keys of a run whose response was lost, asks
// for a new key, and saves it.
func (r *keyRun) create(ctx context.Context) error {
	d := r.doc()
	if !r.requested {
		err := r.ask(StepDelete, "discard keys with the label "+d.Label+" of an interrupted run", func() error {
			return r.platform.Discard(ctx, Pair(d.pairText), d.Label)
		})
		if err != nil {
			return err
		}
	}
	r.requested = false
	var next Pair
	err := r.ask(StepCreate, "create a key with the label "+d.Label, func() (err error) {
		next, err = r.platform.Create(ctx, Pair(d.pairText), d.Label)
		return err
	})
	if err == nil {
		err = next.check()
	}
	if err == nil && (next.same(Pair(d.pairText)) || next.ID == d.ID) {
		err = fmt.Errorf("%w: the new key or its id is that of the old key", ErrMismatch)
	}
	if err != nil {
		return fmt.Errorf("%w; run it again: a key with the label %s is discarded then", err, d.Label)
	}
	text := pairText(next)
	err = r.advance(ctx, phaseRequested, phaseCreated, func(d *keyDocument) { d.Next = &text })
	if err != nil {
		return fmt.Errorf("%w; run it again: the key with the label %s is discarded then, unless the document has it", err, d.Label)
	}
	return nil
}

// promote is phase created: when the new key works, it gives the key to applications.
// A key that does not work is forgotten, and discarded by the next run.
func (r *keyRun) promote(ctx context.Context) error {
	d := r.doc()
	old, next := Pair(d.pairText), Pair(*d.Next)
	err := r.try(ctx, old, next)
	if errors.Is(err, diffhook.ErrUnauthorized) || errors.Is(err, ErrMismatch) {
		if saveErr := r.advance(ctx, phaseCreated, phaseRequested, func(d *keyDocument) { d.Next = nil }); saveErr != nil {
			return errors.Join(err, saveErr)
		}
		return fmt.Errorf("%w: the new key %s with the label %s was not taken: %w; run it again: it discards the key and asks for another", ErrMismatch, shownID(next.ID), d.Label, err)
	}
	if err != nil {
		return err
	}
	return r.advance(ctx, phaseCreated, phasePromoted, func(d *keyDocument) {
		before := d.pairText
		d.pairText, d.Previous, d.Next = *d.Next, &before, nil
	})
}

// try waits until next works, and compares the monitors that both keys see.
func (r *keyRun) try(ctx context.Context, old, next Pair) error {
	for deadline := time.Now().Add(spreadTime); ; {
		var before, after []string
		err := r.ask(StepTry, "try the new key "+shownID(next.ID), func() (err error) {
			if after, err = r.platform.Monitors(ctx, next); err == nil {
				before, err = r.platform.Monitors(ctx, old)
			}
			return err
		})
		if err == nil && !sameTeam(before, after) {
			err = fmt.Errorf("%w: the new key sees other monitors than the old key: is it of the same team?", ErrMismatch)
		}
		passing := errors.Is(err, diffhook.ErrUnauthorized) || errors.Is(err, ErrMismatch)
		if !passing || time.Now().After(deadline) {
			return err
		}
		if err := pause(ctx, tryInterval); err != nil {
			return err
		}
	}
}

// sameTeam reports whether two lists of monitors, of which other people may change
// the team's meanwhile, can be of one team.
func sameTeam(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	return slices.ContainsFunc(a, func(id string) bool { return slices.Contains(b, id) })
}

// retire is phase promoted: when the old key is out of use, it deletes the key.
func (r *keyRun) retire(ctx context.Context) error {
	d := r.doc()
	now, old := Pair(d.pairText), Pair(*d.Previous)
	if err := r.waitUnused(ctx, now, old); err != nil {
		return err
	}
	err := r.ask(StepDelete, "delete the old key "+shownID(old.ID), func() error { return r.platform.Delete(ctx, now, old) })
	if err != nil {
		return err
	}
	if err := r.waitDead(ctx, old); err != nil {
		return err
	}
	err = r.advance(ctx, phasePromoted, phaseIdle, func(d *keyDocument) {
		d.Replaced, d.Previous, d.Label = old.ID, nil, ""
	})
	if err == nil {
		r.report(StepDone, "the API key is "+shownID(now.ID)+", and "+shownID(old.ID)+" is deleted", time.Time{})
	}
	return err
}

// waitUnused waits until the old key has not been used for Quiet. Each run waits
// anew: applications may have come back with the old key.
func (r *keyRun) waitUnused(ctx context.Context, now, old Pair) error {
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
			unused, err = r.platform.Unused(ctx, now, old, since)
			return err
		})
		if err != nil || unused {
			return err
		}
	}
}

// waitDead waits until a request with the deleted key gets 401.
func (r *keyRun) waitDead(ctx context.Context, old Pair) error {
	for deadline := time.Now().Add(spreadTime); ; {
		err := r.ask(StepDelete, "try whether DiffHook still accepts the old key "+shownID(old.ID), func() error {
			_, err := r.platform.Monitors(ctx, old)
			return err
		})
		switch {
		case errors.Is(err, diffhook.ErrUnauthorized):
			return nil
		case time.Now().After(deadline) && err == nil:
			return fmt.Errorf("%w: the old key %s still works after its deletion; look in the app whether another key was deleted", ErrMismatch, shownID(old.ID))
		case time.Now().After(deadline):
			return err
		}
		if err := pause(ctx, tryInterval); err != nil {
			return err
		}
	}
}
