package diffhook

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
)

// Defaults of the client.
const (
	// DefaultBaseURL is the base URL of DiffHook's API, in both generations.
	DefaultBaseURL = "https://www.diffhook.com/api/"

	defaultMaxAttempts    = 4
	defaultAttemptTimeout = 30 * time.Second
	defaultMaxRetryWait   = 60 * time.Second

	userAgent = "diffhook-go/0.1"
)

// ClientOptions configures a [Client]. The zero value, and a nil pointer, mean the
// defaults.
type ClientOptions struct {
	// BaseURL is the address of the API. It must be https, or http to a loopback
	// address for tests. By default, [DefaultBaseURL].
	BaseURL string

	// HTTPClient sends the requests. It is copied and never changed, and redirects
	// are not followed. If the transport repeats a request by itself on a connection
	// of net/http, the attempt ends before the second request is sent. So a transport
	// that makes further requests, such as for a token, must not make them with the
	// context of the request. By default, a client with a transport like
	// [http.DefaultTransport], connections for 64 goroutines, and pings that find
	// dead HTTP/2 connections.
	HTTPClient *http.Client

	// UserAgent is put before the library's user agent, so that DiffHook can tell the
	// caller. By default, it is empty.
	UserAgent string

	// Limiter delays requests. The client calls Wait for a single call at a time, in
	// the order of arrival, but reads of the signing secret come first. Clients that
	// share a key should share a limiter. By default, PlanLimiter(FreePlan).
	Limiter Limiter

	// MaxAttempts bounds how many times a request is sent, retries included. 1 means no
	// retries. By default, 4.
	MaxAttempts int

	// AttemptTimeout bounds an attempt, from the connection to the last byte of the
	// response. By default, 30 s.
	AttemptTimeout time.Duration

	// MaxRetryWait is the longest wait before a retry that the API may ask for. If
	// the API asks for more, the error comes at once, with RetryAfter. By default, 60
	// s.
	MaxRetryWait time.Duration

	// Generation is the generation of the platform, 1 or 2: it decides the names of
	// fields in requests. By default, 2 with [ClientCredentials], else 1.
	Generation int

	// Logger receives a line for each attempt (Debug) and each retry (Warn): the
	// method, the route and the status, never a header, a query, a body or a
	// credential. By default, nothing is logged.
	Logger *slog.Logger
}

// Client calls the API. The methods are grouped by resource, and [Client.Do] is for
// endpoints without a method. Make a Client with [NewClient] and keep it: it holds
// connections, a token and a limiter. All methods are safe for concurrent use.
type Client struct {
	Keys          *KeyService
	SigningSecret *SigningSecretService
	Monitors      *MonitorService
	Logs          *LogService

	// core returns the state, behind a function as the key of a Secret: the buffers
	// of a connection hold the last token. A program that prints a Client by
	// reflection would show them, and read them while other goroutines change them.
	core func() *core
	auth atomic.Pointer[auth]
}

// NewClient returns a client with the given credentials. Nil options mean the
// defaults. It does no I/O.
//
// Errors match [ErrInvalidCredentials] for impossible credentials, and name the
// environment variable, if any. They match [ErrInvalidOptions] for an option out of
// range.
func NewClient(creds Credentials, opts *ClientOptions) (*Client, error) {
	core := &core{}
	if opts != nil {
		core.opts = *opts
	}
	if err := core.fill(); err != nil {
		return nil, err
	}
	auth, err := core.newAuth(creds)
	if err != nil {
		return nil, err
	}
	return newClient(core, auth), nil
}

// SetCredentials makes attempts from now on use creds, retries of earlier calls
// included. If creds cannot be right, those attempts fail with the error of
// [NewClient].
func (c *Client) SetCredentials(creds Credentials) { c.auth.Store(c.core().mustAuth(creds)) }

// WithCredentials returns a second client with other credentials, which shares the
// connections, the limiter and the options of c. If creds cannot be right, its calls
// fail with the error of [NewClient].
func (c *Client) WithCredentials(creds Credentials) *Client {
	return newClient(c.core(), c.core().mustAuth(creds))
}

// CloseIdleConnections closes the connections that no call uses now, for example after
// a program's last call. Later calls open new connections. A transport of
// [ClientOptions].HTTPClient may have other users: their idle connections are closed
// too.
func (c *Client) CloseIdleConnections() { c.core().http.CloseIdleConnections() }

// Format writes the base URL and the generation under every verb. Without it, fmt
// would read state that other goroutines change.
func (c *Client) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "diffhook.Client(%s, generation %d)", c.core().base, c.auth.Load().generation)
}

// core is the state that clients made by WithCredentials share.
type core struct {
	opts ClientOptions // defaults filled in
	base *url.URL      // path ends in a slash
	http *http.Client  // a copy of the option
	gate *gate
}

// auth is a client's credentials, as an immutable snapshot.
type auth struct {
	token      func(context.Context) (string, error)
	exchange   *exchanger // exchanges client credentials for a token; nil without
	generation int
}

func newClient(shared *core, auth *auth) *Client {
	c := &Client{core: func() *core { return shared }}
	c.auth.Store(auth)
	c.Keys = &KeyService{c}
	c.SigningSecret = &SigningSecretService{client: c}
	c.Monitors = &MonitorService{c}
	c.Logs = &LogService{c}
	return c
}

func (c *core) mustAuth(creds Credentials) *auth {
	a, err := c.newAuth(creds)
	if err != nil {
		// Generation 2 has all fields, so the error is this and not that of a field.
		return &auth{token: func(context.Context) (string, error) { return "", err }, generation: 2}
	}
	return a
}

func (c *core) newAuth(creds Credentials) (_ *auth, err error) {
	if env, ok := creds.(envCredentials); ok {
		if creds, err = env.resolve(); err != nil {
			return nil, err
		}
	}
	a := &auth{generation: c.opts.Generation}
	switch creds := creds.(type) {
	case nil:
		return nil, errNilCredentials
	case *APIKey:
		if creds == nil {
			return nil, errNilCredentials
		}
		return c.newAuth(*creds)
	case CredentialsFunc:
		if creds == nil {
			return nil, errNilCredentials
		}
		a.token = creds
	case APIKey:
		if _, err := creds.Token(context.Background()); err != nil {
			return nil, err
		}
		a.token = creds.Token
	case clientCredentials:
		if err := creds.check(); err != nil {
			return nil, err
		}
		a.exchange = &exchanger{core: c, creds: creds}
		if a.generation == 0 {
			a.generation = 2
		}
	default:
		a.token = creds.Token
	}
	if a.generation == 0 {
		a.generation = 1
	}
	return a, nil
}

var errNilCredentials = fmt.Errorf("%w: the Credentials are nil; use NewAPIKey, ClientCredentials or EnvCredentials", ErrInvalidOptions)

func (c *core) fill() (err error) {
	o := &c.opts
	switch {
	case o.MaxAttempts < 0, o.AttemptTimeout < 0, o.MaxRetryWait < 0:
		return fmt.Errorf("%w: MaxAttempts, AttemptTimeout and MaxRetryWait must not be negative; leave them 0 for the defaults", ErrInvalidOptions)
	case strings.ContainsFunc(o.UserAgent, func(r rune) bool { return r < ' ' || r >= 0x7f }):
		return fmt.Errorf("%w: UserAgent must be printable ASCII", ErrInvalidOptions)
	case o.Generation < 0 || o.Generation > 2:
		return fmt.Errorf("%w: Generation is %d; want 1, 2, or 0 for the generation of the credentials", ErrInvalidOptions, o.Generation)
	}
	if o.MaxAttempts == 0 {
		o.MaxAttempts = defaultMaxAttempts
	}
	if o.AttemptTimeout == 0 {
		o.AttemptTimeout = defaultAttemptTimeout
	}
	if o.MaxRetryWait == 0 {
		o.MaxRetryWait = defaultMaxRetryWait
	}
	if o.BaseURL == "" {
		o.BaseURL = DefaultBaseURL
	}
	if o.Limiter == nil {
		o.Limiter = PlanLimiter(FreePlan)
	}
	o.UserAgent = strings.TrimSpace(o.UserAgent + " " + userAgent + " (" + runtime.Version() + ")")
	if c.base, err = parseBaseURL(o.BaseURL); err != nil {
		return err
	}
	c.gate = newGate()
	c.http = c.newHTTPClient(o.HTTPClient)
	return nil
}

// parseBaseURL returns an error unless a credential may be sent to s.
func parseBaseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.C, r) }):
		return nil, fmt.Errorf("%w: BaseURL contains white space or another character illegal in a URL; trim the text", ErrInvalidOptions)
	case err != nil:
		// Not err itself, which quotes the URL.
		return nil, fmt.Errorf("%w: BaseURL is not a URL", ErrInvalidOptions)
	case u.User != nil:
		return nil, fmt.Errorf("%w: BaseURL must not have a user or password; pass Credentials", ErrInvalidOptions)
	case u.Hostname() == "", u.Opaque != "", u.RawQuery != "", u.ForceQuery, u.Fragment != "":
		return nil, fmt.Errorf("%w: BaseURL must be a scheme, a host and a path, such as %s", ErrInvalidOptions, DefaultBaseURL)
	case u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())):
		return nil, fmt.Errorf("%w: BaseURL must begin with https://; http:// is for loopback addresses only, since it shows the key to the network", ErrInvalidOptions)
	}
	if !strings.HasSuffix(u.Path, "/") {
		u = u.JoinPath("/")
	}
	return u, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (c *core) newHTTPClient(given *http.Client) *http.Client {
	var copied http.Client
	if given != nil {
		copied = *given
	} else {
		copied.Transport = newTransport(c.opts.AttemptTimeout)
	}
	// A redirect would send the credential to another place.
	copied.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &copied
}

// newTransport returns the default transport of a client. It pings a silent HTTP/2
// connection, and leaves it without an answer before the attempt is over: the next
// attempt then gets a new connection.
func newTransport(attempt time.Duration) http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok { // set by a program
		return http.DefaultTransport
	}
	t = t.Clone()
	t.MaxIdleConnsPerHost = 64
	t.OnProxyConnectResponse = asProxyError(t.OnProxyConnectResponse)
	if t.HTTP2 == nil {
		t.HTTP2 = &http.HTTP2Config{}
	}
	t.HTTP2.SendPingTimeout = max(time.Second, min(attempt/3, 10*time.Second))
	t.HTTP2.PingTimeout = max(time.Second, min(attempt/3, 5*time.Second))
	return t
}

// ListOptions bounds a list. A nil pointer means the default.
//
// The API documents no way to get the items after a list, so a list of [MaxListLimit]
// items may not be complete. A longer list is returned whole.
//
// An unreadable field is zero, and so is an unreadable item: the list stays as long
// as that of the API. Check the ID before you use an item.
type ListOptions struct {
	// Limit is the longest list wanted, from 1 to MaxListLimit. By default,
	// MaxListLimit. (The default of the API is 50.)
	Limit int
}

// MaxListLimit is the length of the longest documented list.
const MaxListLimit = 200

func (o *ListOptions) limit() int {
	if o == nil || o.Limit == 0 {
		return MaxListLimit
	}
	return o.Limit
}
