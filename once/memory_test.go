package once_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncetest"
)

func TestMemoryConforms(t *testing.T) {
	m := once.NewMemory(0)
	oncetest.TestStore(t, func(*testing.T) once.Store { return m })
}

func numbered(i int) (k once.Key) {
	binary.BigEndian.PutUint64(k[:], uint64(i))
	return k
}

func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m := once.NewMemory(3)
		for i := range 3 {
			require.NoError(t, m.Claim(ctx, numbered(i), "token", time.Minute))
		}
		require.ErrorIs(t, m.Claim(ctx, numbered(3), "token", time.Minute), diffhook.ErrUnavailable, "a running event is never forgotten")

		require.NoError(t, m.Commit(ctx, numbered(1), "token", time.Hour))
		require.NoError(t, m.Commit(ctx, numbered(0), "token", time.Hour))
		require.ErrorIs(t, m.Claim(ctx, numbered(1), "other", time.Minute), once.ErrDone) // 1 is used again
		require.NoError(t, m.Claim(ctx, numbered(3), "token", time.Minute))
		require.ErrorIs(t, m.Claim(ctx, numbered(1), "other", time.Minute), once.ErrDone)
		require.NoError(t, m.Claim(ctx, numbered(0), "other", time.Minute), "the least recently used done event, 0, was forgotten, and 1 makes room")
		require.ErrorIs(t, m.Claim(ctx, numbered(2), "other", time.Minute), once.ErrInProgress)

		time.Sleep(time.Minute)
		require.NoError(t, m.Claim(ctx, numbered(4), "token", time.Minute), "a claim whose lease has ended makes room")
		require.NoError(t, m.Commit(ctx, numbered(5), "late", time.Hour), "so does it for the commit of a lease that ended long ago")
	})
}

func TestMemoryObservesForgotten(t *testing.T) {
	var got []once.Observation
	f := once.Func(once.NewMemory(1), succeed, &once.Options{Observe: func(_ context.Context, o once.Observation) { got = append(got, o) }})
	first, second := event(), event()
	second.MonitorID = "mon_def456"
	require.NoError(t, f(t.Context(), first))
	require.NoError(t, f(t.Context(), second))
	require.Len(t, got, 3)
	require.Equal(t, once.Forgotten, got[1].Outcome)
	require.Equal(t, once.KeyOf("", first), got[1].Key)
}

// BenchmarkMemory shows the cost of a claim with the commit, and of a duplicate, by the
// number of kept events. Handler is the function without once.
func BenchmarkMemory(b *testing.B) {
	ctx := context.Background()
	e := event()
	b.Run("handler", func(b *testing.B) {
		b.ReportAllocs()
		f := diffhook.EventFunc(succeed)
		for b.Loop() {
			_ = f(ctx, e)
		}
	})
	for _, kept := range []int{1_000, 1_000_000} {
		m := once.NewMemory(kept)
		for i := range kept {
			_ = m.Claim(ctx, numbered(i), "token", time.Minute)
			_ = m.Commit(ctx, numbered(i), "token", time.Hour)
		}
		b.Run(fmt.Sprintf("new/%d", kept), func(b *testing.B) {
			b.ReportAllocs()
			f, e := once.Func(m, succeed, nil), *event()
			for b.Loop() {
				e.TriggeredAt = e.TriggeredAt.Add(1)
				_ = f(ctx, &e)
			}
		})
		b.Run(fmt.Sprintf("duplicate/%d", kept), func(b *testing.B) {
			b.ReportAllocs()
			f := once.Func(m, succeed, nil)
			for b.Loop() {
				_ = f(ctx, e)
			}
		})
	}
}
