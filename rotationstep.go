package diffhook

import (
	"context"
	"fmt"
	"time"
)

// RotationStep is one report of [SigningSecretService.Replace],
// [SigningSecretService.Revoke] or [KeyService.Replace]: something that has been
// done, or what is waited for. It holds no secret and no key.
type RotationStep struct {
	// Name is one of a fixed set, fit for a metric's label; those in -ing are
	// waited for. Of a signing secret: reaching, rotated, stored, learning,
	// learned, draining, drained, revoked, removed, refusing, refused; skipped,
	// where something is not waited for; of Revoke also telling and failed. Of an
	// API key: orphans, created, stored, proven, promoted, switched, draining,
	// drained or skipped, deleted, removed, undone.
	Name string

	// Text says the same for people, on one line.
	Text string
}

// observer reports the steps of one rotation to its customer.
type observer struct {
	observe func(context.Context, RotationStep)
	waiting RotationStep // reported last, and not to be repeated
}

func (o *observer) report(ctx context.Context, name, format string, args ...any) {
	if o.observe != nil {
		o.observe(ctx, RotationStep{Name: name, Text: fmt.Sprintf(format, args...)})
	}
	o.waiting = RotationStep{}
}

// wait reports what is waited for, where that has changed.
func (o *observer) wait(ctx context.Context, name, text string) {
	if step := (RotationStep{Name: name, Text: text}); step != o.waiting {
		o.report(ctx, name, "%s", text)
		o.waiting = step
	}
}

// poll calls check at intervals until it says that nothing is left to wait for.
func (o *observer) poll(ctx context.Context, step string, every time.Duration, check func() (left string, err error)) error {
	for {
		left, err := check()
		if err != nil || left == "" {
			return err
		}
		if ctx.Err() == nil { // else left is only that nothing answers any more
			o.wait(ctx, step, left)
		}
		if err := sleep(ctx, every); err != nil {
			if o.waiting.Name == step {
				step += ": " + o.waiting.Text
			}
			return fmt.Errorf("diffhook: %s: %w; run it again to go on", step, err)
		}
	}
}

const (
	storeTimeout = 30 * time.Second // for a store to give back what was saved
	storePoll    = time.Second
)

// confirm loads until the store holds what was saved in it, which need not be
// at once. Its error wraps the last of load, ErrStoreMismatch, or that of ctx.
func confirm(ctx context.Context, load func(context.Context) error, holds func() bool) error {
	for deadline := time.Now().Add(storeTimeout); ; {
		err := load(ctx)
		switch {
		case err == nil && holds():
			return nil
		case err == nil:
			err = ErrStoreMismatch
		}
		if !time.Now().Before(deadline) {
			return err
		}
		if ended := sleep(ctx, storePoll); ended != nil {
			return fmt.Errorf("diffhook: the store does not show yet what was saved in it: %w; run it again to go on", ended)
		}
	}
}

// joinOnLine is errors.Join with a text of one line.
func joinOnLine(errs ...error) (joined error) {
	for _, err := range errs {
		switch {
		case joined == nil:
			joined = err
		case err != nil:
			joined = fmt.Errorf("%w; and %w", joined, err)
		}
	}
	return joined
}
