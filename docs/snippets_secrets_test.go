package docs_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/redact"
)

// The snippets of secrets.md are here, letter for letter, so that they compile.

var _ = []any{watched, ownSource, fingerprint, redacted}

func readFromManager(context.Context) (string, error) { return "", os.ErrClosed }

func watched(ctx context.Context) error {
	v, err := diffhook.NewVerifier(ctx, diffhook.FileSecrets("/run/secrets/diffhook"),
		&diffhook.VerifierOptions{Logger: slog.Default()})
	if err != nil {
		return err
	}
	go v.Watch(ctx, time.Minute) // reads the source once a minute
	return nil
}

func ownSource() diffhook.SecretSource {
	source := diffhook.SecretSourceFunc(func(ctx context.Context) (diffhook.Secrets, error) {
		text, err := readFromManager(ctx)
		if err != nil {
			return diffhook.Secrets{}, err // the secrets in force stay
		}
		current, err := diffhook.NewSecret(text)
		return diffhook.Secrets{Current: current}, err
	})
	return source
}

func fingerprint(text string) {
	secret, err := diffhook.NewSecret(text)
	fmt.Println(secret.Fingerprint(), err)
}

func redacted(text []byte) (*slog.Logger, diffhook.SecretSource) {
	w := redact.NewWriter(os.Stderr)
	logger := slog.New(slog.NewJSONHandler(w, nil)) // for package log: log.SetOutput(w)
	files := diffhook.FileSecrets("/run/secrets/diffhook")
	source := diffhook.SecretSourceFunc(func(ctx context.Context) (diffhook.Secrets, error) {
		secrets, err := files.Load(ctx)
		w.Add(secrets.Current, secrets.Previous)
		return secrets, err
	})
	for at, key := range redact.Find(text) {
		fmt.Println(at, key) // shows the key as dh_live_…wxyz
	}
	return logger, source
}
