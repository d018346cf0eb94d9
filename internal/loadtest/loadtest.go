// Package loadtest compares ways to do the same work under load.
package loadtest

import (
	"context"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// A Way handles events of type E.
type Way[E any] struct {
	Name   string
	Handle func(ctx context.Context, e E) error

	rounds []round
}

// round is a run of a way.
type round struct {
	rate     float64 // events in a second
	p50, p99 time.Duration
}

// Number returns the number in a variable of the environment, or else def.
func Number(variable string, def int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return n
	}
	return def
}

// Compare runs the ways in turn, with so many events at a time, and logs the medians of
// DIFFHOOK_TEST_ROUNDS (25) rounds. newEvent is called concurrently. The ratio of a round is
// the time for an event, divided by the time of the first way: both are measured close
// together.
func Compare[E any](b *testing.B, title string, concurrency int, newEvent func() E, ways ...*Way[E]) {
	b.Helper()
	for _, w := range ways {
		w.run(b, concurrency, newEvent) // opens connections and prepares statements
	}
	for range Number("DIFFHOOK_TEST_ROUNDS", 25) {
		for _, w := range ways {
			w.rounds = append(w.rounds, w.run(b, concurrency, newEvent))
		}
	}
	for _, w := range ways {
		b.Logf("%-9s %2d at a time  %-12s %7.0f events/s  p50 %8v  p99 %8v  ratio %.2f",
			title, concurrency, w.Name,
			median(w.rounds, func(_ int, r round) float64 { return r.rate }),
			median(w.rounds, func(_ int, r round) time.Duration { return r.p50 }).Round(time.Microsecond),
			median(w.rounds, func(_ int, r round) time.Duration { return r.p99 }).Round(time.Microsecond),
			median(w.rounds, func(i int, r round) float64 { return ways[0].rounds[i].rate / r.rate }))
	}
}

// run handles new events from as many goroutines for a tenth of a second.
func (w *Way[E]) run(b *testing.B, concurrency int, newEvent func() E) round {
	b.Helper()
	var mu sync.Mutex
	var latencies []time.Duration
	var group sync.WaitGroup
	began := time.Now()
	for range concurrency {
		group.Go(func() {
			var own []time.Duration
			for time.Since(began) < 100*time.Millisecond {
				e := newEvent()
				start := time.Now()
				if err := w.Handle(b.Context(), e); err != nil {
					b.Error(err)
					return
				}
				own = append(own, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, own...)
		})
	}
	group.Wait()
	took := time.Since(began)
	if len(latencies) == 0 {
		b.Fatal("no event was handled")
	}
	slices.Sort(latencies)
	n := len(latencies)
	return round{float64(n) / took.Seconds(), latencies[n/2], latencies[n*99/100]}
}

// median returns the median of a figure over the rounds.
func median[T float64 | time.Duration](rounds []round, figure func(i int, r round) T) T {
	var all []T
	for i, r := range rounds {
		all = append(all, figure(i, r))
	}
	slices.Sort(all)
	return all[len(all)/2]
}
