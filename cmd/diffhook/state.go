package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

// showState prints the progress of the rotation in the document, the next step and the
// next command.
func (a *app) showState(ctx context.Context, command string, store rotation.Store) (rotation.DocumentState, error) {
	state, err := rotation.State(ctx, store)
	if err != nil {
		return state, err
	}
	if of := commandFor[functionOf[state.Kind]]; of != command {
		return state, usagef("the document is of kind %s; run diffhook %s --state", printable(state.Kind), of)
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"document", state.Kind},
		{"phase", state.Phase + ", since " + state.Since.UTC().Format(time.RFC3339)},
		{"current", state.Current},
		{"previous", state.Previous},
		{"new", state.Next},
		{"replaced", state.Replaced},
		{"label", state.Label},
		{"labels to discard", strings.Join(state.Outstanding, " ")},
		{"lease of a run", formatTime(state.RunUntil, "until ", "")},
		{"wait for the old key", formatTime(state.WaitUntil, "until ", ", unless the run was killed; each run waits anew")},
		{"next step", state.Then},
		{begins(state), commandLine(state.Continue)},
	} {
		if row[1] != "" {
			fmt.Fprintf(table, "%s:\t%s\n", row[0], printable(row[1]))
		}
	}
	return state, table.Flush()
}

// The kinds of documents.
const (
	kindSecret = "signing-secret"
	kindKey    = "api-key"
)

// functionOf maps kinds of documents to functions.
var functionOf = map[string]rotation.Function{kindSecret: rotation.FunctionSecret, kindKey: rotation.FunctionKey}

// begins returns the effect of the next command.
func begins(state rotation.DocumentState) string {
	if state.Phase == "idle" {
		return "to begin"
	}
	return "to continue"
}

// statusTimeout bounds the wait for each receiver.
const statusTimeout = 10 * time.Second

// showReceivers prints each receiver and each secret. A receiver without a response is a
// line with the reason, and no error. The statuses of all other receivers are returned.
func (a *app) showReceivers(ctx context.Context, receivers map[string]rotation.Receiver) (map[string]diffhook.VerifierStatus, error) {
	if len(receivers) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	all, responding := allStatuses(ctx, receivers), map[string]diffhook.VerifierStatus{}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nreceiver\tcurrent\tprevious\tsource\thold")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		status := all[name]
		if status.err != nil {
			fmt.Fprintf(table, "%s\t%s\n", name, printable(status.err.Error()))
			continue
		}
		responding[name] = status.VerifierStatus
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", name, shown(status.Current), shown(status.Previous),
			cmp.Or(status.Source, "-"), cmp.Or(formatTime(status.Hold.Until, "until ", ""), "-"))
	}
	fmt.Fprintln(table, "\nsecret\tcurrent at\tprevious at\tuses\tunused for")
	for _, s := range rotation.Merge(responding) {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%v\n", s.Fingerprint, list(s.CurrentAt), list(s.PreviousAt), s.Uses, s.Unused.Round(time.Second))
	}
	return responding, table.Flush()
}

// shown returns the fingerprint of a secret, with a mark if the secret is rejected.
func shown(s diffhook.SecretStatus) string {
	if s.Rejected {
		return s.Fingerprint + " (rejected)"
	}
	return cmp.Or(s.Fingerprint, "-")
}

func list(names []string) string { return cmp.Or(strings.Join(names, " "), "-") }

// formatTime returns t between two texts, or "" for the zero time.
func formatTime(t time.Time, before, after string) string {
	if t.IsZero() {
		return ""
	}
	return before + t.UTC().Format(time.RFC3339) + after
}
