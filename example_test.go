package diffhook_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// A server that verifies deliveries and handles their events. The secret comes
// from the environment variable DIFFHOOK_SIGNING_SECRET.
func Example() {
	v, err := diffhook.NewVerifier(context.Background(), diffhook.EnvSecrets(),
		&diffhook.VerifierOptions{Logger: slog.Default()})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("POST /webhooks/diffhook", v.EventHandler(
		func(ctx context.Context, e *diffhook.Event) error {
			log.Printf("%s changed", e.URL)
			return nil // answers 204; an error answers 500, and DiffHook retries
		}))
	log.Fatal(http.ListenAndServe(":8080", nil))
}

// exampleVerifier returns a verifier and the secret.
func exampleVerifier() (*diffhook.Verifier, diffhook.Secret) {
	secret := diffhooktest.NewSecret()
	v, err := diffhook.NewVerifier(context.Background(), diffhook.Secrets{Current: secret}, nil)
	if err != nil {
		log.Fatal(err)
	}
	return v, secret
}

// If the function returns an error, DiffHook tries again.
func ExampleVerifier_EventHandler() {
	v, secret := exampleVerifier()

	mux := http.NewServeMux()
	mux.Handle("POST /webhooks/diffhook", v.EventHandler(
		func(ctx context.Context, e *diffhook.Event) error {
			if e.Diff != nil { // generation 1 only
				fmt.Println(e.MonitorID, e.Diff.Summary)
			}
			return nil
		}))

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, diffhooktest.NewRequest("/webhooks/diffhook", secret, diffhooktest.PageChanged()))
	fmt.Println(w.Code)
	// Output:
	// mon_abc123 The price of the Team plan changed
	// 204
}

// If an event cannot be handled now, the answer is 503, and DiffHook retries.
func ExampleEventFunc() {
	v, secret := exampleVerifier()

	var handle diffhook.EventFunc = func(ctx context.Context, e *diffhook.Event) error {
		return fmt.Errorf("%w: the database is down", diffhook.ErrUnavailable)
	}

	w := httptest.NewRecorder()
	v.EventHandler(handle).ServeHTTP(w, diffhooktest.NewRequest("/", secret, diffhooktest.PageChanged()))
	fmt.Println(w.Code)
	// Output: 503
}

// Handler is middleware for any router that takes func(http.Handler) http.Handler:
// r.Use(v.Handler).
func ExampleVerifier_Handler() {
	v, secret := exampleVerifier()

	receive := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, _ := diffhook.DeliveryFromContext(r.Context())
		fmt.Println(len(d.Body) > 0, d.SignedByPrevious)
		w.WriteHeader(http.StatusAccepted)
	})
	var middleware func(http.Handler) http.Handler = v.Handler
	h := middleware(receive)

	w := httptest.NewRecorder()
	h.ServeHTTP(w, diffhooktest.NewRequest("/", secret, diffhooktest.PageChanged()))
	fmt.Println(w.Code)

	w = httptest.NewRecorder()
	h.ServeHTTP(w, diffhooktest.NewRequest("/", diffhooktest.NewSecret(), diffhooktest.PageChanged()))
	fmt.Print(w.Code, " ", w.Body)
	// Output:
	// true false
	// 202
	// 401 Unauthorized
}

// functionURLRequest has the fields of an AWS Lambda function URL's event for a
// verifier. The complete type is in github.com/aws/aws-lambda-go/events.
type functionURLRequest struct {
	Headers         map[string]string
	Body            string
	IsBase64Encoded bool
}

// An AWS Lambda function gets no http.Request. Header names come in lower case. The
// body may be in base64: decode it first, because the signature is over the bytes sent.
func ExampleVerifier_VerifyHeader() {
	v, secret := exampleVerifier()

	handle := func(ctx context.Context, req functionURLRequest) (status int) {
		body := []byte(req.Body)
		if req.IsBase64Encoded {
			var err error
			if body, err = base64.StdEncoding.DecodeString(req.Body); err != nil {
				return http.StatusBadRequest
			}
		}
		header := make(http.Header)
		for name, value := range req.Headers {
			header[name] = []string{value}
		}
		if err := v.VerifyHeader(ctx, body, header); err != nil {
			return diffhook.HTTPStatus(err)
		}
		event, err := diffhook.ParseEvent(body)
		if err != nil {
			return diffhook.HTTPStatus(err)
		}
		fmt.Println(event.URL)
		return http.StatusNoContent
	}

	body := diffhooktest.PageChanged()
	fmt.Println(handle(context.Background(), functionURLRequest{
		Headers:         map[string]string{"x-diffhook-signature": secret.Sign(body)},
		Body:            base64.StdEncoding.EncodeToString(body),
		IsBase64Encoded: true,
	}))
	// Output:
	// https://example.com/pricing
	// 204
}

// routerContext stands for the context of a router without http.Handler, such as
// *gin.Context.
type routerContext struct {
	Request *http.Request
	Status  func(code int)
}

// A router that writes the answers takes the status from HTTPStatus.
func ExampleHTTPStatus() {
	v, secret := exampleVerifier()

	receive := func(c *routerContext) {
		d, err := v.VerifyRequest(c.Request)
		if err != nil {
			c.Status(diffhook.HTTPStatus(err))
			return
		}
		_ = d.Body
		c.Status(http.StatusNoContent)
	}

	for _, signer := range []diffhook.Secret{secret, diffhooktest.NewSecret(), {}} {
		receive(&routerContext{
			Request: diffhooktest.NewRequest("/", signer, diffhooktest.PageChanged()),
			Status:  func(code int) { fmt.Println(code) },
		})
	}
	// Output:
	// 204
	// 401
	// 401
}

// A person rotates the secret: the verifier gets it before the source.
func ExampleVerifier_Rotate() {
	v, before := exampleVerifier()
	after := diffhooktest.NewSecret()
	body := diffhooktest.PageChanged()
	ctx := context.Background()

	if err := v.Rotate(after, diffhook.DefaultRotationWindow); err != nil {
		log.Fatal(err)
	}
	fmt.Println("old:", v.Verify(ctx, body, before.Sign(body)) == nil)
	fmt.Println("new:", v.Verify(ctx, body, after.Sign(body)) == nil)

	if err := v.Reject(before.Fingerprint()); err != nil {
		log.Fatal(err)
	}
	fmt.Println("old:", v.Verify(ctx, body, before.Sign(body)) == nil)
	// Output:
	// old: true
	// new: true
	// old: false
}

// Watch follows a source that changes. The status shows when an old secret was last
// used: revoke it once it was unused for longer than DiffHook retries.
func ExampleVerifier_Watch() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	v, err := diffhook.NewVerifier(ctx, diffhook.FileSecrets("/run/secrets/diffhook"), nil)
	if err != nil {
		log.Fatal(err)
	}
	go v.Watch(ctx, time.Minute)

	// … later, before the previous secret is revoked at the platform, on each server:
	status := v.Status()
	used := status.Previous.LastUsed
	if used.Before(status.Since) {
		used = status.Since // earlier uses were not counted
	}
	if unused := status.At.Sub(used); unused < 18*time.Hour {
		log.Printf("secret %s may have been used %v ago: deliveries signed with it can still be retried", status.Previous.Fingerprint, unused)
	}
}

// The status shows whether the old secret is still in use on this server.
func ExampleVerifier_Status() {
	v, before := exampleVerifier()
	after := diffhooktest.NewSecret()
	if err := v.Rotate(after, diffhook.DefaultRotationWindow); err != nil {
		log.Fatal(err)
	}
	body := diffhooktest.PageChanged()
	for _, signer := range []diffhook.Secret{before, after, after} {
		if err := v.Verify(context.Background(), body, signer.Sign(body)); err != nil {
			log.Fatal(err)
		}
	}

	status := v.Status()
	fmt.Println(status.Current.Fingerprint == after.Fingerprint(), status.Current.Uses)
	fmt.Println(status.Previous.Fingerprint == before.Fingerprint(), status.Previous.Uses)
	// Output:
	// true 2
	// true 1
}

// A delivery before the new secret is held until the secret arrives.
func ExampleVerifier_Hold() {
	handled := make(chan string)
	v, _ := exampleVerifier()
	h := v.EventHandler(func(_ context.Context, e *diffhook.Event) error {
		handled <- e.URL
		return nil
	})
	if err := v.Hold(time.Minute); err != nil {
		log.Fatal(err)
	}

	next := diffhooktest.NewSecret() // DiffHook signs with next, unknown to every server
	w := httptest.NewRecorder()
	h.ServeHTTP(w, diffhooktest.NewRequest("/", next, diffhooktest.PageChanged()))
	fmt.Println(w.Code, v.Status().Hold.Held)

	if err := v.Rotate(next, diffhook.DefaultRotationWindow); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-handled)
	// Output:
	// 202 1
	// https://example.com/pricing
}

// If an answer is lost, DiffHook retries the delivery: handle each change once. An
// event without a key cannot be recognised, and is handled each time.
func ExampleEvent_DedupKey() {
	handled := map[string]bool{} // in production, a table with a unique key
	handle := func(body []byte) {
		e, err := diffhook.ParseEvent(body)
		if err != nil {
			log.Fatal(err)
		}
		key := e.DedupKey()
		if key != "" && handled[key] {
			return
		}
		handled[key] = true
		fmt.Printf("handled %s %q\n", e.URL, key)
	}
	for range 2 {
		handle(diffhooktest.PageChanged())
	}
	for _, url := range []string{"https://example.com/a", "https://example.com/b"} {
		handle([]byte(`{"event":"page.changed","url":"` + url + `"}`))
	}
	// Output:
	// handled https://example.com/pricing "mon_abc123@2026-03-16T14:22:00Z"
	// handled https://example.com/a ""
	// handled https://example.com/b ""
}

// No text shows a secret by accident. The fingerprint names the secret.
func ExampleSecret() {
	secret, err := diffhook.NewSecret("an example, and not a real secret")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(secret)
	fmt.Printf("%x %#v\n", secret, []diffhook.Secret{secret})
	fmt.Println(secret.Fingerprint())
	// Output:
	// [REDACTED SIGNING SECRET]
	// [REDACTED SIGNING SECRET] []diffhook.Secret{[REDACTED SIGNING SECRET]}
	// ec7ee23f8fd725e1
}

// Metrics: an observation for each delivery, with a label from a fixed set.
func ExampleVerifierOptions() {
	counts := map[diffhook.Result]int{} // in production, a counter with a label; safe for concurrent use
	secret := diffhooktest.NewSecret()
	v, err := diffhook.NewVerifier(context.Background(), diffhook.Secrets{Current: secret}, &diffhook.VerifierOptions{
		MaxBodyBytes: 1 << 20,
		Observe:      func(_ context.Context, o diffhook.Observation) { counts[o.Result]++ },
	})
	if err != nil {
		log.Fatal(err)
	}
	body := diffhooktest.PageChanged()
	for _, signature := range []string{secret.Sign(body), diffhooktest.NewSecret().Sign(body), ""} {
		_ = v.Verify(context.Background(), body, signature)
	}
	fmt.Println(counts)
	// Output: map[accepted:1 mismatch:1 no_signature:1]
}
