package metrics

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/diffhook/diffhook-go"
)

// The Go snippets of docs/metrics.md for Prometheus are here, letter for letter.

// metrics counts deliveries and events.
type metrics struct {
	deliveries *prometheus.CounterVec
	previous   prometheus.Counter
	verdict    prometheus.Histogram
	events     *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	m := &metrics{
		deliveries: f.NewCounterVec(prometheus.CounterOpts{
			Name: "diffhook_deliveries_total", Help: "Deliveries by verdict.",
		}, []string{"result"}),
		previous: f.NewCounter(prometheus.CounterOpts{
			Name: "diffhook_previous_total", Help: "Deliveries that the previous secret signed.",
		}),
		verdict: f.NewHistogram(prometheus.HistogramOpts{
			Name: "diffhook_verdict_seconds", Help: "Time from a request to its verdict.",
			Buckets: []float64{.001, .01, .1, 1, 5, 10},
		}),
		events: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "diffhook_event_seconds", Help: "Time to handle an event, by outcome.",
			Buckets: []float64{.01, .1, 1, 5, 10},
		}, []string{"outcome"}),
	}
	// Series that exist from the start: else Prometheus misses the first increase.
	for _, result := range []diffhook.Result{diffhook.ResultAccepted, diffhook.ResultMismatch,
		diffhook.ResultSecretsUnavailable, diffhook.ResultBodyConsumed, diffhook.ResultDropped} {
		m.deliveries.WithLabelValues(string(result))
	}
	for _, outcome := range []string{"handled", "late", "unavailable", "failed", "panicked"} {
		m.events.WithLabelValues(outcome)
	}
	return m
}

// observe is for VerifierOptions.Observe.
func (m *metrics) observe(_ context.Context, o diffhook.Observation) {
	m.deliveries.WithLabelValues(string(o.Result)).Inc()
	m.verdict.Observe(o.Duration.Seconds())
	if o.SignedByPrevious {
		m.previous.Inc()
	}
}

// count returns handle, and counts its outcomes, which Observe does not see.
func (m *metrics) count(handle diffhook.EventFunc) diffhook.EventFunc {
	return func(ctx context.Context, e *diffhook.Event) error {
		began, outcome := time.Now(), "panicked"
		defer func() { m.events.WithLabelValues(outcome).Observe(time.Since(began).Seconds()) }()
		err := handle(ctx, e)
		outcome = outcomeOf(ctx, err)
		return err
	}
}

func outcomeOf(ctx context.Context, err error) string {
	switch {
	case errors.Is(err, diffhook.ErrUnavailable):
		return "unavailable"
	case err != nil:
		return "failed"
	case ctx.Err() != nil:
		return "late" // DiffHook has counted a failure, and retries
	}
	return "handled"
}

// watch shows the state of v at each scrape.
func (m *metrics) watch(r prometheus.Registerer, v *diffhook.Verifier) {
	gauge := func(name, help string, value func(diffhook.VerifierStatus) float64) {
		promauto.With(r).NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
			func() float64 { return value(v.Status()) })
	}
	gauge("diffhook_source_failing", "1 if the last read of the secret source failed.",
		func(s diffhook.VerifierStatus) float64 {
			if s.RefreshError != "" {
				return 1
			}
			return 0
		})
	gauge("diffhook_held", "Deliveries that wait for a secret, and that wait to be handled.",
		func(s diffhook.VerifierStatus) float64 { return float64(s.Hold.Held + s.Hold.Pending) })
}

func servePrometheus(ctx context.Context, source diffhook.SecretSource, mux *http.ServeMux, handle diffhook.EventFunc, serving func(*diffhook.Verifier)) error {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	v, err := diffhook.NewVerifier(ctx, source, &diffhook.VerifierOptions{
		Logger:  slog.Default(),
		Observe: m.observe,
	})
	if err != nil {
		return err
	}
	m.watch(registry, v)
	mux.Handle("POST /hook", v.EventHandler(m.count(handle)))
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	serving(v)
	return nil
}
