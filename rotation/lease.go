package rotation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	leaseLength  = 60 * time.Second
	beatInterval = 20 * time.Second
)

var errTakenOver = fmt.Errorf("%w: another run took the document over; follow the steps of that run", ErrBusy)

// acquire takes the lease. If another run holds the lease and override is false, the
// error matches ErrBusy.
func (j *journal) acquire(ctx context.Context, override bool) error {
	run := rand.Text()
	err := j.update(ctx, func(doc document) error {
		h := doc.head()
		if h.Run != "" && h.Run != run && time.Now().Before(h.RunUntil) && !override {
			return fmt.Errorf("%w: the lease of that run lasts until %s, also if the run was killed; try again then", ErrBusy, h.RunUntil.UTC().Format(time.RFC3339))
		}
		h.Run, h.RunUntil = run, now().Add(leaseLength)
		return nil
	})
	if err == nil {
		j.run = run
	}
	return err
}

// release ends the lease, also after the end of ctx.
func (j *journal) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*storeTimeout)
	defer cancel()
	_ = j.update(ctx, func(doc document) error { // without release, the lease ends after leaseLength
		h := doc.head()
		h.Run, h.RunUntil, h.WaitUntil = "", time.Time{}, time.Time{}
		return nil
	})
}

// checkLease returns an error if the lease is over, for example because the machine was
// suspended. A run calls checkLease before each request to DiffHook or a person.
func (j *journal) checkLease() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if time.Now().Before(j.until) {
		return nil
	}
	return fmt.Errorf("%w: the lease of this run is over, and another run may have begun; try again", ErrBusy)
}

func (j *journal) renew(ctx context.Context) error {
	return j.update(ctx, func(document) error { return nil })
}

// rest lets the lease run out during a long wait: each renewal is a version of the
// document, of which stores keep a limited number. A run that begins meanwhile takes
// the wait over.
func (j *journal) rest() { j.resting.Store(true) }

// wake renews the lease after a rest, unless another run took over.
func (j *journal) wake(ctx context.Context) error {
	if !j.resting.Swap(false) {
		return nil
	}
	return j.renew(ctx)
}

// checkRun returns an error if another run took over.
func (j *journal) checkRun(ctx context.Context) error {
	_, _, doc, err := j.read(ctx)
	if err == nil && doc.head().Run != j.run {
		return errTakenOver
	}
	return nil
}

// keep renews the lease until end is called, and calls beat each time while no other run
// has taken over. If the lease is lost, the returned context ends with the reason.
func (j *journal) keep(ctx context.Context, beat func(context.Context)) (held context.Context, end func()) {
	held, cancel := context.WithCancelCause(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		for pause(held, beatInterval) == nil {
			if err := j.checkRun(held); err != nil {
				cancel(err)
				return
			}
			beat(held)
			if j.resting.Load() {
				continue
			}
			err := j.renew(held)
			if errors.Is(err, ErrBusy) || err != nil && j.checkLease() != nil {
				cancel(err)
			}
		}
	})
	return held, func() {
		cancel(nil)
		done.Wait()
	}
}
