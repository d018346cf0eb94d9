// Keys lists a team's API keys, marks the keys that are due for rotation, and
// creates and deletes a key. To rotate a key that applications use, see package
// rotation and examples/rotate-key.
//
// With DIFFHOOK_API_KEY, or DIFFHOOK_CLIENT_ID and DIFFHOOK_CLIENT_SECRET, the
// program calls DiffHook. Without these variables, it starts an emulator. The first
// line of the output names the choice.
//
//	go run ./examples/keys
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	client, done, err := connect(out)
	if err != nil {
		return err
	}
	defer done()

	keys, err := client.Keys.List(ctx, nil)
	if err != nil {
		return err
	}
	for _, key := range keys {
		show(out, key)
	}
	if len(keys) >= diffhook.MaxListLimit {
		fmt.Fprintln(out, "The list is full: the team may have more keys.")
	}

	key, secret, err := client.Keys.Create(ctx, "example")
	if errors.Is(err, diffhook.ErrOutcomeUnknown) {
		return fmt.Errorf("%w; in the app, look for a new key with the label example, and delete it", err)
	}
	if err != nil {
		return err
	}
	// Store secret.Reveal() here: no later response shows the key.
	fmt.Fprintf(out, "Created %s (%v).\n", key.ID, secret)
	if err := client.Keys.Delete(ctx, key.ID); err != nil {
		return err
	}
	fmt.Fprintf(out, "Deleted %s.\n", key.ID)
	return nil
}

// connect returns a client, and a function to call after the last request.
func connect(out io.Writer) (*diffhook.Client, func(), error) {
	if os.Getenv("DIFFHOOK_API_KEY") != "" || os.Getenv("DIFFHOOK_CLIENT_ID") != "" {
		fmt.Fprintln(out, "Calling DiffHook with the credentials of the environment.")
		client, err := diffhook.NewClient(diffhook.EnvCredentials(), nil)
		return client, func() {}, err
	}
	fmt.Fprintln(out, "Calling an emulator on this machine: the environment contains no credentials.")
	server, err := diffhooktest.Start()
	if err != nil {
		return nil, nil, err
	}
	old := server.DefaultTeam().NewKey("ci-pipeline")
	server.DefaultTeam().AgeKey(old.ID, 100*24*time.Hour)
	return server.Client(nil), func() { server.Close() }, nil
}

func show(out io.Writer, key diffhook.Key) {
	used := "never used"
	if !key.LastUsedAt.IsZero() {
		used = "last used " + key.LastUsedAt.Format(time.DateOnly)
	}
	due := ""
	if key.Stale(0) {
		due = ", older than 90 days: rotate the key (examples/rotate-key)"
	}
	fmt.Fprintf(out, "%s  %-20s %s…  created %s, %s%s\n", key.ID, key.Label, key.Prefix, key.CreatedAt.Format(time.DateOnly), used, due)
}
