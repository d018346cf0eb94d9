package diffhook_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/diffhook/diffhook-go"
)

// keyVault is where the applications of the examples have their key from: in
// yours, it calls a secrets manager.
type keyVault struct{ keys diffhook.APIKeys }

func (v *keyVault) Load(context.Context) (diffhook.APIKeys, error) { return v.keys, nil }

func (v *keyVault) Save(_ context.Context, keys diffhook.APIKeys) error {
	v.keys = keys // as Current.Reveal(), Next.Reveal() and Previous.Reveal()
	return nil
}

// An API key is replaced while applications use it. The old one is named by its
// id, so that running it again goes on, and never replaces the new one.
func ExampleKeyService_Replace() {
	server := exampleServer()
	defer server.Close()
	old := server.DefaultTeam().NewKey("production-server")
	vault := &keyVault{diffhook.APIKeys{Current: old.Key}}
	client, ctx := server.Client(nil).WithCredentials(old.Key), context.Background()

	orphans, err := client.Keys.Replace(ctx, old.ID, vault, &diffhook.KeyRotationOptions{
		Prove: func(ctx context.Context, client *diffhook.Client) error {
			_, err := client.Monitors.List(ctx, nil) // what your application does first
			return err
		},
		Observe: func(_ context.Context, step diffhook.RotationStep) { fmt.Println(step.Name) },

		// Without it, the key is deleted when it has not been used for 26 h.
		DeleteNow: func() bool { return true },
	})
	for _, key := range orphans {
		log.Printf("delete %s (%s), unless you know it", key.ID, key.Label)
	}
	if err != nil {
		log.Fatal(err) // run it again
	}
	_, err = client.Keys.Replace(ctx, old.ID, vault, nil)
	fmt.Println("again:", errors.Is(err, diffhook.ErrNotInForce))
	// Output:
	// created
	// stored
	// proven
	// promoted
	// switched
	// skipped
	// deleted
	// removed
	// again: true
}

// Keys that are older than 90 days are due.
func ExampleKey_Stale() {
	server := exampleServer()
	defer server.Close()
	team := server.DefaultTeam()
	team.AgeKey(team.NewKey("ci-pipeline").ID, 120*24*time.Hour)
	team.AgeKey(team.NewKey("production-server").ID, 40*24*time.Hour)

	keys, err := server.Client(nil).Keys.List(context.Background(), nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, key := range keys {
		fmt.Println(key.Label, key.Stale(0), key.Stale(30*24*time.Hour))
	}
	// Output:
	// production-server false true
	// ci-pipeline true true
	// default false false
}
