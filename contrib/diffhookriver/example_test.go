package diffhookriver_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhookriver"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// The receiver answers at once, and the worker produces each effect exactly once. With
// PostgreSQL, use riverpgxv5.New(pool) and pgx.Tx.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "events.sqlite")+"?_txlock=immediate&_pragma=busy_timeout(5000)")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	driver := riversqlite.New(db)
	migrator, err := rivermigrate.New(driver, nil) // in production: river migrate-up
	if err != nil {
		log.Fatal(err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		log.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, "CREATE TABLE changes (monitor_id TEXT)"); err != nil {
		log.Fatal(err)
	}

	done := make(chan struct{}, 1)
	work := func(ctx context.Context, e *diffhook.Event) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() // changes nothing after the commit
		if _, err := tx.ExecContext(ctx, "INSERT INTO changes VALUES (?)", e.MonitorID); err != nil {
			return err
		}
		if err := diffhookriver.CompleteTx(ctx, tx); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		done <- struct{}{}
		return nil
	}
	config := &river.Config{
		Workers: river.NewWorkers(),
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 4}},
	}
	diffhookriver.AddWorker(config.Workers, work, nil)
	if err := diffhookriver.Check(config); err != nil {
		log.Fatal(err)
	}
	client, err := river.NewClient(driver, config)
	if err != nil {
		log.Fatal(err)
	}
	if err := client.Start(ctx); err != nil {
		log.Fatal(err)
	}
	defer client.Stop(ctx)

	secret := diffhooktest.NewSecret() // in production: diffhook.EnvSecrets()
	verifier, err := diffhook.NewVerifier(ctx, diffhook.Secrets{Current: secret}, nil)
	if err != nil {
		log.Fatal(err)
	}
	handler := verifier.EventHandler(diffhookriver.Enqueue(client))

	// DiffHook delivers, does not get the answer, and delivers again.
	body := fmt.Appendf(nil, `{"event":"page.changed","monitor_id":"mon_%s","triggered_at":"2026-03-16T14:22:00Z"}`, rand.Text())
	for range 2 {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, diffhooktest.NewRequest("/diffhook", secret, body))
		fmt.Println(w.Code)
	}
	<-done
	var changes int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM changes").Scan(&changes); err != nil {
		log.Fatal(err)
	}
	fmt.Println("changes:", changes)
	// Output:
	// 204
	// 204
	// changes: 1
}
