package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// demonstrate replaces a key that an application uses, which looks for a new one
// every so often. The old key is to be unused for quiet.
func demonstrate(ctx context.Context, out io.Writer, quiet, reload time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	platform, err := diffhooktest.Start()
	if err != nil {
		return err
	}
	defer platform.Close()
	team := platform.DefaultTeam()
	team.SetPlan(diffhooktest.Plan{RequestsPerMinute: 1_000_000}) // the application is busy
	old := team.Keys()[0]
	team.AgeKey(old.ID, 100*24*time.Hour)
	monitor := team.NewMonitor(diffhooktest.Monitor{Label: "Pricing page"}).ID
	dir, err := os.MkdirTemp("", "rotate-key")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	store := fileStore(filepath.Join(dir, "keys.json"))
	if err := store.Save(ctx, diffhook.APIKeys{Current: old.Key}); err != nil {
		return err
	}

	// All output passes a writer that redacts keys; printed has what came out.
	var printed bytes.Buffer
	redacting := diffhook.NewRedactingWriter(io.MultiWriter(out, &printed))
	defer redacting.Flush()
	out = redacting
	fmt.Fprintf(out, "An emulator of DiffHook on loopback, with these keys:\n")
	if err := list(ctx, out, platform.Client(nil)); err != nil {
		return err
	}
	if err := logCarelessly(out, old.Key); err != nil {
		return err
	}
	app := &application{store: store, reload: reload}
	stop := app.start(ctx, platform.Client(nil))
	defer stop()

	fmt.Fprintln(out, "\n1. The key is replaced, and that crashes when the new key has been stored")
	opts := diffhook.KeyRotationOptions{
		Quiet:        quiet, // 26 h by default
		PollInterval: 200 * time.Millisecond,
		Prove: func(ctx context.Context, client *diffhook.Client) error {
			m, err := client.Monitors.Get(ctx, monitor)
			if err == nil && m.Label != "Pricing page" {
				err = errors.New("it is the key of another team")
			}
			return err
		},
	}
	crashing := opts
	crashing.Observe = func(_ context.Context, step diffhook.RotationStep) {
		if step.Name == "stored" {
			runtime.Goexit() // nothing more of this run is done
		}
	}
	var crashed sync.WaitGroup
	crashed.Go(func() { err = replace(ctx, out, platform.Client(nil), old.ID, store, crashing) })
	crashed.Wait()
	if err != nil {
		return err
	}

	fmt.Fprintf(out, "\n2. It is run again (the old key is to be unused for %v, where it is 26 h by default)\n", quiet)
	client := platform.Client(nil)
	seen := make(map[string]bool)
	again := opts
	again.Observe = func(_ context.Context, step diffhook.RotationStep) { seen[step.Name] = true }
	if err := replace(ctx, out, client, old.ID, store, again); err != nil {
		return err
	}
	fmt.Fprintln(out, "\n3. Afterwards")
	if err := list(ctx, out, client); err != nil {
		return err
	}
	_, err = client.WithCredentials(old.Key).Monitors.List(ctx, nil)
	fmt.Fprintln(out, "The old key:", err)
	if !errors.Is(err, diffhook.ErrUnauthorized) {
		return errors.New("the old key works")
	}
	if err := app.goOn(ctx); err != nil {
		return err
	}
	stop()
	fmt.Fprintf(out, "The application made %d calls, of which %d failed.\n", app.calls.Load(), app.failures.Load())
	if app.failures.Load() > 0 {
		return errors.New("the application failed")
	}
	for _, name := range []string{"proven", "promoted", "switched", "draining", "drained", "deleted", "removed"} {
		if !seen[name] {
			return fmt.Errorf("the step %s was not reported", name)
		}
	}
	if n := len(team.Keys()); n != 2 || seen["created"] {
		return fmt.Errorf("there were %d keys, not the old one and the new one", n)
	}
	for range diffhook.FindAPIKeys(printed.Bytes()) {
		return errors.New("a key has been printed")
	}
	fmt.Fprintln(out, "\nAll went as told.")
	return nil
}

// logCarelessly shows what becomes of a key in a line of a log.
func logCarelessly(out io.Writer, key diffhook.APIKey) error {
	line := "starting with key=" + key.Reveal()
	log.New(out, "A careless log line: ", 0).Println(line)
	for offset, found := range diffhook.FindAPIKeys([]byte(line)) {
		fmt.Fprintf(out, "FindAPIKeys found %v in it, at %d.\n", found, offset)
		if found.Equal(key) {
			return nil
		}
	}
	return errors.New("the key was not found in the log line")
}

// application is what must not notice.
type application struct {
	store           diffhook.KeyStore
	reload          time.Duration
	key             atomic.Pointer[diffhook.APIKey]
	calls, failures atomic.Int64
}

// start calls the API all the time, until stop.
func (a *application) start(ctx context.Context, client *diffhook.Client) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	client.SetCredentials(diffhook.CredentialsFunc(func(ctx context.Context) (string, error) {
		return a.key.Load().Token(ctx)
	}))
	var running sync.WaitGroup
	running.Go(func() {
		var loaded time.Time
		for ctx.Err() == nil {
			if time.Since(loaded) >= a.reload {
				keys, err := a.store.Load(ctx)
				if err != nil {
					a.failures.Add(1)
					return
				}
				a.key.Store(&keys.Current)
				loaded = time.Now()
			}
			_, err := client.Monitors.List(ctx, nil)
			if err != nil && ctx.Err() == nil {
				a.failures.Add(1)
			}
			a.calls.Add(1)
			time.Sleep(5 * time.Millisecond)
		}
	})
	return func() { cancel(); running.Wait() }
}

// goOn waits until the application has made some more calls.
func (a *application) goOn(ctx context.Context) error {
	for enough := a.calls.Load() + 5; a.calls.Load() < enough; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}
