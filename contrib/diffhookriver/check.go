package diffhookriver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/riverqueue/river"

	"github.com/diffhook/diffhook-go/once"
)

// ErrConfig is wrapped by the errors of [Check].
var ErrConfig = errors.New("diffhookriver: unsafe River config")

// rescueMargin is the shortest time from the timeout of an attempt to the start of the next
// attempt: the function gets this time to return.
const rescueMargin = 10 * time.Second

// Check returns an error for each setting with which an event can be lost or handled
// twice. The errors wrap [ErrConfig] and name the setting to change. Call Check after
// [AddWorker] and before river.NewClient, in every process with a River client: the leader
// of the clients cleans and rescues all jobs, with the settings of the leader.
//
// A client without Queues only enqueues, and never leads.
func Check(config *river.Config) error {
	if config == nil {
		return fmt.Errorf("%w: the config is nil; pass the config of river.NewClient", ErrConfig)
	}
	c := config.WithDefaults()
	var problems []error
	if c.Test.DisableUniqueEnforcement {
		problems = append(problems, fmt.Errorf("%w: Test.DisableUniqueEnforcement is set: River enqueues every duplicate; leave this field to tests", ErrConfig))
	}
	if c.Workers != nil || len(c.Queues) > 0 {
		problems = append(problems, checkWorker(c))
	}
	if len(c.Queues) > 0 {
		problems = append(problems, checkTimes(c),
			checkRetention("CompletedJobRetentionPeriod", c.CompletedJobRetentionPeriod),
			checkRetention("CancelledJobRetentionPeriod", c.CancelledJobRetentionPeriod),
			checkRetention("DiscardedJobRetentionPeriod", c.DiscardedJobRetentionPeriod))
	}
	return errors.Join(problems...)
}

// checkRetention returns an error if the cleaner deletes a job while DiffHook may still
// retry the event.
func checkRetention(name string, kept time.Duration) error {
	if kept < 0 || kept >= once.MinKeep { // -1 keeps jobs for ever
		return nil
	}
	return fmt.Errorf("%w: %s is %v, and DiffHook retries for 17 h: a late retry is handled again; set 18 h or more, or -1 for ever", ErrConfig, name, kept)
}

func checkTimes(c *river.Config) error {
	if c.JobTimeout < 0 {
		return fmt.Errorf("%w: JobTimeout is unlimited: River never rescues the job of a process that died; set a JobTimeout", ErrConfig)
	}
	if least := c.JobTimeout + rescueMargin; c.RescueStuckJobsAfter < least {
		return fmt.Errorf("%w: RescueStuckJobsAfter is %v and JobTimeout is %v: an attempt can start while another attempt runs; set RescueStuckJobsAfter to %v or more",
			ErrConfig, c.RescueStuckJobsAfter, c.JobTimeout, least)
	}
	return nil
}

// checkWorker returns an error if Workers lack the worker of Kind: such a process fails
// fetched jobs, and discards rescued jobs.
func checkWorker(c *river.Config) error {
	if c.Workers != nil && hasWorker(c.Workers) {
		return nil
	}
	return fmt.Errorf("%w: Workers lack the worker of %s, and a leader discards jobs without a worker; call AddWorker before Check", ErrConfig, Kind)
}

// hasWorker reports whether workers contain a worker of Kind. River offers no method for
// this, but AddWorkerSafely names the first kind that is taken, and then adds nothing. The
// probe claims three kinds: a free kind, Kind, and the free kind again.
func hasWorker(workers *river.Workers) bool {
	err := river.AddWorkerSafely(workers, probe{})
	return err != nil && strings.Contains(err.Error(), strconv.Quote(Kind))
}

// probe is a worker for hasWorker. River never adds it.
type probe struct {
	river.WorkerDefaults[probeArgs]
}

func (probe) Work(context.Context, *river.Job[probeArgs]) error {
	return errors.New("diffhookriver: the probe was added as a worker")
}

type probeArgs struct{}

func (probeArgs) Kind() string          { return "diffhook_probe" }
func (probeArgs) KindAliases() []string { return []string{Kind, "diffhook_probe"} }
