package diffhookriver_test

import (
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/testservers"
)

// TestRestartedPostgres kills the server by SIGKILL at each step of an event, while other
// events are delivered and worked. The retries arrive, and every effect is there once.
func TestRestartedPostgres(t *testing.T) {
	at := []string{afterInsert, afterEffect}
	if all() {
		at = steps
	}
	for _, step := range at {
		t.Run(step, func(t *testing.T) { restartAt(t, step) })
	}
}

func restartAt(t *testing.T, step string) {
	dsn, db := newPostgres(t)
	began, pid := startTime(t, db), testservers.PID(t, "POSTGRES")
	var restart sync.Once
	hook := func(at string, e *diffhook.Event) {
		if at == step && e.Label == step {
			restart.Do(func() { assert.NoError(t, syscall.Kill(pid, syscall.SIGKILL)) })
		}
	}
	client := start(t, db, work(db, hook), 4)
	h := receiver(client, hook)
	deliveries := make([]delivery, 40)
	for i := range deliveries {
		label := ""
		if i == 10 {
			label = step
		}
		deliveries[i] = newDelivery(t, label)
	}
	var sending sync.WaitGroup
	for first := range 4 {
		sending.Go(func() {
			for i := first; i < len(deliveries); i += 4 {
				deliveries[i].attempts(t, h)
			}
		})
	}
	sending.Wait()
	var fresh *database[pgx.Tx] // without connections to the dead server
	testservers.Eventually(t, "the server is back", func() bool {
		var err error
		fresh, err = openPostgres(t.Context(), dsn)
		require.NoError(t, err)
		t.Cleanup(fresh.close)
		n, err := fresh.number(t.Context(), startTimeQuery)
		return err == nil && n != began
	})
	requireRescue(t, fresh, deliveries...)
}

// startTimeQuery returns the start of the server in milliseconds.
const startTimeQuery = "SELECT (EXTRACT(EPOCH FROM pg_postmaster_start_time()) * 1000)::BIGINT"

func startTime(t testing.TB, db *database[pgx.Tx]) int {
	n, err := db.number(t.Context(), startTimeQuery)
	require.NoError(t, err)
	return n
}
