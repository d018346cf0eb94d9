package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// source is a secret source that fails if err is set.
type source struct {
	secrets diffhook.Secrets
	err     error
}

func (s *source) Load(context.Context) (diffhook.Secrets, error) { return s.secrets, s.err }

// server is the server of a snippet of the page.
type server struct {
	current, previous diffhook.Secret
	source            *source
	mux               *http.ServeMux
	v                 *diffhook.Verifier
	outcome           func(context.Context) error // of the next events
}

func newServer(t *testing.T, serve func(context.Context, diffhook.SecretSource, *http.ServeMux, diffhook.EventFunc, func(*diffhook.Verifier)) error) *server {
	s := &server{current: diffhooktest.NewSecret(), previous: diffhooktest.NewSecret(), mux: http.NewServeMux()}
	s.source = &source{secrets: diffhook.Secrets{Current: s.current, Previous: s.previous}}
	handle := func(ctx context.Context, _ *diffhook.Event) error { return s.outcome(ctx) }
	require.NoError(t, serve(t.Context(), s.source, s.mux, handle, func(v *diffhook.Verifier) { s.v = v }))
	return s
}

// post sends a delivery and returns the status; 0 if the handler panics.
func (s *server) post(secret diffhook.Secret) (status int) {
	defer func() { _ = recover() }()
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, diffhooktest.NewRequest("/hook", secret, diffhooktest.PageChanged()))
	return w.Code
}

// run sends a delivery of each kind.
func (s *server) run(t *testing.T) {
	handled := func(context.Context) error { return nil }
	for _, step := range []struct {
		name    string
		secret  diffhook.Secret
		outcome func(context.Context) error
		status  int
	}{
		{"handled", s.current, handled, http.StatusNoContent},
		{"signed by the previous secret", s.previous, handled, http.StatusNoContent},
		{"forged", diffhooktest.NewSecret(), handled, http.StatusUnauthorized},
		{"not signed", diffhook.Secret{}, handled, http.StatusUnauthorized},
		{"failed", s.current, func(context.Context) error { return errors.New("no") }, http.StatusInternalServerError},
		{"unavailable", s.current, func(context.Context) error { return fmt.Errorf("%w: no", diffhook.ErrUnavailable) }, http.StatusServiceUnavailable},
		{"late", s.current, func(ctx context.Context) error { <-ctx.Done(); return nil }, http.StatusNoContent},
		{"panicked", s.current, func(context.Context) error { panic("no") }, 0},
	} {
		s.outcome = step.outcome
		assert.Equal(t, step.status, s.post(step.secret), step.name)
	}
	s.source.err = errors.New("the source fails")
	require.Error(t, s.v.Refresh(t.Context()))
	assert.Equal(t, http.StatusServiceUnavailable, s.post(diffhooktest.NewSecret()), "a source that fails")
}

// want is the count of each series after run.
var (
	wantResults  = map[string]int{"accepted": 6, "mismatch": 1, "no_signature": 1, "secrets_unavailable": 1}
	wantOutcomes = map[string]int{"handled": 2, "late": 1, "unavailable": 1, "failed": 1, "panicked": 1}
)

func TestPrometheusCountsEachKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, servePrometheus)
		s.run(t)

		series := scrape(t, s.mux)
		results := map[string]int{"body_consumed": 0, "dropped": 0}
		for name, n := range wantResults {
			results[name] = n
		}
		assert.Empty(t, cmp.Diff(results, labelled(series, "diffhook_deliveries_total")))
		assert.Empty(t, cmp.Diff(wantOutcomes, labelled(series, "diffhook_event_seconds_count")))
		assert.EqualValues(t, 1, series["diffhook_previous_total"])
		assert.EqualValues(t, 9, series["diffhook_verdict_seconds_count"])
		assert.EqualValues(t, 1, series["diffhook_source_failing"])
		assert.EqualValues(t, 0, series["diffhook_held"])

		s.source.err = nil
		require.NoError(t, s.v.Refresh(t.Context()))
		assert.EqualValues(t, 0, scrape(t, s.mux)["diffhook_source_failing"])
	})
}

func TestPrometheusCountsHeldDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, servePrometheus)
		s.outcome = func(context.Context) error { return nil }
		next := diffhooktest.NewSecret()
		require.NoError(t, s.v.Hold(time.Minute))
		assert.Equal(t, http.StatusAccepted, s.post(next))
		assert.EqualValues(t, 1, scrape(t, s.mux)["diffhook_held"])

		require.NoError(t, s.v.Rotate(next, time.Hour))
		time.Sleep(time.Minute)
		synctest.Wait()
		series := scrape(t, s.mux)
		assert.EqualValues(t, 0, series["diffhook_held"])
		assert.EqualValues(t, 1, labelled(series, "diffhook_deliveries_total")["accepted"])
		assert.EqualValues(t, 1, labelled(series, "diffhook_event_seconds_count")["handled"])
	})
}

// scrape reads /metrics as Prometheus does.
func scrape(t *testing.T, h http.Handler) map[string]float64 {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Equal(t, http.StatusOK, w.Code)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(w.Body)
	require.NoError(t, err)
	series := map[string]float64{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			labels := ""
			for _, l := range m.GetLabel() {
				labels += "|" + l.GetValue()
			}
			if h := m.GetHistogram(); h != nil {
				series[name+"_count"+labels] = float64(h.GetSampleCount())
				continue
			}
			series[name+labels] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return series
}

// labelled returns the series of a metric by the value of the label.
func labelled(series map[string]float64, metric string) map[string]int {
	found := map[string]int{}
	for name, value := range series {
		if label, ok := strings.CutPrefix(name, metric+"|"); ok {
			found[label] = int(value)
		}
	}
	return found
}

func TestOpenTelemetryCountsEachKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader := sdk.NewManualReader()
		provider := sdk.NewMeterProvider(sdk.WithReader(reader))
		s := newServer(t, func(ctx context.Context, source diffhook.SecretSource, mux *http.ServeMux, handle diffhook.EventFunc, serving func(*diffhook.Verifier)) error {
			return serveOpenTelemetry(ctx, provider, source, mux, handle, serving)
		})
		s.run(t)

		var collected metricdata.ResourceMetrics
		require.NoError(t, reader.Collect(t.Context(), &collected))
		require.Len(t, collected.ScopeMetrics, 1)
		results, outcomes, previous, verdicts, failing := map[string]int{}, map[string]int{}, 0, uint64(0), int64(0)
		for _, m := range collected.ScopeMetrics[0].Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, point := range data.DataPoints {
					result, _ := point.Attributes.Value("result")
					results[result.AsString()] += int(point.Value)
					if isPrevious, _ := point.Attributes.Value("previous"); isPrevious.AsBool() {
						previous += int(point.Value)
					}
				}
			case metricdata.Histogram[float64]:
				for _, point := range data.DataPoints {
					if outcome, ok := point.Attributes.Value("outcome"); ok {
						outcomes[outcome.AsString()] = int(point.Count)
						continue
					}
					verdicts += point.Count
				}
			case metricdata.Gauge[int64]:
				failing = data.DataPoints[0].Value
			}
		}
		assert.Empty(t, cmp.Diff(wantResults, results))
		assert.Empty(t, cmp.Diff(wantOutcomes, outcomes))
		assert.Equal(t, 1, previous)
		assert.EqualValues(t, 9, verdicts)
		assert.EqualValues(t, 1, failing)
	})
}
