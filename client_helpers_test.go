package diffhook_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// newServer starts an emulator that closes itself when the test ends, and
// whose exchanges are recorded for the module contract. A test that calls
// Configure passes OnExchange: recorder(t) on.
func newServer(t testing.TB) *diffhooktest.Server {
	t.Helper()
	s := diffhooktest.NewServer(t)
	s.Configure(diffhooktest.Settings{OnExchange: recorder(t)})
	return s
}

// newBubbleServer is newServer without sockets, for synctest.
func newBubbleServer(t testing.TB) *diffhooktest.Server {
	t.Helper()
	s := diffhooktest.New()
	t.Cleanup(s.Close)
	s.Configure(diffhooktest.Settings{OnExchange: recorder(t)})
	return s
}

// recordVariable names the folder that the module contract has the tests
// record into.
const recordVariable = "DIFFHOOK_RECORD"

// recorded is an exchange as contract/exchange.go has it.
type recorded struct {
	Method        string      `json:"method"`
	URL           string      `json:"url"`
	RequestHeader http.Header `json:"requestHeader"`
	RequestBody   []byte      `json:"requestBody"`
	Status        int         `json:"status"`
	Header        http.Header `json:"header"`
	Body          []byte      `json:"body"`
	Generation    int         `json:"generation"`
	Fault         bool        `json:"fault"`
}

// recorder returns a hook that writes the exchanges of the library's client to
// a file of its own, or nil where nothing is to be recorded.
func recorder(t testing.TB) func(diffhooktest.Exchange) {
	t.Helper()
	dir := os.Getenv(recordVariable)
	if dir == "" {
		return nil
	}
	file, err := os.CreateTemp(dir, "exchanges-*.jsonl")
	require.NoError(t, err)
	require.NoError(t, file.Close())
	var mu sync.Mutex
	return func(x diffhooktest.Exchange) {
		if !strings.Contains(x.Request.Header.Get("User-Agent"), "diffhook-go/") {
			return
		}
		url := x.Request.Path
		if x.Request.Query != "" {
			url += "?" + x.Request.Query
		}
		line, err := json.Marshal(recorded{
			Method: x.Request.Method, URL: url, RequestHeader: x.Request.Header, RequestBody: x.Request.Body,
			Status: x.Status, Header: x.Header, Body: x.Body,
			Generation: x.Generation, Fault: x.Request.Fault || x.Status == 0,
		})
		assert.NoError(t, err)
		mu.Lock()
		defer mu.Unlock()
		// Opened anew for each line: no order of clean-ups can lose one.
		out, err := os.OpenFile(file.Name(), os.O_APPEND|os.O_WRONLY, 0)
		if assert.NoError(t, err) {
			_, err = out.Write(append(line, '\n'))
			assert.NoError(t, err)
			assert.NoError(t, out.Close())
		}
	}
}

// unlimited lets every request start at once.
func unlimited() diffhook.Limiter { return rate.NewLimiter(rate.Inf, 1) }

// counting counts requests.
func counting(n *atomic.Int64, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		next.ServeHTTP(w, r)
	})
}

// testKeyText is a made-up API key, put together so that no scanner takes it
// for a live one.
var testKeyText = "dh_live_" + strings.Repeat("k", 24)

// newClient returns a client of server, without a limit where opts name none.
func newClient(t testing.TB, server *httptest.Server, opts *diffhook.ClientOptions) *diffhook.Client {
	t.Helper()
	return newClientAt(t, server.URL, opts)
}

// newHandlerClient returns a client whose requests h answers, without sockets:
// for synctest.
func newHandlerClient(t testing.TB, h http.Handler, opts *diffhook.ClientOptions) *diffhook.Client {
	t.Helper()
	return newTransportClient(t, diffhooktest.Transport(h), opts)
}

// newTransportClient returns a client that sends by transport.
func newTransportClient(t testing.TB, transport http.RoundTripper, opts *diffhook.ClientOptions) *diffhook.Client {
	t.Helper()
	var o diffhook.ClientOptions
	if opts != nil {
		o = *opts
	}
	o.HTTPClient = &http.Client{Transport: transport}
	return newClientAt(t, "http://127.0.0.1:1", &o)
}

func newClientAt(t testing.TB, origin string, opts *diffhook.ClientOptions) *diffhook.Client {
	t.Helper()
	var o diffhook.ClientOptions
	if opts != nil {
		o = *opts
	}
	o.BaseURL = origin + "/api/"
	if o.Limiter == nil {
		o.Limiter = unlimited()
	}
	key, err := diffhook.NewAPIKey(testKeyText)
	require.NoError(t, err)
	c, err := diffhook.NewClient(key, &o)
	require.NoError(t, err)
	return c
}
