package rotation

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/scrub"
)

// KeyOptions configures [Key]. The zero value, and a nil pointer, mean every default.
type KeyOptions struct {
	// Label begins the label of the new key; random characters follow. By default,
	// "rotated".
	Label string

	// Quiet is the time for which the old key must be out of use before the deletion. By
	// default, 26 h: longer than the pause of a daily job.
	Quiet time.Duration

	// DeleteNow does not wait until the old key is out of use: Quiet does not count.
	// All other checks stay.
	DeleteNow bool

	// Observe is called with each step, and never concurrently. By default, nothing is
	// called.
	Observe func(Step)
}

const (
	defaultKeyQuiet = 26 * time.Hour
	spreadTime      = 2 * time.Minute // until a new key works, or a deleted key does not
	tryInterval     = 2 * time.Second
)

// Key replaces the API key with the id old: in generation 2 the client id, and by hand
// in generation 1 the label. After any error or crash, call Key again: the rotation
// continues. The result is nil if the last rotation of the document replaced old.
//
// Key saves a label and asks p for a new key. When the new key works and sees monitors
// of the old key, applications get the new key: see [Watch]. When the old key is out of
// use for Quiet, Key deletes it, and waits for a 401. The key of an interrupted request
// is discarded by the label, also by the next rotation. Key changes no Client.
//
// Errors match those of [Secret], without receivers.
func Key(ctx context.Context, old string, p KeyPlatform, s Store, opts *KeyOptions) error {
	o := valueOf(opts)
	if err := o.complete(); err != nil {
		return err
	}
	if p == nil || s == nil {
		return errNilArgument
	}
	r := &keyRun{run: newRun(s, kindKey, o.Observe), platform: p, opts: o}
	return r.carryOut(ctx, func() (bool, error) { return r.replaced(old) }, func(context.Context) {}, map[phase]func(context.Context) error{
		phaseIdle:      r.request,
		phaseRequested: r.create,
		phaseCreated:   r.promote,
		phasePromoted:  r.retire,
	})
}

func (o *KeyOptions) complete() error {
	if o.Quiet < 0 {
		return fmt.Errorf("%w: Quiet is negative; pass 0 for the default", diffhook.ErrInvalidOptions)
	}
	if _, err := diffhook.NewAPIKey(strings.TrimSpace(o.Label)); err == nil || scrub.Bounded(o.Label, 60) != o.Label {
		return fmt.Errorf("%w: the label of the new key is a key, longer than 60 bytes or not printable; pass a label such as production-server", diffhook.ErrInvalidOptions)
	}
	o.Label = cmp.Or(o.Label, "rotated")
	o.Quiet = cmp.Or(o.Quiet, defaultKeyQuiet)
	return nil
}

// keyRun is a run of Key.
type keyRun struct {
	*run
	platform KeyPlatform
	opts     KeyOptions

	requested bool // this run saved the label in the document
}

func (r *keyRun) doc() keyDocument { return snapshot[keyDocument](r.journal) }

// replaced reports whether old is replaced. It returns an error if the document does
// not name old, or another rotation is not finished.
func (r *keyRun) replaced(old string) (done bool, err error) {
	d := r.doc()
	replacing := d.ID
	if d.Phase == phasePromoted {
		replacing = d.Previous.ID
	}
	switch {
	case old == replacing:
		return false, nil
	case old == d.Replaced && old != "" && d.Phase == phaseIdle:
		return true, nil
	case old == d.ID:
		return false, fmt.Errorf("%w: the rotation of %s is not finished; finish that first", ErrBusy, shownID(replacing))
	}
	// The error does not repeat old, which may be a secret in the wrong place.
	return false, fmt.Errorf("%w: the document names the key %s, and not the id of this call", ErrNotInForce, shownID(replacing))
}

// request is phase idle. It checks the key of the document, and saves the label of the
// new key.
func (r *keyRun) request(ctx context.Context) error {
	d := r.doc()
	if err := r.check(ctx, d); err != nil {
		return err
	}
	if err := r.discard(ctx, d); err != nil {
		return err
	}
	label := r.newLabel()
	r.requested = true
	return advance(ctx, r.run, phaseIdle, phaseRequested, func(d *keyDocument) { d.Label, d.Outstanding = label, nil })
}

// check returns an error if the key of the document cannot be replaced.
func (r *keyRun) check(ctx context.Context, d keyDocument) error {
	err := r.ask(StepCheck, "try the key "+shownID(d.ID), func() error { return r.platform.Check(ctx, Pair(d.pairText)) })
	if errors.Is(err, diffhook.ErrUnauthorized) {
		return fmt.Errorf("%w: the key in the document does not work: %w; create the document anew, with another key", ErrMismatch, err)
	}
	return err
}

// newLabel returns a label for a new key.
func (r *keyRun) newLabel() string { return r.opts.Label + "-" + strings.ToLower(rand.Text()[:6]) }

// discard deletes the keys of interrupted requests. The labels stay in the document: a
// request may arrive later.
func (r *keyRun) discard(ctx context.Context, d keyDocument) error {
	if len(d.Outstanding) == 0 {
		return nil
	}
	return r.ask(StepDelete, "discard keys of interrupted requests, with the label "+strings.Join(d.Outstanding, " or "), func() error {
		return r.platform.Discard(ctx, Pair(d.pairText), d.Outstanding)
	})
}

// mostOutstanding bounds the labels in the document. Before a label is dropped, as many
// runs have discarded the label.
const mostOutstanding = 20

// relabel saves the label of an earlier run as outstanding, and a new label. So a key
// that arrives late is never taken for the key of this run.
func (r *keyRun) relabel(ctx context.Context) error {
	if err := r.check(ctx, r.doc()); err != nil {
		return err
	}
	label := r.newLabel()
	r.requested = true
	err := advance(ctx, r.run, phaseRequested, phaseRequested, func(d *keyDocument) {
		d.Outstanding = append(d.Outstanding, d.Label)
		d.Outstanding = d.Outstanding[max(0, len(d.Outstanding)-mostOutstanding):]
		d.Label = label
	})
	if err != nil {
		return err
	}
	return r.discard(ctx, r.doc())
}

// create is phase requested. It asks for a new key, and saves the key.
func (r *keyRun) create(ctx context.Context) error {
	if !r.requested {
		if err := r.relabel(ctx); err != nil {
			return err
		}
	}
	d := r.doc()
	var next Pair
	err := r.ask(StepCreate, "create a key with the label "+d.Label, func() (err error) {
		next, err = r.platform.Create(ctx, Pair(d.pairText), d.Label)
		return err
	})
	if err == nil {
		err = next.check()
	}
	if err == nil && (next.same(Pair(d.pairText)) || next.ID == d.ID) {
		err = fmt.Errorf("%w: the new key has the text or the id of the old key", ErrMismatch)
	}
	if err != nil {
		return fmt.Errorf("%w; run the rotation again, which discards a key with the label %s", err, d.Label)
	}
	text := pairText(next)
	err = advance(ctx, r.run, phaseRequested, phaseCreated, func(d *keyDocument) { d.Next = &text })
	if err != nil {
		return fmt.Errorf("%w; run the rotation again, which discards the key with the label %s unless the document contains the key", err, d.Label)
	}
	return nil
}
