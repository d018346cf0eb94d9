package diffhooktest_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// replaceKey stands for the code under test. It creates an API key and deletes
// older keys with the same label after 90 days.
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

// Tests code that calls the API. In a test, call NewServer(t), which also closes
// the server.
func ExampleStart() {
	s, err := diffhooktest.Start()
	if err != nil {
		panic(err)
	}
	defer s.Close()
	team := s.DefaultTeam()
	stale := team.NewKey("ci-pipeline")
	team.AgeKey(stale.ID, 100*24*time.Hour)

	// A gateway fails once, and the client retries.
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

// Changes a page while the endpoint is down for hours, and rotates the signing
// secret. Generation 2 retries for 17 hours.
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
	s.Rotate() // a delivery with the new secret makes the verifier read the secrets
	s.Advance(24 * time.Hour)

	for _, attempt := range s.Deliveries()[0].Attempts {
		fmt.Print(attempt.StatusCode, " ")
	}
	fmt.Println()
	// Output:
	// the page is now: Team: $49
	// 500 500 500 500 500 500 500 500 204
}

// Calls the emulator without sockets. In synctest.Test, requests and webhooks then
// take no real time.
func ExampleTransport() {
	s := diffhooktest.New()
	defer s.Close()
	client := &http.Client{Transport: diffhooktest.Transport(s)}
	resp, err := client.Get(s.URL + "monitors")
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode)
	// Output: 401
}
