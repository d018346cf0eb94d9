package diffhooktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/diffhook/diffhook-go"
)

// Attempt records an attempt at a delivery.
type Attempt struct {
	Began time.Time     // by the Server's clock, or the real time of a Sender
	Took  time.Duration // in real time

	// SignedWith is the fingerprint of the secret that signed the attempt; empty if
	// no secret did.
	SignedWith string

	// StatusCode is the status of the response; 0 if no status arrived in time.
	StatusCode int

	// Err is nil if a complete response arrived in time. Otherwise it is an error
	// of the connection, or matches [context.DeadlineExceeded] after
	// DeliveryTimeout, or reports a panic of the handler.
	Err error
}

// Succeeded reports whether a complete response with a 2xx status arrived in time.
func (a Attempt) Succeeded() bool {
	return a.Err == nil && a.StatusCode >= 200 && a.StatusCode < 300
}

// poster sends an attempt and returns the status of the response.
type poster func(ctx context.Context, header http.Header) (int, error)

// attempt makes an attempt at a delivery of body, signed with secret in the header
// of generation. began is the time on the clock of the delivery.
func attempt(ctx context.Context, began time.Time, generation int, secret diffhook.Secret, body []byte, post poster) Attempt {
	name := diffhook.SignatureHeader
	if generation == 2 {
		name = diffhook.SignatureHeaderGen2
	}
	header := make(http.Header)
	setHeaders(header, name, secret.Sign(body))

	ctx, cancel := context.WithTimeout(ctx, diffhook.DeliveryTimeout)
	defer cancel()
	a := Attempt{Began: began, SignedWith: secret.Fingerprint()}
	start := time.Now()
	a.StatusCode, a.Err = post(ctx, header)
	a.Took = time.Since(start)
	return a
}

// postTo returns a poster that sends body to url.
func postTo(client *http.Client, url string, body []byte) poster {
	return func(ctx context.Context, header http.Header) (int, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		r.Header = header
		resp, err := client.Do(r)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
		return resp.StatusCode, err
	}
}

// noRedirects returns a copy of client that follows no redirect.
func noRedirects(client *http.Client) *http.Client {
	clone := *client
	clone.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &clone
}

// serve calls h as a server would, and returns at the latest when ctx ends. The
// recorder is nil if h still runs and may write. After a panic of h, the error is a
// *panicError.
func serve(ctx context.Context, h http.Handler, r *http.Request) (*httptest.ResponseRecorder, error) {
	w := httptest.NewRecorder()
	done := make(chan error, 1)
	go func() {
		err := errors.New("diffhooktest: the handler ended its goroutine")
		defer func() {
			if p := recover(); p != nil {
				err = &panicError{p}
			}
			done <- err
		}()
		h.ServeHTTP(w, r)
		err = checkLength(w, r.Method)
	}()
	select {
	case err := <-done:
		return w, err
	case <-ctx.Done():
		return nil, fmt.Errorf("diffhooktest: no response in time: %w", ctx.Err())
	}
}

// checkLength returns errShort if the body is shorter than the Content-Length: a server
// then breaks the connection.
func checkLength(w *httptest.ResponseRecorder, method string) error {
	hasBody := method != http.MethodHead && w.Code != http.StatusNoContent && w.Code != http.StatusNotModified
	if hasBody && int64(w.Body.Len()) < w.Result().ContentLength {
		return errShort
	}
	return nil
}

var errShort = fmt.Errorf("diffhooktest: the body of the response is shorter than the Content-Length: %w", io.ErrUnexpectedEOF)

type panicError struct{ value any }

func (e *panicError) Error() string {
	return fmt.Sprintf("diffhooktest: the handler panicked: %v", e.value)
}

// schedule defines when the retries of a delivery are due.
type schedule struct {
	retries []time.Duration
	pickup  bool // a retry starts at the next full minute
}

// scheduleOf returns the documented schedule of a generation: 3 attempts for
// generation 1, and 11 for generation 2, which picks up retries "about once a
// minute".
func scheduleOf(generation int) schedule {
	if generation == 2 {
		retries := make([]time.Duration, 10)
		for i := range retries {
			retries[i] = time.Minute << i
		}
		return schedule{retries, true}
	}
	return schedule{[]time.Duration{5 * time.Second, 30 * time.Second}, false}
}

// next returns the time of the retry after the n-th attempt failed at the given
// time, and whether there is a retry.
func (s schedule) next(n int, failed time.Time) (time.Time, bool) {
	if n > len(s.retries) {
		return time.Time{}, false
	}
	due := failed.Add(s.retries[n-1])
	if !s.pickup {
		return due, true
	}
	if full := due.Truncate(time.Minute); full.Before(due) {
		due = full.Add(time.Minute)
	}
	return due, true
}
