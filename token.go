package diffhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/diffhook/diffhook-go/internal/scrub"
)

// An access token lives 24 h, and is replaced a little earlier, so that it does not
// expire on the way.
const (
	tokenLifetime = 24 * time.Hour
	tokenMargin   = time.Minute
	leastLifetime = time.Minute
)

// exchanger exchanges client credentials for an access token (RFC 6749, 4.4), and
// keeps it.
type exchanger struct {
	core  *core
	creds clientCredentials

	mu      sync.Mutex
	current string
	expires time.Time
	flight  *flight // the exchange under way; nil: none

	unlimited time.Time // time of the last attempt without the limiter
}

// flight is an exchange for several calls. err may be read once done is closed.
type flight struct {
	done chan struct{}
	err  error
}

// token returns the token, or "" without a valid token.
func (x *exchanger) token() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.valid()
}

// valid is token for a caller with x.mu held.
func (x *exchanger) valid() string {
	if !time.Now().Before(x.expires) {
		return ""
	}
	return x.current
}

// wait returns once there is a token, after an exchange if need be. The exchange goes
// on if ctx ends.
func (x *exchanger) wait(ctx context.Context) error {
	f := x.join()
	if f == nil {
		return nil
	}
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return contextError(ctx)
	}
}

// join returns the exchange to wait for, or nil if there is a token.
func (x *exchanger) join() *flight {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.valid() != "" {
		return nil
	}
	if x.flight == nil {
		x.flight = &flight{done: make(chan struct{})}
		go x.exchange(x.flight)
	}
	return x.flight
}

// discard forgets a rejected token, unless a new token is there already.
func (x *exchanger) discard(token string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.current == token {
		x.current = ""
	}
}

// exchange exchanges the credentials for f. The exchange belongs to no call: only the
// attempts and the waits between them bound the time.
func (x *exchanger) exchange(f *flight) {
	var answer tokenAnswer
	err := errExchangeEnded
	defer func() { // also where a transport panics or ends the goroutine
		if p := recover(); p != nil {
			err = fmt.Errorf("diffhook: POST oauth/token: the transport panicked: %s", scrub.Text(fmt.Sprint(p), 300, x.creds.secret()))
		}
		x.land(f, answer, err)
	}()
	o := &x.core.opts
	ctx, cancel := context.WithTimeout(context.Background(), min(time.Duration(min(o.MaxAttempts, 100))*(min(o.AttemptTimeout, time.Hour)+min(o.MaxRetryWait, time.Hour)), time.Hour))
	defer cancel()
	err = x.core.repeat(ctx, &call{
		method:      http.MethodPost,
		url:         x.core.base.JoinPath("oauth/token"),
		route:       "oauth/token",
		out:         &answer,
		contentType: "application/x-www-form-urlencoded",
		body: []byte(url.Values{
			"grant_type":    {"client_credentials"},
			"client_id":     {x.creds.id},
			"client_secret": {x.creds.secret()},
		}.Encode()),
		repeatable: true, // a second token does no harm
		hidden:     func() []string { return []string{x.creds.secret()} },
		urgent:     true, // an urgent call may wait for the token
	}, x.attempt)
}

var errExchangeEnded = errors.New("diffhook: POST oauth/token: the transport ended the goroutine")

// land ends an exchange for all waiting calls.
func (x *exchanger) land(f *flight, answer tokenAnswer, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.flight = nil
	if f.err = err; err == nil {
		lifetime := inSeconds(answer.expiresIn)
		if lifetime == 0 {
			lifetime = tokenLifetime
		}
		// A token that expires sooner is rejected, and then replaced. To replace it in
		// time could use up all turns of the limiter.
		lifetime = max(lifetime, leastLifetime)
		x.current = answer.token
		x.expires = time.Now().Add(lifetime - min(tokenMargin, lifetime/10))
	}
	close(f.done)
}

// attempt sends the exchange once, after the end of a pause. Once a minute, it does not
// wait at the limiter. The secret is in the body alone, and errors show no body: scrub
// removes a repeated secret from a response.
func (x *exchanger) attempt(ctx context.Context, call *call) outcome {
	if err := x.core.wait(ctx, call, x.limiter()); err != nil {
		return outcome{unsent: err}
	}
	return x.core.send(ctx, call, "")
}

// limiter returns noLimit for the first attempt in a minute.
func (x *exchanger) limiter() Limiter {
	x.mu.Lock()
	defer x.mu.Unlock()
	if now := time.Now(); x.unlimited.IsZero() || now.Sub(x.unlimited) >= time.Minute {
		x.unlimited = now
		return noLimit{}
	}
	return x.core.opts.Limiter
}

// noLimit is a Limiter without a limit.
type noLimit struct{}

func (noLimit) Wait(context.Context) error { return nil }

// tokenAnswer is the response to an exchange (RFC 6749, 5.1).
type tokenAnswer struct {
	token     string
	expiresIn float64 // lifetime in seconds; 0 if unknown
}

// readResponse reads the whole response: the token endpoint has no envelope.
func (a *tokenAnswer) readResponse(response value) error {
	var token exactText
	var expiresIn float64
	response.fill(field{"access_token", &token}, field{"expires_in", &expiresIn})
	if !isToken(string(token)) {
		return errNoTokenInResponse
	}
	*a = tokenAnswer{string(token), expiresIn}
	return nil
}

// isToken reports whether a header can have s as a bearer token.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}
