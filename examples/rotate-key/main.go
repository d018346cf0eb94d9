// Rotate-key replaces an API key without downtime, as DiffHook's page "API Keys"
// prescribes: create, migrate, delete.
//
//	go run ./examples/rotate-key
//
// shows it on an emulator, with nothing to configure and no network but
// loopback: an application goes on calling the API all the while, the first run
// crashes half-way, and the second goes on from there. It exits 1 if anything
// does not go as told. All of that is in demo.go; what is here is to be copied.
//
// With credentials in the environment (DIFFHOOK_API_KEY, or DIFFHOOK_CLIENT_ID
// and DIFFHOOK_CLIENT_SECRET) it does the real thing, for applications that take
// their key from FILE, which begins as {"current": "dh_live_…"}:
//
//	go run ./examples/rotate-key -old KEY_ID -store FILE
//
// Interrupted, run it again. Without -old it changes nothing, and lists the keys.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/diffhook/diffhook-go"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Println("\nThis did not go as told:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args []string) error {
	flags := flag.NewFlagSet("rotate-key", flag.ContinueOnError)
	flags.SetOutput(out)
	old := flags.String("old", "", "the `id` of the key to be replaced")
	path := flags.String("store", "", "the `file` that applications read their key from")
	quiet := flags.Duration("quiet", 0, "how long the old key must be unused; by default, 26 h")
	deleteNow := flags.Bool("delete-now", false, "my word that nobody uses the old key: do not wait")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if len(args) == 0 && os.Getenv("DIFFHOOK_API_KEY") == "" && os.Getenv("DIFFHOOK_CLIENT_ID") == "" {
		return demonstrate(ctx, out, 2*time.Second, 300*time.Millisecond)
	}
	client, err := diffhook.NewClient(diffhook.EnvCredentials(), nil)
	if err != nil {
		return err
	}
	if *old == "" {
		return list(ctx, out, client)
	}
	if *path == "" {
		return errors.New("name the -store: the new key is shown once")
	}
	return replace(ctx, out, client, *old, fileStore(*path), diffhook.KeyRotationOptions{
		Quiet:     *quiet,
		DeleteNow: func() bool { return *deleteNow },
	})
}

// list lists the keys, and says which are due.
func list(ctx context.Context, out io.Writer, client *diffhook.Client) error {
	keys, err := client.Keys.List(ctx, nil)
	if err != nil {
		return err
	}
	for _, key := range keys {
		due := ""
		if key.Stale(0) {
			due = ", more than 90 days ago: replace it, with -old " + key.ID + " -store FILE"
		}
		fmt.Fprintf(out, "%s  %-18s created %s%s\n", key.ID, key.Label, key.CreatedAt.Format(time.DateOnly), due)
	}
	return nil
}

// replace is the real thing. It prints no key: out need not be secret.
func replace(ctx context.Context, out io.Writer, client *diffhook.Client, old string, store diffhook.KeyStore, opts diffhook.KeyRotationOptions) error {
	observe := opts.Observe
	opts.Observe = func(ctx context.Context, step diffhook.RotationStep) {
		fmt.Fprintf(out, "%s  %-8s  %s\n", time.Now().Format(time.TimeOnly), step.Name, step.Text)
		if observe != nil {
			observe(ctx, step)
		}
	}
	orphans, err := client.Keys.Replace(ctx, old, store, &opts)
	for _, key := range orphans {
		fmt.Fprintf(out, "Nobody may hold %s (%s). Delete it, unless you know it.\n", key.ID, key.Label)
	}
	return err
}

// fileStore is a file of JSON for its owner's eyes only. All keys change in one
// write, which a crash cannot cut in two.
type fileStore string

func roles(keys *diffhook.APIKeys) map[string]*diffhook.APIKey {
	return map[string]*diffhook.APIKey{"current": &keys.Current, "next": &keys.Next, "previous": &keys.Previous}
}

func (s fileStore) Load(context.Context) (keys diffhook.APIKeys, err error) {
	content, err := os.ReadFile(string(s))
	if err != nil {
		return keys, err
	}
	var texts map[string]string
	if err := json.Unmarshal(content, &texts); err != nil {
		return keys, fmt.Errorf("%s: %w", s, err)
	}
	for role, key := range roles(&keys) {
		if texts[role] == "" {
			continue
		}
		if *key, err = diffhook.NewAPIKey(texts[role]); err != nil {
			return diffhook.APIKeys{}, fmt.Errorf("%s: %s: %w", s, role, err)
		}
	}
	return keys, nil
}

func (s fileStore) Save(_ context.Context, keys diffhook.APIKeys) error {
	texts := make(map[string]string)
	for role, key := range roles(&keys) {
		if !key.IsZero() {
			texts[role] = key.Reveal()
		}
	}
	content, err := json.MarshalIndent(texts, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(string(s))
	f, err := os.CreateTemp(dir, filepath.Base(string(s))+".*") // with mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(content, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), string(s))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
