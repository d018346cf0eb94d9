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

// Attempt is one attempt at a delivery.
type Attempt struct {
	Began time.Time
	Took  time.Duration

	// SignedWith is the fingerprint of the secret that signed it; empty where
	// it was not signed.
	SignedWith string

	// StatusCode is the status of the answer; 0 where there was none in time.
	StatusCode int

	// Err is why there was no answer: nil, an error of the connection, one
	// that wraps [context.DeadlineExceeded] after DeliveryTimeout, or, for a
	// handler, that it panicked.
	Err error
}

// Succeeded reports an answer of 2xx in time.
func (a Attempt) Succeeded() bool {
	return a.Err == nil && a.StatusCode >= 200 && a.StatusCode < 300
}

// poster sends one attempt and returns the status of the answer.
type poster func(ctx context.Context, header http.Header) (int, error)

// attempt makes one attempt at a delivery of body in the way of a generation,
// signed with secret. It began at the given time on whichever clock the
// delivery goes by; how long it took is always measured in real time.
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
		answer, err := client.Do(r)
		if err != nil {
			return 0, err
		}
		defer answer.Body.Close()
		_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20))
		return answer.StatusCode, err
	}
}

// noRedirects returns a copy of client that follows no redirect.
func noRedirects(client *http.Client) *http.Client {
	clone := *client
	clone.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &clone
}

// serve calls a handler as a server would, for as long as ctx lasts. The
// recorder is nil where the handler has not returned: it may still write.
// Where the handler panicked, the error is a *panicError.
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
		err = nil
	}()
	select {
	case err := <-done:
		return w, err
	case <-ctx.Done():
		return nil, fmt.Errorf("diffhooktest: no answer in time: %w", ctx.Err())
	}
}

type panicError struct{ value any }

func (e *panicError) Error() string {
	return fmt.Sprintf("diffhooktest: the handler panicked: %v", e.value)
}

// schedule is when the attempts at a delivery are due.
type schedule struct {
	retries []time.Duration
	pickup  bool // what is due is picked up at the next full minute
}

// scheduleOf returns the documented schedule of a generation: 3 attempts, or
// 11 that are picked up "about once a minute".
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

// next returns when the next attempt is made after the n-th failed at the
// given time, and whether there is one.
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
