// Package pace lets the crash tests of once and of the modules below it run ten
// times faster than DiffHook's schedule. Nothing else sets it.
package pace

import "time"

// Divisor divides every duration that [Of] returns. Set it before anything starts.
var Divisor time.Duration = 1

// Of returns d at the pace of this process.
func Of(d time.Duration) time.Duration { return d / Divisor }
