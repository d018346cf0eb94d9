package diffhookredis

import "time"

// SetCallTimeout replaces the 3 s that bound a call of s.
func SetCallTimeout(s *Store, d time.Duration) { s.callTimeout = d }

// SetWindow makes l count requests in a window other than 60 s.
func SetWindow(l *Limiter, n int, window time.Duration, opts LimiterOptions) {
	if opts.Processes <= 0 {
		opts.Processes = DefaultProcesses
	}
	l.setPlan(newPlan(n, window), opts)
}
