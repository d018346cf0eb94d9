package docs_test

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

// The snippets of the pages are here, letter for letter, so that they compile.

var _ = []any{server, application, operator}

func handle(context.Context, *diffhook.Event) error { return nil }

func requireToken(token string, next http.Handler) http.Handler { return next }

func ask(context.Context, rotation.Question) (string, error) { return "", os.ErrClosed }

func authorize(*http.Request) {}

func server(ctx context.Context, mux *http.ServeMux, token string) error {
	store := rotation.FileStore("/etc/diffhook/secret.json")
	v, err := diffhook.NewVerifier(ctx, rotation.Source(store), &diffhook.VerifierOptions{Logger: slog.Default()})
	if err != nil {
		return err
	}
	go v.Watch(ctx, time.Minute) // reads the document once a minute
	mux.Handle("POST /hook", v.EventHandler(handle))
	mux.Handle("/diffhook/status", requireToken(token, v.StatusHandler()))
	return nil
}

func application(ctx context.Context) error {
	keys := rotation.FileStore("/etc/diffhook/key.json")
	creds, err := rotation.Credentials(ctx, keys)
	if err != nil {
		return err
	}
	client, err := diffhook.NewClient(creds, nil)
	if err != nil {
		return err
	}
	go func() { log.Print(rotation.Watch(ctx, keys, client, time.Minute)) }()
	return nil
}

func operator(ctx context.Context, old string, v *diffhook.Verifier, store rotation.Store) error {
	receivers := map[string]rotation.Receiver{
		"web-1": &rotation.Remote{URL: "https://web-1.internal/diffhook/status", Authorize: authorize},
		"web-2": rotation.Local(v), // in this process
	}
	err := rotation.Secret(ctx, old, rotation.ByHand(ask), store, &rotation.SecretOptions{Receivers: receivers})
	return err
}
