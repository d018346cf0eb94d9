package rotation

import (
	"context"
	"time"

	"github.com/diffhook/diffhook-go"
)

// Receiver is a verifier of deliveries to a rotation: [Local] in this process,
// [Remote] on another server, or behind a transport of your own. The methods are those
// of [diffhook.Verifier].
type Receiver interface {
	Status(ctx context.Context) (diffhook.VerifierStatus, error)
	Refresh(ctx context.Context) error
	Reject(ctx context.Context, fingerprint string) error
	Hold(ctx context.Context, d time.Duration) error
	AcceptSuccessor(ctx context.Context, sealed string) error
}

// Local returns v as a receiver in this process.
func Local(v *diffhook.Verifier) Receiver { return local{v} }

type local struct{ v *diffhook.Verifier }

func (l local) Status(context.Context) (diffhook.VerifierStatus, error) { return l.v.Status(), nil }
func (l local) Refresh(ctx context.Context) error                       { return l.v.Refresh(ctx) }
func (l local) Reject(_ context.Context, fingerprint string) error      { return l.v.Reject(fingerprint) }
func (l local) Hold(_ context.Context, d time.Duration) error           { return l.v.Hold(d) }
func (l local) AcceptSuccessor(_ context.Context, sealed string) error {
	return l.v.AcceptSuccessor(sealed)
}

// receiverTimeout bounds a call of a receiver.
const receiverTimeout = 10 * time.Second

// bounded is a receiver whose calls end after receiverTimeout each.
type bounded struct{ r Receiver }

func (b bounded) Status(ctx context.Context) (diffhook.VerifierStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, receiverTimeout)
	defer cancel()
	return b.r.Status(ctx)
}

func (b bounded) Refresh(ctx context.Context) error { return bound(ctx, b.r.Refresh) }

func (b bounded) Reject(ctx context.Context, fingerprint string) error {
	return bound(ctx, func(ctx context.Context) error { return b.r.Reject(ctx, fingerprint) })
}

func (b bounded) Hold(ctx context.Context, d time.Duration) error {
	return bound(ctx, func(ctx context.Context) error { return b.r.Hold(ctx, d) })
}

func (b bounded) AcceptSuccessor(ctx context.Context, sealed string) error {
	return bound(ctx, func(ctx context.Context) error { return b.r.AcceptSuccessor(ctx, sealed) })
}

func bound(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, receiverTimeout)
	defer cancel()
	return call(ctx)
}
