package diffhookredis_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"log/slog"
	"net/http/httptest"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookredis"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/once"
)

// A receiver handles each event once, in any of several processes.
func ExampleNew() {
	ctx := context.Background()
	options, err := redis.ParseURL(os.Getenv("DIFFHOOK_TEST_REDIS")) // redis://127.0.0.1:6379/0
	if err != nil {
		log.Fatal(err)
	}
	options.ContextTimeoutEnabled = true // else New refuses the client
	options.ReadTimeout = time.Second
	client := redis.NewClient(options)
	defer client.Close()
	if err := diffhookredis.CheckEviction(ctx, client); err != nil {
		log.Fatal(err)
	}
	store, err := diffhookredis.New(client, nil)
	if err != nil {
		log.Fatal(err)
	}
	handle := func(_ context.Context, e *diffhook.Event) error {
		fmt.Println(e.Type, "handled")
		return nil
	}
	secret := diffhooktest.NewSecret() // in production: diffhook.EnvSecrets()
	verifier, err := diffhook.NewVerifier(ctx, diffhook.Secrets{Current: secret}, nil)
	if err != nil {
		log.Fatal(err)
	}
	handler := verifier.EventHandler(once.Func(store, handle, nil))

	// DiffHook delivers, does not get the answer, and delivers again.
	body := fmt.Appendf(nil, `{"event":"page.changed","monitor_id":"mon_%s","triggered_at":"2026-03-16T14:22:00Z"}`, rand.Text())
	for range 2 {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, diffhooktest.NewRequest("/diffhook", secret, body))
		fmt.Println(w.Code)
	}
	// Output:
	// page.changed handled
	// 204
	// 204
}

// The clients of several processes share an API key.
func ExampleNewLimiter() {
	options, err := redis.ParseURL(os.Getenv("DIFFHOOK_TEST_REDIS"))
	if err != nil {
		log.Fatal(err)
	}
	options.ContextTimeoutEnabled = true
	client := redis.NewClient(options)
	defer client.Close()
	limiter, err := diffhookredis.NewLimiter(client, "production", diffhook.PaidPlan, &diffhookredis.LimiterOptions{
		Processes: 8, Logger: slog.Default(),
	})
	if err != nil {
		log.Fatal(err)
	}
	server, err := diffhooktest.Start() // in production: diffhook.NewClient
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	api := server.Client(&diffhook.ClientOptions{Limiter: limiter})
	keys, err := api.Keys.List(context.Background(), nil)
	fmt.Println(len(keys), err)
	// Output:
	// 1 <nil>
}
