package diffhook_test

import (
	"context"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// vault stands for your secrets manager.
type vault struct {
	mu      sync.Mutex
	secrets diffhook.Secrets
}

func (v *vault) Load(context.Context) (diffhook.Secrets, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.secrets, nil
}

func (v *vault) Save(_ context.Context, secrets diffhook.Secrets) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.secrets = secrets // to write them elsewhere, Secret.Reveal gives the text
	return nil
}

// The signing secret is replaced while three receivers verify deliveries. Here
// they are in this process; on other servers they are RemoteReceivers.
func ExampleSigningSecretService_Replace() {
	platform, err := diffhooktest.Start() // an emulator, so that this runs
	if err != nil {
		log.Fatal(err)
	}
	defer platform.Close()
	client, ctx := platform.Client(nil), context.Background()

	store := &vault{secrets: platform.Secrets()}
	receivers := make(map[string]diffhook.Receiver)
	for _, name := range []string{"web-1", "web-2", "web-3"} {
		verifier, err := diffhook.NewVerifier(ctx, store, nil)
		if err != nil {
			log.Fatal(err)
		}
		receivers[name] = diffhook.LocalReceiver(verifier)
	}

	old := store.secrets.Current.Fingerprint() // names the rotation, also when it is run again
	err = client.SigningSecret.Replace(ctx, old, store, &diffhook.SecretRotationOptions{
		Receivers: receivers,
		Observe: func(_ context.Context, step diffhook.RotationStep) {
			switch step.Name {
			case "learning", "draining", "refusing": // step.Text says who is waited for, and why
			default:
				fmt.Println(step.Name)
			}
		},
		// For this example alone. The defaults wait for the last retry of a
		// delivery that was signed with the old secret.
		RetryHorizon: 50 * time.Millisecond, PollInterval: 10 * time.Millisecond,
	})
	if err != nil {
		log.Fatal(err) // run it again: it goes on from where it stands
	}
	// Output:
	// rotated
	// stored
	// learned
	// drained
	// revoked
	// removed
	// refused
}
