package diffhooktest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	"github.com/diffhook/diffhook-go"
)

// SenderOptions configures a [Sender]. Nil and the zero value mean every default.
type SenderOptions struct {
	// Generation, 1 or 2, decides the signature's header and the schedule of
	// retries. By default, 1.
	Generation int

	// SignOnce signs an event once, when Send is called, and keeps the signature
	// for all attempts. Whether DiffHook does so is not documented: test both ways.
	// By default, the secret that is current when an attempt begins signs the
	// attempt.
	SignOnce bool

	// Retries are the waits before the second and each later attempt. Empty but not
	// nil means no retries. By default, the waits are 5 s and 30 s in generation 1.
	// In generation 2, they are 1, 2, 4, … 512 minutes, each until the next full
	// minute of the clock.
	Retries []time.Duration

	// HTTPClient sends to URLs. It is copied and follows no redirects. By default,
	// [http.DefaultClient].
	HTTPClient *http.Client
}

// Sender delivers events as DiffHook does: a signed POST, and retries until a
// response with 2xx arrives within [diffhook.DeliveryTimeout]. The [Result] records
// every attempt.
//
// All methods are safe for concurrent use: for several deliveries in flight, call
// Send from several goroutines.
type Sender struct {
	opts     SenderOptions
	schedule schedule
	client   *http.Client

	mu     sync.Mutex
	secret diffhook.Secret
}

// NewSender returns a sender that signs with secret. The zero Secret means no
// signature. NewSender panics if opts.Generation is not 0, 1 or 2.
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
		panic(fmt.Sprintf("diffhooktest: SenderOptions.Generation is %d; use 1 or 2", s.opts.Generation))
	}
	s.schedule = scheduleOf(s.opts.Generation)
	if s.opts.Retries != nil {
		s.schedule = schedule{retries: s.opts.Retries}
	}
	client := http.DefaultClient
	if s.opts.HTTPClient != nil {
		client = s.opts.HTTPClient
	}
	s.client = noRedirects(client)
	return s
}

// Rotate makes next the current secret, like a rotation on the platform. It signs
// the events that begin from now on and, unless SignOnce is set, the attempts.
func (s *Sender) Rotate(next diffhook.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secret = next
}

// Secret returns the current secret.
func (s *Sender) Secret() diffhook.Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.secret
}

// Result is the outcome of a delivery.
type Result struct {
	// Delivered reports whether the last attempt succeeded.
	Delivered bool

	// Attempts are all attempts in order, at least one from a Sender.
	Attempts []Attempt

	// Err is the error of the context if the context ended the delivery early.
	Err error
}

// Send delivers body to url over HTTP. It returns after an attempt succeeded, after
// the last attempt, or when ctx ends.
func (s *Sender) Send(ctx context.Context, url string, body []byte) Result {
	return s.deliver(ctx, body, postTo(s.client, url, body))
}

// SendTo is [Sender.Send] to a handler, without a network. Pass the endpoint and
// not a mux around it: requests have the path /. For a mux, call Send with a
// [Transport] in the HTTPClient. Each attempt calls h on a new goroutine. After
// DeliveryTimeout, the context of the request ends and the next attempt may begin, even
// if h still runs. In a [testing/synctest] bubble, the waits take no real time.
func (s *Sender) SendTo(ctx context.Context, h http.Handler, body []byte) Result {
	return s.deliver(ctx, body, func(ctx context.Context, header http.Header) (int, error) {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", bytes.NewReader(body))
		r.Header = header
		w, err := serve(ctx, h, r)
		if err != nil {
			return 0, err
		}
		return w.Code, nil
	})
}

// deliver makes attempts with post until success, the last attempt, or the end of
// ctx.
func (s *Sender) deliver(ctx context.Context, body []byte, post poster) (result Result) {
	secret := s.Secret()
	for {
		if !s.opts.SignOnce {
			secret = s.Secret()
		}
		a := attempt(ctx, time.Now(), s.opts.Generation, secret, body, post)
		result.Attempts = append(result.Attempts, a)
		if a.Succeeded() {
			result.Delivered = true
			return result
		}
		now := time.Now()
		due, more := s.schedule.next(len(result.Attempts), now)
		if !more {
			return result
		}
		if result.Err = sleep(ctx, due.Sub(now)); result.Err != nil {
			return result
		}
	}
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
