package diffhookredis_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookredis"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// TestPlan: even with the latest use of turns, no more than the plan starts, and nine tenths
// start.
func TestPlan(t *testing.T) {
	for n := 1; n <= 2000; n++ {
		most, evenly := diffhookredis.PlanStarts(n)
		require.LessOrEqual(t, most, n)
		if n >= 10 {
			require.GreaterOrEqual(t, evenly, 0.9*float64(n), "a plan of %d", n)
		}
	}
}

// TestFleet: 16 processes, some with many goroutines, share a plan for 10 minutes,
// scaled 1:10, or for some seconds. No window sees more requests than the plan, the fleet
// uses nine tenths of the plan, and no process starts less than half of a fair share.
func TestFleet(t *testing.T) {
	const processes = 16
	plan, window, length := 100, 3*time.Second, 7*time.Second
	if all() {
		plan, window, length = diffhook.PaidPlan, 6*time.Second, time.Minute
	}
	eachServer(t, func(t *testing.T, url string) {
		name := randomName()
		starts := make([][]int64, processes)
		var running sync.WaitGroup
		var fleet []*child
		for i := range processes {
			c := startChild(t, "limit", "REDIS_URL="+url, "NAME="+name, "PLAN="+strconv.Itoa(plan),
				"WINDOW_MS="+fmt.Sprint(window.Milliseconds()), "GOROUTINES="+strconv.Itoa(1+i%4*5))
			fleet = append(fleet, c)
			running.Go(func() {
				for line := c.line(); line != ""; line = c.line() {
					at, err := strconv.ParseInt(line, 10, 64)
					assert.NoError(t, err)
					starts[i] = append(starts[i], at)
				}
			})
		}
		time.Sleep(length + window/2) // other processes run
		for _, c := range fleet {
			_ = c.Process.Kill()
		}
		running.Wait()

		var all []int64
		for _, s := range starts {
			all = append(all, s...)
		}
		slices.Sort(all)
		// The fleet is complete a little after the first start.
		from := all[0] + (window / 4).Microseconds()
		to := from + length.Microseconds()
		used, least := 0, len(all)
		for _, s := range starts {
			n := 0
			for _, at := range s {
				if at >= from && at < to {
					n++
				}
			}
			used, least = used+n, min(least, n)
		}
		for i := plan; i < len(all); i++ {
			took := time.Duration(all[i]-all[i-plan]) * time.Microsecond
			require.GreaterOrEqual(t, took, window, "%d requests within %v", plan+1, took)
		}
		whole := float64(plan) * float64(length) / float64(window)
		t.Logf("%d of %.0f requests used (%.1f %%), least of a process %d (fair: %d)", used, whole, 100*float64(used)/whole, least, used/processes)
		assert.GreaterOrEqual(t, float64(used), 0.9*whole)
		assert.GreaterOrEqual(t, least, used/processes/2)
	})
}

// newLimiter returns a limiter, as in another process.
func newLimiter(t testing.TB, url, name string, plan int, window time.Duration, opts diffhookredis.LimiterOptions) *diffhookredis.Limiter {
	l, err := diffhookredis.NewLimiter(newClient(t, options(t, url)), name, plan, &opts)
	require.NoError(t, err)
	diffhookredis.SetWindow(l, plan, window, opts)
	return l
}

// TestPauseReachesOtherProcesses: a turn from before the pause is lost,
// and later calls learn of the pause at once.
func TestPauseReachesOtherProcesses(t *testing.T) {
	eachServer(t, func(t *testing.T, url string) {
		name := randomName()
		a := newLimiter(t, url, name, 60, time.Minute, diffhookredis.LimiterOptions{})
		b := newLimiter(t, url, name, 60, time.Minute, diffhookredis.LimiterOptions{})
		require.NoError(t, a.Wait(t.Context()))
		waiting := make(chan error, 1)
		go func() { waiting <- b.Wait(t.Context()) }() // a turn in a second
		eventually(t, "b has a turn", func() bool { return !canStartBefore(t, a, 1500*time.Millisecond) })
		a.Pause(t.Context(), 30*time.Second)
		for _, err := range []error{<-waiting, b.Wait(t.Context()), a.Wait(t.Context())} {
			var pause *diffhook.PauseError
			require.ErrorAs(t, err, &pause)
			assert.Greater(t, pause.Wait, 20*time.Second)
			assert.LessOrEqual(t, pause.Wait, 30*time.Second)
		}
		a.Pause(t.Context(), time.Second)
		var pause *diffhook.PauseError
		require.ErrorAs(t, b.Wait(t.Context()), &pause)
		assert.Greater(t, pause.Wait, 20*time.Second, "a shorter pause does not end a longer one")
	})
}

// canStartBefore reports whether the next free turn comes within d.
func canStartBefore(t *testing.T, l *diffhookredis.Limiter, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := l.Wait(ctx); err != nil {
		require.ErrorIs(t, err, context.DeadlineExceeded)
		return false
	}
	return true
}

// TestClientsShareARefusal: the client of another process gets no second 429, and goes on
// after the pause.
func TestClientsShareARefusal(t *testing.T) {
	url := serverURL(t, "DIFFHOOK_TEST_REDIS")
	s := diffhooktest.NewServer(t)
	name := randomName()
	client := func() *diffhook.Client {
		return s.Client(&diffhook.ClientOptions{Limiter: newLimiter(t, url, name, 600, time.Minute, diffhookredis.LimiterOptions{}), MaxRetryWait: 10 * time.Second})
	}
	a, b := client(), client()
	_, err := a.Keys.List(t.Context(), nil)
	require.NoError(t, err)
	s.Fail(diffhooktest.Fault{Status: http.StatusTooManyRequests, RetryAfter: 20 * time.Second})
	_, err = a.Keys.List(t.Context(), nil)
	require.ErrorIs(t, err, diffhook.ErrRateLimited)
	sent := s.Count("")
	_, err = b.Keys.List(t.Context(), nil)
	var api *diffhook.APIError
	require.ErrorAs(t, err, &api)
	assert.Greater(t, api.RetryAfter, 10*time.Second)
	assert.Equal(t, sent, s.Count(""), "nothing is sent")
}

// TestTurnIsKept: if a caller gives up, the fleet keeps the turn. If a deadline comes before
// the turn, the call fails at once.
func TestTurnIsKept(t *testing.T) {
	eachServer(t, func(t *testing.T, url string) {
		l := newLimiter(t, url, randomName(), 60, 10*time.Second, diffhookredis.LimiterOptions{}) // a turn in 177 ms
		require.NoError(t, l.Wait(t.Context()))
		began := time.Now()
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, l.Wait(short), context.DeadlineExceeded)
		require.NoError(t, short.Err(), "it did not wait for the deadline")

		leaving, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() { left <- l.Wait(leaving) }()
		time.Sleep(20 * time.Millisecond) // a real server: no bubble
		leave()
		require.ErrorIs(t, <-left, context.Canceled)
		require.NoError(t, l.Wait(t.Context()))
		require.NoError(t, l.Wait(t.Context()))
		assert.GreaterOrEqual(t, time.Since(began), 350*time.Millisecond)
		// Two turns: the kept turn, and the next. A third turn would be 530 ms late.
		assert.False(t, canStartBefore(t, l, 100*time.Millisecond))
	})
}

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

// TestRedisAway: without Redis, a process goes on with a share of the plan, and logs this
// once. When Redis is back, the process shares the plan again.
func TestRedisAway(t *testing.T) {
	server := startServer(t)
	var log logLines
	l := newLimiter(t, "redis://"+server.addr, randomName(), 600, 6*time.Second, diffhookredis.LimiterOptions{
		Processes: 20, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.NoError(t, l.Wait(t.Context()))
	require.Zero(t, log.count("\n"))

	server.kill()
	began := time.Now()
	for range 4 { // a turn every 213 ms
		require.NoError(t, l.Wait(t.Context()))
	}
	assert.GreaterOrEqual(t, time.Since(began), 800*time.Millisecond)
	assert.Equal(t, 1, log.count("level=WARN"))
	require.True(t, canFailFast(t, l), "a caller without the time fails at once")

	server.start()
	eventually(t, "Redis is back", func() bool {
		require.NoError(t, l.Wait(t.Context()))
		return log.count("Redis is back") == 1
	})
	assert.Equal(t, 2, log.count("\n"))

	server.kill()
	eventually(t, "the second outage is said too", func() bool {
		require.NoError(t, l.Wait(t.Context()))
		return log.count("level=WARN") == 2
	})
}

func canFailFast(t *testing.T, l *diffhookredis.Limiter) bool {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	return l.Wait(ctx) != nil
}

// TestRedisStalls: a server without answers counts as away after a second.
func TestRedisStalls(t *testing.T) {
	url := serverURL(t, "DIFFHOOK_TEST_REDIS")
	o := options(t, url)
	p := startProxy(t, o.Addr)
	var log logLines
	l := newLimiter(t, "redis://"+p.addr, randomName(), 600, 6*time.Second, diffhookredis.LimiterOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, l.Wait(t.Context()))
	p.fail(hold, 1000)
	require.NoError(t, l.Wait(t.Context()))
	assert.Equal(t, 1, log.count("level=WARN"))
}

// TestClockSetBack: a state in the future stops no process.
func TestClockSetBack(t *testing.T) {
	eachServer(t, func(t *testing.T, url string) {
		name := randomName()
		l := newLimiter(t, url, name, 600, time.Minute, diffhookredis.LimiterOptions{})
		ahead := time.Now().Add(2 * time.Hour).UnixMicro()
		client := newClient(t, options(t, url))
		require.NoError(t, client.HSet(t.Context(), "diffhook:limit:{"+name+"}", "tat", ahead, "paused", ahead).Err())
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		for range 3 {
			require.NoError(t, l.Wait(ctx))
		}
		require.NoError(t, client.HSet(t.Context(), "diffhook:limit:{"+name+"}", "tat", ahead, "paused", ahead).Err())
		l.Pause(ctx, time.Minute)
		var pause *diffhook.PauseError
		require.ErrorAs(t, l.Wait(ctx), &pause, "a pause still counts")
		assert.LessOrEqual(t, pause.Wait, time.Minute)
	})
}

func TestLimiterNames(t *testing.T) {
	client := newClient(t, options(t, "redis://127.0.0.1:1"))
	for _, name := range []string{"", " ", "dh_" + "live_" + strings.Repeat("x", 20), "a{b}"} {
		_, err := diffhookredis.NewLimiter(client, name, 60, nil)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), strings.Repeat("x", 20))
	}
	_, err := diffhookredis.NewLimiter(client, "production", -1, nil)
	require.Error(t, err)
}
