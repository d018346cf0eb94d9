// Package pace lets the crash tests of once, and of the modules below once, run ten
// times faster than DiffHook's schedule. Only these tests set the pace.
package pace

import "time"

// Divisor divides every duration that [Of] returns. Set Divisor before any other
// use.
var Divisor time.Duration = 1

// Of returns d at the pace of this process.
func Of(d time.Duration) time.Duration { return d / Divisor }
