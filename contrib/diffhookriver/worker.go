package diffhookriver

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	diffhook "github.com/diffhook/diffhook-go"
)

var (
	// ErrAttemptOver is returned by [CompleteTx] to a worker after the end of the
	// attempt: River gave the job to another attempt, or the job is finished. Roll
	// back, and return the error.
	ErrAttemptOver = errors.New("diffhookriver: the attempt is over")

	// ErrNoJob is returned by [CompleteTx] for any context but the context of a worker.
	ErrNoJob = errors.New("diffhookriver: the context is not that of a worker")
)

// WorkerOptions are the options of [AddWorker].
type WorkerOptions struct {
	// Timeout bounds an attempt: the context of the function ends. Set the same in
	// every process, since the timeout of the leader counts. By default, the JobTimeout
	// of the River client, 1 minute.
	Timeout time.Duration
}

// AddWorker registers f as the worker of enqueued events. Nil opts are all defaults.
// Call AddWorker before river.NewClient.
//
// River calls f at least once for each event. For exactly once, f calls [CompleteTx]. If f
// returns an error, River tries again, 25 times in about three weeks. f must return when
// the context ends: then River starts another attempt.
//
// AddWorker panics if workers or f is nil, if Timeout is negative, or if workers contain a
// worker of [Kind] already.
func AddWorker(workers *river.Workers, f diffhook.EventFunc, opts *WorkerOptions) {
	if workers == nil || f == nil {
		panic("diffhookriver: AddWorker of nil Workers or a nil function")
	}
	w := &worker{handle: f}
	if opts != nil {
		w.timeout = opts.Timeout
	}
	if w.timeout < 0 {
		panic("diffhookriver: AddWorker with a negative Timeout: River never rescues the job of a process that died")
	}
	river.AddWorker(workers, w)
}

// worker calls the function for the work of a job.
type worker struct {
	river.WorkerDefaults[EventArgs]
	handle  diffhook.EventFunc
	timeout time.Duration
}

// Timeout returns the time after which River rescues the job of a running process: the
// function gets rescueMargin to return. 0 means JobTimeout, which Check compares.
func (w *worker) Timeout(*river.Job[EventArgs]) time.Duration {
	if w.timeout == 0 {
		return 0
	}
	return w.timeout + rescueMargin
}

// attempt is an attempt at a job, in the context of the function.
type attempt struct {
	job  *river.Job[EventArgs]
	over atomic.Bool // CompleteTx returned ErrAttemptOver
}

type attemptKey struct{}

// Work implements [river.Worker].
func (w *worker) Work(ctx context.Context, job *river.Job[EventArgs]) error {
	e, err := diffhook.ParseEvent(job.Args.Body)
	if err != nil {
		return err
	}
	if w.timeout > 0 {
		limited, cancel := context.WithTimeout(ctx, w.timeout)
		defer cancel()
		ctx = limited
	}
	a := &attempt{job: job}
	err = w.handle(context.WithValue(ctx, attemptKey{}, a), e)
	if err == nil && a.over.Load() {
		// For nil, River would complete the job, which another attempt runs.
		return ErrAttemptOver
	}
	return err
}

// CompleteTx ends the job of ctx in the transaction of the work: both are committed, or
// neither. ctx is the context of the worker's function. Call CompleteTx last, commit,
// and return the error of the commit.
//
// If River gave the job to another attempt meanwhile, CompleteTx returns
// [ErrAttemptOver]: roll back. River's own JobCompleteTx returns nil then. CompleteTx
// locks the job: of two attempts that end at the same time, only the first commits.
func CompleteTx[TTx any](ctx context.Context, tx TTx) error {
	a, ok := ctx.Value(attemptKey{}).(*attempt)
	if !ok {
		return ErrNoJob
	}
	client, err := river.ClientFromContextSafely[TTx](ctx)
	if err != nil {
		return fmt.Errorf("%w, or the River client has another type of transaction than %T: %w", ErrNoJob, tx, err)
	}
	job, err := client.JobUpdateTx(ctx, tx, a.job.ID, nil) // changes nothing, and locks the row
	if errors.Is(err, rivertype.ErrNotFound) {
		a.over.Store(true)
		return fmt.Errorf("%w: the job was deleted", ErrAttemptOver)
	}
	if err != nil {
		return fmt.Errorf("diffhookriver: lock the job: %w", err)
	}
	if job.State != rivertype.JobStateRunning || job.Attempt != a.job.Attempt {
		a.over.Store(true)
		return fmt.Errorf("%w: attempt %d found the job %s in attempt %d", ErrAttemptOver, a.job.Attempt, job.State, job.Attempt)
	}
	if _, err := river.JobCompleteTx[riverdriver.Driver[TTx]](ctx, tx, a.job); err != nil {
		return fmt.Errorf("diffhookriver: complete the job: %w", err)
	}
	return nil
}
