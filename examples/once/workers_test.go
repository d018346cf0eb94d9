package main

import (
	"context"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/childprocess"
	"github.com/diffhook/diffhook-go/internal/pace"
	"github.com/diffhook/diffhook-go/once"
	"github.com/diffhook/diffhook-go/once/oncesql"
)

// scale divides the lease and the schedules of retries in the crash tests.
const scale = 10

// deathHeader is the step at which a worker dies in a delivery.
const deathHeader = "X-Test-Death"

// order describes the mode and the database of a worker process.
type order struct {
	Driver, DSN, Table, Effects, Mode, Secret string
	Dialect                                   oncesql.Dialect
	Observe                                   func(context.Context, once.Observation) `json:"-"` // of Func, in this process
}

// TestWorkerProcess is the worker, in a process of the crash tests, and else nothing.
func TestWorkerProcess(t *testing.T) {
	var o order
	if !childprocess.Job(&o) {
		return
	}
	pace.Divisor = scale
	secret, err := diffhook.NewSecret(o.Secret)
	require.NoError(t, err)
	v, err := diffhook.NewVerifier(t.Context(), diffhook.Secrets{Current: secret}, nil)
	require.NoError(t, err)
	events := v.EventHandler(modes[o.Mode](t, o))
	childprocess.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if at := r.Header.Get(deathHeader); at != "" {
			n, _ := strconv.Atoi(at)
			r = r.WithContext(context.WithValue(r.Context(), deathKey{}, &death{at: int64(n)}))
		}
		step(r.Context())
		events.ServeHTTP(w, r)
		step(r.Context()) // before the answer is sent
	}))
}

// startWorker starts a worker, which ends with the test.
func startWorker(t *testing.T, o order) *childprocess.Child {
	t.Helper()
	return childprocess.StartServer(t, o, "-test.run=^TestWorkerProcess$", "-test.timeout=0")
}
