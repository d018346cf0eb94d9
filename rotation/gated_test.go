package rotation_test

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

// gated is the receiver of an actor.
type gated struct {
	rotation.Receiver
	*actor
}

// Status waits until verified deliveries are handled, which takes no time. Without the
// wait, the same choices have two outcomes.
func (g gated) Status(ctx context.Context) (diffhook.VerifierStatus, error) {
	if g.isGone() {
		return diffhook.VerifierStatus{}, errCrash
	}
	v, _ := g.server.now()
	if err := v.Drain(ctx); err != nil {
		g.see(err.Error())
		return diffhook.VerifierStatus{}, err
	}
	s, err := g.Receiver.Status(ctx)
	g.see(strings.Join([]string{s.Current.Fingerprint, s.Previous.Fingerprint, s.Source, s.SourcePrevious}, " "))
	return s, err
}

// see keeps the last status, and the status after a rejection.
func (a *actor) see(seen string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sees = seen
	if a.asks {
		a.asks, a.saw = false, seen
	}
}

func (g gated) Hold(ctx context.Context, d time.Duration) error {
	if g.isGone() {
		return errCrash
	}
	err := g.Receiver.Hold(ctx, d)
	g.atlas.mu.Lock()
	defer g.atlas.mu.Unlock()
	g.process.bare = g.process.bare && (err != nil || d == 0)
	return err
}

func (g gated) Refresh(ctx context.Context) error {
	if g.isGone() {
		return errCrash
	}
	return g.Receiver.Refresh(ctx)
}

func (g gated) AcceptSuccessor(ctx context.Context, sealed string) error {
	if g.isGone() {
		return errCrash
	}
	err := g.Receiver.AcceptSuccessor(ctx, sealed)
	if v, _ := g.server.now(); err == nil {
		name := v.Status().Current.Fingerprint
		g.atlas.mu.Lock()
		defer g.atlas.mu.Unlock()
		g.process.pushed = g.names[name]
	}
	return err
}

// Reject is a stop too. Without the stop, a look and a heartbeat at the same time have
// two outcomes.
func (g gated) Reject(ctx context.Context, fingerprint string) error {
	g.actor.mu.Lock()
	before := g.sees // decides whether the run reads the source
	g.actor.mu.Unlock()
	if err := g.stop("reject", &call{ctx: ctx, result: before}); err != nil {
		return err
	}
	err := g.Receiver.Reject(ctx, fingerprint)
	g.actor.mu.Lock()
	g.asks = true
	g.actor.mu.Unlock()
	g.atlas.mu.Lock()
	defer g.atlas.mu.Unlock()
	if name := g.names[fingerprint]; err == nil && !slices.Contains(g.process.rejected, name) {
		g.process.rejected = append(g.process.rejected, name)
	}
	return err
}
