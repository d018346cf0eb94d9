package diffhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
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
)

// The life of a key, a monitor and a signing secret, over a network and in both
// generations.
func TestClientOverNetwork(t *testing.T) {
	server := newServer(t)
	opts := &diffhook.ClientOptions{Limiter: unlimited()}
	for name, client := range map[string]*diffhook.Client{"generation 1": server.Client(opts), "generation 2": server.ClientGen2(opts)} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			key, secret, err := client.Keys.Create(ctx, "ci-pipeline")
			require.NoError(t, err)
			keys, err := client.Keys.List(ctx, nil)
			require.NoError(t, err)
			assert.Equal(t, key.ID, keys[0].ID)
			assert.True(t, keys[0].MatchesPrefix(secret))

			second := client.WithCredentials(secret)
			_, err = second.Monitors.List(ctx, &diffhook.ListOptions{Limit: 1})
			require.NoError(t, err)
			require.NoError(t, client.Keys.Delete(ctx, key.ID))
			_, err = second.Monitors.List(ctx, nil)
			require.ErrorIs(t, err, diffhook.ErrUnauthorized)

			monitor, err := client.Monitors.Create(ctx, diffhook.MonitorParams{
				URL: "https://example.com", WebhookURL: "https://example.org/hook", IntervalMinutes: 5, Label: "first"})
			require.NoError(t, err)
			monitor, err = client.Monitors.Update(ctx, monitor.ID, diffhook.MonitorUpdate{Label: new("")})
			require.NoError(t, err)
			assert.Empty(t, monitor.Label)
			require.NoError(t, client.Monitors.Pause(ctx, monitor.ID))
			require.NoError(t, client.Monitors.Resume(ctx, monitor.ID))
			require.NoError(t, client.Monitors.Delete(ctx, monitor.ID))
			_, err = client.Monitors.Get(ctx, monitor.ID)
			require.ErrorIs(t, err, diffhook.ErrNotFound)

			before, err := client.SigningSecret.Load(ctx)
			require.NoError(t, err)
			after, err := client.SigningSecret.Rotate(ctx)
			require.NoError(t, err)
			assert.True(t, after.Previous.Equal(before.Current))
			require.NoError(t, client.SigningSecret.RevokePrevious(ctx))
			after, err = client.SigningSecret.Load(ctx)
			require.NoError(t, err)
			assert.True(t, after.NoPrevious)
		})
	}
}

func TestClientDo(t *testing.T) {
	server := newServer(t)
	client := server.Client(&diffhook.ClientOptions{Limiter: unlimited()})
	var monitors []struct{ ID string }
	require.NoError(t, client.Do(t.Context(), http.MethodGet, "monitors?limit=5", nil, &monitors))
	assert.Equal(t, 1, server.Count("GET /api/monitors"))

	// In lower case it is another method, not known as repeatable: the client sends it
	// once. The contract does not know it either.
	server = diffhooktest.NewServer(t)
	for method, attempts := range map[string]int{http.MethodGet: 4, "get": 1, http.MethodPatch: 1} {
		slow := server.Client(&diffhook.ClientOptions{Limiter: unlimited(), MaxRetryWait: 1})
		server.Fail(diffhooktest.Fault{Times: -1, Status: http.StatusBadGateway})
		err := slow.Do(t.Context(), method, "things", nil, nil)
		var api *diffhook.APIError
		require.True(t, errors.As(err, &api))
		assert.Equal(t, attempts, api.Attempts, method)
		assert.Equal(t, attempts == 1, errors.Is(err, diffhook.ErrOutcomeUnknown), method)
		server.ClearFaults()
	}
}

// Impossible credentials are an error of NewClient, not a panic at the first call.
func TestNewClientRejectsCredentials(t *testing.T) {
	var none *diffhook.APIKey
	for name, test := range map[string]struct {
		creds diffhook.Credentials
		want  error
	}{
		"nil":                        {nil, diffhook.ErrInvalidOptions},
		"nil function":               {diffhook.CredentialsFunc(nil), diffhook.ErrInvalidOptions},
		"nil pointer":                {none, diffhook.ErrInvalidOptions},
		"zero key":                   {diffhook.APIKey{}, diffhook.ErrInvalidCredentials},
		"pointer to a zero key":      {new(diffhook.APIKey), diffhook.ErrInvalidCredentials},
		"client id with a newline":   {diffhook.ClientCredentials(apiKeyText+"\n", "a secret"), diffhook.ErrInvalidCredentials},
		"client id without prefix":   {diffhook.ClientCredentials("id", "a secret"), diffhook.ErrInvalidCredentials},
		"client secret is empty":     {diffhook.ClientCredentials(apiKeyText, ""), diffhook.ErrInvalidCredentials},
		"client secret with newline": {diffhook.ClientCredentials(apiKeyText, "a secret\n"), diffhook.ErrInvalidCredentials},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := diffhook.NewClient(test.creds, nil)
			require.ErrorIs(t, err, test.want)
			assert.Nil(t, client)
		})
	}
}

// A hostile or broken server, transport or caller.

// The connection of a 101 belongs to the caller, and no context ends the reads.
func TestSwitchingProtocolsDoesNotHang(t *testing.T) {
	release := make(chan struct{})
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		<-release
		conn.Close()
	}), nil)
	defer close(release)
	key, err := diffhook.NewAPIKey(apiKeyText)
	require.NoError(t, err)
	client, err := diffhook.NewClient(key, &diffhook.ClientOptions{BaseURL: server.URL, Limiter: unlimited()})
	require.NoError(t, err)
	_, err = client.Monitors.List(t.Context(), nil)
	require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
}

// A long token, repeated often: no piece of it is shown.
func TestLongTokenIsNotShown(t *testing.T) {
	for name, token := range map[string]string{"long": strings.Repeat("violet.walrus", 500), "repeated": strings.Repeat("quartz.organ", 30)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				echo := answeringJSON(400, `{"error":{"code":"X","message":"`+strings.Repeat(token+" ", 12)+`"}}`)
				client := newTransportClient(t, diffhooktest.Transport(echo), nil)
				client.SetCredentials(diffhook.CredentialsFunc(func(context.Context) (string, error) { return token, nil }))
				_, err := client.Monitors.List(t.Context(), nil)
				require.ErrorIs(t, err, diffhook.ErrInvalidRequest)
				assert.NotContains(t, err.Error(), token[:8])
			})
		})
	}
}

// Failed exchanges, and exchanges for rejected tokens, are calls of the API too: all
// stay within the plan.
func TestExchangesStayWithinThePlan(t *testing.T) {
	for name, exchanged := range map[string]func(r *http.Request) *http.Response{
		"wrong client":   func(*http.Request) *http.Response { return replyJSON(401, `{"error":"invalid_client"}`) },
		"revoked client": func(*http.Request) *http.Response { return replyJSON(200, `{"access_token":"a-token"}`) },
		"short tokens":   func(*http.Request) *http.Response { return replyJSON(200, `{"access_token":"a-token","expires_in":1}`) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sent atomic.Int64
				client := newTransportClient(t, respond(func(r *http.Request) (*http.Response, error) {
					sent.Add(1)
					if isExchange(r) {
						return exchanged(r), nil
					}
					return replyJSON(401, `{"error":"Invalid API key"}`), nil
				}), &diffhook.ClientOptions{Limiter: diffhook.PlanLimiter(diffhook.FreePlan)})
				client.SetCredentials(diffhook.ClientCredentials("dh_live_id", opaqueText))
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute-time.Second)
				defer cancel()
				for ctx.Err() == nil {
					err := listKeys(ctx, client)
					require.Error(t, err)
					if errors.Is(err, context.DeadlineExceeded) {
						break
					}
				}
				assert.Positive(t, sent.Load())
				assert.LessOrEqual(t, sent.Load(), int64(diffhook.FreePlan))
				pause(2 * time.Minute) // an abandoned exchange ends
			})
		})
	}
}

// If many waiters give up, their turns are free.
func TestLeavingTheLineFreesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := diffhook.PlanLimiter(diffhook.FreePlan)
		ctx, cancel := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		for range 500 {
			waiting.Go(func() { _ = limiter.Wait(ctx) })
		}
		pause(time.Second)
		cancel()
		waiting.Wait()
		began := time.Now()
		require.NoError(t, limiter.Wait(t.Context()))
		assert.Less(t, time.Since(began), 3*time.Second)
	})
}

// Limits are counted per minute, so a longer wait is not credible: it does not stop the
// other calls for so long.
func TestPauseIsCredible(t *testing.T) {
	for _, c := range []struct {
		name, header, value string
		pause               time.Duration
	}{
		{"credible", "Retry-After", "600", 10 * time.Minute},
		{"too long", "Retry-After", "601", 5 * time.Second},
		{"another unit", "Retry-After", "60000", 5 * time.Second},
		{"infinite", "Retry-After", "Inf", 5 * time.Second},
		{"a date by another clock", "Retry-After", "Fri, 31 Dec 2100 23:59:59 GMT", 5 * time.Second},
		{"a reset tomorrow", "X-RateLimit-Reset", "86400", 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newTransportClient(t, diffhooktest.Transport(inTurn(
					withHeader(answeringJSON(429, `{"error":"a"}`), c.header, c.value), answeringJSON(200, `{"data":[]}`))),
					&diffhook.ClientOptions{MaxRetryWait: 20 * time.Minute, MaxAttempts: 1})
				began := time.Now()
				require.ErrorIs(t, listKeys(t.Context(), client), diffhook.ErrRateLimited)
				require.Zero(t, time.Since(began))
				require.NoError(t, listKeys(t.Context(), client))
				require.Equal(t, c.pause, time.Since(began))
			})
		})
	}
}

// New credentials reach calls that wait for the exchange of the old credentials.
func TestSetCredentialsWhileExchanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newTransportClient(t, respond(func(r *http.Request) (*http.Response, error) {
			if isExchange(r) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return replyJSON(200, `{"data":[]}`), nil
		}), nil)
		client.SetCredentials(diffhook.ClientCredentials("dh_live_id", opaqueText))
		var call sync.WaitGroup
		call.Go(func() { assert.NoError(t, listKeys(t.Context(), client)) })
		synctest.Wait()
		key, err := diffhook.NewAPIKey(apiKeyText)
		require.NoError(t, err)
		client.SetCredentials(key)
		call.Wait()
	})
}

// A retry with credentials of the other generation uses the other field names.
func TestRetrySpeaksTheNewGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bodies []string
		var client *diffhook.Client
		client = newTransportClient(t, diffhooktest.Transport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if isExchange(r) {
				answeringJSON(200, `{"access_token":"a-token"}`)(w, r)
				return
			}
			body, err := io.ReadAll(r.Body)
			assert.NoError(t, err)
			bodies = append(bodies, string(body))
			if len(bodies) == 1 {
				client.SetCredentials(diffhook.ClientCredentials("dh_live_id", opaqueText))
				answeringJSON(429, `{"error":"a"}`)(w, r)
				return
			}
			answeringJSON(201, `{"data":{"id":"mon_1"}}`)(w, r)
		})), nil)
		_, err := client.Monitors.Create(t.Context(), diffhook.MonitorParams{URL: "https://example.com", WebhookURL: "https://example.org", IntervalMinutes: 5})
		require.NoError(t, err)
		require.Len(t, bodies, 2)
		assert.Contains(t, bodies[0], `"intervalMinutes":5`)
		assert.Contains(t, bodies[1], `"interval_minutes":5`)
		assert.Contains(t, bodies[1], `"notification_config"`)
	})
}

// 16 MiB of JSON may be millions of records.
func TestListIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newTransportClient(t, diffhooktest.Transport(answeringJSON(200, `{"data":[`+strings.Repeat("{},", 1<<20)+`{}]}`)), nil)
		_, err := client.Logs.List(t.Context(), nil)
		require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
	})
}

// A 404 of a proxy does not prove a deletion.
func TestDeleteBelievesTheAPIOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		html := func(status int) http.HandlerFunc { return answering(status, "text/html", "<html>") }
		client := newTransportClient(t, diffhooktest.Transport(inTurn(html(502), html(404))), nil)
		require.ErrorIs(t, client.Keys.Delete(t.Context(), "key_1"), diffhook.ErrNotFound)
	})
}

// «Until the context ends» is a number of attempts too large for any duration.
func TestManyAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBubbleServer(t)
		client := gen2Client(s, &diffhook.ClientOptions{MaxAttempts: math.MaxInt, AttemptTimeout: math.MaxInt64, MaxRetryWait: math.MaxInt64})
		require.NoError(t, listKeys(t.Context(), client))
	})
}

// A transport that panics, or ends its goroutine as a failing test does, fails the
// exchange alone: the process and later calls go on.
func TestExchangeSurvivesItsTransport(t *testing.T) {
	for name, breaks := range map[string]func(){"ends": runtime.Goexit, "panics": func() { panic("broken transport") }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broken := true
				client := newTransportClient(t, respond(func(r *http.Request) (*http.Response, error) {
					if isExchange(r) && broken {
						broken = false
						breaks()
					}
					if isExchange(r) {
						return replyJSON(200, `{"access_token":"a-token"}`), nil
					}
					return replyJSON(200, `{"data":[]}`), nil
				}), nil)
				client.SetCredentials(diffhook.ClientCredentials("dh_live_id", opaqueText))
				require.Error(t, listKeys(t.Context(), client))
				require.NoError(t, listKeys(t.Context(), client))
			})
		})
	}
}

// Printing a client or a verifier in use is no data race, and the text identifies the
// instance.
func TestPrintingWhileInUse(t *testing.T) {
	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, nil)
	key, err := diffhook.NewAPIKey(apiKeyText)
	require.NoError(t, err)
	client, err := diffhook.NewClient(key, nil)
	require.NoError(t, err)
	var users sync.WaitGroup
	users.Go(func() {
		for range 100 {
			client.SetCredentials(key)
			_ = v.Rotate(letter(t, "B"), time.Hour)
			_ = v.Rotate(letter(t, "A"), time.Hour)
		}
	})
	for range 100 {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
			assert.Contains(t, fmt.Sprintf(verb, v), "diffhook.Verifier(current")
			assert.Equal(t, "diffhook.Client(https://www.diffhook.com/api/, generation 1)", fmt.Sprintf(verb, client))
		}
	}
	users.Wait()
}

func TestDoRejectsMethodsAndQueries(t *testing.T) {
	client := newTransportClient(t, respond(func(*http.Request) (*http.Response, error) {
		t.Error("sent")
		return nil, errors.New("sent")
	}), nil)
	for _, request := range [][2]string{{"", "monitors"}, {"GET\r\nX: y", "monitors"}, {"G T", "monitors"}, {"GET", "monitors?x=y HTTP/1.1"}, {"GET", "monitors?x=\x7f"}} {
		err := client.Do(t.Context(), request[0], request[1], nil, nil)
		require.ErrorIs(t, err, diffhook.ErrInvalidRequest, "%q", request)
		assert.NotContains(t, err.Error(), "\n")
	}
	_, err := diffhook.NewClient(diffhook.CredentialsFunc(func(context.Context) (string, error) { return "", nil }), &diffhook.ClientOptions{UserAgent: "a\r\nX: 1"})
	require.ErrorIs(t, err, diffhook.ErrInvalidOptions)
}

// countNew returns a hook to count new connections.
func countNew(n *atomic.Int64) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			n.Add(1)
		}
	}
}

// countOpen returns a hook to count open connections.
func countOpen(n *atomic.Int64) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			n.Add(1)
		case http.StateClosed, http.StateHijacked:
			n.Add(-1)
		}
	}
}

// faulty answers a request in four wrongly.
var faulty = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	switch rand.N(24) {
	case 0:
		panic(http.ErrAbortHandler)
	case 1:
		brokenOff(w, r)
	case 2:
		answering(502, "text/html", strings.Repeat("<p>Bad Gateway", 10000))(w, r)
	case 3:
		answering(302, "", "")(w, r)
	case 4: // the body of the request unread
		w.WriteHeader(http.StatusNotFound)
	case 5:
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done() // ends when the attempt times out
	default:
		_, _ = io.Copy(io.Discard, r.Body)
		answeringJSON(200, `{"data": {"id": "mon_abc123"}}`)(w, r)
	}
})

// TestNothingIsLeftBehind makes many calls, of which some fail in every way, and counts
// goroutines and connections before and after.
func TestNothingIsLeftBehind(t *testing.T) {
	const workers = 64
	calls := int64(sampled(2000, 10_000))
	var open atomic.Int64
	server := serve(t, faulty, func(s *httptest.Server) { s.Config.ConnState = countOpen(&open) })
	transport := ownTransport(t)
	transport.MaxIdleConnsPerHost = workers
	c := newClient(t, server, &diffhook.ClientOptions{
		HTTPClient: &http.Client{Transport: transport}, MaxAttempts: 1, AttemptTimeout: 50 * time.Millisecond,
	})
	before := runtime.NumGoroutine()
	var next, failed atomic.Int64
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for n := next.Add(1); n <= calls; n = next.Add(1) {
				if apiCalls[n%int64(len(apiCalls))].do(t.Context(), c) != nil {
					failed.Add(1)
				}
			}
		})
	}
	work.Wait()
	assert.Greater(t, failed.Load(), calls/10)
	assert.LessOrEqual(t, open.Load(), int64(2*workers), "open or idle connections")

	transport.CloseIdleConnections()
	// Both ends take a moment to notice.
	for began := time.Now(); (open.Load() > 0 || runtime.NumGoroutine() > before) && time.Since(began) < patience; {
		pause(5 * time.Millisecond)
	}
	assert.Zero(t, open.Load(), "connections left behind")
	assert.LessOrEqual(t, runtime.NumGoroutine(), before, "goroutines left behind")
}

// TestConnectionsAreShared: on the client's own transport, goroutines share
// connections, about as many as there are goroutines. On a busy machine, net/http opens
// a further connection instead of waiting for a return.
func TestConnectionsAreShared(t *testing.T) {
	const workers, each = 64, 50
	var opened atomic.Int64
	all := make(chan struct{})
	var first atomic.Int64
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := first.Add(1); n == workers { // each has a connection
			close(all)
		} else if n < workers {
			<-all
		}
		answeringJSON(200, `{"data": {"id": "mon_abc123"}}`)(w, r)
	}), func(s *httptest.Server) { s.Config.ConnState = countNew(&opened) })
	c := newClient(t, server, nil)
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for range each {
				_, err := c.Monitors.Get(t.Context(), "mon_abc123")
				assert.NoError(t, err)
			}
		})
	}
	work.Wait()
	assert.GreaterOrEqual(t, opened.Load(), int64(workers))
	assert.Less(t, opened.Load(), int64(2*workers))
}
