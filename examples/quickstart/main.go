// Quickstart shows the main job over real HTTP, without configuration, on loopback
// only. It starts a receiver, sends deliveries as DiffHook does, attacks the
// receiver, and rotates the signing secret while deliveries are in flight. It exits
// 1 after any unexpected result.
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
		fmt.Println("\nThe demonstration failed:", err)
		os.Exit(1)
	}
}

// rotationWindow is short, for the demonstration. The default is 24 h.
const rotationWindow = 2 * time.Second

// vault stands for the place of your server's secret, such as a secrets manager.
type vault struct {
	secret atomic.Pointer[diffhook.Secret]
}

func (v *vault) Load(context.Context) (diffhook.Secrets, error) {
	return diffhook.Secrets{Current: *v.secret.Load()}, nil
}

// receiver is your server: a verifier and a function for events.
type receiver struct {
	url     string
	v       *diffhook.Verifier
	down    atomic.Bool  // makes the function fail
	handled atomic.Int64 // events
	failed  atomic.Int64 // rejected events
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
	// The sender acts like DiffHook, with shorter waits. With SignOnce, retries
	// keep the signature of the first attempt.
	sender := diffhooktest.NewSender(before, &diffhooktest.SenderOptions{
		SignOnce: true,
		Retries:  []time.Duration{300 * time.Millisecond, 300 * time.Millisecond},
	})
	body := diffhooktest.PageChanged()

	fmt.Printf("A receiver listens at %s\nThe fingerprint of the signing secret is %s.\n", r.url, before.Fingerprint())

	fmt.Println("\n1. A delivery from DiffHook, and three attacks")
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

	fmt.Println("\n3. The rotation window ends")
	old := diffhooktest.NewSender(before, &diffhooktest.SenderOptions{Retries: []time.Duration{}})
	if err := expect("signed with the old secret, in the window", old.Send(ctx, r.url, body), http.StatusNoContent); err != nil {
		return err
	}
	time.Sleep(time.Until(r.v.Status().Previous.Expires))
	if err := expect("signed with the old secret, after the window", old.Send(ctx, r.url, body), http.StatusUnauthorized); err != nil {
		return err
	}
	if err := expect("signed with the new secret", sender.Send(ctx, r.url, body), http.StatusNoContent); err != nil {
		return err
	}

	fmt.Println("\n4. The status of the verifier")
	status, err := json.MarshalIndent(r.v.Status(), "   ", "  ")
	if err != nil {
		return err
	}
	fmt.Printf("   %s\n\nEverything went as expected.\n", status)
	return nil
}

// attack sends requests as anybody on the internet could.
func attack(ctx context.Context, r *receiver, secret diffhook.Secret) error {
	body := diffhooktest.PageChanged()
	tampered := []byte(strings.Replace(string(body), "$49", "$1", 1))
	for _, a := range []struct {
		name, signature string
		body            []byte
	}{
		{"forged: signed with another secret", diffhooktest.NewSecret().Sign(body), body},
		{"tampered: a valid signature, another body", secret.Sign(body), tampered},
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
		fmt.Printf("   %-44s %d\n", a.name, response.StatusCode)
		if response.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("%s: status %d, not %d", a.name, response.StatusCode, http.StatusUnauthorized)
		}
	}
	if n := r.handled.Load(); n != 1 {
		return fmt.Errorf("%d events were handled, not 1", n)
	}
	return nil
}

// rotate brings deliveries into flight, rotates, and checks that all deliveries
// arrive.
func rotate(ctx context.Context, r *receiver, source *vault, sender *diffhooktest.Sender, next diffhook.Secret) error {
	const each = 20
	var wg sync.WaitGroup
	var delivered [2]atomic.Int64 // signed with the old secret, and with the new
	send := func(secret int) {
		for range each {
			wg.Go(func() {
				if sender.Send(ctx, r.url, diffhooktest.PageChanged()).Delivered {
					delivered[secret].Add(1)
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
	fmt.Printf("   %d deliveries failed once: the receiver's database is down\n", each)

	sender.Rotate(next)
	source.secret.Store(&next)
	r.down.Store(false)
	fmt.Printf("   the secret is now %s; the receiver learns it from a delivery\n", next.Fingerprint())
	send(1)
	wg.Wait()

	old, fresh := delivered[0].Load(), delivered[1].Load()
	fmt.Printf("   accepted, signed with the old secret: %d of %d\n", old, each)
	fmt.Printf("   accepted, signed with the new secret: %d of %d\n", fresh, each)
	if lost := 2*each - old - fresh; lost != 0 {
		return fmt.Errorf("%d deliveries were lost", lost)
	}
	if n := r.handled.Load() - handled; n != 2*each {
		return fmt.Errorf("%d events were handled, not %d", n, 2*each)
	}
	return nil
}

// expect prints the status of the last attempt, and returns an error if status
// differs.
func expect(name string, result diffhooktest.Result, status int) error {
	last := result.Attempts[len(result.Attempts)-1]
	fmt.Printf("   %-44s %d\n", name, last.StatusCode)
	if last.Err != nil || last.StatusCode != status {
		return fmt.Errorf("%s: status %d (%v), not %d", name, last.StatusCode, last.Err, status)
	}
	return nil
}
