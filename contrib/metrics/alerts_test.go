package metrics

import (
	"log/slog"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// alerts returns the expression of each alert of the page.
func alerts(t *testing.T) map[string]string {
	page, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(page)
	require.NotNil(t, block)
	groups, errs := rulefmt.Parse(block[1], false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	require.Empty(t, errs)
	found := map[string]string{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			found[rule.Alert] = rule.Expr
		}
	}
	return found
}

// An hour of a fault raises only the alert for the fault.
func TestAlertsFire(t *testing.T) {
	const healthy = `
load 1m
  diffhook_source_failing 0x60
  diffhook_deliveries_total{result="accepted"} 0+5x60
  diffhook_deliveries_total{result="no_signature"} 0+9x60
  diffhook_event_seconds_count{outcome="handled"} 0+5x60
  diffhook_event_seconds_count{outcome="unavailable"} 0+1x60
`
	for _, tt := range []struct {
		name, series string
		want         []string
	}{
		{"healthy, and attacked", healthy + `  diffhook_deliveries_total{result="mismatch"} 0+90x60`, nil},
		{"source fails", healthy + `  diffhook_source_failing{instance="b"} 1x60`, []string{"DiffHookSecretSourceFails"}},
		{"wrong secret", `
load 1m
  diffhook_deliveries_total{result="accepted"} 0x60
  diffhook_deliveries_total{result="mismatch"} 0+5x60`, []string{"DiffHookNothingAccepted"}},
		{"secrets unavailable", healthy + `  diffhook_deliveries_total{result="secrets_unavailable"} 0x55 1x4`, []string{"DiffHookDeliveriesRejectedHere"}},
		{"body consumed", healthy + `  diffhook_deliveries_total{result="body_consumed"} 0+1x60`, []string{"DiffHookDeliveriesRejectedHere"}},
		{"held, and lost", healthy + `  diffhook_deliveries_total{result="dropped"} 0x55 1x4`, []string{"DiffHookDeliveriesRejectedHere"}},
		{"events fail", healthy + `  diffhook_event_seconds_count{outcome="failed"} 0+1x60`, []string{"DiffHookEventsFail"}},
		{"events are late", healthy + `  diffhook_event_seconds_count{outcome="late"} 0x55 1x4`, []string{"DiffHookEventsFail"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			storage := promqltest.LoadedStorage(t, tt.series)
			engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
			var firing []string
			for name, expr := range alerts(t) {
				query, err := engine.NewInstantQuery(t.Context(), storage, nil, expr, time.Unix(0, 0).Add(time.Hour))
				require.NoError(t, err)
				result := query.Exec(t.Context())
				require.NoError(t, result.Err)
				if vector, ok := result.Value.(promql.Vector); ok && len(vector) > 0 {
					firing = append(firing, name)
				}
			}
			assert.Equal(t, tt.want, firing)
		})
	}
}

// The alerts name metrics of the code of the page.
func TestAlertsNameMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	m.watch(registry, nil)
	families := regexp.MustCompile(`fqName: "(\w+)"`)
	made := map[string]bool{}
	descriptions := make(chan *prometheus.Desc, 100)
	registry.Describe(descriptions)
	close(descriptions)
	for d := range descriptions {
		made[families.FindStringSubmatch(d.String())[1]] = true
	}
	named := 0
	for name, expr := range alerts(t) {
		for _, metric := range regexp.MustCompile(`diffhook_\w+`).FindAllString(expr, -1) {
			named++
			assert.True(t, made[regexp.MustCompile(`_count$`).ReplaceAllString(metric, "")], "%s: %s", name, metric)
		}
	}
	assert.Positive(t, named)
}
