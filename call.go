package diffhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go/internal/scrub"
)

// Do sends a request to an endpoint without a method of this package. path is relative
// to the base URL, such as "monitors?limit=5": escape ids in it with [url.PathEscape].
// A non-nil in is sent as JSON, and a non-nil out receives the "data" of the response.
// A POST or PATCH with a nil in is sent as {}. The rules of the package for retries,
// limits and errors apply: GET, HEAD, OPTIONS, PUT and DELETE count as safe to send
// again.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	if method == "" || strings.ContainsFunc(method, func(r rune) bool { return !('A' <= r && r <= 'Z' || 'a' <= r && r <= 'z') }) {
		return fmt.Errorf("%w: the method must be letters, such as GET", ErrInvalidRequest)
	}
	u, err := c.core().resolve(path)
	if err != nil {
		return err
	}
	route, _, _ := strings.Cut(path, "?")
	route = scrub.Text(route, 200) // the id may be a key to be deleted
	return c.call(ctx, &call{method: method, url: u, route: route, in: in, out: out, repeatable: isRepeatable(method)})
}

// isRepeatable reports whether HTTP calls a method idempotent (RFC 9110, 9.2.2).
// Methods are case-sensitive.
func isRepeatable(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// resolve turns a path relative to the base URL into a URL below it.
func (c *core) resolve(path string) (*url.URL, error) {
	ref, err := url.Parse(path)
	if err != nil {
		return nil, fmt.Errorf("%w: the path is not the path of a URL", ErrInvalidRequest)
	}
	if ref.Scheme != "" || ref.Host != "" || ref.User != nil || ref.Opaque != "" || ref.Fragment != "" || strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("%w: the path must be relative to the base URL, such as monitors", ErrInvalidRequest)
	}
	if strings.ContainsFunc(ref.RawQuery, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, fmt.Errorf("%w: the query must be escaped; use url.Values", ErrInvalidRequest)
	}
	for element := range strings.SplitSeq(ref.EscapedPath(), "/") {
		if err := checkElement(element); err != nil {
			return nil, err
		}
	}
	u := *c.base
	u.RawQuery = ref.RawQuery
	u.RawPath = c.base.EscapedPath() + ref.EscapedPath()
	u.Path = c.base.Path + ref.Path
	return &u, nil
}

// checkElement returns an error if an element of an escaped path does not stay a
// single element.
func checkElement(escaped string) error {
	element, err := url.PathUnescape(escaped)
	if err != nil || element == "" || element == "." || element == ".." {
		return fmt.Errorf("%w: a path element, such as an id, must not be empty, \".\" or \"..\"", ErrInvalidRequest)
	}
	return nil
}

// Elements of the assumed paths: DiffHook documents keys and the signing secret as
// pages of the app only.
const (
	pathKeys          = "keys"
	pathSigningSecret = "signing-secret"
	pathRotate        = "rotate"
	pathPrevious      = "previous"
)

// callPath makes a call at a path of the given elements below the base URL. Each
// argument stays a single element of the path.
func (c *Client) callPath(ctx context.Context, call *call, elements ...string) error {
	u := *c.core().base
	plain := true // a URL would escape the path in the same way
	for _, element := range elements {
		escaped := url.PathEscape(element)
		if err := checkElement(escaped); err != nil {
			return fmt.Errorf("%w (%s %s)", err, call.method, call.route)
		}
		plain = plain && escaped == element
	}
	path := strings.Join(elements, "/")
	if !plain || u.RawPath != "" {
		u.RawPath = u.EscapedPath() + escapedPath(elements)
	}
	u.Path += path
	u.RawQuery = call.query
	call.url = &u
	return c.call(ctx, call)
}

func escapedPath(elements []string) string {
	var b strings.Builder
	for i, element := range elements {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(url.PathEscape(element))
	}
	return b.String()
}

// call is a call of the API. A call passes through these functions, each of which calls
// the next:
//
//	Client.call     encodes the body
//	core.repeat     sends again if that is safe and may help
//	Client.attempt  waits for the turn and the token
//	core.send       sends the request, and reads the response
type call struct {
	method string
	url    *url.URL
	route  string // the path without ids, for errors and logs
	query  string
	in     any
	out    any

	// repeatable means that to carry out the call twice is the same as once.
	repeatable bool

	// urgent means that the call does not queue behind other calls.
	urgent bool

	body        []byte
	contentType string
	hidden      func() []string // further texts that no error may show; nil: the token alone

	generation   int  // generation of the encoded body
	attempts     int  // attempts begun
	tokenRenewed bool // whether this call renewed the token after a 401
}

// scrub returns a text from outside, fit for an error of the call.
func (call *call) scrub(text string, n int, token string) string {
	if call.hidden != nil {
		return scrub.Text(text, n, append(call.hidden(), token)...)
	}
	return scrub.Text(text, n, token)
}

// outcome is the result of an attempt. The zero outcome is success.
type outcome struct {
	err    error // the error of a request that was sent
	unsent error // why the request was not sent; the call then ends

	retry      bool          // sending the request again is safe and may help
	atOnce     bool          // without a wait
	retryAfter time.Duration // the wait that the API asked for; 0: none
	maybeDone  bool          // the request may have been carried out
	gone       bool          // the API says that there is no such resource
}

func (c *Client) call(ctx context.Context, call *call) error {
	if err := call.encode(c.auth.Load().generation); err != nil {
		return err
	}
	return c.core().repeat(ctx, call, c.attempt)
}

// encode encodes the body in the words of a generation. encode is called before each
// attempt, since the credentials may have changed to the other generation.
//
// If the call is not repeatable, the request always has a body: a transport repeats a
// request by itself only if it can rewind the body. See newRequest.
func (call *call) encode(generation int) error {
	if call.generation == generation || call.in == nil && call.repeatable {
		return nil
	}
	in := call.in
	if in == nil {
		in = struct{}{}
	}
	if update, ok := in.(MonitorUpdate); ok {
		fields, err := update.fields(generation)
		if err != nil {
			return err
		}
		in = fields
	}
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("%w: %s %s: the request cannot be encoded as JSON: %w", ErrInvalidRequest, call.method, call.route, err)
	}
	call.body, call.contentType, call.generation = body, "application/json", generation
	return nil
}

// attempt sends a call once, with the credentials of this moment.
func (c *Client) attempt(ctx context.Context, call *call) outcome {
	auth, token, err := c.turn(ctx, call)
	if err == nil && ctx.Err() != nil {
		err = contextError(ctx)
	}
	if err != nil {
		return outcome{unsent: err}
	}
	if err := call.encode(auth.generation); err != nil {
		return outcome{err: err}
	}
	o := c.core().send(ctx, call, token)
	if rejection, ok := o.err.(*APIError); ok && rejection.StatusCode == http.StatusUnauthorized && auth.exchange != nil {
		auth.exchange.discard(token)
		// The token may have expired early, and then a new token helps, once. If the
		// client was revoked, no token helps. The rejected request was not carried out.
		o.retry = !call.tokenRenewed && !rejection.namesRevokedKey()
		o.atOnce, call.tokenRenewed = true, true
	}
	return o
}

// turn waits until an attempt may start, and returns the token for it. It waits for
// an exchange first and for the turn at the limiter then: otherwise all calls that
// wait for the exchange would start together after it.
func (c *Client) turn(ctx context.Context, call *call) (*auth, string, error) {
	for {
		auth := c.auth.Load()
		if auth.exchange != nil {
			if err := auth.exchange.wait(ctx); err != nil {
				if ctx.Err() == nil && c.auth.Load() != auth {
					continue // SetCredentials was called meanwhile
				}
				return nil, "", err
			}
		}
		if err := c.core().wait(ctx, call, c.core().opts.Limiter); err != nil {
			return nil, "", err
		}
		auth = c.auth.Load()
		if auth.exchange != nil {
			if token := auth.exchange.token(); token != "" {
				return auth, token, nil
			}
			continue // the token has expired or was rejected meanwhile
		}
		token, err := auth.token(ctx)
		if err != nil {
			return nil, "", err
		}
		if !isToken(token) {
			return nil, "", fmt.Errorf("%w: the token of the Credentials is empty, or contains a character illegal in a header", ErrInvalidCredentials)
		}
		return auth, token, nil
	}
}

// wait waits until an attempt may start.
func (c *core) wait(ctx context.Context, call *call, limiter Limiter) error {
	pause, err := c.gate.wait(ctx, limiter, call.urgent, c.opts.MaxRetryWait)
	if pause > 0 {
		return &APIError{
			StatusCode: http.StatusTooManyRequests, Code: codeRateLimited, RetryAfter: pause,
			Message: "not sent, because a 429 pauses all requests for longer than MaxRetryWait",
			Method:  call.method, Route: call.route, Attempts: call.attempts - 1,
		}
	}
	return err
}

// send sends a request and reads the response.
func (c *core) send(ctx context.Context, call *call, token string) outcome {
	attempt, cancel := context.WithTimeout(ctx, c.opts.AttemptTimeout)
	defer cancel()
	d := departure{end: cancel}
	r, err := c.newRequest(d.watch(attempt), call, token)
	if err != nil {
		return outcome{unsent: err}
	}
	began := time.Now()
	resp, err := c.http.Do(r)
	if err == nil && d.repeat.Load() { // of a transport that repeats
		resp.Body.Close()
		err = errRepeated
	}
	if err != nil {
		c.log(ctx, call, 0, time.Since(began))
		return call.unanswered(ctx, err, token, &d)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		// The connection then belongs to the caller, and no context ends the reads.
		resp.Body.Close()
		resp.Body = http.NoBody
	}
	defer resp.Body.Close() // after read: whole, broken off or far too long
	c.log(ctx, call, resp.StatusCode, time.Since(began))
	return c.read(ctx, call, resp, token, began)
}

func (c *core) newRequest(ctx context.Context, call *call, token string) (*http.Request, error) {
	var body io.Reader
	if call.body != nil {
		body = bytes.NewReader(call.body)
	}
	r, err := http.NewRequestWithContext(ctx, call.method, "", body)
	if err != nil {
		return nil, fmt.Errorf("%w: the method is malformed", ErrInvalidRequest)
	}
	r.URL, r.Host = call.url, call.url.Host
	values := [...]string{"application/json", c.opts.UserAgent, call.contentType, "Bearer " + token} // one allocation
	r.Header = make(http.Header, len(values))
	r.Header["Accept"] = values[0:1:1]
	r.Header["User-Agent"] = values[1:2:2]
	if call.contentType != "" {
		r.Header["Content-Type"] = values[2:3:3]
	}
	if token != "" {
		r.Header["Authorization"] = values[3:4:4]
	}
	// Without GetBody, a transport cannot rewind the body and repeat the request. Its
	// error shows the reason to repeat.
	r.GetBody = nil
	return r, nil
}

// unanswered returns the outcome of a request without a response.
func (call *call) unanswered(ctx context.Context, err error, token string, d *departure) outcome {
	// Transports wrap an error into an error that quotes the URL, with its query.
	for wrapped := (*url.Error)(nil); errors.As(err, &wrapped); {
		err = wrapped.Err
	}
	left := d.left(err)
	if d.repeat.Load() {
		err = errRepeated // and not the end of the context, by departure
	}
	unknown := left && !call.repeatable
	return outcome{
		err:       call.transportError(withContextError(ctx, err), token, call.attempts, unknown),
		retry:     !unknown && !isHopeless(err) && ctx.Err() == nil,
		maybeDone: left,
	}
}

func (c *core) log(ctx context.Context, call *call, status int, took time.Duration) {
	if c.opts.Logger != nil {
		c.opts.Logger.LogAttrs(ctx, slog.LevelDebug, "diffhook: request",
			slog.String("method", call.method), slog.String("route", call.route),
			slog.Int("status", status), slog.Duration("took", took))
	}
}
