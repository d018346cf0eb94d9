package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

// rotationError is the error of a rotation, with advice: lines on the state of the
// rotation and the next command.
type rotationError struct {
	error
	advice []string
}

func (e *rotationError) Unwrap() error { return e.error }

// outcome explains the error of a run.
type outcome struct {
	command   string // of the failed run
	id        string // argument of the command
	store     rotation.Store
	receivers map[string]rotation.Receiver // nil for a key
}

// commandFor maps functions of package rotation to commands.
var commandFor = map[rotation.Function]string{
	rotation.FunctionSecret:       "rotate-secret",
	rotation.FunctionRevokeSecret: "revoke-secret",
	rotation.FunctionKey:          "rotate-key",
}

// commandLine returns the command for a call.
func commandLine(call rotation.Call) string {
	return "diffhook " + commandFor[call.Function] + " " + argument(call.ID)
}

// argument returns id as an argument to copy into a shell. The id of a key may be any
// text of a person or of the API.
func argument(id string) string {
	id = printable(id)
	text := id
	if id == "" || strings.ContainsFunc(id, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.…", r)
	}) {
		text = "'" + strings.ReplaceAll(id, "'", `'\''`) + "'"
	}
	if strings.HasPrefix(id, "-") {
		text = "-- " + text
	}
	return text
}

// adviceTimeout bounds the looks at the document and at the receivers after a run.
const adviceTimeout = 3 * time.Second

// explain returns err with advice. A usageError comes back alone: nothing ran.
func (o *outcome) explain(err error) error {
	if err == nil || exitCode(err) == exitUsage {
		return err
	}
	// A signal may have ended the context of the run. A second signal kills the process.
	ctx, cancel := context.WithTimeout(context.Background(), adviceTimeout)
	defer cancel()
	state, stateErr := rotation.State(ctx, o.store)
	switch {
	case errors.Is(err, rotation.ErrInvalidDocument):
		return &rotationError{err, nil}
	case stateErr != nil:
		return &rotationError{err, []string{"The document cannot be read now. When it can be read, run the same command again."}}
	}
	after := o.afterRotation
	if o.command == commandFor[rotation.FunctionRevokeSecret] {
		after = o.afterRevocation
	}
	return &rotationError{err, append(after(err, state), o.holds(ctx, state)...)}
}

func (o *outcome) afterRevocation(err error, state rotation.DocumentState) []string {
	if errors.Is(err, rotation.ErrNotInForce) {
		return []string{o.seeState()}
	}
	call := rotation.Call{Function: rotation.FunctionRevokeSecret, ID: o.id}
	if state.Continue.Function == call.Function {
		call = state.Continue
	}
	if call.ID != o.id && errors.Is(err, rotation.ErrMismatch) {
		return o.afterMismatch(call)
	}
	return []string{fmt.Sprintf("The revocation is not finished. Run %s until the exit code is 0.", commandLine(call))}
}

func (o *outcome) afterRotation(err error, state rotation.DocumentState) []string {
	continued := commandLine(state.Continue)
	switch {
	case errors.Is(err, rotation.ErrNotInForce):
		return []string{o.seeState()}
	case errors.Is(err, rotation.ErrBusy) && continued == o.commandLine():
		return nil // another run is at work, and the error shows the end of the lease
	case state.Phase == "idle" && state.Replaced == o.id:
		return []string{"The rotation is over: " + printable(o.id) + " is replaced."}
	case state.Phase == "idle" && state.Kind == kindKey && errors.Is(err, diffhook.ErrUnauthorized):
		return []string{"Nothing has begun. If the key is deleted, move the document away and run diffhook rotate-key --init."}
	case state.Phase == "idle":
		return []string{"Nothing has begun: the document and DiffHook are as before."}
	case state.Continue.Function == rotation.FunctionRevokeSecret && errors.Is(err, rotation.ErrMismatch):
		return o.afterMismatch(state.Continue)
	}
	advice := []string{"The rotation is under way. To continue, with the same flags: " + continued}
	if state.Kind == kindKey && state.Previous != "" {
		advice = append(advice, "Each run waits for --quiet anew. With --delete-now, a run does not wait.")
	}
	return advice
}

// afterMismatch returns lines on both mistakes: the secret in the document, which the
// revocation replaces, or the last answer.
func (o *outcome) afterMismatch(revocation rotation.Call) []string {
	return []string{
		fmt.Sprintf("If the app shows another secret than %s, or a server rejects it: %s", revocation.ID, commandLine(revocation)),
		"If only the last answer was wrong: " + o.commandLine(),
	}
}

func (o *outcome) commandLine() string { return "diffhook " + o.command + " " + argument(o.id) }

func (o *outcome) seeState() string {
	command := o.command
	if command == commandFor[rotation.FunctionRevokeSecret] {
		command = commandFor[rotation.FunctionSecret]
	}
	return fmt.Sprintf("diffhook %s --state shows the document.", command)
}

// holds returns lines on the end of the hold.
func (o *outcome) holds(ctx context.Context, state rotation.DocumentState) (lines []string) {
	if state.Phase == "idle" {
		return nil
	}
	var end time.Time // the earliest
	statuses := allStatuses(ctx, o.receivers)
	for _, name := range slices.Sorted(maps.Keys(statuses)) {
		switch s := statuses[name]; {
		case s.err != nil:
			lines = append(lines, name+" shows no status: the end of its hold is unknown.")
		case !s.Hold.Until.IsZero() && (end.IsZero() || s.Hold.Until.Before(end)):
			end = s.Hold.Until
		}
	}
	if end.IsZero() {
		return lines
	}
	lines = append(lines, fmt.Sprintf("Servers hold deliveries until %s.", clock(end, time.Now())))
	if state.Phase == "requested" {
		lines = append(lines, "If you have clicked, continue before then: else deliveries are lost.")
	}
	return lines
}

// receiverStatus is a status, or the reason why there is none.
type receiverStatus struct {
	diffhook.VerifierStatus
	err error
}

// allStatuses asks all receivers concurrently.
func allStatuses(ctx context.Context, receivers map[string]rotation.Receiver) map[string]receiverStatus {
	var mu sync.Mutex
	var calls sync.WaitGroup
	statuses := make(map[string]receiverStatus, len(receivers))
	for name, r := range receivers {
		calls.Go(func() {
			status, err := r.Status(ctx)
			mu.Lock()
			defer mu.Unlock()
			statuses[name] = receiverStatus{status, err}
		})
	}
	calls.Wait()
	return statuses
}

// clock returns t in UTC, and the date if now is on another date.
func clock(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly) + " UTC"
	}
	return t.Format(time.DateTime) + " UTC"
}
