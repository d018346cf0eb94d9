package diffhook_test

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"text/tabwriter"

	"github.com/diffhook/diffhook-go"
)

// Secrets of which the second replaces the first: 39929fe00f085297 and
// e59e0ec3f3c4efaa are their fingerprints.
func exampleRotation() (before, after diffhook.Secrets) {
	old, err := diffhook.NewSecret("test-signing-secret-previous-0001")
	if err != nil {
		log.Fatal(err)
	}
	current, err := diffhook.NewSecret("test-signing-secret-current-0001")
	if err != nil {
		log.Fatal(err)
	}
	return diffhook.Secrets{Current: old}, diffhook.Secrets{Current: current, Previous: old}
}

// showMerged prints what servers say together: which secrets they have, where,
// and how many deliveries each verified.
func showMerged(statuses map[string]diffhook.RotationStatus) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, s := range diffhook.MergeStatuses(statuses) {
		fmt.Fprintf(w, "%s\tcurrent %v\tprevious %v\tuses %d\n", s.Fingerprint, s.CurrentAt, s.PreviousAt, s.Uses)
	}
	w.Flush()
}

// Three servers in a rotation, of which one lags: to it the old secret is still
// the current one. Revoking that would have it refuse deliveries.
func ExampleMergeStatuses() {
	ctx := context.Background()
	before, after := exampleRotation()
	statuses := make(map[string]diffhook.RotationStatus)
	for name, secrets := range map[string]diffhook.Secrets{"web-1": after, "web-2": after, "web-3": before} {
		v, err := diffhook.NewVerifier(ctx, secrets, nil)
		if err != nil {
			log.Fatal(err)
		}
		body := []byte(`{"event": "page.changed"}`)
		if err := v.Verify(ctx, body, before.Current.Sign(body)); err != nil { // a delivery in flight
			log.Fatal(err)
		}
		statuses[name] = v.Status()
	}

	showMerged(statuses)
	// Output:
	// e59e0ec3f3c4efaa  current [web-1 web-2]  previous []             uses 0
	// 39929fe00f085297  current [web-3]        previous [web-1 web-2]  uses 3
}

// Three servers show their status to who has a token, which is your part: the
// handler lets everybody in. From elsewhere they are RemoteReceivers, for
// MergeStatuses and, to do the whole, for SigningSecret.Replace and Revoke.
func ExampleVerifier_StatusHandler() {
	ctx := context.Background()
	before, after := exampleRotation()
	const token = "of-your-choice"
	authenticated := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+token)) != 1 {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}

	// Each server.
	source := before
	receivers := make(map[string]*diffhook.RemoteReceiver)
	for _, name := range []string{"web-1", "web-2", "web-3"} {
		v, err := diffhook.NewVerifier(ctx, diffhook.SecretSourceFunc(func(context.Context) (diffhook.Secrets, error) { return source, nil }), nil)
		if err != nil {
			log.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/diffhook/status", authenticated(v.StatusHandler()))
		server := httptest.NewServer(mux)
		defer server.Close()
		receivers[name] = &diffhook.RemoteReceiver{
			URL:       server.URL + "/diffhook/status",
			Authorize: func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) },
		}
	}

	// Elsewhere. Two of the servers read the source again, and one does not.
	source = after
	for _, name := range []string{"web-1", "web-2"} {
		if err := receivers[name].Refresh(ctx); err != nil {
			log.Fatal(err)
		}
	}
	statuses := make(map[string]diffhook.RotationStatus)
	for name, receiver := range receivers {
		status, err := receiver.Status(ctx)
		if err != nil {
			log.Fatal(err)
		}
		statuses[name] = status
	}
	showMerged(statuses)

	stranger := diffhook.RemoteReceiver{URL: receivers["web-1"].URL}
	_, err := stranger.Status(ctx)
	fmt.Println("a stranger is refused:", errors.Is(err, diffhook.ErrUnexpectedResponse))
	// Output:
	// e59e0ec3f3c4efaa  current [web-1 web-2]  previous []             uses 0
	// 39929fe00f085297  current [web-3]        previous [web-1 web-2]  uses 0
	// a stranger is refused: true
}
