package diffhookredis_test

import (
	"context"
	"crypto/rand"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookredis"
	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncetest"
)

func newKey() (k once.Key) {
	_, _ = rand.Read(k[:])
	return k
}

func TestStore(t *testing.T) {
	eachServer(t, func(t *testing.T, url string) {
		oncetest.TestStore(t, func(t *testing.T) once.Store { return newStore(t, newClient(t, options(t, url))) })
	})
}

func TestStoreOfACluster(t *testing.T) {
	addrs := startCluster(t).Options().Addrs
	oncetest.TestStore(t, func(t *testing.T) once.Store { return newStore(t, clusterClient(t, addrs)) })
}

// TestClusterSpreadsKeys: records of a cluster are on all servers.
func TestClusterSpreadsKeys(t *testing.T) {
	client := startCluster(t)
	s := newStore(t, client)
	for range 100 {
		require.NoError(t, s.Claim(t.Context(), newKey(), "token", time.Minute))
	}
	require.NoError(t, client.ForEachMaster(t.Context(), func(ctx context.Context, server *redis.Client) error {
		n, err := server.DBSize(ctx).Result()
		assert.Greater(t, n, int64(10))
		return err
	}))
}

// calls counts the round trips of a client.
type calls struct{ n atomic.Int64 }

func (c *calls) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *calls) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmd)
	}
}

func (c *calls) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmds)
	}
}

// TestRoundTrips: an event takes two round trips, a duplicate a single round trip.
func TestRoundTrips(t *testing.T) {
	eachServer(t, func(t *testing.T, url string) {
		client := newClient(t, options(t, url))
		f := once.Func(newStore(t, client), func(context.Context, *diffhook.Event) error { return nil }, nil)
		event := func() *diffhook.Event {
			return &diffhook.Event{Type: "page.changed", MonitorID: randomName(), TriggeredAt: time.Now()}
		}
		require.NoError(t, f(t.Context(), event())) // the server learns the scripts
		var count calls
		client.AddHook(&count)
		e := event()
		require.NoError(t, f(t.Context(), e))
		require.EqualValues(t, 2, count.n.Load())
		require.NoError(t, f(t.Context(), e))
		require.EqualValues(t, 3, count.n.Load())
	})
}

// TestScriptsAreLearnedAgain: after a restart or SCRIPT FLUSH, a server lacks the scripts.
func TestScriptsAreLearnedAgain(t *testing.T) {
	client := newClient(t, startServer(t).options())
	s, k := newStore(t, client), newKey()
	require.NoError(t, client.ScriptFlush(t.Context()).Err())
	require.NoError(t, s.Claim(t.Context(), k, "token", time.Minute))
	require.NoError(t, client.ScriptFlush(t.Context()).Err())
	require.NoError(t, s.Commit(t.Context(), k, "token", time.Minute))
}

func TestPrefix(t *testing.T) {
	client := newClient(t, startServer(t).options())
	s, err := diffhookredis.New(client, &diffhookredis.Options{Prefix: "billing:"})
	require.NoError(t, err)
	k := newKey()
	require.NoError(t, s.Claim(t.Context(), k, "token", time.Minute))
	require.NoError(t, newStore(t, client).Claim(t.Context(), k, "other", time.Minute), "another prefix")
	assert.Equal(t, []string{"billing:{" + k.String() + "}"}, client.Keys(t.Context(), "billing:*").Val())
}

func TestNewRefuses(t *testing.T) {
	heeding := &redis.Options{ContextTimeoutEnabled: true}
	for _, test := range []struct {
		name   string
		client redis.UniversalClient
		want   error
	}{
		{"nil", nil, diffhookredis.ErrClient},
		{"deadlines ignored", redis.NewClient(&redis.Options{}), diffhookredis.ErrClient},
		{"deadlines ignored by a cluster", redis.NewClusterClient(&redis.ClusterOptions{}), diffhookredis.ErrClient},
		{"ring", redis.NewRing(&redis.RingOptions{ContextTimeoutEnabled: true}), diffhookredis.ErrClient},
		{"unknown options", struct{ redis.UniversalClient }{redis.NewClient(heeding)}, diffhookredis.ErrClient},
		{"a single server", redis.NewClient(heeding), nil},
		{"Sentinel", redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "m", SentinelAddrs: []string{"127.0.0.1:1"}, ContextTimeoutEnabled: true}), nil},
		{"cluster", redis.NewClusterClient(&redis.ClusterOptions{ContextTimeoutEnabled: true}), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.client != nil {
				t.Cleanup(func() { _ = test.client.Close() })
			}
			_, err := diffhookredis.New(test.client, nil)
			require.ErrorIs(t, err, test.want)
			_, err = diffhookredis.NewLimiter(test.client, "test", 60, nil)
			require.ErrorIs(t, err, test.want)
		})
	}
	_, err := diffhookredis.New(newClient(t, heeding), &diffhookredis.Options{Replicas: -1})
	require.Error(t, err)
}

func TestCheckEviction(t *testing.T) {
	client := newClient(t, startServer(t).options())
	for policy, want := range map[string]error{
		"noeviction":      nil,
		"allkeys-lru":     diffhookredis.ErrEviction,
		"allkeys-lfu":     diffhookredis.ErrEviction,
		"allkeys-random":  diffhookredis.ErrEviction,
		"volatile-lru":    diffhookredis.ErrEviction,
		"volatile-lfu":    diffhookredis.ErrEviction,
		"volatile-random": diffhookredis.ErrEviction,
		"volatile-ttl":    diffhookredis.ErrEviction,
	} {
		t.Run(policy, func(t *testing.T) {
			require.NoError(t, client.ConfigSet(t.Context(), "maxmemory-policy", policy).Err())
			err := diffhookredis.CheckEviction(t.Context(), client)
			require.ErrorIs(t, err, want)
			if want != nil {
				assert.ErrorContains(t, err, policy)
			}
		})
	}
	away := newClient(t, &redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	err := diffhookredis.CheckEviction(t.Context(), away)
	require.Error(t, err)
	require.NotErrorIs(t, err, diffhookredis.ErrEviction)
}

// TestCheckEvictionOfACluster: CheckEviction finds a single server with another policy.
func TestCheckEvictionOfACluster(t *testing.T) {
	client := startCluster(t)
	require.NoError(t, diffhookredis.CheckEviction(t.Context(), client))
	one := newClient(t, &redis.Options{Addr: client.Options().Addrs[2]})
	require.NoError(t, one.ConfigSet(t.Context(), "maxmemory-policy", "volatile-ttl").Err())
	require.ErrorIs(t, diffhookredis.CheckEviction(t.Context(), client), diffhookredis.ErrEviction)
}

// TestFullServerRefuses: with noeviction, a claim fails and no record is lost.
func TestFullServerRefuses(t *testing.T) {
	client := newClient(t, startServer(t, "--maxmemory", "3mb").options())
	s := newStore(t, client)
	var kept []once.Key
	var err error
	for err == nil && len(kept) < 100_000 {
		k := newKey()
		if err = s.Claim(t.Context(), k, "token", time.Minute); err == nil {
			kept = append(kept, k)
		}
	}
	require.Error(t, err)
	require.NotErrorIs(t, err, once.ErrInProgress)
	for _, k := range kept {
		require.NoError(t, client.Get(t.Context(), diffhookredis.DefaultPrefix+"{"+k.String()+"}").Err())
	}
}
