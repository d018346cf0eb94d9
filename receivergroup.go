package diffhook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	receiverTimeout = 10 * time.Second // of one call to a receiver
	receiverCalls   = 4                // of one that are under way; more would pile up where they hang
)

// receiverGroup is the receivers of a rotation, which are asked all at once and
// never waited for longer than receiverTimeout.
type receiverGroup struct {
	receivers map[string]Receiver
	busy      map[string]slot // by name: places for its calls
}

func newReceiverGroup(receivers map[string]Receiver) (*receiverGroup, error) {
	g := &receiverGroup{receivers: receivers, busy: make(map[string]slot)}
	for name, receiver := range receivers {
		if receiver == nil {
			return nil, fmt.Errorf("%w: the Receiver %q is nil", ErrInvalidOptions, name)
		}
		g.busy[name] = make(slot, receiverCalls)
	}
	return g, nil
}

// names returns all names, sorted.
func (g *receiverGroup) names() []string { return slices.Sorted(maps.Keys(g.receivers)) }

// each calls the receivers of the given names, and returns the errors of those
// that failed or did not answer in time.
func (g *receiverGroup) each(ctx context.Context, names []string, do func(ctx context.Context, name string, r Receiver) error) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, receiverTimeout)
	defer cancel()
	type result struct {
		name string
		err  error
	}
	results := make(chan result, len(names))
	errs := make(map[string]error)
	for _, name := range names {
		errs[name] = context.DeadlineExceeded // until it has answered
		go g.call(ctx, name, do, func(err error) { results <- result{name, err} })
	}
	for range names {
		select {
		case done := <-results:
			delete(errs, done.name)
			if done.err != nil {
				errs[done.name] = done.err
			}
		case <-ctx.Done(): // a receiver may not listen to it
			return errs
		}
	}
	return errs
}

// call calls a receiver on this goroutine, and hands over what became of it.
func (g *receiverGroup) call(ctx context.Context, name string, do func(context.Context, string, Receiver) error, done func(error)) {
	if err := g.busy[name].take(ctx); err != nil {
		done(err)
		return
	}
	err := errors.New("the receiver ended its goroutine")
	defer func() {
		g.busy[name].leave()
		done(err)
	}()
	err = guarded(func() error { return do(ctx, name, g.receivers[name]) })
}

// guarded calls a function of the customer's, on a goroutine of ours: it must
// not end the process.
func guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the receiver panicked: %v", p)
		}
	}()
	return do()
}

// isBusy reports whether a call to a receiver has not returned.
func (g *receiverGroup) isBusy(name string) bool { return len(g.busy[name]) > 0 }

// receiverAnswer is the status of a receiver, or why there is none.
type receiverAnswer struct {
	status RotationStatus
	err    error
}

// ask asks receivers for their status.
func (g *receiverGroup) ask(ctx context.Context, names []string) map[string]receiverAnswer {
	type named struct {
		name   string
		status RotationStatus
	}
	statuses := make(chan named, len(names))
	errs := g.each(ctx, names, func(ctx context.Context, name string, r Receiver) error {
		status, err := r.Status(ctx)
		if err == nil {
			statuses <- named{name, status}
		}
		return err
	})
	answers := make(map[string]receiverAnswer)
	for name, err := range errs {
		answers[name] = receiverAnswer{err: err}
	}
	for range len(statuses) {
		if s := <-statuses; errs[s.name] == nil {
			answers[s.name] = receiverAnswer{status: s.status}
		}
	}
	return answers
}

// answered returns the statuses of those that have one.
func answered(answers map[string]receiverAnswer) map[string]RotationStatus {
	statuses := make(map[string]RotationStatus)
	for name, a := range answers {
		if a.err == nil {
			statuses[name] = a.status
		}
	}
	return statuses
}

// leftReceivers are those that are waited for, by name, and why.
type leftReceivers map[string]string

func (l leftReceivers) names() []string { return slices.Sorted(maps.Keys(l)) }

// String lists them, the first few if they are many.
func (l leftReceivers) String() string {
	const most = 5
	var texts []string
	for _, name := range l.names() {
		if len(texts) == most {
			texts = append(texts, fmt.Sprintf("and %d more", len(l)-most))
			break
		}
		texts = append(texts, name+" "+l[name])
	}
	return strings.Join(texts, "; ")
}
