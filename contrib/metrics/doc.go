// Package metrics is not for import. The tests compile and run the snippets of
// docs/metrics.md with OpenTelemetry and Prometheus, and evaluate the alerts.
package metrics
