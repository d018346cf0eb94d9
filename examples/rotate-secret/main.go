// Rotate-secret replaces a team's signing secret by hand, as DiffHook documents it,
// without losing a delivery.
//
//	go run ./examples/rotate-secret
//
// shows it on an emulator, without network or configuration: a simulated person is
// slow to paste the new secret, and the deliveries that are lost are counted, without
// a hold and with one. It exits 1 if a rotation with a hold loses a delivery.
//
// Copy this file: newServer is a server's part, and rotate is the operator's. The
// rest of the world is in demo.go. The operator's tool is cmd/diffhook.
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

// rotate replaces the secret with the fingerprint old. After any error, call it again
// with the same old: it continues. ask puts a question to a person and returns the
// answer, without echo if Question.Secret is set.
func rotate(ctx context.Context, old string, ask rotation.Asker, store rotation.Store, opts rotation.SecretOptions) error {
	return rotation.Secret(ctx, old, rotation.ByHand(ask), store, &opts)
}

// receiver is a server as a rotation sees it, at the URL of its status handler.
func receiver(url, token string, client *http.Client) rotation.Receiver {
	return &rotation.Remote{
		URL:        url,
		Authorize:  func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) },
		HTTPClient: client,
	}
}

// newServer returns the handler of a server. It accepts the secrets in the document
// of store, and serves its status to those who have token. handle is called for each
// event, also for those that were held.
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

// requireToken admits requests with the token: a status handler has no
// authentication of its own.
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
		fmt.Println("\nThis did not go as told:", err)
		os.Exit(1)
	}
}
