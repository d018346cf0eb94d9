package diffhookredis_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/contrib/diffhookredis"
	"github.com/diffhook/diffhook-go/internal/faultproxy"
	"github.com/diffhook/diffhook-go/internal/testservers"
	"github.com/diffhook/diffhook-go/once"
)

// replicated returns a store that wants a replica.
func replicated(t testing.TB, client redis.UniversalClient) *diffhookredis.Store {
	s, err := diffhookredis.New(client, &diffhookredis.Options{Replicas: 1})
	require.NoError(t, err)
	return s
}

// startReplica starts a replica of primary, and returns when s can write.
func startReplica(t testing.TB, primary *ownServer, s *diffhookredis.Store) *ownServer {
	_, port, _ := strings.Cut(primary.addr, ":")
	replica := startServer(t, "--replicaof", "127.0.0.1 "+port)
	testservers.Eventually(t, "the replica keeps up", func() bool { // the first second is slow
		for range 3 {
			if s.Claim(t.Context(), newKey(), "token", time.Minute) != nil {
				return false
			}
		}
		return true
	})
	return replica
}

// TestReplicas: a write succeeds if a replica acknowledges, and else fails.
func TestReplicas(t *testing.T) {
	primary := startServer(t, "--repl-diskless-sync-delay", "0")
	s, k := replicated(t, newClient(t, primary.options())), newKey()
	require.ErrorIs(t, s.Claim(t.Context(), k, "token", time.Minute), diffhookredis.ErrReplicas)
	require.NoError(t, s.Release(t.Context(), k, "token"), "no replica is needed")

	replica := newClient(t, startReplica(t, primary, s).options())
	key := diffhookredis.DefaultPrefix + "{" + k.String() + "}"
	require.NoError(t, s.Claim(t.Context(), k, "token", time.Minute))
	assert.Equal(t, "rtoken", replica.Get(t.Context(), key).Val())
	require.NoError(t, s.Commit(t.Context(), k, "token", time.Minute))
	assert.Equal(t, "dtoken", replica.Get(t.Context(), key).Val())
	require.ErrorIs(t, s.Claim(t.Context(), k, "other", time.Minute), once.ErrDone)
}

// TestReplicaTakesOver: the primary is killed, the last answers are lost, and the replica
// takes over. No acknowledged record is missing.
func TestReplicaTakesOver(t *testing.T) {
	primary := startServer(t, "--repl-diskless-sync-delay", "0")
	p := faultproxy.StartForAnswers(t, primary.addr, scripts)
	o := primary.options()
	o.Addr = p.Target
	s := replicated(t, newClient(t, o))
	replica := startReplica(t, primary, s)
	var done []once.Key
	for i := range 200 {
		if i%20 == 0 {
			p.Cut(0, 1)
		}
		k := newKey()
		require.NoError(t, s.Claim(t.Context(), k, "token", time.Minute), "a lost answer is asked for again")
		require.NoError(t, s.Commit(t.Context(), k, "token", time.Minute))
		done = append(done, k)
	}
	primary.kill()
	client := newClient(t, replica.options())
	require.NoError(t, client.ReplicaOf(t.Context(), "NO", "ONE").Err())
	after := newStore(t, client)
	for _, k := range done {
		require.ErrorIs(t, after.Claim(t.Context(), k, "other", time.Minute), once.ErrDone)
	}
}

// TestReplicasOfACluster: the replicas of the primary of the key count, and no others. Only
// the first of three primaries has a replica.
func TestReplicasOfACluster(t *testing.T) {
	client := startCluster(t)
	first := newClient(t, &redis.Options{Addr: client.Options().Addrs[0]})
	require.NoError(t, first.ConfigSet(t.Context(), "repl-diskless-sync-delay", "0").Err())
	id, err := first.Do(t.Context(), "cluster", "myid").Text()
	require.NoError(t, err)
	replica := newClient(t, startServer(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000").options())
	host, port, _ := strings.Cut(first.Options().Addr, ":")
	require.NoError(t, replica.ClusterMeet(t.Context(), host, port).Err())
	testservers.Eventually(t, "the replica knows the primary", func() bool { return replica.ClusterReplicate(t.Context(), id).Err() == nil })

	s := replicated(t, client)
	hasReplica := func(k once.Key) bool { // the first primary has the slots up to 5460
		slot, err := client.ClusterKeySlot(t.Context(), diffhookredis.DefaultPrefix+"{"+k.String()+"}").Result()
		require.NoError(t, err)
		return slot <= 5460
	}
	testservers.Eventually(t, "the replica keeps up", func() bool {
		k := newKey()
		return hasReplica(k) && s.Claim(t.Context(), k, "token", time.Minute) == nil
	})
	for range 8 {
		k, want := newKey(), diffhookredis.ErrReplicas
		if hasReplica(k) {
			want = nil
		}
		require.ErrorIs(t, s.Claim(t.Context(), k, "token", time.Minute), want)
	}
}
