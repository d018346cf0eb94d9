package rotation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/scrub"
)

// group is the receivers of a rotation.
type group struct {
	*run
	receivers map[string]Receiver
	length    time.Duration // the length of a hold; negative: no hold

	holds   turn // held while a hold begins, is renewed or ends
	holding bool

	mu   sync.Mutex
	last map[string]diffhook.VerifierStatus
}

// each calls do for all receivers concurrently, and returns the errors by name.
func (g *group) each(ctx context.Context, do func(ctx context.Context, name string, r Receiver) error) map[string]error {
	var mu sync.Mutex
	var calls sync.WaitGroup
	failed := make(map[string]error)
	for name, r := range g.receivers {
		calls.Go(func() {
			if err := do(ctx, name, bounded{r}); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[name] = scrub.Foreign("receiver "+name, err, g.hidden()...)
			}
		})
	}
	calls.Wait()
	return failed
}

// look calls learn for each receiver. It returns the statuses after that, and the errors
// of receivers without a status, by name.
func (g *group) look(ctx context.Context, learn func(ctx context.Context, r Receiver, s diffhook.VerifierStatus) error) (map[string]diffhook.VerifierStatus, map[string]error) {
	var mu sync.Mutex
	statuses := make(map[string]diffhook.VerifierStatus)
	failed := g.each(ctx, func(ctx context.Context, name string, r Receiver) error {
		status, err := r.Status(ctx)
		if err == nil && learn != nil {
			if err = learn(ctx, r, status); err == nil {
				status, err = r.Status(ctx)
			}
		}
		if err != nil {
			return err
		}
		g.watch(name, status)
		mu.Lock()
		defer mu.Unlock()
		statuses[name] = status
		return nil
	})
	return statuses, failed
}

// watch warns if a hold loses deliveries. A verifier that began after the status before
// is another process. After a change of the clock, Since differs a little each time.
func (g *group) watch(name string, now diffhook.VerifierStatus) {
	g.mu.Lock()
	before, known := g.last[name]
	g.last[name] = now
	g.mu.Unlock()
	restarted := now.Since.After(before.At)
	switch waiting := before.Hold.Held + before.Hold.Pending; {
	case !known:
	case restarted && waiting > 0:
		g.report(StepWarning, fmt.Sprintf("%s has restarted: %d deliveries were in its memory", name, waiting), time.Time{})
	case !restarted && now.Hold.Full > before.Hold.Full:
		g.report(StepWarning, fmt.Sprintf("%s: the hold is full, and %d deliveries did not fit", name, now.Hold.Full), time.Time{})
	}
}

// hold begins or renews the hold of each receiver.
func (g *group) hold(ctx context.Context) {
	g.holds.take()
	defer g.holds.free()
	g.holding = g.length > 0
	g.renewHold(ctx)
}

// renewHold renews the hold, unless there is none. The caller holds g.holds.
func (g *group) renewHold(ctx context.Context) {
	if !g.holding {
		return
	}
	g.warn(g.each(ctx, func(ctx context.Context, name string, r Receiver) error {
		status, err := r.Status(ctx)
		switch {
		case err != nil:
			return err
		case !status.Hold.CanHold:
			return errors.New("the server cannot hold deliveries: deliveries of generation 1 are lost if the new secret arrives over 35 s late")
		}
		g.watch(name, status)
		return r.Hold(ctx, g.length)
	}))
}

// endHold ends the hold of each receiver, also that of an earlier run.
func (g *group) endHold(ctx context.Context) {
	g.holds.take()
	defer g.holds.free()
	g.holding = false
	g.warn(g.each(ctx, func(ctx context.Context, _ string, r Receiver) error {
		status, err := r.Status(ctx)
		if err != nil || status.Hold.Until.IsZero() {
			return err
		}
		return r.Hold(ctx, 0)
	}))
}

// beat renews the hold, unless there is none.
func (g *group) beat(ctx context.Context) {
	g.holds.take()
	defer g.holds.free()
	g.renewHold(ctx)
}

// reject makes each receiver reject a secret.
func (g *group) reject(ctx context.Context, fingerprint string) map[string]error {
	return g.each(ctx, func(ctx context.Context, _ string, r Receiver) error {
		return r.Reject(ctx, fingerprint)
	})
}

// warn reports errors that do not stop the rotation.
func (g *group) warn(failed map[string]error) {
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		g.report(StepWarning, textOf(failed[name]), time.Time{})
	}
}

// joined joins the errors in the order of the names. Without errors, it returns nil.
func joined(failed map[string]error) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		errs = append(errs, failed[name])
	}
	return errors.Join(errs...)
}

// textOf returns the text of an error of this package without the prefix.
func textOf(err error) string { return strings.TrimPrefix(err.Error(), "diffhook: ") }

// checkReceivers returns an error if a receiver is nil.
func checkReceivers(receivers map[string]Receiver) error {
	for name, r := range receivers {
		if r == nil {
			return fmt.Errorf("%w: the receiver %s is nil", diffhook.ErrInvalidOptions, name)
		}
	}
	return nil
}
