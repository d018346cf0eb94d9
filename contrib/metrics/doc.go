// Package metrics is not for import. The tests compile and run the snippets
// of docs/metrics.md with OpenTelemetry and Prometheus, and try the alerts.
package metrics
