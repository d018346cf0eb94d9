package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/scrub"
)

var errNilArgument = fmt.Errorf("%w: the platform or the store is nil", diffhook.ErrInvalidOptions)

// valueOf returns the value that p points to, or the zero value.
func valueOf[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}

// run is a run of Secret, RevokeSecret or Key.
type run struct {
	*journal
	*reporter
}

func newRun(s Store, kind string, observe func(Step)) *run {
	return &run{journal: newJournal(s, kind), reporter: newReporter(observe)}
}

// carryOut takes the lease, and carries out the phases of the document until replaced
// returns true or an error.
func (r *run) carryOut(ctx context.Context, replaced func() (bool, error), beat func(context.Context), phases map[phase]func(context.Context) error) error {
	if err := r.load(ctx); err != nil {
		return err
	}
	if done, err := replaced(); done || err != nil {
		return err
	}
	if err := r.acquire(ctx, false); err != nil {
		return err
	}
	return r.leased(ctx, beat, func(ctx context.Context) error {
		for {
			if done, err := replaced(); done || err != nil {
				return err
			}
			if err := phases[r.phase()](ctx); err != nil {
				return err
			}
		}
	})
}

// leased calls do, and renews the lease meanwhile. Then it ends the lease.
func (r *run) leased(ctx context.Context, beat func(context.Context), do func(context.Context) error) error {
	defer r.release(ctx)
	held, end := r.keep(ctx, beat)
	defer end()
	err := do(held)
	// If the lease was lost, the reason is the cause of held.
	if cause := context.Cause(held); err != nil && cause != nil && errors.Is(err, context.Canceled) && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// ask calls request, which asks DiffHook or a person. The text describes the step, and
// begins the error.
func (r *run) ask(step StepName, text string, request func() error) error {
	r.report(step, text, time.Time{})
	if err := r.checkLease(); err != nil {
		return err
	}
	if err := request(); err != nil {
		return scrub.Foreign(text, err, r.hidden()...)
	}
	return nil
}

// advance saves a change, and a phase in place of another.
func advance[D any](ctx context.Context, r *run, from, to phase, change func(d *D)) error {
	return r.update(ctx, func(doc document) error {
		if got := doc.head().Phase; got != from {
			return fmt.Errorf("%w: the document is in phase %s and not %s; try again", ErrConflict, got, from)
		}
		change(any(doc).(*D))
		doc.head().enter(to)
		return nil
	})
}
