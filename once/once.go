// Package once handles each event once, though DiffHook delivers at least once and
// any of many processes can receive a delivery.
//
// [Func] wraps an event function: it claims the event in a [Store], calls the
// function and commits. [NewMemory] is a store for one process. The store of
// package oncesql is a table in PostgreSQL, MySQL, MariaDB or SQLite, and other
// stores are modules of contrib/ in the repository.
//
// A claim is a lease of 20 s. With leases, an event is handled at least once, with
// duplicates suppressed: a process that dies after the work and before the commit
// leaves an event that a retry handles again. Exactly once is a row in the same
// transaction as the work: see InTx of package oncesql. docs/once.md in the
// repository compares the ways.
package once

import (
	"context"
	"errors"
	"fmt"
	"time"

	diffhook "github.com/diffhook/diffhook-go"
)

// MinKeep is the shortest time for which a record of a done event is kept. Retries
// of generation 2 come for 17 h.
const MinKeep = 18 * time.Hour

// DefaultKeep is how long a record of a done event is kept by default.
const DefaultKeep = 7 * 24 * time.Hour

var (
	// ErrDone is returned by a [Store] for an event that is committed.
	ErrDone = errors.New("once: the event is done")

	// ErrInProgress is returned by a [Store] for an event that another token
	// claims. It wraps [diffhook.ErrUnavailable]: EventHandler answers 503, since
	// the claimant may still fail, and DiffHook retries.
	ErrInProgress = fmt.Errorf("once: the event is in progress elsewhere (%w)", diffhook.ErrUnavailable)
)

// A Store keeps claims and done events. Package oncetest tests one.
//
// The claim of a token lasts for the lease, by the store's own clock: clocks of the
// processes do not count. Any method may be repeated with the same arguments, since
// its answer can be lost; the second call then succeeds like the first. Any method
// may be called concurrently.
//
// A method returns an error that wraps [ErrDone] or [ErrInProgress] as described, and
// any other error if the outcome is unknown.
type Store interface {
	// Claim claims k for token until lease ends. It returns ErrDone if k is
	// committed, and ErrInProgress if another token claims k. If token claims k
	// already, Claim succeeds, and the lease begins anew.
	Claim(ctx context.Context, k Key, token string, lease time.Duration) error

	// Commit records that k is done, for keep. It succeeds if the lease of token
	// ended and no other token has claimed k since, and if token has committed k
	// already. It returns ErrInProgress if another token claims k, and ErrDone if
	// another token has committed k.
	Commit(ctx context.Context, k Key, token string, keep time.Duration) error

	// Release ends the claim of token. It succeeds, and changes nothing, if token
	// does not claim k, or has committed k.
	Release(ctx context.Context, k Key, token string) error
}

// Options are the options of [Func].
type Options struct {
	// Consumer separates functions that each handle every event: each has claims
	// of its own. By default, it is empty.
	Consumer string

	// Keep is how long a done event is remembered. A later delivery of the event is
	// handled again, so set MaxAge of diffhook.VerifierOptions to less. A value
	// below MinKeep is raised to it. By default, DefaultKeep.
	Keep time.Duration

	// Observe is called when an event is settled, in the goroutine of the delivery.
	// By default, nothing is observed.
	Observe func(context.Context, Observation)
}

// Outcome is what became of a delivery of an event. It fits a metric's label.
type Outcome string

const (
	// Handled: the function returned nil, and that is recorded.
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
	// CommitFailed: the function returned nil, and the record may be missing: a
	// further delivery of the event may be handled again. The answer is 204.
	CommitFailed Outcome = "commit_failed"
	// Forgotten: the memory store was full and forgot the done event that was used
	// least recently. This is observed beside the outcome of the delivery.
	Forgotten Outcome = "forgotten"
)

// Observation reports the outcome of a delivery. It holds no part of the event.
type Observation struct {
	Key      Key
	Outcome  Outcome
	Err      error         // nil for Handled, Duplicate and Forgotten
	Duration time.Duration // of the function and the store together
}
