package diffhook

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// RotationStep is one report of [SigningSecretService.Replace],
// [SigningSecretService.Revoke] or [KeyService.Replace]: something that has been
// done, or what is waited for. It holds no secret and no key.
type RotationStep struct {
	// Name is one of a fixed set, fit for a metric's label. Of a signing
	// secret: rotated, stored, learning, learned, draining, drained, revoked,
	// removed, refusing, refused, failed. Of an API key: orphans, created, stored,
	// proven, promoted, switched, draining, drained, deleted, removed, undone.
	Name string

	// Text says the same for people, on one line.
	Text string
}

// Errors of replacing a signing secret or an API key.
var (
	// ErrRotationOpen is returned where another rotation than the one asked for
	// is not finished: to go on would end the secret that it still needs.
	ErrRotationOpen = errors.New("diffhook: another rotation is not finished")

	// ErrStoreMismatch is returned where a store does not hold what it must:
	// another secret than the one to be replaced, or not what was saved in it.
	ErrStoreMismatch = errors.New("diffhook: the store does not hold what it must")
)

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
// at once. Its error wraps the last of load, or ErrStoreMismatch.
func confirm(ctx context.Context, load func(context.Context) error, holds func() bool) error {
	for tries := storeTimeout / storePoll; ; tries-- {
		err := load(ctx)
		switch {
		case err == nil && holds():
			return nil
		case err == nil:
			err = ErrStoreMismatch
		}
		if tries == 0 || sleep(ctx, storePoll) != nil {
			return err
		}
	}
}

// foreignError is a failure of what the customer gave: a store, a check or
// credentials. Its text is without the secrets and keys that were in their
// hands, which its cause, kept from reflection, may have.
type foreignError struct {
	text  string
	cause func() error
}

func newForeignError(doing string, cause error, secrets ...string) error {
	return &foreignError{text: "diffhook: " + doing + ": " + scrub(fmt.Sprint(cause), 300, secrets...), cause: hide(cause)}
}

func (e *foreignError) Error() string        { return e.text }
func (e *foreignError) Is(target error) bool { return errors.Is(e.cause(), target) }
func (e *foreignError) As(target any) bool   { return errors.As(e.cause(), target) }
