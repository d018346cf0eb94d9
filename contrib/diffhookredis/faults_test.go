package diffhookredis_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookredis"
	"github.com/diffhook/diffhook-go/internal/faultproxy"
	"github.com/diffhook/diffhook-go/internal/testservers"
	"github.com/diffhook/diffhook-go/once"
)

// scripts is in the requests that call a script: EVAL and EVALSHA.
const scripts = "eval"

func newEvent() *diffhook.Event {
	return &diffhook.Event{Type: "page.changed", MonitorID: "mon_" + randomName(), TriggeredAt: time.Now()}
}

// TestOwnTokenAfterALostAnswer: the connection breaks between the script and the answer.
// go-redis sends the command again, and the script meets the token of the first command.
func TestOwnTokenAfterALostAnswer(t *testing.T) {
	eachServer(t, func(t *testing.T, url string) {
		o := options(t, url)
		p := faultproxy.StartForAnswers(t, o.Addr, scripts)
		o.Addr = p.Target
		s, direct := newStore(t, newClient(t, o)), newStore(t, newClient(t, options(t, url)))
		k := newKey()
		// The server knows the scripts, so the lost answer is that of the script.
		require.NoError(t, s.Claim(t.Context(), k, "token", time.Minute))
		require.NoError(t, s.Release(t.Context(), k, "token"))
		require.NoError(t, s.Commit(t.Context(), newKey(), "token", time.Minute))

		p.Cut(0, 2)
		require.NoError(t, s.Claim(t.Context(), k, "token", time.Minute))
		require.ErrorIs(t, direct.Claim(t.Context(), k, "other", time.Minute), once.ErrInProgress)
		p.Cut(0, 2)
		require.NoError(t, s.Release(t.Context(), k, "token"))
		require.NoError(t, direct.Claim(t.Context(), k, "other", time.Minute))
		require.NoError(t, direct.Release(t.Context(), k, "other"))
		require.NoError(t, s.Claim(t.Context(), k, "token", time.Minute))
		p.Cut(0, 2)
		require.NoError(t, s.Commit(t.Context(), k, "token", time.Minute))
		require.ErrorIs(t, direct.Claim(t.Context(), k, "other", time.Minute), once.ErrDone)
	})
}

// TestLostForGood: every answer is lost until the client gives up. A retry handles the
// event, or commit_failed is observed; the event is never lost.
func TestLostForGood(t *testing.T) {
	eachServer(t, func(t *testing.T, url string) {
		o := options(t, url)
		p := faultproxy.StartForAnswers(t, o.Addr, scripts)
		o.Addr, o.MaxRetries = p.Target, -1
		var effects atomic.Int64
		var outcomes []once.Outcome
		lose := 0
		f := once.Func(newStore(t, newClient(t, o)), func(context.Context, *diffhook.Event) error {
			effects.Add(1)
			p.Cut(0, lose)
			return nil
		}, &once.Options{Observe: func(_ context.Context, o once.Observation) { outcomes = append(outcomes, o.Outcome) }})
		require.NoError(t, f(t.Context(), newEvent()))

		// After the answer to the claim is lost, the claim is released for the retry.
		e := newEvent()
		p.Cut(0, 1)
		require.ErrorIs(t, f(t.Context(), e), diffhook.ErrUnavailable)
		require.NoError(t, f(t.Context(), e))

		// After both answers to the commit are lost, the work is done and recorded.
		lose = 2
		e = newEvent()
		require.NoError(t, f(t.Context(), e))
		require.NoError(t, f(t.Context(), e))
		assert.EqualValues(t, 3, effects.Load())
		assert.Equal(t, []once.Outcome{once.Handled, once.StoreFailed, once.Handled, once.CommitFailed, once.Duplicate}, outcomes)
	})
}

// TestStalledServer: a call ends in time, and the event is handled when the server answers
// again.
func TestStalledServer(t *testing.T) {
	eachServer(t, func(t *testing.T, url string) {
		o := options(t, url)
		p := faultproxy.StartForAnswers(t, o.Addr, scripts)
		o.Addr = p.Target
		s := newStore(t, newClient(t, o))
		diffhookredis.SetCallTimeout(s, 100*time.Millisecond) // far less than the ReadTimeout
		effects := 0
		f := once.Func(s, func(context.Context, *diffhook.Event) error { effects++; return nil }, nil)
		require.NoError(t, f(t.Context(), newEvent()))
		p.Hold(0)
		e := newEvent()
		ctx, cancel := context.WithTimeout(t.Context(), diffhook.DeliveryTimeout)
		defer cancel()
		err := f(ctx, e)
		require.ErrorIs(t, err, diffhook.ErrUnavailable)
		require.NoError(t, ctx.Err(), "the sender still waits for the answer")
		assert.Equal(t, 1, effects)

		p.Release()
		testservers.Eventually(t, "the held release or the lease lets a retry in", func() bool { return f(t.Context(), e) == nil })
		assert.Equal(t, 2, effects)
	})
}

// TestUnreachableServer: dials that never end do not delay a call by more than 3 s, for any
// number of dials.
func TestUnreachableServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := redis.NewClient(&redis.Options{
			Addr:                  "127.0.0.1:1", // an address: in a bubble, the resolver must not start
			ContextTimeoutEnabled: true,
			Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		began := time.Now()
		err := newStore(t, client).Claim(t.Context(), newKey(), "token", time.Minute)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 3*time.Second, time.Since(began))
		require.NoError(t, client.Close())
		time.Sleep(time.Hour) // the last dials end
	})
}

// TestRestartedServer: a server is killed and started again between the steps.
func TestRestartedServer(t *testing.T) {
	server := startServer(t, "--appendonly", "yes", "--appendfsync", "always")
	client := newClient(t, server.options())
	restart := func() { server.kill(); server.start() }
	effects, inWork := 0, func() {}
	f := once.Func(newStore(t, client), func(context.Context, *diffhook.Event) error {
		inWork()
		effects++
		return nil
	}, nil)

	e := newEvent()
	require.NoError(t, f(t.Context(), e))
	restart()
	require.NoError(t, f(t.Context(), e), "the record is still there")
	assert.Equal(t, 1, effects)

	inWork = restart
	e = newEvent()
	require.NoError(t, f(t.Context(), e), "the commit reaches the server that started again")
	inWork = func() {}
	require.NoError(t, f(t.Context(), e))
	assert.Equal(t, 2, effects)

	server.kill()
	e = newEvent()
	require.ErrorIs(t, f(t.Context(), e), diffhook.ErrUnavailable)
	assert.Equal(t, 2, effects)
	server.start()
	testservers.Eventually(t, "the client reconnects", func() bool { return f(t.Context(), e) == nil })
	assert.Equal(t, 3, effects)
}

// TestLateCommit: a commit after the end of the lease succeeds, unless another token claimed
// the event.
func TestLateCommit(t *testing.T) {
	eachServer(t, func(t *testing.T, url string) {
		client := newClient(t, options(t, url))
		s, k := newStore(t, client), newKey()
		key := diffhookredis.DefaultPrefix + "{" + k.String() + "}"
		require.NoError(t, s.Claim(t.Context(), k, "one", time.Minute))
		require.NoError(t, client.Del(t.Context(), key).Err()) // the lease ends
		require.NoError(t, s.Claim(t.Context(), k, "two", time.Minute))
		require.ErrorIs(t, s.Commit(t.Context(), k, "one", time.Minute), once.ErrInProgress)
		require.NoError(t, s.Commit(t.Context(), k, "two", time.Minute))
		require.ErrorIs(t, s.Commit(t.Context(), k, "one", time.Minute), once.ErrDone)
		require.NoError(t, s.Release(t.Context(), k, "one"))
		require.ErrorIs(t, s.Claim(t.Context(), k, "three", time.Minute), once.ErrDone)
	})
}
