package diffhook_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// exampleServer returns the emulator, so that the examples run.
func exampleServer() *diffhooktest.Server {
	s, err := diffhooktest.Start()
	if err != nil {
		log.Fatal(err)
	}
	return s
}

// The key is in the environment variable DIFFHOOK_API_KEY, or the credentials of
// generation 2 in DIFFHOOK_CLIENT_ID and DIFFHOOK_CLIENT_SECRET.
func ExampleNewClient() {
	client, err := diffhook.NewClient(diffhook.EnvCredentials(), &diffhook.ClientOptions{
		Limiter: diffhook.PlanLimiter(diffhook.PaidPlan),
		Logger:  slog.Default(),
	})
	if err != nil {
		log.Fatal(err)
	}
	monitors, err := client.Monitors.List(context.Background(), nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range monitors {
		fmt.Println(m.ID, m.URL)
	}
}

func ExampleMonitorService_Create() {
	server := exampleServer()
	defer server.Close()
	client, ctx := server.Client(nil), context.Background()

	m, err := client.Monitors.Create(ctx, diffhook.MonitorParams{
		URL:             "https://example.com/pricing",
		WebhookURL:      "https://hooks.example.org/webhooks/diffhook",
		IntervalMinutes: 15,
		Label:           "Pricing page",
	})
	if err != nil {
		log.Fatal(err)
	}
	// Only the fields of the update change, also to an empty value.
	m, err = client.Monitors.Update(ctx, m.ID, diffhook.MonitorUpdate{Label: new(""), IntervalMinutes: new(60)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %q %d\n", m.Status, m.Label, m.IntervalMinutes)
	// Output: active "" 60
}

// A key is shown once. After an unknown outcome, look the key up: do not guess.
func ExampleKeyService_Create() {
	server := exampleServer()
	defer server.Close()
	client, ctx := server.Client(nil), context.Background()

	key, secret, err := client.Keys.Create(ctx, "production-server")
	switch {
	case errors.Is(err, diffhook.ErrOutcomeUnknown):
		log.Fatal("look for production-server in Keys.List, and delete it: ", err)
	case err != nil:
		log.Fatal(err)
	}
	_ = secret.Reveal() // into your secrets manager
	fmt.Println(key.Label, key.MatchesPrefix(secret))
	// Output: production-server true
}

// A printed API key shows the prefix and the last four characters.
func ExampleNewAPIKey() {
	key, err := diffhook.NewAPIKey("dh_live_" + strings.Repeat("x", 20) + "wxyz")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(key)

	_, err = diffhook.NewAPIKey("the text of a signing secret")
	fmt.Println(errors.Is(err, diffhook.ErrInvalidCredentials))
	// Output:
	// dh_live_…wxyz
	// true
}

// In generation 2, the client exchanges the credentials for a token by itself.
func ExampleClientCredentials() {
	server := exampleServer()
	defer server.Close()
	id, secret := server.ClientCredentials()

	client, err := diffhook.NewClient(diffhook.ClientCredentials(id, secret), &diffhook.ClientOptions{BaseURL: server.URL})
	if err != nil {
		log.Fatal(err)
	}
	monitors, err := client.Monitors.List(context.Background(), nil)
	fmt.Println(len(monitors), err)
	// Output: 0 <nil>
}

// The details of an error response.
func ExampleAPIError() {
	server := exampleServer()
	defer server.Close()
	client := server.Client(&diffhook.ClientOptions{MaxRetryWait: time.Second})
	server.Fail(diffhooktest.Fault{Status: http.StatusTooManyRequests, RetryAfter: 30 * time.Second})

	_, err := client.Monitors.Get(context.Background(), "mon_abc123")
	var api *diffhook.APIError
	if errors.As(err, &api) && errors.Is(err, diffhook.ErrRateLimited) {
		fmt.Println(api.Method, api.Route, api.StatusCode, api.RetryAfter)
	}
	// Output: GET monitors/{id} 429 30s
}

// Four processes share a key of a paid plan: each takes a part.
func ExamplePlanLimiter() {
	client, err := diffhook.NewClient(diffhook.EnvCredentials(), &diffhook.ClientOptions{
		Limiter: diffhook.PlanLimiter(diffhook.PaidPlan / 4),
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = client
}

// Keys older than 90 days are candidates for a rotation.
func ExampleKey_Stale() {
	server := exampleServer()
	defer server.Close()
	old := server.DefaultTeam().NewKey("nightly-job")
	server.DefaultTeam().AgeKey(old.ID, 100*24*time.Hour)

	keys, err := server.Client(nil).Keys.List(context.Background(), nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, key := range keys {
		if key.Stale(0) {
			fmt.Println(key.Label)
		}
	}
	// Output: nightly-job
}

// The records of deliveries show how each attempt went.
func ExampleLogService_List() {
	server := exampleServer()
	defer server.Close()
	monitor := server.DefaultTeam().NewMonitor(diffhooktest.Monitor{WebhookURL: "https://hooks.example.com/diffhook"})
	server.Configure(diffhooktest.Settings{Deliver: diffhooktest.Transport(http.NotFoundHandler())})
	if _, err := server.Change(monitor.ID, nil); err != nil {
		log.Fatal(err)
	}

	logs, err := server.Client(nil).Logs.List(context.Background(), nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, l := range logs {
		fmt.Println(l.Event, l.Attempt, l.StatusCode)
	}
	// Output: page.changed 1 404
}

// Do calls an endpoint without a method.
func ExampleClient_Do() {
	server := exampleServer()
	defer server.Close()
	client := server.Client(nil)

	var monitor struct{ Status string }
	err := client.Do(context.Background(), http.MethodGet, "monitors/"+url.PathEscape("mon_abc123"), nil, &monitor)

	var api *diffhook.APIError
	if errors.As(err, &api) {
		fmt.Println(api.StatusCode, api.Code, errors.Is(err, diffhook.ErrNotFound))
	}
	// Output: 404 NOT_FOUND true
}

// A verifier with secrets from the API learns of a rotation by itself.
func ExampleSigningSecretService_Load() {
	server := exampleServer()
	defer server.Close()
	ctx := context.Background()

	v, err := diffhook.NewVerifier(ctx, server.Client(nil).SigningSecret, nil)
	if err != nil {
		log.Fatal(err)
	}
	server.Rotate()
	body := diffhooktest.PageChanged()
	fmt.Println(v.Verify(ctx, body, server.Secrets().Current.Sign(body)))
	// Output: <nil>
}
