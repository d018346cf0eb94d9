package diffhookredis_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookredis"
	"github.com/diffhook/diffhook-go/internal/childprocess"
	"github.com/diffhook/diffhook-go/internal/pace"
	"github.com/diffhook/diffhook-go/once"
)

// job is the job of a child.
type job struct {
	Receive       bool // else the child is a process of a fleet, which starts requests
	URL           string
	Stop          string // step of a receiver
	Name          string // of the limiter, as the fields below
	Plan, Callers int
	Window        time.Duration
}

// TestMain runs the tests, or the job of a child.
func TestMain(m *testing.M) {
	var j job
	switch {
	case !childprocess.Job(&j):
		os.Exit(m.Run())
	case j.Receive:
		j.receive()
	default:
		j.limit()
	}
}

// client returns a client of the server of the job.
func (j job) client() *redis.Client {
	o, err := redis.ParseURL(j.URL)
	childprocess.ExitOn(err)
	o.ContextTimeoutEnabled = true
	return redis.NewClient(o)
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
func (j job) stopAt(step string) {
	if j.Stop == step {
		fmt.Println(step)
		select {}
	}
}

// stoppingStore stops at the steps of a store.
type stoppingStore struct {
	once.Store
	job
}

func (s stoppingStore) Claim(ctx context.Context, k once.Key, token string, lease time.Duration) error {
	s.stopAt(beforeClaim)
	err := s.Store.Claim(ctx, k, token, lease)
	s.stopAt(afterClaim)
	return err
}

func (s stoppingStore) Commit(ctx context.Context, k once.Key, token string, keep time.Duration) error {
	s.stopAt(beforeCommit)
	err := s.Store.Commit(ctx, k, token, keep)
	s.stopAt(afterCommit)
	return err
}

// receive is a receiver of deliveries, ten times as fast as DiffHook's schedule. The effect
// is a counter in the same Redis.
func (j job) receive() {
	pace.Divisor = 10
	client := j.client()
	store, err := diffhookredis.New(client, nil)
	childprocess.ExitOn(err)
	verifier, err := diffhook.NewVerifier(context.Background(), diffhook.Secrets{Current: childSecret()}, nil)
	childprocess.ExitOn(err)
	childprocess.Serve(verifier.EventHandler(once.Func(stoppingStore{store, j}, func(ctx context.Context, e *diffhook.Event) error {
		j.stopAt(beforeEffect)
		if e.Label == "slow" {
			time.Sleep(100 * time.Millisecond)
		}
		err := client.Incr(ctx, effectKey(e.MonitorID)).Err()
		j.stopAt(afterEffect)
		return err
	}, nil)))
}

func effectKey(monitorID string) string { return "effects:" + monitorID }
