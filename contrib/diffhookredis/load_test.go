package diffhookredis_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookredis"
	"github.com/diffhook/diffhook-go/internal/loadtest"
	"github.com/diffhook/diffhook-go/internal/testservers"
	"github.com/diffhook/diffhook-go/once"
)

// BenchmarkLoad compares ways to handle events with the same work, an INCR in Redis:
//
//	contrib/servers run -- go test -run '^$' -bench Load -benchtime 1x
func BenchmarkLoad(b *testing.B) {
	o := options(b, testservers.Address(b, "REDIS"))
	o.PoolSize = 70
	client := newClient(b, o)
	work := func(ctx context.Context, e *diffhook.Event) error {
		return client.Incr(ctx, "load:"+strconv.Itoa(len(e.MonitorID))).Err()
	}
	type way = loadtest.Way[*diffhook.Event]
	for _, concurrency := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("concurrency=%d", concurrency), func(b *testing.B) {
			loadtest.Compare(b, "Redis", concurrency, newEvent,
				&way{Name: "own INCR", Handle: work},
				&way{Name: "memory", Handle: once.Func(once.NewMemory(0), work, nil)},
				&way{Name: "Func", Handle: once.Func(newStore(b, client), work, nil)})
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
