package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// world simulates the surroundings of a rotation: the platform, an application and
// a person.
type world struct {
	out     io.Writer
	team    *diffhooktest.Team
	options diffhook.ClientOptions
	old     diffhooktest.Key
}

func demonstrate(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	platform := diffhooktest.New()
	defer platform.Close()
	w := &world{out: out, team: platform.DefaultTeam(), options: diffhook.ClientOptions{
		BaseURL:    platform.URL,
		HTTPClient: &http.Client{Transport: diffhooktest.Transport(platform)},
		Limiter:    rate.NewLimiter(rate.Inf, 1),
	}}
	w.team.SetPlan(diffhooktest.Plan{RequestsPerMinute: 1_000_000}) // the application calls without pause
	w.old = w.team.NewKey("production-server")
	w.team.AgeKey(w.old.ID, 100*24*time.Hour)
	dir, err := os.MkdirTemp("", "rotate-key")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	store := rotation.FileStore(filepath.Join(dir, "api-key.json"))
	if err := rotation.NewKey(ctx, store, rotation.Pair{ID: w.old.Label, Key: w.old.Key.Reveal()}); err != nil {
		return err
	}

	fmt.Fprintf(out, "An application calls the API with the key %s while a person rotates the key:\n\n", w.old.Label)
	app, err := w.startApplication(ctx, store)
	if err != nil {
		return err
	}
	err = rotate(ctx, w.old.Label, w.answer, store, &w.options, rotation.KeyOptions{
		Label:   "production-server",
		Quiet:   500 * time.Millisecond, // in production: 26 h, by default
		Observe: func(s rotation.Step) { fmt.Fprintf(out, "  %-7s %s\n", s.Name, s.Text) },
	})
	calls, failed := app()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nThe application made %d calls; %d failed.\n", calls, failed)
	if failed > 0 || calls == 0 {
		return errors.New("the rotation disturbed the application")
	}
	return w.check()
}

// startApplication starts an application that calls the API continuously. The
// returned function stops the application, and returns the number of calls and of
// failures.
func (w *world) startApplication(ctx context.Context, store rotation.Store) (stop func() (calls, failed int), err error) {
	ctx, cancel := context.WithCancel(ctx)
	client, err := diffhook.NewClient(w.old.Key, &w.options)
	if err != nil {
		cancel()
		return nil, err
	}
	var wg sync.WaitGroup
	var calls, failed int
	wg.Go(func() { _ = watch(ctx, store, client, 20*time.Millisecond) })
	wg.Go(func() {
		for ctx.Err() == nil {
			_, err := client.Monitors.List(context.WithoutCancel(ctx), nil)
			if calls++; err != nil {
				failed++
			}
			time.Sleep(2 * time.Millisecond)
		}
	})
	return func() (int, int) {
		cancel()
		wg.Wait()
		return calls, failed
	}, nil
}

var labelAsked = regexp.MustCompile(`with the label (\S+?)\.`)

// answer plays the person, and does the task of the question in the app.
func (w *world) answer(_ context.Context, q rotation.Question) (string, error) {
	fmt.Fprintf(w.out, "  asked   %s\n", q.Text)
	switch {
	case strings.Contains(q.Text, "click New API key"):
		label := labelAsked.FindStringSubmatch(q.Text)
		if label == nil {
			return "", errors.New("the question names no label")
		}
		return w.team.NewKey(label[1]).Key.Reveal(), nil
	case strings.Contains(q.Text, "delete the old key"):
		w.team.RevokeKey(w.old.ID)
	}
	return "no", nil // no use of the old key since
}

// check compares the keys in the app.
func (w *world) check() error {
	var left []string
	for _, key := range w.team.Keys() {
		if !key.Revoked {
			left = append(left, key.Label)
		}
	}
	fmt.Fprintf(w.out, "The app shows the keys %s.\n", strings.Join(left, ", "))
	if len(left) != 2 || left[1] == w.old.Label { // default is the other
		return errors.New("the app does not show the new key instead of the old key")
	}
	return nil
}
