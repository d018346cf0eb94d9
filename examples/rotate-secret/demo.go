package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// demonstrate prints the number of lost events if the person is slow.
func demonstrate(ctx context.Context, out io.Writer) error {
	fmt.Fprintf(out, "A person rotates the secret of two servers in the app. Events lost, of %d after the click:\n\n", events)
	fmt.Fprintln(out, "  new secret pasted           without a hold    with a hold")
	for _, slow := range []time.Duration{45 * time.Second, 10 * time.Minute} {
		without, err := lostIn(ctx, io.Discard, slow, -1)
		if err != nil {
			return err
		}
		with, err := lostIn(ctx, io.Discard, slow, time.Hour)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  %-26s  %-14d    %d\n", slow.String()+" after the click", without, with)
		if with > 0 {
			return fmt.Errorf("%d events were lost with a hold", with)
		}
	}
	fmt.Fprintln(out, "\nThe steps and the questions with a hold:")
	lost, err := lostIn(ctx, out, 10*time.Minute, time.Hour)
	if err == nil && lost > 0 {
		err = fmt.Errorf("%d events were lost with a hold", lost)
	}
	return err
}

// events is the number of events after a click.
const events = 500

// world simulates the surroundings of a rotation: the platform, two servers and a
// person.
type world struct {
	out      io.Writer
	platform *diffhooktest.Server
	monitor  string
	slow     time.Duration // from the click to the paste, on the platform's clock
	mu       sync.Mutex
	handled  map[string]bool // by DedupKey
}

// lostIn rotates in a new world and returns the number of lost events. A negative
// hold means no hold.
func lostIn(ctx context.Context, out io.Writer, slow, hold time.Duration) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	w := &world{out: out, slow: slow, platform: diffhooktest.New(), handled: make(map[string]bool)}
	defer w.platform.Close()
	dir, err := os.MkdirTemp("", "rotate-secret")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	store := rotation.FileStore(filepath.Join(dir, "signing-secret.json"))
	old := w.platform.Secrets().Current
	if err := rotation.NewSecret(ctx, store, old); err != nil {
		return 0, err
	}
	receivers, err := w.start(ctx, store)
	if err != nil {
		return 0, err
	}
	err = rotate(ctx, old.Fingerprint(), w.answer, store, rotation.SecretOptions{
		Receivers:    receivers,
		Hold:         hold,
		RetryHorizon: 200 * time.Millisecond, // in production: 2 minutes, or 18 h for generation 2
		Quiet:        200 * time.Millisecond,
		Poll:         50 * time.Millisecond,
		Observe:      func(s rotation.Step) { fmt.Fprintf(out, "  %-8s %s\n", s.Name, s.Text) },
	})
	if err != nil {
		return 0, err
	}
	return w.lost()
}

// start starts two servers behind a balancer.
func (w *world) start(ctx context.Context, store rotation.Store) (map[string]rotation.Receiver, error) {
	token := rand.Text()
	receivers := make(map[string]rotation.Receiver)
	var servers []http.Handler
	for _, name := range []string{"web-1", "web-2"} {
		server, err := newServer(ctx, store, token, w.handle, &diffhook.VerifierOptions{MinRefreshInterval: time.Millisecond})
		if err != nil {
			return nil, err
		}
		servers = append(servers, server)
		receivers[name] = receiver("http://"+name+".internal/diffhook/status", token, &http.Client{Transport: diffhooktest.Transport(server)})
	}
	var turn atomic.Int64
	balancer := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		servers[int(turn.Add(1))%len(servers)].ServeHTTP(rw, r)
	})
	w.platform.Configure(diffhooktest.Settings{Deliver: diffhooktest.Transport(balancer), SignOnce: true})
	w.monitor = w.platform.DefaultTeam().NewMonitor(diffhooktest.Monitor{WebhookURL: "https://hooks.example.com/hook"}).ID
	return receivers, nil
}

func (w *world) handle(_ context.Context, e *diffhook.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handled[e.DedupKey()] = true
	return nil
}

// answer plays the person, and does the task of the question in the app.
func (w *world) answer(_ context.Context, q rotation.Question) (string, error) {
	fmt.Fprintf(w.out, "  asked    %s\n", q.Text)
	switch {
	case q.Confirm:
		w.platform.RevokePrevious()
	case strings.Contains(q.Text, "click Rotate signing secret"):
		w.platform.Rotate()
		for range events {
			if _, err := w.platform.Change(w.monitor, nil); err != nil {
				return "", err
			}
			w.platform.Advance(w.slow / events)
		}
	}
	return w.platform.Secrets().Current.Reveal(), nil
}

// lost lets DiffHook make all retries, and returns the number of events that no
// server handled.
func (w *world) lost() (lost int, err error) {
	w.platform.Advance(35 * time.Second)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, delivery := range w.platform.Deliveries() {
		e, err := diffhook.ParseEvent(delivery.Body)
		if err != nil {
			return 0, err
		}
		if !w.handled[e.DedupKey()] {
			lost++
		}
	}
	if len(w.platform.Deliveries()) != events {
		return 0, fmt.Errorf("the page changed %d times, not %d", len(w.platform.Deliveries()), events)
	}
	return lost, nil
}
