package diffhookredis_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookredis"
	"github.com/diffhook/diffhook-go/internal/pace"
	"github.com/diffhook/diffhook-go/once"
)

// childVariable makes a process of the test program a child: the value is the job.
const childVariable = "DIFFHOOK_TEST_CHILD"

// TestMain runs the tests, or the job of a child.
func TestMain(m *testing.M) {
	switch os.Getenv(childVariable) {
	case "":
		os.Exit(m.Run())
	case "receive":
		receive()
	case "limit":
		limit()
	}
}

// child is another process of the test program.
type child struct {
	*exec.Cmd
	lines *bufio.Scanner // lines of the standard output
}

func startChild(t testing.TB, job string, env ...string) *child {
	c := &child{Cmd: exec.Command(os.Args[0])}
	c.Env = append(os.Environ(), append(env, childVariable+"="+job)...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	c.lines = bufio.NewScanner(out)
	require.NoError(t, c.Start())
	t.Cleanup(c.kill)
	return c
}

// line returns the next line of the child, or "" at the end.
func (c *child) line() string {
	if !c.lines.Scan() {
		return ""
	}
	return c.lines.Text()
}

func (c *child) kill() {
	_ = c.Process.Kill() // SIGKILL
	_ = c.Wait()
}

// childSecret is the signing secret of the children.
func childSecret() diffhook.Secret {
	s, err := diffhook.NewSecret(strings.Repeat("secret for tests ", 2) + "!")
	if err != nil {
		panic(err)
	}
	return s
}

// The steps at which a receiver can stop.
const (
	beforeClaim  = "before the claim"
	afterClaim   = "after the claim"
	beforeEffect = "before the effect"
	afterEffect  = "after the effect"
	beforeCommit = "before the commit"
	afterCommit  = "after the commit"
)

var steps = []string{beforeClaim, afterClaim, beforeEffect, afterEffect, beforeCommit, afterCommit}

// stopAt prints the step and waits to be killed, if this process is to die at the step.
func stopAt(step string) {
	if os.Getenv("STOP_AT") == step {
		fmt.Println(step)
		select {}
	}
}

// stoppingStore stops at the steps of a store.
type stoppingStore struct{ once.Store }

func (s stoppingStore) Claim(ctx context.Context, k once.Key, token string, lease time.Duration) error {
	stopAt(beforeClaim)
	err := s.Store.Claim(ctx, k, token, lease)
	stopAt(afterClaim)
	return err
}

func (s stoppingStore) Commit(ctx context.Context, k once.Key, token string, keep time.Duration) error {
	stopAt(beforeCommit)
	err := s.Store.Commit(ctx, k, token, keep)
	stopAt(afterCommit)
	return err
}

// receive is a receiver of deliveries, ten times as fast as DiffHook's schedule. It prints
// the URL. The effect is a counter in the same Redis.
func receive() {
	pace.Divisor = 10
	o, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	exitOn(err)
	o.ContextTimeoutEnabled = true
	client := redis.NewClient(o)
	store, err := diffhookredis.New(client, nil)
	exitOn(err)
	verifier, err := diffhook.NewVerifier(context.Background(), diffhook.Secrets{Current: childSecret()}, nil)
	exitOn(err)
	handler := verifier.EventHandler(once.Func(stoppingStore{store}, func(ctx context.Context, e *diffhook.Event) error {
		stopAt(beforeEffect)
		if e.Label == "slow" {
			time.Sleep(100 * time.Millisecond)
		}
		err := client.Incr(ctx, effectKey(e.MonitorID)).Err()
		stopAt(afterEffect)
		return err
	}, nil))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	exitOn(err)
	fmt.Println("http://" + l.Addr().String())
	exitOn(http.Serve(l, handler))
}

func effectKey(monitorID string) string { return "effects:" + monitorID }

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
