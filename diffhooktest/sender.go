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
	opts     SenderOptions
	schedule schedule
	client   *http.Client

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

// Send delivers body to url over HTTP, and returns when an attempt succeeded,
// the last one failed, or ctx ended.
func (s *Sender) Send(ctx context.Context, url string, body []byte) Result {
	return s.deliver(ctx, body, postTo(s.client, url, body))
}

// SendTo is [Sender.Send] straight to a handler, without a network: the
// endpoint itself and not a mux around it, for requests have the path /. Each
// attempt calls h on a goroutine of its own, which goes on after
// DeliveryTimeout, with its context ended, if h does. Within a
// [testing/synctest] bubble, the waits take no real time.
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

// deliver makes attempts by post until one succeeds or none is left.
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
