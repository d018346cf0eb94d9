package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/pace"
	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncesql"
)

// scale divides the lease and the schedules of retries in the crash tests.
const scale = 10

// deathHeader is the step at which a worker dies in a delivery.
const deathHeader = "X-Test-Death"

// crashVariable contains the order of a worker process, as JSON.
const crashVariable = "DIFFHOOK_TEST_WORKER"

// order describes the mode and the database of a worker process.
type order struct {
	Driver, DSN, Table, Effects, Mode, Secret string
	Dialect                                   oncesql.Dialect
	Observe                                   func(context.Context, once.Observation) `json:"-"` // of Func, in this process
}

// TestWorkerProcess is the worker, in a process of the crash tests, and else nothing.
func TestWorkerProcess(t *testing.T) {
	text := os.Getenv(crashVariable)
	if text == "" {
		return // this is the parent
	}
	pace.Divisor = scale
	var o order
	require.NoError(t, json.Unmarshal([]byte(text), &o))
	secret, err := diffhook.NewSecret(o.Secret)
	require.NoError(t, err)
	v, err := diffhook.NewVerifier(t.Context(), diffhook.Secrets{Current: secret}, nil)
	require.NoError(t, err)
	events := v.EventHandler(modes[o.Mode](t, o))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	fmt.Println("listening", listener.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent ends
		os.Exit(1)
	}()
	_ = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if at := r.Header.Get(deathHeader); at != "" {
			n, _ := strconv.Atoi(at)
			r = r.WithContext(context.WithValue(r.Context(), deathKey{}, &death{at: int64(n)}))
		}
		step(r.Context())
		events.ServeHTTP(w, r)
		step(r.Context()) // before the answer is sent
	}))
}

// worker is a worker process, as the parent sees the process.
type worker struct {
	url    string
	exited chan struct{}
}

// startWorker starts a worker, which ends with the test.
func startWorker(t *testing.T, o order) *worker {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0], "-test.run=^TestWorkerProcess$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), crashVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	w := &worker{exited: make(chan struct{})}
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	address, listening := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	rest := ""
	if !listening {
		all, _ := io.ReadAll(lines)
		rest = string(all)
	}
	go func() {
		_ = cmd.Wait()
		close(w.exited)
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		select {
		case <-w.exited:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-w.exited
		}
	})
	require.True(t, err == nil && listening, "the worker does not listen: %s%s", line, rest)
	w.url = "http://" + address
	return w
}

// died reports whether the worker is dead, soon after the delivery with the death.
func (w *worker) died() bool {
	select {
	case <-w.exited:
		return true
	case <-time.After(5 * time.Second):
		return false
	}
}
