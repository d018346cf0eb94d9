// Command bootstrap is the function under test. The field monitor_id of an event chooses
// the behaviour.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhooklambda"
)

func main() {
	v, err := diffhook.NewVerifier(context.Background(), diffhook.EnvSecrets(), &diffhook.VerifierOptions{
		Logger: slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	})
	if err != nil {
		log.Fatal(err)
	}
	lambda.Start(diffhooklambda.Handler(v, handle))
}

func handle(ctx context.Context, e *diffhook.Event) error {
	invocation, ok := lambdacontext.FromContext(ctx)
	if !ok || invocation.AwsRequestID == "" {
		return errors.New("the context is not that of an invocation")
	}
	switch e.MonitorID {
	case "mon_fail":
		return errors.New("the function fails")
	case "mon_later":
		return fmt.Errorf("the queue is full: %w", diffhook.ErrUnavailable)
	case "mon_panic":
		panic("a bug of the customer")
	case "mon_timeout":
		// The timeout of the function is shorter than diffhook.DeliveryTimeout.
		deadline, ok := ctx.Deadline()
		if ok && time.Until(deadline) < diffhook.DeliveryTimeout/2 {
			return nil
		}
		return errors.New("the context does not end with the timeout of the function")
	}
	return nil
}
