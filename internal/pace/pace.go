// Package pace lets the crash tests of once and of the modules below run ten times
// faster than DiffHook's schedule. Nothing else uses the package to change a duration.
package pace

import "time"

// Divisor divides every result of [Of]. Set Divisor before anything starts.
var Divisor time.Duration = 1

// Of returns d at the pace of this process.
func Of(d time.Duration) time.Duration { return d / Divisor }
