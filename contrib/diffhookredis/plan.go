package diffhookredis

import "time"

// plan is the rate at which requests start. In any window, at most burst +
// (window+lateness)/interval requests start: this is within the plan.
type plan struct {
	window   time.Duration // 60 s; shorter in tests
	interval time.Duration // between two requests of all processes
	burst    int
	lateness time.Duration // the time after which an unused turn is lost
}

// newPlan spreads n requests over a window: a thirtieth in a burst, and 94 % evenly.
func newPlan(n int, window time.Duration) plan {
	return plan{
		window:   window,
		interval: time.Duration(float64(window) / (0.94 * float64(n))),
		burst:    max(1, n/30),
		lateness: window / 60,
	}
}

// share returns the interval between two requests of a process without Redis. All
// processes together then use 94 % of the plan.
func (p plan) share(processes int) time.Duration { return p.interval * time.Duration(processes) }

// outlive is how long the state in Redis outlives the last turn. Without the state,
// the next request follows without a burst.
func (p plan) outlive() time.Duration { return 2 * p.window }
