package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// demo is all that there is in reality around a rotation.
type demo struct {
	out       io.Writer
	began     time.Time
	platform  *diffhooktest.Server
	client    *diffhook.Client
	monitor   string // of a page that changes all the time
	store     diffhook.SecretStore
	names     []string
	servers   map[string]*server
	receivers map[string]diffhook.Receiver // the same, as the rotation sees them

	behind  atomic.Bool // the source of web-3 still has what it had
	down    atomic.Bool // the database is
	mu      sync.Mutex
	handled map[string]bool // the database: events by DedupKey
}

// demonstrate rotates, waiting so long for the old secret to be drained.
func demonstrate(ctx context.Context, out io.Writer, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	d := &demo{out: out, began: time.Now(), names: []string{"web-1", "web-2", "web-3"}, handled: make(map[string]bool)}
	var err error
	if d.platform, err = diffhooktest.Start(); err != nil {
		return err
	}
	defer d.platform.Close()
	// A delivery keeps, through its retries, the signature it was detected with.
	d.platform.Configure(diffhooktest.Settings{SignOnce: true})
	d.client = d.platform.Client(nil)
	dir, err := os.MkdirTemp("", "rotate-secret")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d.store = dirStore(dir)
	if err := d.startAll(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "Three servers on loopback, behind a balancer, and an emulator of DiffHook.\n"+
		"The old secret is to be unused for %v, where it is 2 minutes by default (18 h in generation 2).\n", wait)

	fmt.Fprintln(out, "\n1. The signing secret is replaced, while deliveries keep coming")
	if err := d.rotate(ctx, wait); err != nil {
		return err
	}
	fmt.Fprintln(out, "\n2. The new one leaks")
	if err := d.leak(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nAll went as told.")
	return nil
}

// server is one of those that receive deliveries.
type server struct {
	*http.Server
	addr   string
	token  string // for its status
	source diffhook.SecretSource
}

func (d *demo) startAll(ctx context.Context) error {
	before := d.platform.Secrets()
	if err := d.store.Save(ctx, before); err != nil {
		return err
	}
	d.behind.Store(true)
	late := diffhook.SecretSourceFunc(func(ctx context.Context) (diffhook.Secrets, error) {
		if d.behind.Load() {
			return before, nil
		}
		return d.store.Load(ctx)
	})
	token := rand.Text()
	d.servers, d.receivers = make(map[string]*server), make(map[string]diffhook.Receiver)
	for _, name := range d.names {
		s := &server{addr: "127.0.0.1:0", token: token, source: d.store}
		if name == "web-3" {
			s.source = late
		}
		if err := d.start(ctx, s); err != nil {
			return err
		}
		d.servers[name], d.receivers[name] = s, remote("http://"+s.addr+"/diffhook/status", token)
		stranger := remote("http://"+s.addr+"/diffhook/status", "a guess")
		if err := stranger.Revoke(ctx, before.Current.Fingerprint()); !errors.Is(err, diffhook.ErrUnexpectedResponse) {
			return fmt.Errorf("%s takes orders from strangers: %v", name, err)
		}
	}
	var turn atomic.Int64
	balancer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	proxy := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			name := d.names[int(turn.Add(1))%len(d.names)]
			r.SetURL(&url.URL{Scheme: "http", Host: d.servers[name].addr})
		},
		ErrorLog: log.New(io.Discard, "", 0), // a server that restarts
	}}
	go proxy.Serve(balancer)
	context.AfterFunc(ctx, func() { proxy.Close() })
	d.monitor = d.platform.DefaultTeam().NewMonitor(diffhooktest.Monitor{WebhookURL: "http://" + balancer.Addr().String() + "/webhooks/diffhook"}).ID
	return nil
}

// start starts a server, or starts it again: it then counts from zero.
func (d *demo) start(ctx context.Context, s *server) error {
	if s.Server != nil {
		s.Close()
	}
	v, err := diffhook.NewVerifier(ctx, s.source, &diffhook.VerifierOptions{MinRefreshInterval: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	if s.Server == nil {
		s.addr = listener.Addr().String()
	}
	mux := http.NewServeMux()
	mux.Handle("POST /webhooks/diffhook", v.EventHandler(d.handle))
	mux.Handle("/diffhook/status", authenticated(s.token, v.StatusHandler()))
	started := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go started.Serve(listener)
	context.AfterFunc(ctx, func() { started.Close() })
	s.Server = started
	return nil
}

func (d *demo) handle(_ context.Context, e *diffhook.Event) error {
	if d.down.Load() {
		return errors.New("the database is down")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.handled[e.DedupKey()] = true
	return nil
}

func (d *demo) rotate(ctx context.Context, wait time.Duration) error {
	old := d.platform.Secrets().Current
	if err := d.change(10); err != nil {
		return err
	}
	const inFlight = 20
	d.down.Store(true)
	if err := d.change(inFlight); err != nil {
		return err
	}
	d.down.Store(false)
	fmt.Fprintf(d.out, "   %d deliveries signed with %s have failed once, for the database was down, and will be retried\n", inFlight, old.Fingerprint())
	if err := d.showMerged(ctx); err != nil {
		return err
	}

	// The page changes all the time, until the rotation is done.
	streaming, stop := context.WithCancel(ctx)
	defer stop()
	var stream sync.WaitGroup
	var streamed error
	stream.Go(func() {
		for streamed == nil && streaming.Err() == nil {
			streamed = d.change(1)
			time.Sleep(10 * time.Millisecond)
		}
	})
	steps := make(map[string]bool)
	var failed error
	err := d.client.SigningSecret.Replace(ctx, old.Fingerprint(), d.store, &diffhook.SecretRotationOptions{
		Receivers:    d.receivers,
		RetryHorizon: wait,
		Quiet:        wait,
		PollInterval: 100 * time.Millisecond,
		Observe: func(ctx context.Context, step diffhook.RotationStep) {
			d.show(ctx, step)
			first := !steps[step.Name]
			steps[step.Name] = true
			switch {
			case step.Name == "stored":
				time.AfterFunc(500*time.Millisecond, func() { d.behind.Store(false) })
			case step.Name == "learned":
				fmt.Fprintln(d.out, "         web-2 restarts")
				failed = d.start(ctx, d.servers["web-2"])
			case step.Name == "draining" && first:
				fmt.Fprintln(d.out, "         DiffHook retries what has failed so far")
				d.platform.Advance(5 * time.Second)
			}
		},
	})
	stop()
	stream.Wait()
	if err := errors.Join(err, failed, streamed); err != nil {
		return err
	}
	if err := d.showMerged(ctx); err != nil {
		return err
	}
	if err := d.nothingLost(); err != nil {
		return err
	}
	late := 0
	for _, delivery := range d.platform.Deliveries() {
		if n := len(delivery.Attempts); n > 1 && delivery.Attempts[n-1].SignedWith == old.Fingerprint() {
			late++
		}
	}
	fmt.Fprintf(d.out, "   of which %d were signed with the old secret, and retried after the rotation\n", late)
	if late < inFlight {
		return fmt.Errorf("%d deliveries were in flight, not %d", late, inFlight)
	}
	for _, name := range []string{"rotated", "stored", "learning", "learned", "draining", "drained", "revoked", "removed", "refused"} {
		if !steps[name] {
			return fmt.Errorf("the step %s was not reported", name)
		}
	}
	return d.forge(ctx, "signed with the old secret", old, http.StatusUnauthorized)
}

// leak is the emergency: a secret that somebody else has is refused at once.
func (d *demo) leak(ctx context.Context) error {
	leaked := d.platform.Secrets().Current
	if err := d.forge(ctx, "forged with the leaked secret", leaked, http.StatusNoContent); err != nil {
		return err
	}
	err := d.client.SigningSecret.Revoke(ctx, leaked.Fingerprint(), d.store, &diffhook.SecretRotationOptions{
		Receivers:    d.receivers,
		PollInterval: 100 * time.Millisecond,
		Observe:      d.show,
	})
	if err != nil {
		return err
	}
	if err := d.forge(ctx, "forged with the leaked secret", leaked, http.StatusUnauthorized); err != nil {
		return err
	}
	if err := d.change(10); err != nil {
		return err
	}
	return errors.Join(d.nothingLost(), d.showMerged(ctx))
}

// change has the page change so often, one after the other.
func (d *demo) change(times int) error {
	for range times {
		if _, err := d.platform.Change(d.monitor, nil); err != nil {
			return err
		}
	}
	return nil
}

// forge sends what DiffHook did not send to each of the servers.
func (d *demo) forge(ctx context.Context, what string, secret diffhook.Secret, want int) error {
	sender := diffhooktest.NewSender(secret, &diffhooktest.SenderOptions{Retries: []time.Duration{}})
	for _, name := range d.names {
		attempt := sender.Send(ctx, "http://"+d.servers[name].addr+"/webhooks/diffhook", diffhooktest.PageChanged()).Attempts[0]
		fmt.Fprintf(d.out, "   %-31s %s  %d\n", what, name, attempt.StatusCode)
		if attempt.StatusCode != want {
			return fmt.Errorf("%s: %s answered %d (%v), not %d", what, name, attempt.StatusCode, attempt.Err, want)
		}
	}
	return nil
}

// nothingLost lets all retries be made, and counts.
func (d *demo) nothingLost() error {
	d.platform.Advance(35 * time.Second)
	deliveries, lost := d.platform.Deliveries(), 0
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, delivery := range deliveries {
		e, err := diffhook.ParseEvent(delivery.Body)
		if err != nil || !delivery.Delivered || !d.handled[e.DedupKey()] {
			lost++
		}
	}
	fmt.Fprintf(d.out, "   events: %d, lost: %d\n", len(deliveries), lost)
	if lost > 0 {
		return fmt.Errorf("%d events were lost", lost)
	}
	return nil
}

func (d *demo) show(_ context.Context, step diffhook.RotationStep) {
	fmt.Fprintf(d.out, "   %3.1fs  %-8s  %s\n", time.Since(d.began).Seconds(), step.Name, step.Text)
}

// showMerged shows what the servers say together.
func (d *demo) showMerged(ctx context.Context) error {
	statuses := make(map[string]diffhook.RotationStatus)
	for name, receiver := range d.receivers {
		status, err := receiver.Status(ctx)
		if err != nil {
			return err
		}
		statuses[name] = status
	}
	for _, s := range diffhook.MergeStatuses(statuses) {
		fmt.Fprintf(d.out, "   %s is current at [%s] and previous at [%s]: verified %d, unused for %v\n", s.Fingerprint,
			strings.Join(s.CurrentAt, " "), strings.Join(s.PreviousAt, " "), s.Uses, s.Unused.Truncate(10*time.Millisecond))
	}
	return nil
}
