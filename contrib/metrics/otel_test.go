package metrics

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/diffhook/diffhook-go"
)

// The Go snippets of docs/metrics.md for OpenTelemetry are here, letter for letter.

// instruments counts deliveries and events.
type instruments struct {
	deliveries metric.Int64Counter
	verdict    metric.Float64Histogram
	events     metric.Float64Histogram
}

func newInstruments(meter metric.Meter) (*instruments, error) {
	deliveries, err1 := meter.Int64Counter("diffhook.deliveries",
		metric.WithDescription("Deliveries by verdict."))
	verdict, err2 := meter.Float64Histogram("diffhook.verdict.duration", metric.WithUnit("s"),
		metric.WithExplicitBucketBoundaries(.001, .01, .1, 1, 5, 10))
	events, err3 := meter.Float64Histogram("diffhook.event.duration", metric.WithUnit("s"),
		metric.WithExplicitBucketBoundaries(.01, .1, 1, 5, 10))
	return &instruments{deliveries, verdict, events}, errors.Join(err1, err2, err3)
}

// observe is for VerifierOptions.Observe.
func (i *instruments) observe(ctx context.Context, o diffhook.Observation) {
	i.deliveries.Add(ctx, 1, metric.WithAttributes(
		attribute.String("result", string(o.Result)),
		attribute.Bool("previous", o.SignedByPrevious)))
	i.verdict.Record(ctx, o.Duration.Seconds())
}

// count returns handle, and counts its outcomes, which Observe does not see.
func (i *instruments) count(handle diffhook.EventFunc) diffhook.EventFunc {
	return func(ctx context.Context, e *diffhook.Event) error {
		began, outcome := time.Now(), "panicked"
		defer func() {
			i.events.Record(ctx, time.Since(began).Seconds(),
				metric.WithAttributes(attribute.String("outcome", outcome)))
		}()
		err := handle(ctx, e)
		outcome = outcomeOf(ctx, err)
		return err
	}
}

// watch shows the state of v at each collection.
func (i *instruments) watch(meter metric.Meter, v *diffhook.Verifier) error {
	_, err := meter.Int64ObservableGauge("diffhook.source.failing",
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			failing := int64(0)
			if v.Status().RefreshError != "" {
				failing = 1
			}
			o.Observe(failing)
			return nil
		}))
	return err
}

func serveOpenTelemetry(ctx context.Context, provider metric.MeterProvider, source diffhook.SecretSource, mux *http.ServeMux, handle diffhook.EventFunc, serving func(*diffhook.Verifier)) error {
	meter := provider.Meter("example.com/hooks")
	i, err := newInstruments(meter)
	if err != nil {
		return err
	}
	v, err := diffhook.NewVerifier(ctx, source, &diffhook.VerifierOptions{
		Logger:  slog.Default(),
		Observe: i.observe,
	})
	if err != nil {
		return err
	}
	if err := i.watch(meter, v); err != nil {
		return err
	}
	mux.Handle("POST /hook", v.EventHandler(i.count(handle)))
	serving(v)
	return nil
}
