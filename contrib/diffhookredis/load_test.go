package diffhookredis_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookredis"
	"github.com/diffhook/diffhook-go/once"
)

// way is a way to handle events under load.
type way struct {
	name   string
	handle diffhook.EventFunc
	rounds []round
}

// round is the result of a run.
type round struct {
	rate     float64 // events a second
	p50, p99 time.Duration
}

// run handles n new events, with concurrency events at a time.
func (w *way) run(b *testing.B, concurrency, n int) {
	latencies := make([]time.Duration, n)
	var next atomic.Int64
	var running sync.WaitGroup
	began := time.Now()
	for range concurrency {
		running.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				e := newEvent()
				start := time.Now()
				if err := w.handle(b.Context(), e); err != nil {
					b.Error(err)
				}
				latencies[i] = time.Since(start)
			}
		})
	}
	running.Wait()
	rate := float64(n) / time.Since(began).Seconds()
	slices.Sort(latencies)
	w.rounds = append(w.rounds, round{rate, latencies[n/2], latencies[n*99/100]})
}

func median[T float64 | time.Duration](rounds []round, of func(round) T) T {
	var values []T
	for _, r := range rounds {
		values = append(values, of(r))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// BenchmarkLoad compares ways to handle events with the same work, an INCR in Redis. The
// ways take turns, and the figures are medians of the rounds:
//
//	contrib/servers run -- go test -run '^$' -bench Load -benchtime 1x
func BenchmarkLoad(b *testing.B) {
	const rounds, n = 7, 4000
	client := newClient(b, func() *redis.Options {
		o := options(b, serverURL(b, "DIFFHOOK_TEST_REDIS"))
		o.PoolSize = 70
		return o
	}())
	work := func(ctx context.Context, e *diffhook.Event) error {
		return client.Incr(ctx, "load:"+strconv.Itoa(len(e.MonitorID))).Err()
	}
	for _, concurrency := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("concurrency=%d", concurrency), func(b *testing.B) {
			ways := []*way{
				{name: "without", handle: work},
				{name: "memory", handle: once.Func(once.NewMemory(0), work, nil)},
				{name: "Redis", handle: once.Func(newStore(b, client), work, nil)},
			}
			for range rounds {
				for _, w := range ways {
					w.run(b, concurrency, n)
				}
			}
			var table strings.Builder
			base := median(ways[0].rounds, func(r round) float64 { return r.rate })
			for _, w := range ways {
				rate := median(w.rounds, func(r round) float64 { return r.rate })
				fmt.Fprintf(&table, "\n%-8s %8.0f events/s (%.2f x)  p50 %7v  p99 %7v", w.name, rate, base/rate,
					median(w.rounds, func(r round) time.Duration { return r.p50 }).Round(time.Microsecond),
					median(w.rounds, func(r round) time.Duration { return r.p99 }).Round(time.Microsecond))
			}
			b.Log(table.String())
		})
	}
}

// BenchmarkMillionRecords shows the memory of a done record, and the time of claims among a
// million records. It starts a Redis:
//
//	go test -run '^$' -bench Million -benchtime 1x
func BenchmarkMillionRecords(b *testing.B) {
	const records = 1_000_000
	client := newClient(b, startServer(b).options())
	used := func() int64 {
		info, err := client.Info(b.Context(), "memory").Result()
		require.NoError(b, err)
		_, after, _ := strings.Cut(info, "used_memory:")
		n, err := strconv.ParseInt(strings.TrimSpace(after[:strings.IndexByte(after, '\n')]), 10, 64)
		require.NoError(b, err)
		return n
	}
	s := newStore(b, client)
	claims := func() time.Duration {
		const n = 2000
		var taken []time.Duration
		for range n {
			k := newKey()
			start := time.Now()
			require.NoError(b, s.Claim(b.Context(), k, rand.Text(), 20*time.Second))
			taken = append(taken, time.Since(start))
			require.NoError(b, s.Release(b.Context(), k, "other"))
		}
		slices.Sort(taken)
		return taken[n/2]
	}
	few, empty := claims(), used()
	for i := 0; i < records; i += 1000 { // as Commit writes them, many at a time
		pipe := client.Pipeline()
		for range 1000 {
			k := newKey()
			pipe.Set(b.Context(), diffhookredis.DefaultPrefix+"{"+k.String()+"}", "d"+rand.Text(), once.DefaultKeep)
		}
		_, err := pipe.Exec(b.Context())
		require.NoError(b, err)
	}
	full := used()
	b.ReportMetric(float64(full-empty)/records, "B/record")
	b.Logf("%d records: %.0f MB, %d bytes each; p50 of a claim %v before and %v after", records,
		float64(full-empty)/1e6, (full-empty)/records, few.Round(time.Microsecond), claims().Round(time.Microsecond))
}
