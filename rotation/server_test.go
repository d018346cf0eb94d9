package rotation_test

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

// server verifies deliveries. The source is the document, some time late.
type server struct {
	v       *diffhook.Verifier
	handler http.Handler
	source  diffhook.SecretSource
	options diffhook.VerifierOptions
	ctx     context.Context
	handled map[string]int
	mu      *sync.Mutex
}

func (s *server) restart() error {
	v, err := diffhook.NewVerifier(s.ctx, s.source, &s.options)
	if err != nil {
		return err
	}
	handler := v.EventHandler(func(_ context.Context, e *diffhook.Event) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.handled[e.MonitorID]++
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.v, s.handler = v, handler
	return nil
}

func (s *server) now() (*diffhook.Verifier, http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.v, s.handler
}

// count returns how often the server handled an event.
func (s *server) count(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handled[id]
}

// current is the receiver of the server, for whichever process runs.
type current struct{ *server }

func (c current) local() rotation.Receiver { v, _ := c.now(); return rotation.Local(v) }

func (c current) Status(ctx context.Context) (diffhook.VerifierStatus, error) {
	return c.local().Status(ctx)
}
func (c current) Refresh(ctx context.Context) error          { return c.local().Refresh(ctx) }
func (c current) Reject(ctx context.Context, f string) error { return c.local().Reject(ctx, f) }
func (c current) Hold(ctx context.Context, d time.Duration) error {
	return c.local().Hold(ctx, d)
}
func (c current) AcceptSuccessor(ctx context.Context, s string) error {
	return c.local().AcceptSuccessor(ctx, s)
}
