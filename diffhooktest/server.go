package diffhooktest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/diffhook/diffhook-go"
)

// Server emulates the platform in memory: its REST API, and the webhooks that
// it delivers. See the package comment for what it does and what of that is
// assumed.
//
// [NewServer] and [Start] listen on loopback; [New] does not listen, and is
// called as the [http.Handler] that every Server is. All methods are safe for
// concurrent use. No two servers share anything.
type Server struct {
	// URL is the base URL of the API, with a slash at its end: what
	// [diffhook.ClientOptions].BaseURL takes. For a server of New it is one
	// where nobody listens.
	URL string

	routes      []route
	clock       *clock
	defaultTeam *Team

	http   *http.Server // nil: it does not listen
	conns  sync.WaitGroup
	active sync.WaitGroup // requests, deliveries and timers; added to under mu while not closed
	ctx    context.Context
	cancel context.CancelFunc
	close  sync.Once

	deliveries *http.Transport // by default
	calls      *http.Transport // of clients made by Client

	advance sync.Mutex // one Advance at a time; held before mu

	mu        sync.Mutex
	closed    bool
	settings  Settings
	teams     []*Team
	keys      map[string]*apiKey // by text; revoked ones too
	clients   map[string]*oauthClient
	tokens    map[string]*accessToken
	addresses map[string]*rateLog
	faults    []*armedFault
	requests  []Request

	sent      []*delivery // oldest first
	pending   []*delivery // of sent: those that may have an attempt to come
	timer     *time.Timer // for the attempt due first; nil: none, or Advance is at work
	advancing bool
	inFlight  int
	landed    *sync.Cond // on mu: inFlight fell
}

// Settings are what [Server.Configure] sets. The zero value means every
// default.
type Settings struct {
	// SignOnce signs a webhook once, when the change is detected, and keeps
	// the signature for all attempts; see [SenderOptions].SignOnce. By
	// default, each attempt is signed with the secret in force as it begins.
	SignOnce bool

	// Deliver sends the webhooks. [Transport] makes one that calls a handler,
	// whatever the URL. By default, webhooks go over the network to loopback
	// addresses, and attempts at any other fail: pass [http.DefaultTransport]
	// to have them made.
	Deliver http.RoundTripper

	// RequestsPerMinutePerIP is how many requests may come from one IP address
	// in any 60 s, over all keys. By default, as many as the plan of the
	// request's team allows for each key.
	RequestsPerMinutePerIP int

	// Terse leaves out of answers what the platform may not tell: the text of
	// the replaced signing secret, and when a key was last used. By default,
	// both are told; neither is documented.
	Terse bool

	// OnExchange is called with every request to the API, before the answer to
	// it is sent, on the goroutine that answers. By default, nothing is.
	OnExchange func(Exchange)
}

// NewServer starts a server on loopback that closes itself when the test ends.
func NewServer(tb testing.TB) *Server {
	tb.Helper()
	s, err := Start()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// Start starts a server on loopback, outside a test. [Server.Close] ends it.
// It returns an error where it cannot listen.
func Start() (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("diffhooktest: %w", err)
	}
	s := New()
	s.URL = "http://" + listener.Addr().String() + "/api/"
	s.http = &http.Server{Handler: s, ConnState: s.countConn}
	s.conns.Go(func() { _ = s.http.Serve(listener) }) // always http.ErrServerClosed
	return s, nil
}

// New returns a server that does not listen: requests reach it through
// [Transport], or as calls of ServeHTTP. It can so be used within a
// [testing/synctest] bubble, where its clock goes by the bubble's time. Close
// it there too, unless no webhook is in flight.
func New() *Server {
	s := &Server{
		URL:        "http://127.0.0.1:1/api/",
		routes:     routes(),
		clock:      newClock(),
		deliveries: newTransport(),
		calls:      newTransport(),
		keys:       make(map[string]*apiKey),
		clients:    make(map[string]*oauthClient),
		tokens:     make(map[string]*accessToken),
		addresses:  make(map[string]*rateLog),
	}
	s.landed = sync.NewCond(&s.mu)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.defaultTeam = s.addTeam(Plan{})
	return s
}

func newTransport() *http.Transport {
	return &http.Transport{MaxIdleConnsPerHost: 64}
}

// Close ends the server: delays end, connections are closed, attempts under
// way are cancelled and those due later never made. It returns when all
// goroutines of the server have ended, so it must not be called from a hook or
// an endpoint that one of them has called. Requests to a closed server are
// aborted. Closing twice does nothing more.
func (s *Server) Close() {
	s.close.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.arm()
		s.mu.Unlock()
		s.cancel()
		if s.http != nil {
			_ = s.http.Close() // of the listener, which nothing else closes
		}
		s.active.Wait()
		s.conns.Wait()
		s.deliveries.CloseIdleConnections()
		s.calls.CloseIdleConnections()
	})
}

// countConn lets Close wait for the goroutines of connections.
func (s *Server) countConn(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.conns.Done()
	}
}

// Configure replaces all settings, for what begins from now on.
func (s *Server) Configure(settings Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = settings
}

// APIKey returns the API key of the default team.
func (s *Server) APIKey() diffhook.APIKey { return s.defaultTeam.APIKey() }

// ClientCredentials returns the OAuth client of the default team, for
// generation 2.
func (s *Server) ClientCredentials() (id, secret string) { return s.defaultTeam.ClientCredentials() }

// Secrets returns the signing secrets of the default team that are in force.
func (s *Server) Secrets() diffhook.Secrets { return s.defaultTeam.Secrets() }

// Rotate is [Team.Rotate] of the default team.
func (s *Server) Rotate() diffhook.Secrets { return s.defaultTeam.Rotate() }

// RevokePrevious is [Team.RevokePrevious] of the default team.
func (s *Server) RevokePrevious() { s.defaultTeam.RevokePrevious() }
