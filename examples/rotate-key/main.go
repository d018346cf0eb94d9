// Rotate-key rotates an API key by hand, as DiffHook's page "API Keys" prescribes:
// create, migrate, delete.
//
//	go run ./examples/rotate-key
//
// runs on an emulator, without network or configuration. A simulated person clicks
// while an application calls the API. The program exits 1 if a call of the
// application fails.
//
// Copy this file: watch is for an application, and rotate is for the operator. The
// simulation is in demo.go. The operator's tool is cmd/diffhook.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

// rotate rotates the key with the id old. By hand, the id is the label in
// generation 1 and the client id in generation 2. After any error, call rotate
// again with the same old to continue. ask puts a question to a person and returns
// the answer, without echo if Question.Secret is set. client contains the options
// for the calls that try the keys.
func rotate(ctx context.Context, old string, ask rotation.Asker, store rotation.Store, client *diffhook.ClientOptions, opts rotation.KeyOptions) error {
	hand := rotation.ByHand(ask)
	hand.Client = client
	return rotation.Key(ctx, old, hand, store, &opts)
}

// watch updates the client of an application to the key in the document of store,
// now and after every change, until ctx ends. It returns an error if the first read
// fails. Call watch on a new goroutine.
func watch(ctx context.Context, store rotation.Store, client *diffhook.Client, every time.Duration) error {
	return rotation.Watch(ctx, store, client, every)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := demonstrate(ctx, os.Stdout); err != nil {
		fmt.Println("\nThe demonstration failed:", err)
		os.Exit(1)
	}
}
