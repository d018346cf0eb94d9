package diffhook_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// errShutdown is the cause of contexts that end in these tests.
var errShutdown = errors.New("the server is shutting down")

// endings are the ways in which a context ends after 3 s.
var endings = map[string]struct {
	is  error
	ctx func(context.Context) (context.Context, func())
}{
	"cancelled": {context.Canceled, func(ctx context.Context) (context.Context, func()) {
		ctx, cancel := context.WithCancelCause(ctx)
		stop := time.AfterFunc(3*time.Second, func() { cancel(errShutdown) })
		return ctx, func() { stop.Stop(); cancel(nil) }
	}},
	"deadline": {context.DeadlineExceeded, func(ctx context.Context) (context.Context, func()) {
		return context.WithTimeoutCause(ctx, 3*time.Second, errShutdown)
	}},
	"deadline, cause of a cancellation": {context.DeadlineExceeded, func(ctx context.Context) (context.Context, func()) {
		return context.WithTimeoutCause(ctx, 3*time.Second, errors.Join(errShutdown, context.DeadlineExceeded))
	}},
}

// never is a Limiter whose turns do not come.
type never struct{}

func (never) Wait(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// endless is a body that gives nothing until the request ends.
type endless struct{ ctx context.Context }

func (e endless) Read(p []byte) (int, error) { <-e.ctx.Done(); return 0, context.Cause(e.ctx) }
func (e endless) Close() error               { return nil }

// TestErrorsMatchTheContext: wherever a call is when its context ends, the error
// matches the error of the context, its cause, and the API's last word.
func TestErrorsMatchTheContext(t *testing.T) {
	hangs := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, context.Cause(r.Context())
	}
	answer := func(status int, body string, header ...string) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) {
			resp := replyJSON(status, body)
			for i := 0; i < len(header); i += 2 {
				resp.Header.Set(header[i], header[i+1])
			}
			return resp, nil
		}
	}
	bodyHangs := func(status int) func(*http.Request) (*http.Response, error) {
		return func(r *http.Request) (*http.Response, error) {
			resp := replyJSON(status, "")
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(strings.NewReader(`{"data": `), endless{r.Context()}), endless{}}
			return resp, nil
		}
	}
	for _, c := range []struct {
		name  string
		send  func(*http.Request) (*http.Response, error)
		opts  diffhook.ClientOptions
		plan  int
		creds diffhook.Credentials
		also  error // what the API said before
		early bool  // it is known beforehand that the deadline comes too soon: a deadline has no cause yet
	}{
		{name: "waiting for a turn", opts: diffhook.ClientOptions{Limiter: never{}}},
		{name: "waiting for the plan's turn", send: answer(503, "{}"), plan: 1, also: diffhook.ErrServer, early: true},
		{name: "between retries", send: answer(503, "{}", "Retry-After", "10"), also: diffhook.ErrServer, early: true},
		{name: "in a pause", send: answer(429, "{}", "Retry-After", "10"), also: diffhook.ErrRateLimited, early: true},
		{name: "in a pause without a time", send: answer(429, "{}"), also: diffhook.ErrRateLimited, early: true},
		{name: "in flight", send: hangs},
		{name: "in the body of a success", send: bodyHangs(200), also: diffhook.ErrUnexpectedResponse},
		{name: "in the body of a 500", send: bodyHangs(500), also: diffhook.ErrServer},
		{name: "in the body of a 404", send: bodyHangs(404), also: diffhook.ErrNotFound},
		{name: "in the credentials", creds: diffhook.CredentialsFunc(func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", errors.New("the secrets manager does not answer")
		})},
		{name: "in an exchange for a token", send: hangs, creds: diffhook.ClientCredentials("dh_live_made-up-client", "made-up secret")},
	} {
		for name, ending := range endings {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					opts := c.opts
					opts.BaseURL, opts.HTTPClient = "http://127.0.0.1:1/api/", &http.Client{Transport: roundTripper(c.send)}
					if c.plan > 0 {
						opts.Limiter = diffhook.PlanLimiter(c.plan)
					}
					creds := c.creds
					if creds == nil {
						key, err := diffhook.NewAPIKey(testKeyText)
						require.NoError(t, err)
						creds = key
					}
					client, err := diffhook.NewClient(creds, &opts)
					require.NoError(t, err)
					ctx, cancel := ending.ctx(t.Context())
					defer cancel()
					began := time.Now()
					err = apiCallNamed(t, "get").do(ctx, client)
					require.ErrorIs(t, err, ending.is)
					if ending.is == context.Canceled || !c.early {
						require.Equal(t, 3*time.Second, time.Since(began))
						require.ErrorIs(t, err, errShutdown)
						if c.also == nil {
							assert.ErrorContains(t, err, errShutdown.Error())
						}
					}
					if c.also != nil {
						require.ErrorIs(t, err, c.also)
						assert.Equal(t, 1, requireAPIError(t, err).Attempts)
					}
					if ending.is == context.Canceled {
						assert.NotErrorIs(t, err, context.DeadlineExceeded)
					} else {
						assert.NotErrorIs(t, err, context.Canceled)
					}
					synctest.Wait()
					client.CloseIdleConnections()
					pause(10 * time.Minute) // for the exchange
				})
			})
		}
	}
}

// TestErrorsOfPOSTsMatchTheContext: what may have been carried out is of unknown
// outcome, also if the caller left.
func TestErrorsOfPOSTsMatchTheContext(t *testing.T) {
	for name, ending := range endings {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newTransportClient(t, roundTripper(func(r *http.Request) (*http.Response, error) {
					<-r.Context().Done()
					return nil, context.Cause(r.Context())
				}), nil)
				ctx, cancel := ending.ctx(t.Context())
				defer cancel()
				err := apiCallNamed(t, "create key").do(ctx, client)
				assertMatches(t, err, ending.is, diffhook.ErrOutcomeUnknown)
				require.ErrorIs(t, err, errShutdown)
			})
		})
	}
}
