package diffhooktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	"github.com/diffhook/diffhook-go"
)

// SenderOptions configures a [Sender]. The zero value, and a nil pointer, mean
// every default.
type SenderOptions struct {
	// Generation is the generation of the platform to act as, 1 or 2: it
	// decides the signature's header and the schedule of retries. By default,
	// 1.
	Generation int

	// SignOnce signs an event once, when the change is detected (when Send is
	// called), and keeps the signature for all attempts. The platform does
	// not say whether it does so or signs each attempt anew: test with both.
	// By default, each attempt is signed with the secret in force as it begins.
	SignOnce bool

	// Retries are the waits before the second and each further attempt, in
	// place of the generation's. Empty, but not nil, means no retries. By
	// default, 5 s and 30 s (generation 1), or 1, 2, 4, … 512 minutes, each
	// up to the next full minute (generation 2).
	Retries []time.Duration

	// HTTPClient sends to URLs. It is copied; redirects are never followed.
	// By default, [http.DefaultClient].
	HTTPClient *http.Client
}

// Sender delivers events as DiffHook does: one signed POST, which has succeeded
// when it is answered with 2xx within [diffhook.DeliveryTimeout], and retries
// of it. Every attempt is recorded in the [Result].
//
// All methods are safe for concurrent use; to have several deliveries in
// flight, send them on goroutines.
type Sender struct {
	opts   SenderOptions
	client *http.Client

	mu     sync.Mutex
	secret diffhook.Secret
}

// NewSender returns a sender that signs with secret; with the zero Secret it
// does not sign. It panics where opts names a generation that there is not.
func NewSender(secret diffhook.Secret, opts *SenderOptions) *Sender {
	s := &Sender{secret: secret}
	if opts != nil {
		s.opts = *opts
		s.opts.Retries = slices.Clone(opts.Retries)
	}
	switch s.opts.Generation {
	case 0:
		s.opts.Generation = 1
	case 1, 2:
	default:
		panic(fmt.Sprintf("diffhooktest: SenderOptions.Generation is %d; want 1 or 2", s.opts.Generation))
	}
	client := http.DefaultClient
	if s.opts.HTTPClient != nil {
		client = s.opts.HTTPClient
	}
	clone := *client
	clone.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s.client = &clone
	return s
}

// Rotate makes next the secret in force, as rotating it at the platform does:
// events, and unless SignOnce is set attempts, that begin from now on are
// signed with it.
func (s *Sender) Rotate(next diffhook.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secret = next
}

// Secret returns the secret in force.
func (s *Sender) Secret() diffhook.Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.secret
}

// Result is what became of one event.
type Result struct {
	// Delivered reports that the last attempt succeeded.
	Delivered bool

	// Attempts are all attempts in their order, at least one.
	Attempts []Attempt

	// Err is the context's error where it ended the delivery early.
	Err error
}

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

// Send delivers body to url over HTTP, and returns when an attempt succeeded,
// the last one failed, or ctx ended.
func (s *Sender) Send(ctx context.Context, url string, body []byte) Result {
	return s.deliver(ctx, body, func(ctx context.Context, header http.Header) (int, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		r.Header = header
		answer, err := s.client.Do(r)
		if err != nil {
			return 0, err
		}
		defer answer.Body.Close()
		_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20))
		return answer.StatusCode, err
	})
}

// SendTo is [Sender.Send] straight to a handler, without a network. Each
// attempt calls h on a goroutine of its own, which goes on after
// DeliveryTimeout, with its context ended, if h does. Within a
// [testing/synctest] bubble, the waits take no real time.
func (s *Sender) SendTo(ctx context.Context, h http.Handler, body []byte) Result {
	return s.deliver(ctx, body, func(ctx context.Context, header http.Header) (int, error) {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", bytes.NewReader(body))
		r.Header = header
		return serve(ctx, h, r)
	})
}

// deliver makes attempts by post until one succeeds or none is left.
func (s *Sender) deliver(ctx context.Context, body []byte, post func(context.Context, http.Header) (int, error)) (result Result) {
	secret := s.Secret()
	for {
		if !s.opts.SignOnce {
			secret = s.Secret()
		}
		attempt := s.attempt(ctx, secret, body, post)
		result.Attempts = append(result.Attempts, attempt)
		if attempt.Succeeded() {
			result.Delivered = true
			return result
		}
		wait, more := s.wait(len(result.Attempts))
		if !more {
			return result
		}
		if result.Err = sleep(ctx, wait); result.Err != nil {
			return result
		}
	}
}

func (s *Sender) attempt(ctx context.Context, secret diffhook.Secret, body []byte, post func(context.Context, http.Header) (int, error)) Attempt {
	name := diffhook.SignatureHeader
	if s.opts.Generation == 2 {
		name = diffhook.SignatureHeaderGen2
	}
	header := make(http.Header)
	setHeaders(header, name, secret.Sign(body))

	ctx, cancel := context.WithTimeout(ctx, diffhook.DeliveryTimeout)
	defer cancel()
	a := Attempt{Began: time.Now(), SignedWith: secret.Fingerprint()}
	a.StatusCode, a.Err = post(ctx, header)
	a.Took = time.Since(a.Began)
	return a
}

// serve calls a handler as a server would, for as long as ctx lasts.
func serve(ctx context.Context, h http.Handler, r *http.Request) (status int, err error) {
	w := httptest.NewRecorder()
	done := make(chan error, 1)
	go func() {
		err := errors.New("diffhooktest: the handler ended its goroutine")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("diffhooktest: the handler panicked: %v", p)
			}
			done <- err
		}()
		h.ServeHTTP(w, r)
		err = nil
	}()
	select {
	case err := <-done:
		if err != nil {
			return 0, err
		}
		return w.Code, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("diffhooktest: no answer in time: %w", ctx.Err())
	}
}

// Retry schedules of the platform, from its documentation.
var (
	retriesGen1 = []time.Duration{5 * time.Second, 30 * time.Second}
	retriesGen2 = []time.Duration{1 * time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute,
		32 * time.Minute, 64 * time.Minute, 128 * time.Minute, 256 * time.Minute, 512 * time.Minute}
)

// wait returns how long to wait after the n-th attempt failed just now, and
// whether there is another one.
func (s *Sender) wait(n int) (time.Duration, bool) {
	retries, pickup := s.opts.Retries, false
	switch {
	case retries != nil:
	case s.opts.Generation == 2:
		// What is due is picked up about once a minute.
		retries, pickup = retriesGen2, true
	default:
		retries = retriesGen1
	}
	if n > len(retries) {
		return 0, false
	}
	wait := retries[n-1]
	if pickup {
		due := time.Now().Add(wait)
		if full := due.Truncate(time.Minute); full.Before(due) {
			wait += full.Add(time.Minute).Sub(due)
		}
	}
	return wait, true
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
