package diffhooktest_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// replaceKey stands for the code under test: it creates a new API key, and
// deletes those with the same label that are older than 90 days.
func replaceKey(ctx context.Context, client *diffhook.Client, label string, now time.Time) (diffhook.APIKey, error) {
	old, err := client.Keys.List(ctx, nil)
	if err != nil {
		return diffhook.APIKey{}, err
	}
	_, created, err := client.Keys.Create(ctx, label)
	if err != nil {
		return diffhook.APIKey{}, err
	}
	for _, key := range old {
		if key.Label == label && now.Sub(key.CreatedAt) > 90*24*time.Hour {
			if err := client.WithCredentials(created).Keys.Delete(ctx, key.ID); err != nil {
				return diffhook.APIKey{}, err
			}
		}
	}
	return created, nil
}

// Code that calls the API, tested against the platform in memory. In a test,
// NewServer(t) starts it and closes it too.
func ExampleStart() {
	s, err := diffhooktest.Start()
	if err != nil {
		panic(err)
	}
	defer s.Close()
	team := s.DefaultTeam()
	stale := team.NewKey("ci-pipeline")
	team.AgeKey(stale.ID, 100*24*time.Hour)

	// A gateway fails once, which the client copes with by itself.
	s.Fail(diffhooktest.Fault{Route: "GET /api/keys", Status: 502, HTML: true})
	if _, err := replaceKey(context.Background(), s.Client(nil), "ci-pipeline", s.Now()); err != nil {
		panic(err)
	}
	for _, key := range team.Keys() {
		fmt.Println(key.Label, "revoked:", key.Revoked)
	}
	fmt.Println("lists:", s.Count("GET /api/keys"))
	// Output:
	// default revoked: false
	// ci-pipeline revoked: true
	// ci-pipeline revoked: false
	// lists: 2
}

// A page changes while the endpoint is down for hours and the signing secret is
// rotated. Generation 2 tries again for 17 hours.
func ExampleServer_Change() {
	s := diffhooktest.New()
	defer s.Close()
	v, err := diffhook.NewVerifier(context.Background(), s.Client(nil).SigningSecret, &diffhook.VerifierOptions{MinRefreshInterval: -1})
	if err != nil {
		panic(err)
	}
	down := true
	endpoint := v.EventHandler(func(_ context.Context, e *diffhook.Event) error {
		if down {
			return fmt.Errorf("the database is down")
		}
		fmt.Println("the page is now:", e.Content)
		return nil
	})
	s.Configure(diffhooktest.Settings{Deliver: diffhooktest.Transport(endpoint)})
	m := s.DefaultTeam().NewMonitor(diffhooktest.Monitor{Generation: 2, WebhookURL: "https://hooks.example.com/diffhook"})

	if _, err := s.Change(m.ID, &diffhook.Diff{FullTextAfter: "Team: $49"}); err != nil {
		panic(err)
	}
	s.Advance(3 * time.Hour)
	down = false
	s.Rotate() // the verifier asks for the new secret when it meets it
	s.Advance(24 * time.Hour)

	for _, attempt := range s.Deliveries()[0].Attempts {
		fmt.Print(attempt.StatusCode, " ")
	}
	fmt.Println()
	// Output:
	// the page is now: Team: $49
	// 500 500 500 500 500 500 500 500 204
}

// Without sockets: requests reach the emulator, and webhooks the endpoint, as
// calls of their handlers. Within synctest.Test nothing then takes real time.
func ExampleTransport() {
	s := diffhooktest.New()
	defer s.Close()
	client := &http.Client{Transport: diffhooktest.Transport(s)}
	answer, err := client.Get(s.URL + "monitors")
	if err != nil {
		panic(err)
	}
	defer answer.Body.Close()
	fmt.Println(answer.StatusCode)
	// Output: 401
}
