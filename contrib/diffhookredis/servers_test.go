package diffhookredis_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/contrib/diffhookredis"
	"github.com/diffhook/diffhook-go/internal/testservers"
)

// eachServer runs a test with the URL of each server.
func eachServer(t *testing.T, test func(t *testing.T, url string)) {
	for _, server := range []string{"REDIS", "VALKEY"} {
		t.Run(server, func(t *testing.T) { test(t, testservers.Address(t, server)) })
	}
}

// options are the options of the README.
func options(t testing.TB, url string) *redis.Options {
	o, err := redis.ParseURL(url)
	require.NoError(t, err)
	o.ContextTimeoutEnabled = true
	o.ReadTimeout = time.Second
	return o
}

func newClient(t testing.TB, o *redis.Options) *redis.Client {
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func newStore(t testing.TB, client redis.UniversalClient) *diffhookredis.Store {
	s, err := diffhookredis.New(client, nil)
	require.NoError(t, err)
	return s
}

// ownServer is a redis-server for a single test.
type ownServer struct {
	t       testing.TB
	addr    string
	args    []string
	process *exec.Cmd
}

// startServer starts a redis-server in a temporary folder.
func startServer(t testing.TB, args ...string) *ownServer {
	port := freePort(t)
	s := &ownServer{t: t, addr: "127.0.0.1:" + port}
	s.args = append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--logfile", "redis.log"}, args...)
	t.Cleanup(s.kill)
	s.start()
	return s
}

func (s *ownServer) start() {
	s.process = exec.Command("redis-server", s.args...)
	s.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(s.t, s.process.Start(), "install redis-server, or run with contrib/servers")
	client := redis.NewClient(&redis.Options{Addr: s.addr})
	defer client.Close()
	testservers.Eventually(s.t, "redis-server answers", func() bool { return client.Ping(context.Background()).Err() == nil })
}

func (s *ownServer) kill() {
	if s.process != nil {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
		s.process = nil
	}
}

func (s *ownServer) options() *redis.Options {
	return &redis.Options{Addr: s.addr, ContextTimeoutEnabled: true, ReadTimeout: time.Second}
}

// freePort returns a free port, low enough for the port of the cluster bus, 10,000 above.
func freePort(t testing.TB) string {
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		port := l.Addr().(*net.TCPAddr).Port
		require.NoError(t, l.Close())
		if port > 20000 && port < 50000 {
			return fmt.Sprint(port)
		}
	}
	t.Fatal("no free port from 20000 to 50000")
	return ""
}

// startCluster starts three primaries that share the slots.
func startCluster(t testing.TB) *redis.ClusterClient {
	ctx := context.Background()
	var addrs []string
	var nodes []*redis.Client
	for i := range 3 {
		s := startServer(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
		addrs, nodes = append(addrs, s.addr), append(nodes, newClient(t, s.options()))
		require.NoError(t, nodes[i].ClusterAddSlotsRange(ctx, i*5461, min(i*5461+5460, 16383)).Err())
		if i == 2 {
			require.NoError(t, nodes[i].ClusterAddSlots(ctx, 16383).Err())
		}
	}
	for _, addr := range addrs[1:] {
		host, port, _ := strings.Cut(addr, ":")
		require.NoError(t, nodes[0].ClusterMeet(ctx, host, port).Err())
	}
	for _, node := range nodes {
		testservers.Eventually(t, "the cluster is complete", func() bool {
			info, err := node.ClusterInfo(ctx).Result()
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_size:3")
		})
	}
	return clusterClient(t, addrs)
}

func clusterClient(t testing.TB, addrs []string) *redis.ClusterClient {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true, ReadTimeout: time.Second})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func randomName() string { return rand.Text() }
