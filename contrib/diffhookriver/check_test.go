package diffhookriver_test

import (
	"context"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookriver"
)

func noWork(context.Context, *diffhook.Event) error { return nil }

func withWorker(*testing.T) *river.Workers {
	workers := river.NewWorkers()
	diffhookriver.AddWorker(workers, noWork, nil)
	return workers
}

type otherArgs struct{}

func (otherArgs) Kind() string { return "other" }

func withOtherWorker(*testing.T) *river.Workers {
	workers := river.NewWorkers()
	river.AddWorker(workers, river.WorkFunc(func(context.Context, *river.Job[otherArgs]) error { return nil }))
	return workers
}

func TestCheck(t *testing.T) {
	queues := map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}
	for _, test := range []struct {
		name    string
		workers func(*testing.T) *river.Workers
		change  func(*river.Config)
		problem string // the setting in the error; "" if the config is safe
	}{
		{"defaults", withWorker, func(*river.Config) {}, ""},
		{"completed jobs deleted early", withWorker, func(c *river.Config) { c.CompletedJobRetentionPeriod = 17 * time.Hour }, "CompletedJobRetentionPeriod"},
		{"cancelled jobs deleted early", withWorker, func(c *river.Config) { c.CancelledJobRetentionPeriod = time.Hour }, "CancelledJobRetentionPeriod"},
		{"discarded jobs deleted early", withWorker, func(c *river.Config) { c.DiscardedJobRetentionPeriod = time.Second }, "DiscardedJobRetentionPeriod"},
		{"18 h", withWorker, func(c *river.Config) { c.CompletedJobRetentionPeriod = 18 * time.Hour }, ""},
		{"jobs kept for ever", withWorker, func(c *river.Config) {
			c.CompletedJobRetentionPeriod, c.CancelledJobRetentionPeriod, c.DiscardedJobRetentionPeriod = -1, -1, -1
		}, ""},
		{"no timeout, so no rescue", withWorker, func(c *river.Config) { c.JobTimeout = -1 }, "JobTimeout"},
		{"rescue at the timeout", withWorker, func(c *river.Config) { c.JobTimeout, c.RescueStuckJobsAfter = time.Minute, time.Minute }, "RescueStuckJobsAfter"},
		{"rescue after the timeout", withWorker, func(c *river.Config) { c.JobTimeout, c.RescueStuckJobsAfter = time.Minute, 70*time.Second }, ""},
		{"a long timeout", withWorker, func(c *river.Config) { c.JobTimeout = 3 * time.Hour }, ""},
		{"no worker of events", withOtherWorker, func(*river.Config) {}, "AddWorker"},
		{"no workers", func(*testing.T) *river.Workers { return nil }, func(*river.Config) {}, "AddWorker"},
		{"inserts only", func(*testing.T) *river.Workers { return nil }, func(c *river.Config) { c.Queues, c.JobTimeout = nil, -1 }, ""},
		{"duplicates enqueued", withWorker, func(c *river.Config) { c.Test.DisableUniqueEnforcement = true }, "DisableUniqueEnforcement"},
		{"inserts only, duplicates too", func(*testing.T) *river.Workers { return nil }, func(c *river.Config) {
			c.Queues, c.Test.DisableUniqueEnforcement = nil, true
		}, "DisableUniqueEnforcement"},
		{"inserts only, without the worker", withOtherWorker, func(c *river.Config) { c.Queues = nil }, "AddWorker"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := &river.Config{Workers: test.workers(t), Queues: queues}
			test.change(config)
			for range 2 { // the first check changes nothing
				err := diffhookriver.Check(config)
				if test.problem == "" {
					require.NoError(t, err)
					continue
				}
				require.ErrorIs(t, err, diffhookriver.ErrConfig)
				assert.ErrorContains(t, err, test.problem)
			}
		})
	}
	require.ErrorIs(t, diffhookriver.Check(nil), diffhookriver.ErrConfig)
}

// TestCheckReportsAll: the error names every setting to change.
func TestCheckReportsAll(t *testing.T) {
	err := diffhookriver.Check(&river.Config{
		Queues:                      map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}},
		JobTimeout:                  -1,
		CompletedJobRetentionPeriod: time.Hour,
	})
	for _, setting := range []string{"AddWorker", "JobTimeout", "CompletedJobRetentionPeriod"} {
		assert.ErrorContains(t, err, setting)
	}
}

// TestCheckAddsNoWorker: AddWorker works after a failed Check.
func TestCheckAddsNoWorker(t *testing.T) {
	config := &river.Config{Workers: river.NewWorkers()}
	require.Error(t, diffhookriver.Check(config))
	diffhookriver.AddWorker(config.Workers, noWork, nil)
	require.NoError(t, diffhookriver.Check(config))
}

func TestMisuse(t *testing.T) {
	assert.Panics(t, func() { diffhookriver.AddWorker(nil, noWork, nil) })
	assert.Panics(t, func() { diffhookriver.AddWorker(river.NewWorkers(), nil, nil) })
	assert.Panics(t, func() {
		diffhookriver.AddWorker(river.NewWorkers(), noWork, &diffhookriver.WorkerOptions{Timeout: -1})
	})
	assert.Panics(t, func() { diffhookriver.AddWorker(withWorker(t), noWork, nil) })
	assert.Panics(t, func() { diffhookriver.Enqueue[int](nil) })
	require.ErrorIs(t, diffhookriver.CompleteTx(t.Context(), 0), diffhookriver.ErrNoJob)
}
