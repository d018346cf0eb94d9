package diffhookredis

import "time"

// SetCallTimeout replaces the bound of 3 s for a call of s.
func SetCallTimeout(s *Store, d time.Duration) { s.callTimeout = d }

// SetWindow makes l count requests in a window other than 60 s.
func SetWindow(l *Limiter, n int, window time.Duration, opts LimiterOptions) {
	if opts.Processes <= 0 {
		opts.Processes = DefaultProcesses
	}
	l.setPlan(newPlan(n, window), opts)
}

// PlanStarts returns how many requests of a plan of n can start in 60 s, if turns are used
// as late as possible, and how many a busy fleet starts.
func PlanStarts(n int) (most int, evenly float64) {
	p := newPlan(n, time.Minute)
	return p.burst + int((p.window+p.lateness)/p.interval), float64(p.window) / float64(p.interval)
}
