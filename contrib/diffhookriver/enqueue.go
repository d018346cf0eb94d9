package diffhookriver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/once"
)

// Kind is the kind of the jobs in River.
const Kind = "diffhook_event"

// maxAttempts is River's own default, which a config could lower: the retries span about
// three weeks.
const maxAttempts = river.MaxAttemptsDefault

// EventArgs are the arguments of a job.
type EventArgs struct {
	// Key is the key of the event, as [once.KeyOf] returns it without a consumer.
	Key string `json:"key" river:"unique"`

	// Body is the body of the delivery. JSON shows it in base64: PostgreSQL rejects
	// the escape \u0000 in JSON, which a web page can contain.
	Body []byte `json:"body"`
}

// Kind implements [river.JobArgs].
func (EventArgs) Kind() string { return Kind }

// InsertOpts implements [river.JobArgsWithInsertOpts]. A job in any state suppresses a
// duplicate. By default, River ignores cancelled and discarded jobs.
func (EventArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		MaxAttempts: maxAttempts,
		UniqueOpts:  river.UniqueOpts{ByArgs: true, ByState: rivertype.JobStates()},
	}
}

// Enqueue returns a function for diffhook.Verifier.EventHandler that enqueues each
// event once. The function returns nil if the database contains a job of the event, new
// or earlier: DiffHook then stops. If the database fails, the error wraps
// [diffhook.ErrUnavailable], and DiffHook retries.
//
// A client with Workers enqueues only if [AddWorker] was called. A client without Workers
// and Queues only enqueues: other processes do the work.
//
// Enqueue panics if client is nil.
func Enqueue[TTx any](client *river.Client[TTx]) diffhook.EventFunc {
	if client == nil {
		panic("diffhookriver: Enqueue with a nil client")
	}
	return func(ctx context.Context, e *diffhook.Event) error {
		args, err := newArgs(e)
		if err != nil {
			return err
		}
		_, err = client.Insert(ctx, args, nil)
		return insertError(err)
	}
}

// EnqueueTx enqueues e in tx, and reports whether the event is new. If another transaction
// is enqueuing e, EnqueueTx waits for the end of that transaction. Nothing is enqueued
// unless tx commits.
func EnqueueTx[TTx any](ctx context.Context, client *river.Client[TTx], tx TTx, e *diffhook.Event) (enqueued bool, err error) {
	args, err := newArgs(e)
	if err != nil {
		return false, err
	}
	result, err := client.InsertTx(ctx, tx, args, nil)
	if err != nil {
		return false, insertError(err)
	}
	return !result.UniqueSkippedAsDuplicate, nil
}

func newArgs(e *diffhook.Event) (EventArgs, error) {
	body := []byte(e.Raw)
	if len(body) == 0 { // not from ParseEvent
		var err error
		if body, err = json.Marshal(e); err != nil {
			return EventArgs{}, fmt.Errorf("diffhookriver: encode the event: %w", err)
		}
	}
	return EventArgs{Key: once.KeyOf("", e).String(), Body: body}, nil
}

func insertError(err error) error {
	if err == nil {
		return nil
	}
	if unknown := (*river.UnknownJobKindError)(nil); errors.As(err, &unknown) {
		return fmt.Errorf("%w: Workers lack the worker of %s; call AddWorker before river.NewClient", ErrConfig, Kind)
	}
	return fmt.Errorf("diffhookriver: enqueue: %w: %w", diffhook.ErrUnavailable, err)
}
