package docs_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// memoryStore is a store in memory, which also shows what the document was.
type memoryStore struct {
	mu    sync.Mutex
	saved []savedDocument
}

type savedDocument struct {
	at  time.Time
	doc []byte
}

func (s *memoryStore) Get(context.Context) ([]byte, string, error) { return s.ago(0) }

func (s *memoryStore) Swap(_ context.Context, version string, doc []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if version != fmt.Sprint(len(s.saved)) {
		return rotation.ErrConflict
	}
	s.saved = append(s.saved, savedDocument{time.Now(), doc})
	return nil
}

// ago returns the document of some time ago, or the first one.
func (s *memoryStore) ago(d time.Duration) ([]byte, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.saved)
	for n > 1 && time.Since(s.saved[n-1].at) < d {
		n--
	}
	if n == 0 {
		return nil, "0", nil
	}
	return s.saved[n-1].doc, fmt.Sprint(n), nil
}

// laggingStore is a store as a server sees it that reads a late copy.
type laggingStore struct {
	*memoryStore
	lag time.Duration
}

func (s laggingStore) Get(context.Context) ([]byte, string, error) { return s.ago(s.lag) }

// unpushed is a receiver that takes no sealed secret.
type unpushed struct{ rotation.Receiver }

func (unpushed) AcceptSuccessor(context.Context, string) error { return nil }

// situation is one row of the table of losses.
type situation struct {
	name string
	api  bool          // the assumed endpoints, in place of a person
	slow time.Duration // from the click until the person pastes
	lag  time.Duration // until a server's source has what the document has
}

var situations = []situation{
	{name: "API, sources read at once", api: true},
	{name: "pasted after 45 s", slow: 45 * time.Second},
	{name: "pasted after 10 min", slow: 10 * time.Minute},
	{name: "pasted after 10 s, sources 60 s late", slow: 10 * time.Second, lag: time.Minute},
	{name: "pasted after 10 s, sources 100 s late", slow: 10 * time.Second, lag: 100 * time.Second},
}

const lossEvents = 1000

// lossWorld is a rotation with two servers.
type lossWorld struct {
	*testing.T
	situation
	generation int
	once       bool // a retry keeps the signature of the first attempt
	bare       bool // without a hold, and nothing is pushed

	platform *diffhooktest.Server
	store    *memoryStore
	mu       sync.Mutex
	handled  map[string]int // by Event.DedupKey
}

// lost rotates while events come, and returns how many are never handled.
func (w *lossWorld) lost() (lost int) {
	ctx, cancel := context.WithCancel(w.Context())
	defer cancel()
	w.platform, w.store, w.handled = diffhooktest.New(), new(memoryStore), make(map[string]int)
	defer w.platform.Close()
	old := w.platform.Secrets().Current
	require.NoError(w, rotation.NewSecret(ctx, w.store, old))
	options := w.start(ctx)
	monitor := w.platform.DefaultTeam().NewMonitor(diffhooktest.Monitor{Generation: w.generation, WebhookURL: "https://hooks.example.com/hook"}).ID

	var wg sync.WaitGroup
	wg.Go(func() {
		time.Sleep(30 * time.Second)
		var p rotation.SecretPlatform = rotation.ByHand(w.answer)
		if w.api {
			p = rotation.API(w.platform.Client(nil))
		}
		assert.NoError(w, rotation.Secret(ctx, old.Fingerprint(), p, w.store, options))
	})
	for range lossEvents {
		wg.Go(func() {
			_, err := w.platform.Change(monitor, nil)
			assert.NoError(w, err)
		})
		time.Sleep((2*time.Minute + w.slow + w.lag) / lossEvents)
	}
	wg.Wait()
	time.Sleep(options.RetryHorizon) // all retries are made
	deliveries := w.platform.Deliveries()
	require.Len(w, deliveries, lossEvents)
	for _, d := range deliveries {
		e, err := diffhook.ParseEvent(d.Body)
		require.NoError(w, err)
		if w.handled[e.DedupKey()] == 0 {
			lost++
		}
	}
	return lost
}

// start starts the servers, and returns the options of the rotation.
func (w *lossWorld) start(ctx context.Context) *rotation.SecretOptions {
	options := &rotation.SecretOptions{Receivers: make(map[string]rotation.Receiver), Poll: 5 * time.Second, RetryHorizon: 2 * time.Minute}
	if w.generation == 2 {
		options.Poll, options.RetryHorizon = 5*time.Minute, 18*time.Hour
	}
	if w.bare {
		options.Hold = -1
	}
	var servers []http.Handler
	for i := range 2 {
		v, err := diffhook.NewVerifier(ctx, rotation.Source(laggingStore{w.store, w.lag}), nil)
		require.NoError(w, err)
		go v.Watch(ctx, max(time.Minute, options.Poll))
		servers = append(servers, v.EventHandler(func(_ context.Context, e *diffhook.Event) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.handled[e.DedupKey()]++
			return nil
		}))
		receiver := rotation.Local(v)
		if w.bare {
			receiver = unpushed{receiver}
		}
		options.Receivers[fmt.Sprintf("web-%d", i+1)] = receiver
	}
	var turn atomic.Int64
	w.platform.Configure(diffhooktest.Settings{SignOnce: w.once, Deliver: diffhooktest.Transport(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		servers[turn.Add(1)%2].ServeHTTP(rw, r)
	}))})
	return options
}

// answer is the person.
func (w *lossWorld) answer(_ context.Context, q rotation.Question) (string, error) {
	switch {
	case q.Confirm:
		w.platform.RevokePrevious()
	case strings.Contains(q.Text, "click Rotate signing secret"):
		w.platform.Rotate()
		time.Sleep(w.slow)
	}
	return w.platform.Secrets().Current.Reveal(), nil
}

// The table of losses in rotation.md: go test -run TestLosses -v ./docs
func TestLosses(t *testing.T) {
	for _, s := range situations {
		for _, w := range []*lossWorld{
			{situation: s, generation: 1, bare: true},
			{situation: s, generation: 1, bare: true, once: true},
			{situation: s, generation: 1},
			{situation: s, generation: 1, once: true},
			{situation: s, generation: 2, bare: true, once: true},
			{situation: s, generation: 2, once: true},
		} {
			if w.bare && w.generation == 2 && s.slow < time.Minute {
				continue // the longest wait shows that it needs neither
			}
			t.Run(fmt.Sprintf("%s/generation %d, hold and push %v, retries signed once %v", s.name, w.generation, !w.bare, w.once), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w.T = t
					lost := w.lost()
					t.Logf("%d of %d lost", lost, lossEvents)
					if w.bare && w.generation == 1 && !s.api {
						require.NotZero(t, lost, "or this shows nothing")
						return
					}
					require.Zero(t, lost)
				})
			})
		}
	}
}
