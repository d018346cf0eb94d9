// Rotate-key replaces an API key by hand, as DiffHook's page "API Keys" prescribes:
// create, migrate, delete.
//
//	go run ./examples/rotate-key
//
// shows it on an emulator, without network or configuration: a simulated person
// clicks, and an application calls the API all the while. It exits 1 if a call of the
// application fails.
//
// Copy this file: watch is an application's part, and rotate is the operator's. The
// rest of the world is in demo.go. The operator's tool is cmd/diffhook.
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

// rotate replaces the key with the id old: by hand, its label in generation 1 and its
// client id in generation 2. After any error, call it again with the same old: it
// continues. ask puts a question to a person and returns the answer, without echo if
// Question.Secret is set. client has the options of the calls that try the keys.
func rotate(ctx context.Context, old string, ask rotation.Asker, store rotation.Store, client *diffhook.ClientOptions, opts rotation.KeyOptions) error {
	hand := rotation.ByHand(ask)
	hand.Client = client
	return rotation.Key(ctx, old, hand, store, &opts)
}

// watch gives the client of an application the key in the document of store, now and
// whenever it changes, until ctx ends. It returns an error if the first read fails.
// Call it on a goroutine of its own.
func watch(ctx context.Context, store rotation.Store, client *diffhook.Client, every time.Duration) error {
	return rotation.Watch(ctx, store, client, every)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := demonstrate(ctx, os.Stdout); err != nil {
		fmt.Println("\nThis did not go as told:", err)
		os.Exit(1)
	}
}
