// Rotate-secret rotates a team's signing secret by hand, as DiffHook documents,
// without losing a delivery.
//
//	go run ./examples/rotate-secret
//
// runs on an emulator, without network or configuration. A simulated person is slow
// to paste the new secret, and the program counts the lost events, without a hold
// and with a hold. It exits 1 if a rotation with a hold loses an event.
//
// Copy this file: newServer is for a server, and rotate is for the operator. The
// simulation is in demo.go. The operator's tool is cmd/diffhook.
package main

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

// rotate rotates the secret with the fingerprint old. After any error, call rotate
// again with the same old to continue. ask puts a question to a person and returns
// the answer, without echo if Question.Secret is set.
func rotate(ctx context.Context, old string, ask rotation.Asker, store rotation.Store, opts rotation.SecretOptions) error {
	return rotation.Secret(ctx, old, rotation.ByHand(ask), store, &opts)
}

// receiver returns a server as a receiver of the rotation. url is the URL of the
// server's status handler.
func receiver(url, token string, client *http.Client) rotation.Receiver {
	return &rotation.Remote{
		URL:        url,
		Authorize:  func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) },
		HTTPClient: client,
	}
}

// newServer returns the handler of a server. It accepts the secrets in the document
// of store, and serves the status to requests with token. handle is called for each
// event, held events included.
func newServer(ctx context.Context, store rotation.Store, token string, handle func(context.Context, *diffhook.Event) error, opts *diffhook.VerifierOptions) (http.Handler, error) {
	v, err := diffhook.NewVerifier(ctx, rotation.Source(store), opts)
	if err != nil {
		return nil, err
	}
	go v.Watch(ctx, time.Minute)
	mux := http.NewServeMux()
	mux.Handle("POST /hook", v.EventHandler(handle))
	mux.Handle("/diffhook/status", requireToken(token, v.StatusHandler()))
	return mux, nil
}

// requireToken admits requests with the token. A status handler checks no
// credentials by itself.
func requireToken(token string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+token)) != 1 {
			http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := demonstrate(ctx, os.Stdout); err != nil {
		fmt.Println("\nThe demonstration failed:", err)
		os.Exit(1)
	}
}
