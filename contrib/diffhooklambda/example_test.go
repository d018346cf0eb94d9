package diffhooklambda_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhooklambda"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// The program of a function reads the secret from DIFFHOOK_SIGNING_SECRET.
func Example() {
	v, err := diffhook.NewVerifier(context.Background(), diffhook.EnvSecrets(), &diffhook.VerifierOptions{
		Logger: slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	})
	if err != nil {
		log.Fatal(err)
	}
	f := func(ctx context.Context, e *diffhook.Event) error {
		log.Printf("%s changed", e.URL)
		return nil // answers 204; an error answers 500, and DiffHook retries
	}
	lambda.Start(diffhooklambda.Handler(v, f))
}

// A test of a function invokes the handler with an event.
func ExampleHandler() {
	secret := diffhooktest.NewSecret()
	v, err := diffhook.NewVerifier(context.Background(), diffhook.Secrets{Current: secret}, nil)
	if err != nil {
		log.Fatal(err)
	}
	h := diffhooklambda.Handler(v, func(_ context.Context, e *diffhook.Event) error {
		fmt.Println(e.URL)
		return nil
	})

	body := diffhooktest.PageChanged()
	event := events.LambdaFunctionURLRequest{
		Version: "2.0",
		Headers: map[string]string{"x-diffhook-signature": secret.Sign(body)},
		Body:    string(body),
	}
	event.RequestContext.HTTP.Method = "POST"
	payload, err := json.Marshal(event)
	if err != nil {
		log.Fatal(err)
	}
	answer, err := h.Invoke(context.Background(), payload)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(answer))
	// Output:
	// https://example.com/pricing
	// {"statusCode":204,"headers":{"Cache-Control":"no-store"},"body":"","isBase64Encoded":false}
}
