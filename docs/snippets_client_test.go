package docs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/diffhook/diffhook-go"
)

// The snippets of client.md are here, letter for letter, so that they compile.

var _ = []any{listMonitors, createKey, details}

func save(id, key string) {}

func listMonitors(ctx context.Context) error {
	client, err := diffhook.NewClient(diffhook.EnvCredentials(), &diffhook.ClientOptions{
		Limiter: diffhook.PlanLimiter(diffhook.PaidPlan), // by default, FreePlan
		Logger:  slog.Default(),                          // by default, none
	})
	if err != nil {
		return err
	}
	monitors, err := client.Monitors.List(ctx, nil)
	if err != nil {
		return err
	}
	for _, m := range monitors {
		fmt.Println(m.ID, m.URL)
	}
	return nil
}

func createKey(ctx context.Context, client *diffhook.Client) error {
	key, secret, err := client.Keys.Create(ctx, "production-server")
	if errors.Is(err, diffhook.ErrOutcomeUnknown) {
		return fmt.Errorf("list the keys, and delete production-server: %w", err)
	}
	if err != nil {
		return err
	}
	save(key.ID, secret.Reveal()) // the API shows a key once
	return nil
}

func details(err error) {
	var api *diffhook.APIError
	if errors.As(err, &api) {
		fmt.Println(api.StatusCode, api.Code, api.RequestID, api.RetryAfter)
	}
}
