// Package once handles each event once, though DiffHook delivers at least once and
// any of many processes can receive a delivery.
//
// [Func] wraps an event function: the wrapper claims the event in a [Store], calls the
// function, and commits. [NewMemory] returns a store for a single process. The store of
// package oncesql is a table in PostgreSQL, MySQL, MariaDB or SQLite. Other stores are
// modules of contrib/ in the repository.
//
// A claim is a lease of 20 s. With leases, an event is handled at least once, with
// duplicates suppressed: if a process dies after the work and before the commit, a retry
// handles the event again. For exactly once, the record and the work share a
// transaction: see InTx of package oncesql. docs/once.md in the repository compares the
// ways.
package once

import (
	"context"
	"errors"
	"fmt"
	"time"

	diffhook "github.com/diffhook/diffhook-go"
)

// MinKeep is the shortest time for which a done event is kept. Retries of generation 2
// come for 17 h.
const MinKeep = 18 * time.Hour

// DefaultKeep is how long a done event is kept by default.
const DefaultKeep = 7 * 24 * time.Hour

var (
	// ErrDone is returned by a [Store] for a committed event.
	ErrDone = errors.New("once: the event is done")

	// ErrInProgress is returned by a [Store] for an event claimed by another token. It
	// wraps [diffhook.ErrUnavailable]: EventHandler answers 503, and DiffHook retries,
	// since the claimant may still fail.
	ErrInProgress = fmt.Errorf("once: the event is in progress elsewhere (%w)", diffhook.ErrUnavailable)
)

// A Store keeps claims and done events. Package oncetest tests one.
//
// The claim of a token lasts for the lease, by the clock of the store: the clocks of the
// processes do not count. The answer to any method can be lost: a second call with the
// same arguments succeeds like the first. All methods are safe for concurrent use.
//
// Errors wrap [ErrDone] or [ErrInProgress] as described. After any other error, the
// outcome is unknown.
type Store interface {
	// Claim claims k for token until lease ends. The error is ErrDone if k is
	// committed, and ErrInProgress if another token claims k. If token claims k
	// already, Claim succeeds, and the lease begins anew.
	Claim(ctx context.Context, k Key, token string, lease time.Duration) error

	// Commit records k as done, for keep. Commit succeeds also if the lease of token
	// ended and no other token claimed k since, and if token committed k already.
	// The error is ErrInProgress if another token claims k, and ErrDone if another
	// token committed k.
	Commit(ctx context.Context, k Key, token string, keep time.Duration) error

	// Release ends the claim of token. Release changes nothing, and succeeds, if
	// token does not claim k, or committed k.
	Release(ctx context.Context, k Key, token string) error
}

// Options are the options of [Func].
type Options struct {
	// Consumer separates functions if each must handle every event: claims count
	// per consumer. By default, Consumer is empty.
	Consumer string

	// Keep is how long a done event is kept. A later delivery of the event is handled
	// again, so set MaxAge of diffhook.VerifierOptions to less. A value below MinKeep
	// means MinKeep. By default, DefaultKeep.
	Keep time.Duration

	// Observe is called when an event is settled, in the goroutine of the delivery.
	// By default, nothing is observed.
	Observe func(context.Context, Observation)
}

// Outcome is the outcome of a delivery of an event, fit for a metric's label.
type Outcome string

const (
	// Handled: the function returned nil, and the event is recorded as done.
	Handled Outcome = "handled"
	// Duplicate: the event was done before. The answer is 204.
	Duplicate Outcome = "duplicate"
	// InProgress: another delivery of the event is being handled. The answer is 503.
	InProgress Outcome = "in_progress"
	// Failed: the function failed or panicked, and a retry handles the event.
	Failed Outcome = "failed"
	// StoreFailed: the store failed before the function was called. The answer is
	// 503.
	StoreFailed Outcome = "store_failed"
	// CommitFailed: the function returned nil, and the record may be missing. Func
	// returns nil, and a further delivery of the event may be handled again. InTx
	// returns an error, and the retry does the work only if the work is not done.
	CommitFailed Outcome = "commit_failed"
	// Forgotten: the memory store was full and forgot the done event used least
	// recently. Forgotten is observed beside the outcome of the delivery.
	Forgotten Outcome = "forgotten"
)

// Observation is the outcome of a delivery, without any part of the event.
type Observation struct {
	Key      Key
	Outcome  Outcome
	Err      error         // nil for Handled, Duplicate and Forgotten
	Duration time.Duration // of the function and the store together
}
