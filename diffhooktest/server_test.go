package diffhooktest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// stacks returns the stacks of all goroutines that contain one of the texts.
func stacks(texts ...string) (found []string) {
	buf := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		for _, text := range texts {
			if strings.Contains(stack, text) {
				found = append(found, stack)
				break
			}
		}
	}
	return found
}

// Close ends everything: idle and used connections, a delayed request, a running
// delivery, and a delivery that waits for a retry.
func TestCloseLeavesNothingBehind(t *testing.T) {
	s, err := diffhooktest.Start()
	require.NoError(t, err)
	called := make(chan struct{})
	var block atomic.Bool
	s.Configure(diffhooktest.Settings{Deliver: diffhooktest.Transport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !block.Load() {
			w.WriteHeader(500)
			return
		}
		close(called)
		<-r.Context().Done()
	}))})
	client := newClient(t)
	key := s.APIKey().Reveal()
	m := s.DefaultTeam().NewMonitor(diffhooktest.Monitor{WebhookURL: "https://hooks.example.com/"})
	_, err = s.Change(m.ID, nil) // waits for a retry
	require.NoError(t, err)
	block.Store(true)
	got, err := overHTTP(t, client, request(t, s, key, "POST", "/api/monitors/"+m.ID+"/trigger", ""))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, got.status)
	<-called // running

	s.Fail(diffhooktest.Fault{Delay: time.Hour})
	wrote := make(chan struct{}, 10) // the client may repeat the request when the connection ends
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { wrote <- struct{}{} }})
	delayed := make(chan error)
	r := request(t, s, key, "GET", "/api/keys", "").WithContext(ctx)
	go func() {
		_, err := overHTTP(t, client, r)
		delayed <- err
	}()
	<-wrote

	s.Close()
	require.Error(t, <-delayed)
	client.CloseIdleConnections()
	assert.Eventually(t, func() bool {
		return len(stacks("diffhooktest.(*Server)", "http.(*conn).serve", "http.(*Server).Serve")) == 0
	}, 5*time.Second, time.Millisecond, "%s", stacks("diffhooktest.(*Server)", "http.(*conn).serve"))

	s.Close() // a second time
	s.Advance(time.Hour)
	assert.Len(t, s.Deliveries(), 2)
	_, err = s.Change(m.ID, nil)
	require.ErrorContains(t, err, "closed")
	_, err = diffhooktest.Transport(s).RoundTrip(request(t, s, key, "GET", "/api/keys", ""))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, err = overHTTP(t, client, request(t, s, key, "GET", "/api/keys", ""))
	require.Error(t, err)
}

// In a bubble, a leaked goroutine fails the test.
func TestCloseInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := diffhooktest.New()
		s.Configure(diffhooktest.Settings{Deliver: diffhooktest.Transport(answering(500))})
		m := s.DefaultTeam().NewMonitor(diffhooktest.Monitor{WebhookURL: "https://hooks.example.com/"})
		_, err := s.Change(m.ID, nil)
		require.NoError(t, err)
		s.Close()
		<-time.After(time.Hour)
		assert.Len(t, s.Deliveries()[0].Attempts, 1)
	})
}

// An incomplete request is not handled.
func TestRequestsThatBreakOff(t *testing.T) {
	s := bubble(t)
	r := request(t, s, s.APIKey().Reveal(), "POST", "/api/keys", "x")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"label":"x"}`), iotest.ErrReader(io.ErrUnexpectedEOF)))
	_, err := diffhooktest.Transport(s).RoundTrip(r)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Len(t, s.DefaultTeam().Keys(), 1)
	assert.Empty(t, s.Requests())
}

func TestServersShareNothing(t *testing.T) {
	one, other := diffhooktest.NewServer(t), diffhooktest.NewServer(t)
	assert.NotEqual(t, one.URL, other.URL)
	assert.Regexp(t, `^http://127\.0\.0\.1:\d+/api/$`, one.URL)
	got, err := overHTTP(t, newClient(t), request(t, other, one.APIKey().Reveal(), "GET", "/api/keys", ""))
	require.NoError(t, err)
	assert.Equal(t, http.StatusUnauthorized, got.status)
	one.Advance(time.Hour)
	assert.Less(t, time.Since(other.Now()).Abs(), 30*time.Minute)
}

func TestStartAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		assert.True(t, time.Now().Equal(s.Now()), "real time at first")
		assert.Equal(t, time.UTC, s.Now().Location())
		for _, year := range []int{1999, 2099} {
			at := time.Date(year, 3, 16, 14, 22, 0, 0, time.UTC)
			s.StartAt(at)
			assert.Equal(t, at, s.Now())
			assert.Equal(t, at, s.DefaultTeam().Keys()[0].CreatedAt)
			<-time.After(time.Minute)
			assert.Equal(t, at.Add(time.Minute), s.Now(), "and runs on")
		}
		call(t, s, s.APIKey().Reveal(), "GET", "/api/keys", "")
		assert.Panics(t, func() { s.StartAt(time.Now()) })
	})
	for name, happen := range map[string]func(*diffhooktest.Server){
		"a team":    func(s *diffhooktest.Server) { s.NewTeam(diffhooktest.Plan{}) },
		"a key":     func(s *diffhooktest.Server) { s.DefaultTeam().NewKey("x") },
		"a client":  func(s *diffhooktest.Server) { s.DefaultTeam().NewClientCredentials() },
		"a monitor": func(s *diffhooktest.Server) { s.DefaultTeam().NewMonitor(diffhooktest.Monitor{}) },
	} {
		s := bubble(t)
		happen(s)
		assert.Panics(t, func() { s.StartAt(time.Now()) }, name)
	}
}

// Records identify the credential by a fingerprint.
func TestRequestsShowNoCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t)
		key := s.APIKey().Reveal()
		id, secret := s.ClientCredentials()
		token := tokenFor(t, s, id, secret)
		exchange(t, s, "%zz"+secret)
		call(t, s, key, "GET", "/api/keys?limit=2", "")
		call(t, s, key, "POST", "/api/keys", `{"label":"x"}`)
		call(t, s, token, "GET", "/api/monitors/mon_1", "")
		r := request(t, s, "", "GET", "/api/nothing", "")
		r.Header.Set("Authorization", key) // malformed, and still a secret
		r.Header.Set("Cookie", "key="+key)
		send(t, s, r)

		got := s.Requests()
		want := []diffhooktest.Request{
			{Method: "POST", Path: "/api/oauth/token", Route: "POST /api/oauth/token", Status: 200},
			{Method: "POST", Path: "/api/oauth/token", Route: "POST /api/oauth/token", Status: 400},
			{Method: "GET", Path: "/api/keys", Query: "limit=2", Route: "GET /api/keys", Status: 200},
			{Method: "POST", Path: "/api/keys", Route: "POST /api/keys", Body: []byte(`{"label":"x"}`), Status: 201},
			{Method: "GET", Path: "/api/monitors/mon_1", Route: "GET /api/monitors/{id}", Status: 404},
			{Method: "GET", Path: "/api/nothing", Status: 401},
		}
		for i := range want {
			want[i].Time = s.Now()
		}
		ignored := cmp.Options{cmpopts.IgnoreFields(diffhooktest.Request{}, "Header"), cmpopts.EquateEmpty()}
		assert.Empty(t, cmp.Diff(want[2:], got[2:], ignored))
		assert.Contains(t, string(got[0].Body), "grant_type=client_credentials")
		assert.Contains(t, string(got[0].Body), "client_id="+id)

		dump := fmt.Sprintf("%+v", got)
		for _, r := range got {
			dump += string(r.Body)
		}
		for _, credential := range []string{key, secret, token} {
			assert.NotContains(t, dump, credential)
		}
		assert.Equal(t, got[2].Header.Get("Authorization"), got[3].Header.Get("Authorization"))
		assert.NotEqual(t, got[3].Header.Get("Authorization"), got[4].Header.Get("Authorization"))
		assert.Regexp(t, "^Bearer sha256:[0-9a-f]{12}$", got[3].Header.Get("Authorization"))

		assert.Equal(t, 6, s.Count(""))
		assert.Equal(t, 2, s.Count("/api/keys"))
		assert.Equal(t, 1, s.Count("POST /api/keys"))
		assert.Equal(t, 1, s.Count("GET /api/monitors/{id}"))
		assert.Zero(t, s.Count("DELETE"))
	})
}

func TestOnExchange(t *testing.T) {
	s := diffhooktest.NewServer(t)
	var mu sync.Mutex
	var seen []diffhooktest.Exchange
	s.Configure(diffhooktest.Settings{OnExchange: func(x diffhooktest.Exchange) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, x)
		s.Count("") // a hook may call the server
	}})
	client := newClient(t)
	all := bearers(t, s, s.DefaultTeam())
	created, err := overHTTP(t, client, request(t, s, all[1], "POST", "/api/keys", `{"label":"x"}`))
	require.NoError(t, err)
	s.Fail(diffhooktest.Fault{Truncate: true})
	_, err = overHTTP(t, client, request(t, s, all[2], "GET", "/api/keys", ""))
	require.Error(t, err)
	s.Fail(diffhooktest.Fault{Reset: diffhooktest.AfterHandling})
	_, err = overHTTP(t, client, request(t, s, all[2], "GET", "/api/keys", ""))
	require.Error(t, err)

	mu.Lock()
	defer mu.Unlock()
	require.Len(t, seen, 4)
	form, err := url.ParseQuery(string(seen[0].Request.Body))
	require.NoError(t, err)
	_, secret := s.ClientCredentials()
	assert.Equal(t, secret, form.Get("client_secret"), "complete bodies")
	assert.Equal(t, 2, seen[0].Generation)
	assert.Equal(t, []int{1, 201}, []int{seen[1].Generation, seen[1].Status})
	assert.Equal(t, created.body, string(seen[1].Body))
	assert.Equal(t, created.header.Get("X-Request-Id"), seen[1].Header.Get("X-Request-Id"))
	assert.Equal(t, []int{2, 200}, []int{seen[2].Generation, seen[2].Status})
	assert.True(t, json.Valid(seen[2].Body), "also if a fault truncates the response")
	assert.True(t, seen[2].Request.Fault)
	assert.Zero(t, seen[3].Status)
	assert.Nil(t, seen[3].Body)
	for _, x := range seen {
		assert.NotContains(t, fmt.Sprint(x.Request.Header), all[1])
	}
}

// Everything at once, for the race detector. Invariant: no key exceeds the limit.
func TestConcurrency(t *testing.T) {
	s := diffhooktest.NewServer(t)
	s.Configure(diffhooktest.Settings{Deliver: diffhooktest.Transport(answering(500, 200)), RequestsPerMinutePerIP: 100000})
	s.StartAt(s.Now())
	team := s.NewTeam(diffhooktest.Plan{RequestsPerMinute: 100})
	key := team.APIKey().Reveal()
	m := s.DefaultTeam().NewMonitor(diffhooktest.Monitor{WebhookURL: "https://hooks.example.com/"})
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses := make(map[int]int)
	for range 8 {
		wg.Go(func() {
			for range 20 {
				got := call(t, s, key, "GET", "/api/logs", "")
				mu.Lock()
				statuses[got.status]++
				mu.Unlock()
			}
		})
		wg.Go(func() {
			for range 5 {
				_, err := s.Change(m.ID, nil)
				assert.NoError(t, err)
				s.Rotate()
				s.Advance(time.Millisecond)
				s.Deliveries()
				s.Requests()
			}
		})
	}
	wg.Wait()
	assert.Equal(t, map[int]int{200: 100, 429: 60}, statuses)
	s.Advance(time.Hour)
	for _, d := range s.Deliveries() {
		assert.True(t, d.Delivered)
	}
	assert.Len(t, s.Deliveries(), 40)
}

func TestClients(t *testing.T) {
	t.Run("of both generations, over a network", func(t *testing.T) {
		s := diffhooktest.NewServer(t)
		for _, client := range []*diffhook.Client{s.Client(nil), s.ClientGen2(nil), s.NewTeam(diffhooktest.Plan{}).Client(nil)} {
			keys, err := client.Keys.List(t.Context(), nil)
			require.NoError(t, err)
			assert.Len(t, keys, 1)
		}
		assert.Equal(t, 1, s.Count("POST /api/oauth/token"))
	})
	t.Run("in a bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := bubble(t)
			s.Fail(diffhooktest.Fault{Route: "GET /api/keys", Status: 503, RetryAfter: 7 * time.Second})
			began := time.Now()
			_, err := s.Client(nil).Keys.List(t.Context(), nil)
			require.NoError(t, err)
			assert.Equal(t, 7*time.Second, time.Since(began), "the client waited for Retry-After")
			assert.Equal(t, 2, s.Count("GET /api/keys"))
		})
	})
	t.Run("bad options", func(t *testing.T) {
		assert.Panics(t, func() { bubble(t).Client(&diffhook.ClientOptions{Generation: 3}) })
	})
}

func TestTransport(t *testing.T) {
	get := func(ctx context.Context, h http.HandlerFunc) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://example.com/a?b=c", nil)
		if err != nil {
			return nil, err
		}
		return (&http.Client{Transport: diffhooktest.Transport(h)}).Do(r)
	}
	t.Run("the request is server-side", func(t *testing.T) {
		resp, err := get(t.Context(), func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			fmt.Fprint(w, r.Host, " ", r.RequestURI, " ", r.RemoteAddr, " ", len(body), " ", err)
		})
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, "example.com /a?b=c 127.0.0.1:1 0 <nil>", string(body))
		assert.Equal(t, int64(len(body)), resp.ContentLength)
	})
	t.Run("an ended context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := get(ctx, func(http.ResponseWriter, *http.Request) { t.Error("called") })
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("a panic", func(t *testing.T) {
		_, err := get(t.Context(), func(http.ResponseWriter, *http.Request) { panic(errors.New("boom")) })
		require.ErrorContains(t, err, "boom")
	})
	t.Run("a goroutine that ends", func(t *testing.T) {
		_, err := get(t.Context(), func(http.ResponseWriter, *http.Request) { runtime.Goexit() })
		require.ErrorContains(t, err, "goroutine")
	})
	t.Run("a response cut off", func(t *testing.T) {
		resp, err := get(t.Context(), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			fmt.Fprint(w, "12345")
			panic(http.ErrAbortHandler)
		})
		require.NoError(t, err)
		assert.Equal(t, int64(10), resp.ContentLength)
		body, err := io.ReadAll(resp.Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.Equal(t, "12345", string(body))
	})
	t.Run("a body shorter than its length", func(t *testing.T) {
		resp, err := get(t.Context(), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			fmt.Fprint(w, "12345")
		})
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	})
	t.Run("a trace", func(t *testing.T) {
		var steps []string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			GotConn:      func(httptrace.GotConnInfo) { steps = append(steps, "connection") },
			WroteHeaders: func() { steps = append(steps, "headers") },
			WroteRequest: func(httptrace.WroteRequestInfo) { steps = append(steps, "request") },
		})
		_, err := get(ctx, func(http.ResponseWriter, *http.Request) {})
		require.NoError(t, err)
		assert.Equal(t, []string{"connection", "headers", "request"}, steps)
	})
}
