package diffhooktest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// newHandler stands for the code under test.
func newHandler(secret diffhook.Secret, handle func(context.Context, *diffhook.Event) error) http.Handler {
	v, err := diffhook.NewVerifier(context.Background(), diffhook.Secrets{Current: secret}, nil)
	if err != nil {
		panic(err)
	}
	return v.EventHandler(handle)
}

// Sends a signed, a forged and an unsigned request to a handler.
func ExampleNewRequest() {
	secret := diffhooktest.NewSecret()
	h := newHandler(secret, func(context.Context, *diffhook.Event) error { return nil })

	for _, signer := range []diffhook.Secret{secret, diffhooktest.NewSecret(), {}} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, diffhooktest.NewRequest("/webhooks/diffhook", signer, diffhooktest.PageChanged()))
		fmt.Println(w.Code)
	}
	// Output:
	// 204
	// 401
	// 401
}

// Delivers to a handler that fails twice. In a test, leave out Retries and use
// synctest.Test: the 35 seconds of the real schedule pass at once.
func ExampleSender() {
	secret := diffhooktest.NewSecret()
	failures := 2
	h := newHandler(secret, func(context.Context, *diffhook.Event) error {
		if failures--; failures >= 0 {
			return errors.New("the database is down")
		}
		return nil
	})

	s := diffhooktest.NewSender(secret, &diffhooktest.SenderOptions{Retries: []time.Duration{0, 0}})
	result := s.SendTo(context.Background(), h, diffhooktest.PageChanged())
	for _, attempt := range result.Attempts {
		fmt.Println(attempt.StatusCode)
	}
	fmt.Println("delivered:", result.Delivered)
	// Output:
	// 500
	// 500
	// 204
	// delivered: true
}
