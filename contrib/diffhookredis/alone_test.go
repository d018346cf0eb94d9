package diffhookredis_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/contrib/diffhookredis"
	"github.com/diffhook/diffhook-go/internal/faultproxy"
	"github.com/diffhook/diffhook-go/internal/testservers"
)

// logLines is a log for reading while it grows.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logLines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

// TestRedisAway: without Redis a process goes on with a share of the plan, and says so
// once.
func TestRedisAway(t *testing.T) {
	server := startServer(t)
	var log logLines
	l := newLimiter(t, "redis://"+server.addr, randomName(), 600, 6*time.Second, diffhookredis.LimiterOptions{
		Processes: 20, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.NoError(t, l.Wait(t.Context()))
	require.Zero(t, log.count("\n"))

	server.kill()
	require.NoError(t, l.Wait(t.Context()))
	began := time.Now()
	for range 11 { // a turn each 213 ms, and another attempt at Redis after 2 s
		require.NoError(t, l.Wait(t.Context()))
	}
	assert.GreaterOrEqual(t, time.Since(began), 2300*time.Millisecond)
	require.True(t, canFailFast(t, l), "a caller without the time fails at once")
	assert.Equal(t, 1, log.count("\n"))
}

// TestRedisComesBack: an outage and the end are said once each, and the next outage again.
func TestRedisComesBack(t *testing.T) {
	server := startServer(t)
	var log logLines
	l := newLimiter(t, "redis://"+server.addr, randomName(), 600, 6*time.Second, diffhookredis.LimiterOptions{
		Processes: 1, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	waitUntilSaid := func(text string, times int) {
		testservers.Eventually(t, text, func() bool {
			require.NoError(t, l.Wait(t.Context()))
			return log.count(text) == times
		})
	}
	server.kill()
	waitUntilSaid("level=WARN", 1)
	server.start()
	waitUntilSaid("Redis is back", 1)
	server.kill()
	waitUntilSaid("level=WARN", 2)
	assert.Equal(t, 3, log.count("\n"))
}

// TestLeavingIsNoOutage: a caller who leaves during a call of Redis says nothing of Redis.
func TestLeavingIsNoOutage(t *testing.T) {
	o := options(t, testservers.Address(t, "REDIS"))
	p := faultproxy.StartForAnswers(t, o.Addr, scripts)
	var log logLines
	l := newLimiter(t, "redis://"+p.Target, randomName(), 600, 6*time.Second, diffhookredis.LimiterOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, l.Wait(t.Context()))
	p.Hold(0)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Error(t, l.Wait(ctx))
	p.Release()
	require.NoError(t, l.Wait(t.Context()))
	assert.Zero(t, log.count("\n"))
}

func canFailFast(t *testing.T, l *diffhookredis.Limiter) bool {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	return l.Wait(ctx) != nil
}

// TestRedisStalls: a server without answers counts as away after a second. When it answers
// again, the requests of the meantime count: there is no burst.
func TestRedisStalls(t *testing.T) {
	url := testservers.Address(t, "REDIS")
	o := options(t, url)
	p := faultproxy.StartForAnswers(t, o.Addr, scripts)
	var log logLines
	l := newLimiter(t, "redis://"+p.Target, randomName(), 90, 60*time.Second, diffhookredis.LimiterOptions{ // a turn in 709 ms, and a burst of 3
		Processes: 1, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.NoError(t, l.Wait(t.Context()))
	p.Hold(0)
	require.NoError(t, l.Wait(t.Context()))
	assert.Equal(t, 1, log.count("level=WARN"))
	p.Release()
	testservers.Eventually(t, "Redis is back", func() bool {
		require.NoError(t, l.Wait(t.Context()))
		return log.count("Redis is back") == 1
	})
	assert.False(t, canStartBefore(t, l, 300*time.Millisecond))
}

// TestRedisStallsForHastyCallers: callers whose deadlines come before the end of a call
// do not wait in vain for as long as Redis is away.
func TestRedisStallsForHastyCallers(t *testing.T) {
	o := options(t, testservers.Address(t, "REDIS"))
	p := faultproxy.StartForAnswers(t, o.Addr, scripts)
	l := newLimiter(t, "redis://"+p.Target, randomName(), 600, 6*time.Second, diffhookredis.LimiterOptions{Processes: 1})
	require.NoError(t, l.Wait(t.Context()))
	p.Hold(0)
	started := 0
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		if l.Wait(ctx) == nil {
			started++
		}
		cancel()
	}
	require.Positive(t, started)
}
