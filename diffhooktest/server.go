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

// Server emulates the platform in memory: the REST API, and the delivery of
// webhooks. The package comment lists the features and the assumptions.
//
// [NewServer] and [Start] listen on loopback. A server from [New] does not listen;
// use it as an [http.Handler]. All methods are safe for concurrent use. Servers
// share nothing.
type Server struct {
	// URL is the base URL of the API, for [diffhook.ClientOptions].BaseURL, and
	// ends with a slash. For a server from New, nothing listens there.
	URL string

	routes      []route
	clock       *clock
	defaultTeam *Team

	http   *http.Server // nil for a server from New
	conns  sync.WaitGroup
	active sync.WaitGroup // requests, deliveries and timers; grows only under mu, before closed
	ctx    context.Context
	cancel context.CancelFunc
	close  sync.Once

	deliveries *http.Transport // for webhooks, unless Settings.Deliver is set
	calls      *http.Transport // for the clients from Client

	advance sync.Mutex // held during Advance; locked before mu

	mu        sync.Mutex
	closed    bool
	settings  Settings
	teams     []*Team
	keys      map[string]*apiKey // by text, with the revoked keys
	clients   map[string]*oauthClient
	tokens    map[string]*accessToken
	addresses map[string]*rateLog
	faults    []*armedFault
	requests  []Request

	sent      []*delivery // oldest first
	pending   []*delivery // the part of sent with attempts to come, and perhaps some without
	timer     *time.Timer // for the earliest attempt; nil if there is none, or while Advance runs
	advancing bool
	inFlight  int
	landed    *sync.Cond // on mu, after inFlight fell
}

// Settings are options for [Server.Configure]. The zero value means every default.
type Settings struct {
	// SignOnce signs a webhook once, at the change, and keeps the signature for all
	// attempts; see [SenderOptions].SignOnce. By default, the secret that is
	// current when an attempt begins signs the attempt.
	SignOnce bool

	// Deliver sends the webhooks. [Transport] returns a RoundTripper that calls a
	// handler for every URL. By default, webhooks go over the network to loopback
	// addresses, and attempts at other addresses fail. To reach any address, pass
	// [http.DefaultTransport].
	Deliver http.RoundTripper

	// RequestsPerMinutePerIP limits the requests of an IP address in any 60 s,
	// over all keys. By default, the limit is the plan's limit per key.
	RequestsPerMinutePerIP int

	// Terse leaves out of responses two undocumented texts that the platform may
	// not show: the previous signing secret, and the time of a key's last use. By
	// default, responses contain both.
	Terse bool

	// OnExchange, if not nil, is called for every request to the API before the
	// response is sent, on the goroutine of the request.
	OnExchange func(Exchange)
}

// NewServer starts a server on loopback, and closes it when the test ends.
func NewServer(tb testing.TB) *Server {
	tb.Helper()
	s, err := Start()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// Start starts a server on loopback, outside a test. [Server.Close] ends the
// server. Start returns an error if it cannot listen.
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

// New returns a server that does not listen. Send requests through [Transport], or
// call ServeHTTP. In a [testing/synctest] bubble, the clock follows the time of the
// bubble. Close the server in the bubble too, unless no webhook is in flight.
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

// Close ends the server: delays end, connections close, running attempts are
// cancelled, and later attempts are not made. Requests to a closed server are
// aborted. Close returns after all goroutines of the server have ended: a hook or an
// endpoint must not call Close while the server calls it. A second call does nothing.
func (s *Server) Close() {
	s.close.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.arm()
		s.mu.Unlock()
		s.cancel()
		if s.http != nil {
			_ = s.http.Close() // closes the listener, whose error helps nobody
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

// Configure replaces all settings, for the requests and attempts that follow.
func (s *Server) Configure(settings Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = settings
}

// APIKey returns the API key of the default team.
func (s *Server) APIKey() diffhook.APIKey { return s.defaultTeam.APIKey() }

// ClientCredentials returns the OAuth client of the default team, for generation 2.
func (s *Server) ClientCredentials() (id, secret string) { return s.defaultTeam.ClientCredentials() }

// Secrets is [Team.Secrets] of the default team.
func (s *Server) Secrets() diffhook.Secrets { return s.defaultTeam.Secrets() }

// Rotate is [Team.Rotate] of the default team.
func (s *Server) Rotate() diffhook.Secrets { return s.defaultTeam.Rotate() }

// RevokePrevious is [Team.RevokePrevious] of the default team.
func (s *Server) RevokePrevious() { s.defaultTeam.RevokePrevious() }
