// Quickstart shows the main job on real HTTP, with nothing to configure and no
// network but loopback: it starts a receiver, has deliveries sent to it as
// DiffHook sends them, attacks it, and rotates the signing secret while
// deliveries are in flight. It exits 1 if anything does not go as told.
//
//	go run ./examples/quickstart
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Println("\nThis did not go as told:", err)
		os.Exit(1)
	}
}

// rotationWindow is short, so that its end can be watched. The default is 24 h.
const rotationWindow = 2 * time.Second

// vault stands for where your server gets its secret from.
type vault struct {
	secret atomic.Pointer[diffhook.Secret]
}

func (v *vault) Load(context.Context) (diffhook.Secrets, error) {
	return diffhook.Secrets{Current: *v.secret.Load()}, nil
}

// receiver is your server: a verifier, and a function for events.
type receiver struct {
	url     string
	v       *diffhook.Verifier
	down    atomic.Bool  // the function fails
	handled atomic.Int64 // events that it took
	failed  atomic.Int64
}

func newReceiver(ctx context.Context, source diffhook.SecretSource) (*receiver, error) {
	v, err := diffhook.NewVerifier(ctx, source, &diffhook.VerifierOptions{
		RotationWindow:     rotationWindow,
		MinRefreshInterval: 50 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{v: v, url: "http://" + listener.Addr().String() + "/webhooks/diffhook"}
	mux := http.NewServeMux()
	mux.Handle("POST /webhooks/diffhook", v.EventHandler(r.handle))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go server.Serve(listener)
	context.AfterFunc(ctx, func() { server.Close() })
	return r, nil
}

func (r *receiver) handle(context.Context, *diffhook.Event) error {
	if r.down.Load() {
		r.failed.Add(1)
		return errors.New("the database is down")
	}
	r.handled.Add(1)
	return nil
}

func run(ctx context.Context) error {
	before, after := diffhooktest.NewSecret(), diffhooktest.NewSecret()
	source := new(vault)
	source.secret.Store(&before)
	r, err := newReceiver(ctx, source)
	if err != nil {
		return err
	}
	// As DiffHook sends: signed, with retries, each keeping the signature that
	// was made when the change was detected. The waits are shortened.
	sender := diffhooktest.NewSender(before, &diffhooktest.SenderOptions{
		SignOnce: true,
		Retries:  []time.Duration{300 * time.Millisecond, 300 * time.Millisecond},
	})
	body := diffhooktest.PageChanged()

	fmt.Printf("A receiver listens at %s\nIt verifies with the signing secret %s.\n", r.url, before.Fingerprint())

	fmt.Println("\n1. A delivery, and three that DiffHook did not send")
	if err := expect("a page changed, signed", sender.Send(ctx, r.url, body), http.StatusNoContent); err != nil {
		return err
	}
	if err := attack(ctx, r, before); err != nil {
		return err
	}

	fmt.Println("\n2. The secret is rotated while deliveries are in flight")
	if err := rotate(ctx, r, source, sender, after); err != nil {
		return err
	}

	fmt.Println("\n3. The rotation window is over")
	old := diffhooktest.NewSender(before, &diffhooktest.SenderOptions{Retries: []time.Duration{}})
	if err := expect("signed with the old secret, in the window", old.Send(ctx, r.url, body), http.StatusNoContent); err != nil {
		return err
	}
	time.Sleep(time.Until(r.v.Status().Previous.Expires))
	if err := expect("signed with the old secret, after it", old.Send(ctx, r.url, body), http.StatusUnauthorized); err != nil {
		return err
	}
	if err := expect("signed with the new secret", sender.Send(ctx, r.url, body), http.StatusNoContent); err != nil {
		return err
	}

	fmt.Println("\n4. What the verifier says of itself")
	status, err := json.MarshalIndent(r.v.Status(), "   ", "  ")
	if err != nil {
		return err
	}
	fmt.Printf("   %s\n\nAll went as told.\n", status)
	return nil
}

// attack sends what anybody on the internet could send.
func attack(ctx context.Context, r *receiver, secret diffhook.Secret) error {
	body := diffhooktest.PageChanged()
	tampered := []byte(strings.Replace(string(body), "$49", "$1", 1))
	for _, a := range []struct {
		what, signature string
		body            []byte
	}{
		{"forged: signed with a made-up secret", diffhooktest.NewSecret().Sign(body), body},
		{"tampered: a right signature, another body", secret.Sign(body), tampered},
		{"unsigned", "", body},
	} {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, strings.NewReader(string(a.body)))
		if err != nil {
			return err
		}
		if a.signature != "" {
			request.Header.Set(diffhook.SignatureHeader, a.signature)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		response.Body.Close()
		fmt.Printf("   %-44s %d\n", a.what, response.StatusCode)
		if response.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("%s: answered %d", a.what, response.StatusCode)
		}
	}
	if n := r.handled.Load(); n != 1 {
		return fmt.Errorf("%d events were handled, not the one", n)
	}
	return nil
}

// rotate brings deliveries into flight, rotates, and sees all of them arrive.
func rotate(ctx context.Context, r *receiver, source *vault, sender *diffhooktest.Sender, next diffhook.Secret) error {
	const each = 20
	var wg sync.WaitGroup
	var delivered [2]atomic.Int64 // signed with the old secret, and with the new
	send := func(which int) {
		for range each {
			wg.Go(func() {
				if sender.Send(ctx, r.url, diffhooktest.PageChanged()).Delivered {
					delivered[which].Add(1)
				}
			})
		}
	}
	handled := r.handled.Load()

	r.down.Store(true)
	send(0)
	for r.failed.Load() < each && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	fmt.Printf("   %d deliveries have failed once, for the receiver's database is down\n", each)

	sender.Rotate(next)
	source.secret.Store(&next)
	r.down.Store(false)
	fmt.Printf("   rotated to %s; the receiver has not been told\n", next.Fingerprint())
	send(1)
	wg.Wait()

	was, is := delivered[0].Load(), delivered[1].Load()
	fmt.Printf("   accepted, signed with the old secret: %d of %d\n", was, each)
	fmt.Printf("   accepted, signed with the new secret: %d of %d\n", is, each)
	if lost := 2*each - was - is; lost != 0 {
		return fmt.Errorf("%d deliveries were lost", lost)
	}
	if n := r.handled.Load() - handled; n != 2*each {
		return fmt.Errorf("%d events were handled, not %d", n, 2*each)
	}
	return nil
}

// expect prints the answer to the last attempt, and compares it.
func expect(what string, result diffhooktest.Result, status int) error {
	last := result.Attempts[len(result.Attempts)-1]
	fmt.Printf("   %-44s %d\n", what, last.StatusCode)
	if last.Err != nil || last.StatusCode != status {
		return fmt.Errorf("%s: answered %d (%v), not %d", what, last.StatusCode, last.Err, status)
	}
	return nil
}
