package diffhookriver

import "time"

// RescueTime returns the time after which River may rescue the job of a worker with a
// Timeout.
func RescueTime(timeout time.Duration) time.Duration { return (&worker{timeout: timeout}).Timeout(nil) }
