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

// showState prints how far the rotation in the document is, what comes next, and the
// secrets of the receivers.
func (a *app) showState(ctx context.Context, command string, store rotation.Store, receivers map[string]rotation.Receiver) error {
	state, err := rotation.State(ctx, store)
	if err != nil {
		return err
	}
	if of := commandOf[state.Kind]; of != command {
		return usagef("the document is of kind %s; run diffhook %s --state", printable(state.Kind), of)
	}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"document", state.Kind},
		{"phase", state.Phase + ", since " + state.Since.UTC().Format(time.RFC3339)},
		{"current", state.Current},
		{"previous", state.Previous},
		{"next", state.Next},
		{"replaced", state.Replaced},
		{"label", state.Label},
		{"lease of a run", formatTime(state.RunUntil, "until ")},
		{"what comes next", next(state)},
	} {
		if row[1] != "" {
			fmt.Fprintf(table, "%s:\t%s\n", row[0], printable(row[1]))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return a.showReceivers(ctx, receivers)
}

// commandOf names the command for each kind of document.
var commandOf = map[string]string{"signing-secret": "rotate-secret", "api-key": "rotate-key"}

// next says what comes next.
func next(state rotation.DocumentState) string {
	if state.Phase == "idle" {
		return fmt.Sprintf("%s; diffhook %s %s begins", state.Then, commandOf[state.Kind], state.Current)
	}
	return inCommands(state.Then)
}

// statusTimeout bounds the wait for each receiver.
const statusTimeout = 10 * time.Second

// showReceivers prints which secrets the receivers accept, and how each one is. A
// receiver that does not respond is no error: its line says so.
func (a *app) showReceivers(ctx context.Context, receivers map[string]rotation.Receiver) error {
	if len(receivers) == 0 {
		return nil
	}
	statuses := map[string]diffhook.VerifierStatus{}
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nreceiver\tcurrent\tprevious\tsource\thold")
	for _, name := range slices.Sorted(maps.Keys(receivers)) {
		status, err := statusOf(ctx, receivers[name])
		if err != nil {
			fmt.Fprintf(table, "%s\t%s\n", name, printable(err.Error()))
			continue
		}
		statuses[name] = status
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", name, shown(status.Current), shown(status.Previous),
			cmp.Or(status.Source, "-"), cmp.Or(formatTime(status.Hold.Until, "until "), "-"))
	}
	fmt.Fprintln(table, "\nsecret\tcurrent at\tprevious at\tuses\tunused for")
	for _, s := range rotation.Merge(statuses) {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%v\n", s.Fingerprint, list(s.CurrentAt), list(s.PreviousAt), s.Uses, s.Unused.Round(time.Second))
	}
	return table.Flush()
}

func statusOf(ctx context.Context, r rotation.Receiver) (diffhook.VerifierStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return r.Status(ctx)
}

// shown returns the fingerprint of a secret, and whether the secret is rejected.
func shown(s diffhook.SecretStatus) string {
	if s.Rejected {
		return s.Fingerprint + " (rejected)"
	}
	return cmp.Or(s.Fingerprint, "-")
}

func list(names []string) string { return cmp.Or(strings.Join(names, " "), "-") }

func formatTime(t time.Time, prefix string) string {
	if t.IsZero() {
		return ""
	}
	return prefix + t.UTC().Format(time.RFC3339)
}
