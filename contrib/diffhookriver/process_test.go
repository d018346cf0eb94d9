package diffhookriver_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookriver"
)

// childVariable makes a process of the test program a child: a receiver and worker with the
// database in the value.
const childVariable = "DIFFHOOK_TEST_CHILD"

// TestMain runs the tests, or a child.
func TestMain(m *testing.M) {
	switch os.Getenv(childVariable) {
	case "":
		os.Exit(m.Run())
	case "PostgreSQL":
		db, err := openPostgres(context.Background(), os.Getenv("DATABASE"))
		exitOn(err)
		serve(db)
	case "SQLite":
		db, err := openSQLite(os.Getenv("DATABASE"))
		exitOn(err)
		serve(db)
	}
}

// The steps at which a child can stop.
const (
	beforeInsert = "before the insert"
	afterInsert  = "after the insert"
	beforeEffect = "before the effect"
	afterEffect  = "after the effect"
	beforeCommit = "before the commit"
	afterCommit  = "after the commit"
)

var steps = []string{beforeInsert, afterInsert, beforeEffect, afterEffect, beforeCommit, afterCommit}

// stopAt prints the step and waits to be killed, if this process is to die and the event
// names the step.
func stopAt(step string, e *diffhook.Event) {
	if os.Getenv("VICTIM") != "" && e.Label == step {
		fmt.Println(step)
		select {}
	}
}

// work returns the function of a worker, which calls at before and after each step.
func work[TTx any](db *database[TTx], at func(step string, e *diffhook.Event)) diffhook.EventFunc {
	return func(ctx context.Context, e *diffhook.Event) error {
		at(beforeEffect, e)
		err := db.inTx(ctx, func(tx TTx) error {
			if err := db.effect(ctx, tx, e); err != nil {
				return err
			}
			at(afterEffect, e)
			err := diffhookriver.CompleteTx(ctx, tx)
			at(beforeCommit, e)
			return err
		})
		at(afterCommit, e)
		return err
	}
}

// receiver returns the handler of deliveries, which calls at before and after the insert.
func receiver[TTx any](client *river.Client[TTx], at func(step string, e *diffhook.Event)) http.Handler {
	enqueue := diffhookriver.Enqueue(client)
	return handler(func(ctx context.Context, e *diffhook.Event) error {
		at(beforeInsert, e)
		err := enqueue(ctx, e)
		at(afterInsert, e)
		return err
	})
}

func handler(f diffhook.EventFunc) http.Handler {
	verifier, err := diffhook.NewVerifier(context.Background(), diffhook.Secrets{Current: childSecret()},
		&diffhook.VerifierOptions{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	return verifier.EventHandler(f)
}

// serve runs a receiver of deliveries and a worker, and prints the URL.
func serve[TTx any](db *database[TTx]) {
	workers := river.NewWorkers()
	diffhookriver.AddWorker(workers, work(db, stopAt), nil)
	client, err := river.NewClient(db.driver, fast(workers, 1))
	exitOn(err)
	exitOn(client.Start(context.Background()))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	exitOn(err)
	fmt.Println("http://" + l.Addr().String())
	exitOn(http.Serve(l, receiver(client, stopAt)))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// childSecret is the signing secret of the children.
func childSecret() diffhook.Secret {
	s, err := diffhook.NewSecret(strings.Repeat("secret for tests ", 2) + "!")
	if err != nil {
		panic(err)
	}
	return s
}

// child is another process of the test program.
type child struct {
	*exec.Cmd
	url   string
	steps chan string // the steps at which the child stopped
	gone  sync.Once
}

func startChild(t testing.TB, kind, dsn string, env ...string) *child {
	c := &child{Cmd: exec.Command(os.Args[0]), steps: make(chan string, 10)}
	c.Env = append(os.Environ(), append(env, childVariable+"="+kind, "DATABASE="+dsn)...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(c.kill)
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan(), "the child did not start")
	c.url = lines.Text()
	go func() {
		for lines.Scan() {
			c.steps <- lines.Text()
		}
	}()
	return c
}

func (c *child) kill() {
	c.gone.Do(func() {
		_ = c.Process.Kill() // SIGKILL
		_ = c.Wait()
	})
}

// rescueTime is the time after which River may rescue the jobs of dead children.
const rescueTime = 1200 * time.Millisecond
