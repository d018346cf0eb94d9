package diffhook_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
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

// TestMain lets 32 parallel tests run at once: they wait for connections and do not
// compute. The flag -parallel takes precedence. In a run of a fuzz target, the flag is
// the number of processes.
func TestMain(m *testing.M) {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" || f.Name == "test.fuzz" })
	if !set {
		_ = flag.Set("test.parallel", "32")
	}
	m.Run()
}

// sampled returns few, or all if DIFFHOOK_TEST_PATHS is "all", as in .ci/run.
func sampled(few, all int) int {
	if os.Getenv("DIFFHOOK_TEST_PATHS") == "all" {
		return all
	}
	return few
}

// The texts of the signing secrets in tests. Like the secrets of testdata/vectors, they
// are made up.
const (
	currentText  = "test-signing-secret-current-0001"
	previousText = "test-signing-secret-previous-0001"
)

// hiddenSecret is the printed text of every Secret.
const hiddenSecret = "[REDACTED SIGNING SECRET]"

// mustSecret returns the secret with the given text.
func mustSecret(tb testing.TB, text string) diffhook.Secret {
	tb.Helper()
	secret, err := diffhook.NewSecret(text)
	require.NoError(tb, err)
	return secret
}

// newVerifier returns a verifier for the source src.
func newVerifier(tb testing.TB, src diffhook.SecretSource, opts *diffhook.VerifierOptions) *diffhook.Verifier {
	tb.Helper()
	v, err := diffhook.NewVerifier(tb.Context(), src, opts)
	require.NoError(tb, err)
	return v
}

// referenceSignature is a signature as DiffHook documents it, computed without the
// library.
func referenceSignature(key string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// vector is a case of testdata/vectors; testdata/README.md describes it.
type vector struct {
	name, secret string
	body         []byte
	signatures   map[string]string // by name of the tool
}

// vectorTools are the programs that signed every case. None is written in Go.
var vectorTools = []string{"openssl", "python", "node"}

// loadVectors returns every case with the signature of every tool.
func loadVectors(tb testing.TB) []vector {
	tb.Helper()
	var cases []struct {
		Name       string  `json:"name"`
		SecretHex  string  `json:"secret_hex"`
		BodyFile   *string `json:"body_file"`
		BodyHex    *string `json:"body_hex"`
		BodyRepeat *struct {
			Hex   string `json:"hex"`
			Count int    `json:"count"`
		} `json:"body_repeat"`
	}
	readVectorFile(tb, "inputs.json", &cases)

	signed := make(map[string]map[string]string)
	for _, tool := range vectorTools {
		var file struct {
			Signatures map[string]string `json:"signatures"`
		}
		readVectorFile(tb, tool+".json", &file)
		require.Len(tb, file.Signatures, len(cases), "the cases of %s differ from inputs.json", tool)
		signed[tool] = file.Signatures
	}

	vectors := make([]vector, 0, len(cases))
	for _, c := range cases {
		v := vector{name: c.Name, secret: string(unhex(tb, c.SecretHex)), signatures: make(map[string]string)}
		switch {
		case c.BodyFile != nil:
			v.body = readVectorBody(tb, *c.BodyFile)
		case c.BodyHex != nil:
			v.body = unhex(tb, *c.BodyHex)
		case c.BodyRepeat != nil:
			v.body = bytes.Repeat(unhex(tb, c.BodyRepeat.Hex), c.BodyRepeat.Count)
		default:
			require.Fail(tb, "case without a body", c.Name)
		}
		for _, tool := range vectorTools {
			require.Contains(tb, signed[tool], c.Name, "unsigned by %s", tool)
			v.signatures[tool] = signed[tool][c.Name]
		}
		vectors = append(vectors, v)
	}
	return vectors
}

// readVectorBody returns a file of testdata/vectors unchanged.
func readVectorBody(tb testing.TB, name string) []byte {
	tb.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", "vectors", filepath.FromSlash(name)))
	require.NoError(tb, err)
	return body
}

func readVectorFile(tb testing.TB, name string, into any) {
	tb.Helper()
	require.NoError(tb, json.Unmarshal(readVectorBody(tb, name), into), name)
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(tb, err)
	return b
}

// newServer starts an emulator until the test ends, and records its exchanges for the
// module contract. A test that calls Configure sets OnExchange to recorder(t).
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

// recordVariable names the folder into which the module contract lets the tests record.
const recordVariable = "DIFFHOOK_RECORD"

// recorded is an exchange in the form of contract/exchange.go.
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

// recorder returns a hook that writes the exchanges of the library's client to a file,
// or nil if nothing is to be recorded.
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
		// Reopened for each line, so that no order of clean-ups loses a line.
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

// countingTries returns a context and the number of connections requested with it: one
// per attempt.
func countingTries(ctx context.Context) (context.Context, func() int64) {
	var n atomic.Int64
	trace := &httptrace.ClientTrace{GetConn: func(string) { n.Add(1) }}
	return httptrace.WithClientTrace(ctx, trace), n.Load
}

// testKeyText is a made-up API key, split so that scanners do not report a live key.
var testKeyText = "dh_live_" + strings.Repeat("k", 24)

// newClient returns a client of server, without a limit unless opts sets a Limiter.
func newClient(t testing.TB, server *httptest.Server, opts *diffhook.ClientOptions) *diffhook.Client {
	t.Helper()
	return newClientAt(t, server.URL, opts)
}

// newHandlerClient returns a client whose requests h answers without sockets, for
// synctest.
func newHandlerClient(t testing.TB, h http.Handler, opts *diffhook.ClientOptions) *diffhook.Client {
	t.Helper()
	return newTransportClient(t, diffhooktest.Transport(h), opts)
}

// newTransportClient returns a client on the given transport.
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
