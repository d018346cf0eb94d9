// Package pace lets the crash tests of package once and of the modules of contrib run ten
// times faster than DiffHook's schedule. Only these tests set [Divisor].
package pace

import "time"

// Divisor divides every result of [Of]. Set it before anything starts.
var Divisor time.Duration = 1

// Of returns d at the pace of this process.
func Of(d time.Duration) time.Duration { return d / Divisor }
