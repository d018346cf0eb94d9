package diffhookredis_test

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookredis"
	"github.com/diffhook/diffhook-go/once"
)

// The snippets of the README are here, letter for letter, to compile.

var _ = []any{eachEventOnce, limitForAll}

func eachEventOnce(ctx context.Context, verifier *diffhook.Verifier, handle diffhook.EventFunc) error {
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		return err
	}
	options.ContextTimeoutEnabled = true // else New refuses the client
	options.ReadTimeout = time.Second    // go-redis repeats a command in time if the answer is lost
	client := redis.NewClient(options)

	if err := diffhookredis.CheckEviction(ctx, client); err != nil { // at the start
		return err
	}
	store, err := diffhookredis.New(client, nil)
	if err != nil {
		return err
	}
	http.Handle("POST /hook", verifier.EventHandler(once.Func(store, handle, nil)))
	return nil
}

func limitForAll(client redis.UniversalClient, creds diffhook.Credentials) (*diffhook.Client, error) {
	limiter, err := diffhookredis.NewLimiter(client, "production", diffhook.PaidPlan, &diffhookredis.LimiterOptions{
		Processes: 8, Logger: slog.Default(),
	})
	if err != nil {
		return nil, err
	}
	return diffhook.NewClient(creds, &diffhook.ClientOptions{Limiter: limiter})
}
