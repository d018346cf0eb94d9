package main

import (
	"context"
	"crypto/rand"
	"errors"
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

// demonstrate prints how many events are lost if the person is slow.
func demonstrate(ctx context.Context, out io.Writer) error {
	fmt.Fprintf(out, "Two servers, and a person who rotates the secret in the app. Of %d events after the click are lost:\n\n", events)
	fmt.Fprintln(out, "  the new secret is pasted    without a hold    with a hold")
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
	fmt.Fprintln(out, "\nThe questions and the steps of the last one:")
	lost, err := lostIn(ctx, out, 10*time.Minute, time.Hour)
	if err == nil && lost > 0 {
		err = fmt.Errorf("%d events were lost with a hold", lost)
	}
	return err
}

// events is how many events follow a click.
const events = 500

// world is all that there is in reality around a rotation.
type world struct {
	out      io.Writer
	platform *diffhooktest.Server
	monitor  string
	slow     time.Duration // from the click until the person pastes, by the platform's clock
	mu       sync.Mutex
	handled  map[string]bool // events by DedupKey
}

// lostIn rotates in a world of its own and returns how many events are lost. A
// negative hold means none.
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

// start starts two servers, which take turns.
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

// answer is the person.
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

// lost lets DiffHook make all retries, and returns how many events no server handled.
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
		return 0, errors.New("the page did not change as often as told")
	}
	return lost, nil
}
