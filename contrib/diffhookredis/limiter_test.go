package diffhookredis_test

import (
	"context"
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
	"github.com/diffhook/diffhook-go/internal/childprocess"
	"github.com/diffhook/diffhook-go/internal/testservers"
)

// TestPlan: even with the latest use of turns, no more than the plan starts, and nine tenths
// start.
func TestPlan(t *testing.T) {
	for n := 1; n <= 2000; n++ {
		most, evenly := diffhookredis.PlanStarts(n)
		require.LessOrEqual(t, most, n)
		require.GreaterOrEqual(t, evenly, 0.9*float64(n), "a plan of %d", n)
	}
}

// TestFleet: 16 processes, some with many goroutines, share a plan for 10 minutes,
// scaled 1:10, or for some seconds. No window sees more requests than the plan, the fleet
// uses nine tenths of the plan, and no process starts less than half of a fair share.
func TestFleet(t *testing.T) {
	const processes = 16
	plan, window, length, complete := 100, 3*time.Second, 7*time.Second, all()
	if complete {
		plan, window, length = diffhook.PaidPlan, 6*time.Second, time.Minute
	}
	eachServer(t, func(t *testing.T, url string) {
		name := randomName()
		starts := make([][]int64, processes)
		var running sync.WaitGroup
		var fleet []*childprocess.Child
		for i := range processes {
			c := childprocess.Start(t, job{URL: url, Name: name, Plan: plan, Window: window, Callers: 1 + i%4*5})
			fleet = append(fleet, c)
			running.Go(func() {
				for line := range c.Lines {
					at, err := strconv.ParseInt(line, 10, 64)
					assert.NoError(t, err)
					starts[i] = append(starts[i], at)
				}
			})
		}
		time.Sleep(length + window/2) // other processes run
		for _, c := range fleet {
			c.Kill()
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
		assert.Positive(t, least, "a process without a turn")
		if complete { // on a machine that does nothing else
			assert.GreaterOrEqual(t, float64(used), 0.9*whole)
			assert.GreaterOrEqual(t, least, used/processes/2)
		}
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
		testservers.Eventually(t, "b has a turn", func() bool { return !canStartBefore(t, a, 1500*time.Millisecond) })
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

// TestClientsShareA429: the client of another process gets no second 429, and goes on
// after the pause.
func TestClientsShareA429(t *testing.T) {
	url := testservers.Address(t, "REDIS")
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
		name, began := randomName(), time.Now()
		l := newLimiter(t, url, name, 60, 30*time.Second, diffhookredis.LimiterOptions{}) // a turn in 531 ms
		turns := func() string {
			return newClient(t, options(t, url)).HGet(t.Context(), "diffhook:limit:{"+name+"}", "tat").Val()
		}
		require.NoError(t, l.Wait(t.Context()))
		before := turns()
		short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, l.Wait(short), context.DeadlineExceeded)
		require.NoError(t, short.Err(), "it did not wait for the deadline")
		require.Equal(t, before, turns(), "it took no turn")

		leaving, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() { left <- l.Wait(leaving) }()
		testservers.Eventually(t, "the caller has a turn", func() bool { return turns() != before })
		leave()
		require.ErrorIs(t, <-left, context.Canceled)
		kept := turns()
		require.NoError(t, l.Wait(t.Context()))
		require.Equal(t, kept, turns(), "the next caller has the same turn")
		assert.GreaterOrEqual(t, time.Since(began), 530*time.Millisecond)
	})
}

// TestStateExpires: the state outlives the window, and does not stay for ever.
func TestStateExpires(t *testing.T) {
	eachServer(t, func(t *testing.T, url string) {
		name, client := randomName(), newClient(t, options(t, url))
		l := newLimiter(t, url, name, 60, time.Minute, diffhookredis.LimiterOptions{})
		for _, use := range []func(){
			func() { require.NoError(t, l.Wait(t.Context())) },
			func() { l.Pause(t.Context(), time.Second) },
		} {
			use()
			left := client.PTTL(t.Context(), "diffhook:limit:{"+name+"}").Val()
			assert.Greater(t, left, time.Minute)
			assert.Less(t, left, 3*time.Minute)
			require.NoError(t, client.Del(t.Context(), "diffhook:limit:{"+name+"}").Err())
		}
	})
}

// TestLateTurnIsLost: a turn kept for longer than the plan allows is not used. Else the
// processes of a fleet could use old turns at the same instant.
func TestLateTurnIsLost(t *testing.T) {
	eachServer(t, func(t *testing.T, url string) {
		name, client := randomName(), newClient(t, options(t, url))
		l := newLimiter(t, url, name, 60, 6*time.Second, diffhookredis.LimiterOptions{}) // a turn in 106 ms, good for 100 ms
		turns := func() string { return client.HGet(t.Context(), "diffhook:limit:{"+name+"}", "tat").Val() }
		require.NoError(t, l.Wait(t.Context()))
		before := turns()
		leaving, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() { left <- l.Wait(leaving) }()
		testservers.Eventually(t, "the caller has a turn", func() bool { return turns() != before })
		leave()
		<-left
		kept := turns()
		time.Sleep(300 * time.Millisecond) // by the clock of the server
		require.NoError(t, l.Wait(t.Context()))
		require.NotEqual(t, kept, turns(), "the next caller takes another turn")
	})
}

// TestClockSetBack: if the clock of the server is set back, turns and pauses stay as far
// ahead as before.
func TestClockSetBack(t *testing.T) {
	for _, by := range []time.Duration{10 * time.Minute, 2 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			t.Parallel()
			eachServer(t, func(t *testing.T, url string) {
				t.Parallel()
				testClockSetBack(t, url, by)
			})
		})
	}
}

func testClockSetBack(t *testing.T, url string, by time.Duration) {
	name, client := randomName(), newClient(t, options(t, url))
	l := newLimiter(t, url, name, 60, time.Minute, diffhookredis.LimiterOptions{}) // a turn in 1.06 s
	setBack := func() {                                                            // moves the state ahead instead
		key := "diffhook:limit:{" + name + "}"
		for field, at := range client.HGetAll(t.Context(), key).Val() {
			if at != "0" {
				require.NoError(t, client.HIncrBy(t.Context(), key, field, by.Microseconds()).Err())
			}
		}
	}
	require.NoError(t, l.Wait(t.Context()))
	setBack()
	require.False(t, canStartBefore(t, l, 500*time.Millisecond), "there is no burst")
	require.True(t, canStartBefore(t, l, 3*time.Second), "the turn comes")

	waiting := make(chan error, 1)
	before := client.HGet(t.Context(), "diffhook:limit:{"+name+"}", "tat").Val()
	go func() { waiting <- l.Wait(t.Context()) }()
	testservers.Eventually(t, "a caller has a turn", func() bool {
		return client.HGet(t.Context(), "diffhook:limit:{"+name+"}", "tat").Val() != before
	})
	l.Pause(t.Context(), time.Minute)
	setBack()
	var pause *diffhook.PauseError
	for _, err := range []error{<-waiting, l.Wait(t.Context())} {
		require.ErrorAs(t, err, &pause)
		assert.InDelta(t, time.Minute, pause.Wait, float64(10*time.Second))
	}
	setBack()
	l.Pause(t.Context(), time.Second)
	require.ErrorAs(t, l.Wait(t.Context()), &pause, "a shorter pause does not end a longer one")
	assert.InDelta(t, time.Minute, pause.Wait, float64(10*time.Second))
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
