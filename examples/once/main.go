// Once handles each event once, though two processes of a server receive the deliveries, a
// process is killed in the middle of the work, and answers are lost. Once prints how often
// each event was handled, and exits 1 unless each event was handled once.
//
// An emulator of DiffHook delivers and retries, and the database is a file of SQLite:
// there is nothing to configure. With DATABASE_URL, the database is PostgreSQL, and Once
// makes the tables diffhook_once and diffhook_handled there.
//
// Copy from worker.go.
//
//	cd examples/once && go run .
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	diffhook "github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// workerVariable makes this program a process of the server.
const workerVariable = "EXAMPLE_WORKER"

func main() {
	ctx := context.Background()
	job := func() error { return demonstrate(ctx, os.Stdout) }
	if os.Getenv(workerVariable) != "" {
		job = func() error { return work(ctx) }
	}
	if err := job(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// events is how many changes of a page DiffHook delivers.
const events = 20

func demonstrate(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "once")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "events.db")
	if err := os.Setenv(sqliteVariable, file); err != nil {
		return err
	}
	db, dialect, err := openDatabase()
	if err != nil {
		return err
	}
	defer db.Close()
	if err := createTables(ctx, db, dialect); err != nil {
		return err
	}
	platform, err := diffhooktest.Start()
	if err != nil {
		return err
	}
	defer platform.Close()

	b := new(balancer)
	for _, dieIn := range []int{5, 0} {
		p, err := startProcess(platform.Secrets().Current, file, dieIn)
		if err != nil {
			return err
		}
		defer p.stdin.Close()
		b.processes = append(b.processes, p)
	}
	fmt.Fprintf(out, "Two processes of a server, with %s, receive %d events.\n", dialect, events)
	if err := deliver(platform, b); err != nil {
		return err
	}
	counts, err := countHandled(ctx, db)
	if err != nil {
		return err
	}
	return report(out, platform, b, counts)
}

// deliver delivers every event, with the retries of generation 1.
func deliver(platform *diffhooktest.Server, b *balancer) error {
	platform.Configure(diffhooktest.Settings{Deliver: b})
	monitor := platform.DefaultTeam().NewMonitor(diffhooktest.Monitor{WebhookURL: "https://server.example/hook"})
	for range events {
		if _, err := platform.Change(monitor.ID, nil); err != nil {
			return err
		}
	}
	platform.Advance(time.Minute) // returns at once, after all retries
	return nil
}

// report prints how often each event was handled, and returns an error unless each event
// was handled once.
func report(out io.Writer, platform *diffhooktest.Server, b *balancer, counts map[string]int) error {
	fmt.Fprintf(out, "A process was killed in the middle of the work: %v. Answers lost: %d. Attempts: %d.\n\n", b.processes[0].died(), b.lost, b.attempts)
	fmt.Fprintln(out, "event                                   attempts  handled")
	wrong := 0
	for _, d := range platform.Deliveries() {
		e, err := diffhook.ParseEvent(d.Body)
		if err != nil {
			return err
		}
		n := counts[e.DedupKey()]
		fmt.Fprintf(out, "%-41s %5d  %7d\n", e.DedupKey(), len(d.Attempts), n)
		if n != 1 || !d.Delivered {
			wrong++
		}
	}
	if wrong > 0 || len(counts) != events || !b.processes[0].died() {
		return fmt.Errorf("%d of %d events were not handled once, or no process was killed", wrong, events)
	}
	fmt.Fprintln(out, "\nEach event was handled once.")
	return nil
}
