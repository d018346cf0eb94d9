// Rotate-secret replaces a team's signing secret without losing a delivery.
//
//	go run ./examples/rotate-secret
//
// shows it on an emulator, with nothing to configure and no network but
// loopback: three servers, of which one learns late and one restarts, while
// deliveries keep coming. Then the new secret leaks. It exits 1 if anything does
// not go as told. All of that is in demo.go; what is here is to be copied.
//
// With credentials in the environment (DIFFHOOK_API_KEY, or DIFFHOOK_CLIENT_ID
// and DIFFHOOK_CLIENT_SECRET) it does the real thing, for servers that mount
// their Verifier's StatusHandler behind a bearer token and read the directory
// DIR with FileSecrets:
//
//	export DIFFHOOK_RECEIVER_TOKEN=…
//	go run ./examples/rotate-secret -old FINGERPRINT -store DIR -receiver web-1=https://web-1.internal/diffhook/status -receiver …
//
// Interrupted, run it again. Without -old it changes nothing, and says what
// is in force.
package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
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
	flags := flag.NewFlagSet("rotate-secret", flag.ContinueOnError)
	flags.SetOutput(out)
	old := flags.String("old", "", "the `fingerprint` of the secret to be replaced")
	dir := flags.String("store", "", "the `directory` that the receivers read; by default, they read the API")
	receivers := make(map[string]diffhook.Receiver)
	flags.Func("receiver", "`name=URL` of a receiver's status; repeat it for each", func(s string) error {
		name, url, ok := strings.Cut(s, "=")
		if !ok || receivers[name] != nil {
			return errors.New("want name=URL, each name once")
		}
		receivers[name] = remote(url, os.Getenv("DIFFHOOK_RECEIVER_TOKEN"))
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if len(args) == 0 && os.Getenv("DIFFHOOK_API_KEY") == "" && os.Getenv("DIFFHOOK_CLIENT_ID") == "" {
		return demonstrate(ctx, out, 2*time.Second)
	}
	client, err := diffhook.NewClient(diffhook.EnvCredentials(), nil)
	if err != nil {
		return err
	}
	var store diffhook.SecretStore // nil: there is none
	if *dir != "" {
		store = dirStore(*dir)
	}
	return rotate(ctx, out, client, *old, store, receivers)
}

// rotate is the real thing.
func rotate(ctx context.Context, out io.Writer, client *diffhook.Client, old string, store diffhook.SecretStore, receivers map[string]diffhook.Receiver) error {
	if old != "" {
		return client.SigningSecret.Replace(ctx, old, store, &diffhook.SecretRotationOptions{
			Receivers: receivers,
			Observe: func(_ context.Context, step diffhook.RotationStep) {
				fmt.Fprintf(out, "%s  %-8s  %s\n", time.Now().Format(time.TimeOnly), step.Name, step.Text)
			},
		})
	}
	secrets, err := client.SigningSecret.Load(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "DiffHook signs with %s. To replace it, add -old %[1]s\n", secrets.Current.Fingerprint())
	if previous := secrets.Previous.Fingerprint(); previous != "" {
		fmt.Fprintf(out, "First finish the rotation that replaces %s: -old %[1]s\n", previous)
	}
	return nil
}

// remote is a receiver elsewhere, whose status is for those who have the token.
func remote(url, token string) *diffhook.RemoteReceiver {
	return &diffhook.RemoteReceiver{URL: url, Authorize: func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }}
}

// authenticated is its other side, to be put around a StatusHandler.
func authenticated(token string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+token)) != 1 {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// dirStore is a directory that FileSecrets reads. Its files are in a directory
// for each version, and the link ..data to one of them, as Kubernetes has it, is
// what changes both secrets in one write.
type dirStore string

func (s dirStore) Load(ctx context.Context) (diffhook.Secrets, error) {
	return diffhook.FileSecrets(string(s)).Load(ctx)
}

func (s dirStore) Save(_ context.Context, secrets diffhook.Secrets) error {
	dir := string(s)
	version, err := os.MkdirTemp(dir, "..version-")
	if err != nil {
		return err
	}
	texts := map[string]string{"current": secrets.Current.Reveal()}
	switch {
	case secrets.NoPrevious:
		texts["previous"] = "none"
	case !secrets.Previous.IsZero():
		texts["previous"] = secrets.Previous.Reveal()
		if !secrets.PreviousExpires.IsZero() {
			texts["previous_expires"] = secrets.PreviousExpires.Format(time.RFC3339)
		}
	}
	for name, text := range texts {
		err = errors.Join(err, writeFile(filepath.Join(version, name), text))
	}
	link := version + "-link"
	err = errors.Join(err, syncDir(version), os.Symlink(filepath.Base(version), link))
	if err == nil {
		err = os.Rename(link, filepath.Join(dir, "..data"))
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(version), os.RemoveAll(link))
	}
	err = syncDir(dir)
	// What is left of other versions, or of a time without versions, is not read.
	left, _ := filepath.Glob(filepath.Join(dir, "..version-*"))
	for _, name := range append(left, "current", "previous", "previous_expires") {
		if name = filepath.Base(name); name != filepath.Base(version) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, name)))
		}
	}
	return err
}

func writeFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
