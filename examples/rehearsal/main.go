// Rehearsal is an emulator of DiffHook with two servers, to rehearse rotations with
// the operator's tool, cmd/diffhook. The steps are in docs/rotation.md, at "Try it".
//
//	go run ./examples/rehearsal
//
// All secrets and keys are random, and end with the program. Both documents are in a
// temporary folder.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// rehearsal is the emulator, the documents and the servers.
type rehearsal struct {
	platform  *diffhooktest.Server
	secrets   string   // path of the document of the signing secret
	keys      string   // path of the document of the API key
	token     string   // of the status handlers
	receivers []string // NAME=URL of each status handler
	monitors  []string
	verifiers []*diffhook.Verifier

	sent, handled atomic.Int64 // numbers of events
}

// start starts the emulator and the servers, which end with ctx. The documents are in
// dir.
func start(ctx context.Context, dir string) (*rehearsal, error) {
	platform, err := diffhooktest.Start()
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, platform.Close)
	r := &rehearsal{
		platform: platform,
		secrets:  filepath.Join(dir, "secret.json"),
		keys:     filepath.Join(dir, "key.json"),
		token:    rand.Text(),
	}
	key := platform.DefaultTeam().NewKey("production-server")
	err = errors.Join(
		rotation.NewSecret(ctx, rotation.FileStore(r.secrets), platform.Secrets().Current),
		rotation.NewKey(ctx, rotation.FileStore(r.keys), rotation.Pair{ID: key.Label, Key: key.Key.Reveal()}),
		r.serve(ctx, "web-1"),
		r.serve(ctx, "web-2"),
	)
	return r, err
}

// serve starts a server with a monitor.
func (r *rehearsal) serve(ctx context.Context, name string) error {
	v, err := diffhook.NewVerifier(ctx, rotation.Source(rotation.FileStore(r.secrets)), nil)
	if err != nil {
		return err
	}
	go v.Watch(ctx, time.Minute)
	status := v.StatusHandler()
	mux := http.NewServeMux()
	mux.Handle("POST /hook", v.EventHandler(func(context.Context, *diffhook.Event) error {
		r.handled.Add(1)
		return nil
	}))
	mux.HandleFunc("/diffhook/status", func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != "Bearer "+r.token {
			http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
			return
		}
		status.ServeHTTP(w, req)
	})
	server := httptest.NewServer(mux)
	context.AfterFunc(ctx, server.Close)
	monitor := r.platform.DefaultTeam().NewMonitor(diffhooktest.Monitor{WebhookURL: server.URL + "/hook"})
	r.verifiers = append(r.verifiers, v)
	r.monitors = append(r.monitors, monitor.ID)
	r.receivers = append(r.receivers, name+"="+server.URL+"/diffhook/status")
	return nil
}

// changePages sends each server an event a second, until ctx ends.
func (r *rehearsal) changePages(ctx context.Context) {
	for ctx.Err() == nil {
		for _, id := range r.monitors {
			if _, err := r.platform.Change(id, nil); err == nil {
				r.sent.Add(1)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// environment returns the variables of cmd/diffhook, as a command of a shell.
func (r *rehearsal) environment() string {
	return "export DIFFHOOK_SECRET_STORE='" + r.secrets + "' DIFFHOOK_KEY_STORE='" + r.keys + "' \\\n" +
		"  DIFFHOOK_RECEIVERS='" + strings.Join(r.receivers, " ") + "' \\\n" +
		"  DIFFHOOK_RECEIVER_TOKEN=" + r.token + " DIFFHOOK_BASE_URL=" + r.platform.URL + " \\\n" +
		"  DIFFHOOK_API_KEY=" + r.platform.APIKey().Reveal()
}

const help = `secret        shows the signing secret
rotate        is a click on Rotate signing secret
revoke        ends the old secret
new LABEL     is a click on New API key
delete LABEL  deletes the keys with the label
events        counts the events
`

// do carries out a command in place of a click in the app, and returns the text that
// the app shows.
func (r *rehearsal) do(command string) string {
	team := r.platform.DefaultTeam()
	name, label, _ := strings.Cut(strings.TrimSpace(command), " ")
	switch {
	case name == "secret":
		return "Signing secret: " + team.Secrets().Current.Reveal() + "\n"
	case name == "rotate":
		return "New signing secret: " + team.Rotate().Current.Reveal() + "\n"
	case name == "revoke":
		team.RevokePrevious()
		return "There is no old secret now.\n"
	case name == "new" && label != "":
		return "New key: " + team.NewKey(label).Key.Reveal() + "\n"
	case name == "delete" && label != "":
		return r.deleteKeys(label)
	case name == "events":
		return r.events()
	}
	return help
}

func (r *rehearsal) deleteKeys(label string) string {
	team, deleted := r.platform.DefaultTeam(), 0
	for _, key := range team.Keys() {
		if key.Label == label && !key.Revoked {
			team.RevokeKey(key.ID)
			deleted++
		}
	}
	return fmt.Sprintf("Deleted keys: %d\n", deleted)
}

func (r *rehearsal) events() string {
	held := 0
	for _, v := range r.verifiers {
		held += v.Status().Hold.Held + v.Status().Hold.Pending
	}
	return fmt.Sprintf("Events: %d sent, %d handled, %d held\n", r.sent.Load(), r.handled.Load(), held)
}

// converse carries out the commands of in.
func (r *rehearsal) converse(in io.Reader, out io.Writer) error {
	fmt.Fprintf(out, "Paste this into a second terminal:\n\n%s\n\nThis terminal is the app:\n\n%s\n> ", r.environment(), help)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		fmt.Fprint(out, r.do(lines.Text()), "> ")
	}
	return lines.Err()
}

func run(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	dir, err := os.MkdirTemp("", "rehearsal")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r, err := start(ctx, dir)
	if err != nil {
		return err
	}
	go r.changePages(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.converse(os.Stdin, os.Stdout) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done(): // Ctrl-C
		return nil
	}
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "rehearsal:", err)
		os.Exit(1)
	}
}
