package diffhookriver_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookriver"
	"github.com/diffhook/diffhook-go/internal/childprocess"
)

// job is the job of a child: a receiver and worker.
type job struct {
	Database string // "PostgreSQL" or "SQLite"
	DSN      string
	Dies     bool // at the step that an event names
}

// TestMain runs the tests, or a child.
func TestMain(m *testing.M) {
	var j job
	switch {
	case !childprocess.Job(&j):
		os.Exit(m.Run())
	case j.Database == "SQLite":
		db, err := openSQLite(j.DSN)
		childprocess.ExitOn(err)
		serve(j, db)
	default:
		db, err := openPostgres(context.Background(), j.DSN)
		childprocess.ExitOn(err)
		serve(j, db)
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
func (j job) stopAt(step string, e *diffhook.Event) {
	if j.Dies && e.Label == step {
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

// serve runs a receiver of deliveries and a worker.
func serve[TTx any](j job, db *database[TTx]) {
	workers := river.NewWorkers()
	diffhookriver.AddWorker(workers, work(db, j.stopAt), nil)
	client, err := river.NewClient(db.driver, fast(workers, 1))
	childprocess.ExitOn(err)
	childprocess.ExitOn(client.Start(context.Background()))
	childprocess.Serve(receiver(client, j.stopAt))
}

// childSecret is the signing secret of the children.
func childSecret() diffhook.Secret {
	s, err := diffhook.NewSecret(strings.Repeat("secret for tests ", 2) + "!")
	if err != nil {
		panic(err)
	}
	return s
}

// rescueTime is the time after which River may rescue the jobs of dead children.
const rescueTime = 1200 * time.Millisecond
