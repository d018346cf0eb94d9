package rotation_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// exampleStore returns a store in a new folder, and a function to remove the folder.
func exampleStore() (rotation.Store, func()) {
	dir, err := os.MkdirTemp("", "rotation")
	if err != nil {
		log.Fatal(err)
	}
	return rotation.FileStore(filepath.Join(dir, "document.json")), func() { os.RemoveAll(dir) }
}

// exampleServers returns the emulator, the store with the signing secret, and a server
// with the store as the source.
func exampleServers(ctx context.Context) (*diffhooktest.Server, rotation.Store, *diffhook.Verifier, func()) {
	platform, err := diffhooktest.Start()
	if err != nil {
		log.Fatal(err)
	}
	store, remove := exampleStore()
	if err := rotation.NewSecret(ctx, store, platform.Secrets().Current); err != nil {
		log.Fatal(err)
	}
	v, err := diffhook.NewVerifier(ctx, rotation.Source(store), nil)
	if err != nil {
		log.Fatal(err)
	}
	return platform, store, v, func() { platform.Close(); remove() }
}

// The signing secret is replaced through the assumed endpoints. In production, use
// ByHand, which asks a person, in place of API, Remote in place of Local, and the
// default for RetryHorizon.
func ExampleSecret() {
	ctx := context.Background()
	platform, store, v, done := exampleServers(ctx)
	defer done()
	old := platform.Secrets().Current

	err := rotation.Secret(ctx, old.Fingerprint(), rotation.API(platform.Client(nil)), store, &rotation.SecretOptions{
		Receivers:    map[string]rotation.Receiver{"web-1": rotation.Local(v)},
		RetryHorizon: 50 * time.Millisecond,
		Poll:         10 * time.Millisecond,
	})
	if err != nil {
		log.Fatal(err) // a second call continues
	}
	body := diffhooktest.PageChanged()
	fmt.Println("old:", v.Verify(ctx, body, old.Sign(body)) == nil)
	fmt.Println("new:", v.Verify(ctx, body, platform.Secrets().Current.Sign(body)) == nil)
	// Output:
	// old: false
	// new: true
}

// A leaked signing secret ends at once.
func ExampleRevokeSecret() {
	ctx := context.Background()
	platform, store, v, done := exampleServers(ctx)
	defer done()
	leaked := platform.Secrets().Current

	err := rotation.RevokeSecret(ctx, leaked.Fingerprint(), rotation.API(platform.Client(nil)), store, &rotation.RevokeOptions{
		Receivers: map[string]rotation.Receiver{"web-1": rotation.Local(v)},
		Poll:      10 * time.Millisecond,
	})
	if err != nil {
		log.Fatal(err) // call RevokeSecret until the error is nil
	}
	body := diffhooktest.PageChanged()
	fmt.Println("leaked:", v.Verify(ctx, body, leaked.Sign(body)) == nil)
	fmt.Println("new:", v.Verify(ctx, body, platform.Secrets().Current.Sign(body)) == nil)
	// Output:
	// leaked: false
	// new: true
}

// An API key is replaced. An application takes the key from the document by
// Credentials and Watch.
func ExampleKey() {
	ctx := context.Background()
	platform, err := diffhooktest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer platform.Close()
	store, remove := exampleStore()
	defer remove()
	old := platform.DefaultTeam().NewKey("production-server")
	if err := rotation.NewKey(ctx, store, rotation.Pair{ID: old.ID, Key: old.Key.Reveal()}); err != nil {
		log.Fatal(err)
	}

	err = rotation.Key(ctx, old.ID, rotation.API(platform.Client(nil)), store, &rotation.KeyOptions{
		Label: "production-server",
		Quiet: 50 * time.Millisecond,
	})
	if err != nil {
		log.Fatal(err) // a second call continues
	}
	for _, key := range platform.DefaultTeam().Keys() {
		if key.ID == old.ID {
			fmt.Println("old key revoked:", key.Revoked)
		}
	}
	// Output: old key revoked: true
}
