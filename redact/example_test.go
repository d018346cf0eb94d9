package redact_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/redact"
)

// Whatever the program logs, the log shows no credential.
func ExampleNewWriter() {
	secret, err := diffhook.NewSecret("test-signing-secret-current-0001")
	if err != nil {
		log.Fatal(err)
	}
	w := redact.NewWriter(os.Stdout, secret)
	logger := slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: withoutTime}))

	logger.Info("request", "Authorization", "Bearer dh_live_"+strings.Repeat("k", 24))
	logger.Info("environment", "DIFFHOOK_SIGNING_SECRET", secret.Reveal())
	// Output:
	// {"level":"INFO","msg":"request","Authorization":"Bearer dh_live_…"}
	// {"level":"INFO","msg":"environment","DIFFHOOK_SIGNING_SECRET":"[REDACTED SIGNING SECRET]"}
}

// withoutTime makes the output of the example constant.
func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// Find reports a key in a log, so that the program can look the key up and revoke it.
func ExampleFind() {
	server, err := diffhooktest.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client, ctx := server.Client(nil), context.Background()
	_, key, err := client.Keys.Create(ctx, "nightly-job")
	if err != nil {
		log.Fatal(err)
	}
	text := []byte("GET /api/monitors\nAuthorization: Bearer " + key.Reveal() + "\n")

	keys, err := client.Keys.List(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	for at, leaked := range redact.Find(text) {
		for _, k := range keys {
			if k.MatchesPrefix(leaked) {
				fmt.Printf("byte %d: may be %s\n", at, k.Label)
				fmt.Println("revoked:", client.Keys.Delete(ctx, k.ID) == nil)
			}
		}
	}
	// Output:
	// byte 40: may be nightly-job
	// revoked: true
}
