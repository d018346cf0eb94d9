package diffhook_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// opaqueToken is a bearer token without the prefix of keys: only its text identifies
// it.
const opaqueToken = "violet.walrus_plays~the+quartz/organ=="

func opaqueCredentials() diffhook.Credentials {
	return diffhook.CredentialsFunc(func(context.Context) (string, error) { return opaqueToken, nil })
}

// withOpaqueToken returns a client that sends opaqueToken by transport.
func withOpaqueToken(t testing.TB, transport http.RoundTripper, opts diffhook.ClientOptions) *diffhook.Client {
	t.Helper()
	opts.BaseURL, opts.HTTPClient, opts.Limiter = "http://127.0.0.1:1/api/", &http.Client{Transport: transport}, unlimited()
	c, err := diffhook.NewClient(opaqueCredentials(), &opts)
	require.NoError(t, err)
	return c
}

// TestRedirectsAreNotFollowed: a redirect would carry the credential and the body of a
// POST to another host.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var elsewhere atomic.Int64
	evil := serve(t, counting(&elsewhere, answeringJSON(200, `{"data": {"id": "mon_1"}}`)), nil)
	follow := func(r *http.Request, _ []*http.Request) error { return nil }
	for _, status := range []int{300, 301, 302, 303, 304, 305, 307, 308} {
		for _, target := range []string{evil.URL + "/stolen", "/elsewhere", strings.TrimPrefix(evil.URL, "http:")} {
			for _, call := range apiCalls {
				t.Run(strconv.Itoa(status)+" "+call.name, func(t *testing.T) {
					var sent atomic.Int64
					server := serve(t, counting(&sent, withHeader(answering(status, "", ""), "Location", target)), nil)
					given := &http.Client{Transport: ownTransport(t), CheckRedirect: follow}
					err := call.do(t.Context(), newClient(t, server, &diffhook.ClientOptions{HTTPClient: given}))
					require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
					assert.Equal(t, status, requireAPIError(t, err).StatusCode)
					assert.NotContains(t, err.Error(), "stolen")
					assert.EqualValues(t, 1, sent.Load())
				})
			}
		}
	}
	assert.Zero(t, elsewhere.Load())
}

// TestBaseURL: the hosts allowed to get a credential.
func TestBaseURL(t *testing.T) {
	key, err := diffhook.NewAPIKey(testKeyText)
	require.NoError(t, err)
	for base, want := range map[string]string{ // URLs of the path "monitors"
		"":                                "https://www.diffhook.com/api/monitors",
		"https://www.diffhook.com/api/":   "https://www.diffhook.com/api/monitors",
		"https://api.example.com":         "https://api.example.com/monitors",
		"https://api.example.com/v1":      "https://api.example.com/v1/monitors",
		"https://api.example.com:8443/v1": "https://api.example.com:8443/v1/monitors",
		"https://api.example.com/a%2Fb/":  "https://api.example.com/a%2Fb/monitors",
		"HTTPS://api.example.com/v1":      "https://api.example.com/v1/monitors",
		"https://[2001:db8::1]/api/":      "https://[2001:db8::1]/api/monitors",
		// Loopback, for tests.
		"http://127.0.0.1:1/api":             "http://127.0.0.1:1/api/monitors",
		"http://127.8.9.10/":                 "http://127.8.9.10/monitors",
		"http://localhost:1":                 "http://localhost:1/monitors",
		"http://[::1]:1/api/":                "http://[::1]:1/api/monitors",
		"http://[::ffff:127.0.0.1]:1/api/":   "http://[::ffff:127.0.0.1]:1/api/monitors",
		"https://localhost.example.com/api/": "https://localhost.example.com/api/monitors",
	} {
		t.Run(base, func(t *testing.T) {
			var asked string
			transport := roundTripper(func(r *http.Request) (*http.Response, error) {
				asked = r.URL.String()
				return nil, io.ErrUnexpectedEOF
			})
			c, err := diffhook.NewClient(key, &diffhook.ClientOptions{BaseURL: base, HTTPClient: &http.Client{Transport: transport}, MaxAttempts: 1})
			require.NoError(t, err)
			require.ErrorIs(t, c.Do(t.Context(), "GET", "monitors", nil, nil), io.ErrUnexpectedEOF)
			assert.Equal(t, want, asked)
		})
	}
	for name, base := range map[string]string{
		"http to a public host":         "http://www.diffhook.com/api/",
		"http to a private address":     "http://10.0.0.1/api/",
		"http to any address":           "http://0.0.0.0/api/",
		"http to a name that begins so": "http://localhost.example.com/api/",
		"http to a name that ends so":   "http://example.com.localhost.example/api/",
		"http to a like address":        "http://127.0.0.1.example.com/api/",
		"http to a short address":       "http://127.1/api/",
		"http to a zone":                "http://[fe80::1%25lo]/api/",
		"a space at the end":            "https://www.diffhook.com/api/ ",
		"a space at the start":          " https://www.diffhook.com/api/",
		"a space within":                "https://www.diffhook.com/a pi/",
		"a newline at the end":          "https://www.diffhook.com/api/\n",
		"CR LF at the end":              "https://www.diffhook.com/api/\r\n",
		"a tab":                         "https://www.diffhook.com\t/api/",
		"a no-break space":              "https://www.diffhook.com/api/\u00a0",
		"a zero-width space":            "https://www.diffhook.com/api/\u200b",
		"a byte order mark":             "\ufeffhttps://www.diffhook.com/api/",
		"user":                          "https://walrus@www.diffhook.com/api/",
		"password":                      "https://walrus:violet@www.diffhook.com/api/",
		"empty user":                    "https://@www.diffhook.com/api/",
		"loopback as the user":          "http://127.0.0.1@evil.example/api/",
		"query":                         "https://www.diffhook.com/api/?walrus=1",
		"empty query":                   "https://www.diffhook.com/api/?",
		"fragment":                      "https://www.diffhook.com/api/#walrus",
		"no host":                       "https:///api/",
		"port alone":                    "https://:443/api/",
		"no scheme":                     "www.diffhook.com/api/",
		"no scheme, slashes":            "//www.diffhook.com/api/",
		"path alone":                    "/api/",
		"opaque":                        "https:www.diffhook.com/api/",
		"ftp":                           "ftp://www.diffhook.com/api/",
		"file":                          "file:///api/",
		"unix socket":                   "http+unix://%2Fvar%2Frun/api/",
		"backslash":                     `https:\\www.diffhook.com\api`,
		"backslash in the host":         `https://www.diffhook.com\@evil.example/`,
		"control character":             "https://www.diffhook.com/\n",
		"space":                         "https://www.diffhook .com/",
		"leading space":                 " https://www.diffhook.com/",
		"bad escape":                    "https://www.diffhook.com/%zz/walrus",
		"bad port":                      "https://www.diffhook.com:walrus/",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := diffhook.NewClient(key, &diffhook.ClientOptions{BaseURL: base})
			require.ErrorIs(t, err, diffhook.ErrInvalidOptions)
			require.ErrorContains(t, err, "BaseURL")
			require.NotContains(t, err.Error(), "walrus", "a possible password")
			require.NotContains(t, err.Error(), "violet", "a possible password")
		})
	}
}

// roundTripper is an http.RoundTripper of a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestDoPaths: the paths that Do takes, as the server sees them.
func TestDoPaths(t *testing.T) {
	var seen atomic.Pointer[string]
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(new(r.Host + " " + r.RequestURI))
		answeringJSON(200, `{"data": {"id": "mon_1"}}`)(w, r)
	}), nil)
	c := newClient(t, server, nil)
	for path, want := range map[string]string{
		"monitors":                     "monitors",
		"monitors?limit=5&q=a%20b":     "monitors?limit=5&q=a%20b",
		"monitors/mon_1/pause":         "monitors/mon_1/pause",
		"monitors/a%2Fb":               "monitors/a%2Fb",
		"monitors/a%2fb%3Fc":           "monitors/a%2fb%3Fc",
		"monitors/a b":                 "monitors/a%20b",
		"monitors/ü":                   "monitors/%C3%BC",
		`monitors\..\..\admin`:         "monitors%5C..%5C..%5Cadmin",
		"monitors/...":                 "monitors/...",
		"monitors?next=https://evil/x": "monitors?next=https://evil/x",
		"monitors/a@b":                 "monitors/a@b",
	} {
		t.Run(path, func(t *testing.T) {
			seen.Store(nil)
			require.NoError(t, c.Do(t.Context(), "GET", path, nil, nil))
			require.NotNil(t, seen.Load())
			assert.Equal(t, strings.TrimPrefix(server.URL, "http://")+" /api/"+want, *seen.Load())
		})
	}
	for _, path := range []string{
		// Paths to another host, or up and out of the API.
		"//evil", "//evil/x", "///evil", "https://evil", "https://evil/api/monitors", "https:evil", "mailto:evil", "x:y", "//user@evil/x",
		"/x", "/", "/api/monitors", "..", "../x", "a/..", "a/../b", "./a", "a/./b", ".", "%2e%2e/x", "%2E%2e/x", "a/%2e", ".%2e/x", "a/..?b",
		// No path, or a path that is not as it seems.
		"", "?a=b", "#", "#a", "a#b", "a//b", "a/", "a/?b", "%zz", "a\nb", "a\r\nHost: evil", "a\x00b", "a\x7fb", ":",
	} {
		t.Run(fmt.Sprintf("rejected %q", path), func(t *testing.T) {
			seen.Store(nil)
			require.ErrorIs(t, c.Do(t.Context(), "GET", path, nil, nil), diffhook.ErrInvalidRequest)
			require.Nil(t, seen.Load())
		})
	}
	for _, method := range []string{"G ET", "GET\r\nHost: evil", "GÉT", "GET /x"} {
		t.Run(fmt.Sprintf("method %q", method), func(t *testing.T) {
			seen.Store(nil)
			err := c.Do(t.Context(), method, "monitors", nil, nil)
			require.ErrorIs(t, err, diffhook.ErrInvalidRequest)
			require.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown)
			require.Nil(t, seen.Load())
		})
	}
	t.Run("a value that cannot be encoded", func(t *testing.T) {
		require.ErrorIs(t, c.Do(t.Context(), "POST", "monitors", func() {}, nil), diffhook.ErrInvalidRequest)
	})
}

// TestIDsStayOneElement: an id may come from anybody, and reaches no other endpoint.
func TestIDsStayOneElement(t *testing.T) {
	var seen atomic.Pointer[[2]string]
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(&[2]string{r.URL.EscapedPath(), r.URL.RawQuery})
		answeringJSON(200, `{"data": {"id": "mon_1"}}`)(w, r)
	}), nil)
	c := newClient(t, server, nil)
	uses := []struct {
		name, before, after string
		do                  func(id string) error
	}{
		{"get", "/api/monitors/", "", func(id string) error { _, err := c.Monitors.Get(t.Context(), id); return err }},
		{"update", "/api/monitors/", "", func(id string) error {
			_, err := c.Monitors.Update(t.Context(), id, diffhook.MonitorUpdate{Label: new("a")})
			return err
		}},
		{"delete", "/api/monitors/", "", func(id string) error { return c.Monitors.Delete(t.Context(), id) }},
		{"pause", "/api/monitors/", "/pause", func(id string) error { return c.Monitors.Pause(t.Context(), id) }},
		{"resume", "/api/monitors/", "/resume", func(id string) error { return c.Monitors.Resume(t.Context(), id) }},
		{"trigger", "/api/monitors/", "/trigger", func(id string) error { return c.Monitors.Trigger(t.Context(), id) }},
		{"delete key", "/api/keys/", "", func(id string) error { return c.Keys.Delete(t.Context(), id) }},
	}
	for _, id := range []string{
		"mon_abc123", "../../admin?x=1", "a/b", "a%2Fb", "%2e%2e", "%", "%zz", "...", "a/..", "../a", "/", "//evil", "https://evil/",
		"a?b=c", "?", "#", "a#b", "a;b", "a:b", `a\b`, `..\..\a`, "a b", " ", "ü", "日本", "\u202e", "a\nb", "a\r\nHost: evil", "\x00", "\x7f", "\xff",
		strings.Repeat("a", 4000),
	} {
		for _, use := range uses {
			t.Run(fmt.Sprintf("%.30q/%s", id, use.name), func(t *testing.T) {
				seen.Store(nil)
				require.NoError(t, use.do(id))
				got := seen.Load()
				require.NotNil(t, got)
				assert.Empty(t, got[1], "query")
				element, ok := strings.CutPrefix(got[0], use.before)
				require.True(t, ok, got[0])
				element, ok = strings.CutSuffix(element, use.after)
				require.True(t, ok, got[0])
				assert.NotContains(t, element, "/")
				unescaped, err := url.PathUnescape(element)
				require.NoError(t, err)
				assert.Equal(t, id, unescaped)
			})
		}
	}
	for _, id := range []string{"", ".", ".."} {
		for _, use := range uses {
			t.Run(fmt.Sprintf("rejected %q/%s", id, use.name), func(t *testing.T) {
				seen.Store(nil)
				require.ErrorIs(t, use.do(id), diffhook.ErrInvalidRequest)
				require.Nil(t, seen.Load())
			})
		}
	}
}

// TestTokens: the token of a CredentialsFunc is sent unchanged or not at all.
func TestTokens(t *testing.T) {
	refused := errors.New("the vault is sealed")
	for _, c := range []struct {
		name, token string
		err         error // error of the function
		is          error // error of the call
	}{
		{"a token", opaqueToken, nil, nil},
		{"empty", "", nil, diffhook.ErrInvalidCredentials},
		{"space", "violet walrus", nil, diffhook.ErrInvalidCredentials},
		{"trailing newline", "violet-walrus\n", nil, diffhook.ErrInvalidCredentials},
		// Further headers in the token.
		{"header", "violet-walrus\r\nX-Evil: 1", nil, diffhook.ErrInvalidCredentials},
		{"tab", "violet\twalrus", nil, diffhook.ErrInvalidCredentials},
		{"NUL", "violet\x00walrus", nil, diffhook.ErrInvalidCredentials},
		{"not ASCII", "violet-walrüs", nil, diffhook.ErrInvalidCredentials},
		{"not UTF-8", "violet-walrus\xff", nil, diffhook.ErrInvalidCredentials},
		{"error", "violet-walrus", refused, refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			var header []string
			var sent atomic.Int64
			transport := diffhooktest.Transport(counting(&sent, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				header = r.Header["Authorization"]
				answeringJSON(200, `{"data": {"id": "mon_1"}}`)(w, r)
			})))
			client := withOpaqueToken(t, transport, diffhook.ClientOptions{})
			client.SetCredentials(diffhook.CredentialsFunc(func(context.Context) (string, error) { return c.token, c.err }))
			for _, call := range apiCalls {
				sent.Store(0)
				err := call.do(t.Context(), client)
				if c.is == nil {
					require.EqualValues(t, 1, sent.Load())
					assert.Equal(t, []string{"Bearer " + c.token}, header)
					continue
				}
				require.ErrorIs(t, err, c.is)
				require.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown)
				assert.NotContains(t, err.Error(), "violet")
				assert.Zero(t, sent.Load())
			}
		})
	}
}

// TestCallersHTTPClient: the caller's client is copied, used and left unchanged.
func TestCallersHTTPClient(t *testing.T) {
	server := serve(t, answeringJSON(200, `{"data": {"id": "mon_1"}}`), nil)
	transport := ownTransport(t)
	given := &http.Client{Transport: transport, Timeout: time.Minute}
	before := *given
	c := newClient(t, server, &diffhook.ClientOptions{HTTPClient: given})
	require.NoError(t, c.Do(t.Context(), "GET", "monitors", nil, nil))
	assert.Same(t, transport, given.Transport)
	assert.Nil(t, given.CheckRedirect)
	assert.Nil(t, given.Jar)
	assert.Equal(t, before.Timeout, given.Timeout)

	// Changed later, the original does not affect on the client.
	given.Transport = roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("the wrong transport") })
	require.NoError(t, c.Do(t.Context(), "GET", "monitors", nil, nil))

	synctest.Test(t, func(t *testing.T) {
		silent := diffhooktest.Transport(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		c := newClientAt(t, "http://127.0.0.1:1", &diffhook.ClientOptions{HTTPClient: &http.Client{Transport: silent, Timeout: 3 * time.Second}, MaxAttempts: 1})
		began := time.Now()
		require.ErrorIs(t, c.Do(t.Context(), "GET", "monitors", nil, nil), context.DeadlineExceeded)
		assert.Equal(t, 3*time.Second, time.Since(began))
	})
}

// TestHeaders shows every sent header.
func TestHeaders(t *testing.T) {
	var got http.Header
	var lengths []string
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		lengths = r.TransferEncoding
		answeringJSON(200, `{"data": {"id": "mon_1"}}`)(w, r)
	}), nil)
	for _, c := range []struct {
		name, agent, want string
	}{
		{"default", "", "diffhook-go/0.1 (" + runtime.Version() + ")"},
		{"own", "shop/1.2", "shop/1.2 diffhook-go/0.1 (" + runtime.Version() + ")"},
	} {
		client := newClient(t, server, &diffhook.ClientOptions{UserAgent: c.agent})
		for _, call := range apiCalls {
			t.Run(c.name+"/"+call.name, func(t *testing.T) {
				_ = call.do(t.Context(), client)
				want := http.Header{
					"Accept":          {"application/json"},
					"Accept-Encoding": {"gzip"},
					"Authorization":   {"Bearer " + testKeyText},
					"User-Agent":      {c.want},
				}
				if length := got.Get("Content-Length"); length != "" { // set for every POST and PUT
					want.Set("Content-Length", length)
					if length != "0" {
						want.Set("Content-Type", "application/json")
					}
				}
				assert.Empty(t, cmp.Diff(want, got))
				assert.Empty(t, lengths)
			})
		}
	}
}

// TestUserAgentThatIsNoHeader: an illegal UserAgent must not become further headers.
func TestUserAgentThatIsNoHeader(t *testing.T) {
	var sent atomic.Int64
	server := serve(t, counting(&sent, answeringJSON(200, `{"data": {"id": "mon_1"}}`)), nil)
	key, err := diffhook.NewAPIKey(testKeyText)
	require.NoError(t, err)
	c, err := diffhook.NewClient(key, &diffhook.ClientOptions{BaseURL: server.URL, UserAgent: "a\r\nX-Evil: 1", MaxAttempts: 1})
	if err == nil {
		err = c.Do(t.Context(), "GET", "monitors", nil, nil)
	}
	require.Error(t, err)
	require.Zero(t, sent.Load())
}

// echo is a server that repeats the request in the answer.
func echo(status int, contentType func(authorization string) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		authorization := r.Header.Get("Authorization")
		w.Header().Set("X-Request-Id", "req "+authorization)
		w.Header().Set("Content-Type", contentType(authorization))
		w.Header().Set("Location", "https://example.com/?"+authorization)
		w.Header().Set("Retry-After", authorization)
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"error": map[string]string{"code": authorization, "message": "you sent " + authorization + " and not " + strings.TrimPrefix(authorization, "Bearer ")},
		})
	}
}

// assertNoLeak fails if err, or an error wrapped in it, shows a text of the detector,
// in any way to print errors.
func assertNoLeak(t *testing.T, detector leakDetector, err error) {
	t.Helper()
	assertOpaque(t, detector, err, errors.New("another"))
	var walk func(error)
	walk = func(err error) { // like loggers of each error of a chain
		assert.Empty(t, detector.find(err.Error()), "%T", err)
		switch err := err.(type) {
		case interface{ Unwrap() error }:
			if next := err.Unwrap(); next != nil {
				walk(next)
			}
		case interface{ Unwrap() []error }:
			for _, next := range err.Unwrap() {
				walk(next)
			}
		}
	}
	walk(err)
}

// TestEchoedCredential: servers, and above all proxies, repeat headers in their error
// texts.
func TestEchoedCredential(t *testing.T) {
	types := map[string]func(string) string{
		"JSON":                          func(string) string { return "application/json" },
		"HTML":                          func(string) string { return "text/html" },
		"header in the content type":    func(s string) string { return "text/" + s },
		"parameter of the content type": func(s string) string { return "text/html; a=" + s },
		"token in the content type":     func(s string) string { return "text/" + strings.TrimPrefix(s, "Bearer ") },
	}
	apiKey, err := diffhook.NewAPIKey("dh_live_" + "violetWalrusPlaysTheQuartzOrgan")
	require.NoError(t, err)
	detector := newLeakDetector(opaqueToken, "violetWalrusPlaysTheQuartzOrgan")
	for _, status := range []int{200, 302, 400, 401, 403, 404, 429, 500, 502} {
		for kind, contentType := range types {
			for name, creds := range map[string]diffhook.Credentials{"key": apiKey, "token": opaqueCredentials()} {
				t.Run(strconv.Itoa(status)+"/"+kind+"/"+name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						log := logged{least: slog.LevelDebug}
						c := withOpaqueToken(t, diffhooktest.Transport(echo(status, contentType)), diffhook.ClientOptions{MaxAttempts: 2, Logger: log.logger()})
						c.SetCredentials(creds)
						var out struct{ A string }
						err := c.Do(t.Context(), "GET", "monitors", nil, &out)
						require.Error(t, err)
						assertNoLeak(t, detector, err)
						assert.Empty(t, detector.find(fmt.Sprintf("%+v", *requireAPIError(t, err))))
						assert.Empty(t, detector.find(fmt.Sprint(log.lines())))
					})
				})
			}
		}
	}
}

// Texts of requests that no error and no log may show.
const (
	queryText = "crimson-octopus-juggling"
	bodyText  = "turquoise-hedgehog-knits"
)

// TestNothingIsShown: no failure shows the credential, the query or the body.
func TestNothingIsShown(t *testing.T) {
	detector := newLeakDetector(opaqueToken, queryText, bodyText)
	quote := func(r *http.Request) string {
		return fmt.Sprintf("proxy rejected %s %s (Authorization: %s)", r.Method, r.URL.Path, r.Header.Get("Authorization"))
	}
	transports := map[string]http.RoundTripper{
		"error with the header": roundTripper(func(r *http.Request) (*http.Response, error) { return nil, errors.New(quote(r)) }),
		"error with the token alone": roundTripper(func(r *http.Request) (*http.Response, error) {
			return nil, errors.New("bad token " + strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		}),
		// A transport that is a client itself, like a proxy.
		"error with the URL": roundTripper(func(r *http.Request) (*http.Response, error) {
			return nil, &url.Error{Op: "Get", URL: r.URL.String(), Err: io.ErrUnexpectedEOF}
		}),
		"wrapped error with the URL": roundTripper(func(r *http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("by the proxy: %w", &url.Error{Op: "Get", URL: r.URL.String(), Err: io.ErrUnexpectedEOF})
		}),
		"breaks": diffhooktest.Transport(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })),
		"502":    diffhooktest.Transport(answering(502, "text/html", "<p>Bad Gateway")),
		"429":    diffhooktest.Transport(withHeader(answeringJSON(429, "{}"), "Retry-After", "1")),
		"200": diffhooktest.Transport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			answeringJSON(200, `{"data": {"A": 1, "B": `+strconv.Quote(r.URL.RawQuery+string(body))+`}}`)(w, r)
		})),
		"wrong type, quoted": diffhooktest.Transport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			answeringJSON(200, `{"data": {"At": `+strconv.Quote(r.URL.RawQuery+string(body))+`}}`)(w, r)
		})),
	}
	for name, transport := range transports {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			t.Run(name+"/"+method, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					log := logged{least: slog.LevelDebug}
					c := withOpaqueToken(t, transport, diffhook.ClientOptions{Logger: log.logger()})
					var out struct {
						A string
						B string
						// The error of a time quotes the input.
						At time.Time
					}
					err := c.Do(t.Context(), method, "things?q="+queryText, map[string]string{"a": bodyText}, &out)
					require.Error(t, err)
					assertNoLeak(t, detector, err)
					assert.NotEmpty(t, log.lines())
					assert.Empty(t, detector.find(fmt.Sprint(log.lines())))
				})
			})
		}
	}
	t.Run("client", func(t *testing.T) {
		c := withOpaqueToken(t, transports["502"], diffhook.ClientOptions{})
		key, err := diffhook.NewAPIKey("dh_live_" + "violetWalrusPlaysTheQuartzOrgan")
		require.NoError(t, err)
		c.SetCredentials(key)
		assertOpaque(t, newLeakDetector("violetWalrusPlaysTheQuartzOrgan"), c, withOpaqueToken(t, transports["502"], diffhook.ClientOptions{}))
	})
	t.Run("successes", func(t *testing.T) {
		log := logged{least: slog.LevelDebug}
		c := withOpaqueToken(t, diffhooktest.Transport(answeringJSON(200, `{"data": {"id": "mon_1"}}`)), diffhook.ClientOptions{Logger: log.logger()})
		require.NoError(t, c.Do(t.Context(), "POST", "things?q="+queryText, map[string]string{"a": bodyText}, nil))
		lines := log.lines()
		require.Len(t, lines, 1)
		assert.Equal(t, slog.LevelDebug.String(), fmt.Sprint(lines[0]["level"]))
		assert.Empty(t, detector.find(fmt.Sprint(lines)))
	})
}

// TestServersMessages: messages are bounded and on a single line, whatever the server
// sends.
func TestServersMessages(t *testing.T) {
	size := sampled(1<<16, 1<<20)
	for name, message := range map[string]string{
		"long":               strings.Repeat("a", size),
		"long, of runes":     strings.Repeat("ü", size/2),
		"long, of keys":      strings.Repeat("dh_live_a ", size/8),
		"log injection":      "a\nlevel=ERROR msg=\"all is lost\"\r\n",
		"terminal escapes":   "a\x1b[2J\x1b]0;owned\x07\x9b31m",
		"NUL":                "a\x00b",
		"line separators":    "a\u2028b\u2029c\u0085d",
		"not UTF-8":          "a\xffb",
		"turned-round texts": "a\u202eb",
	} {
		for _, status := range []int{400, 401, 403, 404, 429, 500} {
			t.Run(fmt.Sprint(status, " ", name), func(t *testing.T) {
				c := newHandlerClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header()["X-Request-Id"] = []string{message}
					w.Header()["Content-Type"] = []string{"application/json"}
					w.WriteHeader(status)
					text, _ := json.Marshal(map[string]any{"error": map[string]string{"code": message, "message": message}})
					_, _ = w.Write(text)
				}), &diffhook.ClientOptions{MaxAttempts: 1})
				err := c.Do(t.Context(), "GET", "monitors", nil, nil)
				api := requireAPIError(t, err)
				assert.Equal(t, status, api.StatusCode)
				assert.LessOrEqual(t, len(err.Error()), 1000)
				assert.LessOrEqual(t, len(api.Message), 310)
				assert.LessOrEqual(t, len(api.Code), 70)
				assert.LessOrEqual(t, len(api.RequestID), 110)
				for _, text := range []string{err.Error(), api.Message, api.Code, api.RequestID} {
					assert.False(t, strings.ContainsFunc(text, unicode.IsControl), "%q", text)
				}
			})
		}
	}
}

// TestAdvice: a page may come from a proxy, and says nothing about the key.
func TestAdvice(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		about  bool // the key
	}{
		{"401", answeringJSON(401, `{"error": "Invalid API key"}`), true},
		{"401 without a body", answering(401, "", ""), true},
		{"403", answeringJSON(403, `{"error": {"code": "FORBIDDEN"}}`), true},
		{"HTML 401", answering(401, "text/html", "<p>Unauthorized"), false},
		{"HTML 403", answering(403, "text/html", "<p>Blocked"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := newHandlerClient(t, c.answer, nil)
			assert.Equal(t, c.about, strings.Contains(client.Monitors.Delete(t.Context(), "mon_1").Error(), "the key is"))
		})
	}
}

// TestBadAnswers: each kind of undocumented answer has a different error.
func TestBadAnswers(t *testing.T) {
	const json = "application/json"
	texts := map[string]string{} // texts of the errors by status and kind
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		status int
		kind   string
		is     []error
	}{
		{"empty", answering(200, json, ""), 200, "empty", nil},
		{"white space", answering(200, json, " \n"), 200, "empty", nil},
		{"204", answering(204, "", ""), 204, "no content", nil},
		{"HTML", answering(200, "text/html; charset=utf-8", "<p>hello"), 200, "text/html", nil},
		{"not JSON", answering(200, json, "hello"), 200, "not JSON", nil},
		{"half an object", answering(200, json, `{"data": {`), 200, "not JSON", nil},
		{"two objects", answering(200, json, `{"data": {"id": "mon_1"}}{"data": {}}`), 200, "not JSON", nil},
		{"list", answering(200, json, `[]`), 200, "no data", nil},
		{"null", answering(200, json, `null`), 200, "no data", nil},
		{"no data", answering(200, json, `{}`), 200, "no data", nil},
		{"null data", answering(200, json, `{"data": null}`), 200, "null data", nil},
		{"data of another type", answering(200, json, `{"data": [1]}`), 200, "not an object", nil},
		{"no id", answering(200, json, `{"data": {"createdAt": "yesterday"}}`), 200, "no id", nil},
		{"HTML 502", answering(502, "text/html", "<p>Bad Gateway"), 502, "text/html", []error{diffhook.ErrServer}},
		{"HTML 404", answering(404, "text/html", "<p>Not Found"), 404, "text/html", []error{diffhook.ErrNotFound}},
		{"empty 503", answering(503, "", ""), 503, "no reason", []error{diffhook.ErrServer}},
		{"JSON 500 of another form", answering(500, json, `["oh"]`), 500, "no reason", []error{diffhook.ErrServer}},
		{"a number as error", answering(500, json, `{"error": 5}`), 500, "no reason", []error{diffhook.ErrServer}},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := newHandlerClient(t, c.answer, &diffhook.ClientOptions{MaxAttempts: 1})
			m, err := client.Monitors.Get(t.Context(), "mon_abc123")
			is := c.is
			if is == nil {
				is = []error{diffhook.ErrUnexpectedResponse}
			}
			assertMatches(t, err, is...)
			kind := fmt.Sprint(c.status, " ", c.kind)
			if before, ok := texts[kind]; ok {
				assert.Equal(t, before, err.Error(), "the same kind")
			}
			texts[kind] = err.Error()
			assert.Equal(t, c.status, requireAPIError(t, err).StatusCode)
			assert.Zero(t, m)
		})
	}
	distinct := slices.Compact(slices.Sorted(maps.Values(texts)))
	assert.Len(t, distinct, len(texts), "each kind differs from the others")
}

// TestAnswersWithoutWhatTheyAreFor: if a key or a secret is missing, the error names
// the missing field.
func TestAnswersWithoutWhatTheyAreFor(t *testing.T) {
	for _, c := range []struct{ name, call, answer, text string }{
		{"no key", "create key", `{"data": {"id": "key_1"}}`, "API key"},
		{"null for a key", "create key", `{"data": null}`, ""},
		{"no secret", "rotate", `{"data": {"createdAt": "2026-03-16T14:22:00Z"}}`, "signing secret"},
		{"null for a secret", "load secret", `{"data": null}`, ""},
		{"null for a monitor", "create monitor", `{"data": null}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := newHandlerClient(t, answeringJSON(200, c.answer), &diffhook.ClientOptions{MaxAttempts: 1})
			err := apiCallNamed(t, c.call).do(t.Context(), client)
			require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
			require.ErrorContains(t, err, c.text)
		})
	}
}

// TestGoodAnswers: unusual, good answers.
func TestGoodAnswers(t *testing.T) {
	const monitor = `{"data": {"id": "mon_abc123"}}`
	zip := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "application/json")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, monitor)
		_ = z.Close()
	}
	for name, answer := range map[string]http.HandlerFunc{
		"no content type": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, monitor)
		},
		"parameters":              answering(200, "application/json; charset=utf-8", monitor),
		"in capitals":             answering(200, "Application/JSON", monitor),
		"a kind of JSON":          answering(200, "application/vnd.api+json", monitor),
		"surrounding white space": answeringJSON(200, " \n"+monitor+"\n "),
		"unknown fields":          answeringJSON(200, `{"meta": {"a": 1}, "data": {"id": "mon_abc123", "b": [1]}}`),
		"201":                     answeringJSON(201, monitor),
		"gzip":                    zip,
	} {
		for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(name+"/"+version, func(t *testing.T) {
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					assert.Equal(t, version, r.Proto)
					answer(w, r)
				}))
				if version == "HTTP/2.0" {
					server.EnableHTTP2 = true
					server.StartTLS()
				} else {
					server.Start()
				}
				t.Cleanup(server.Close)
				c := newClient(t, server, &diffhook.ClientOptions{HTTPClient: server.Client()})
				got, err := c.Monitors.Get(t.Context(), "mon_abc123")
				require.NoError(t, err)
				assert.Equal(t, "mon_abc123", got.ID)
			})
		}
	}
}

// TestLongAnswers: an endless answer costs a bounded amount of memory, also if it is
// short when compressed.
func TestLongAnswers(t *testing.T) {
	chunk := []byte(strings.Repeat(" ", 1<<20))
	endless := func(w io.Writer) (sent int) {
		for sent < 1<<30 {
			n, err := w.Write(chunk)
			if sent += n; err != nil {
				break
			}
		}
		return sent
	}
	for _, status := range []int{200, 400, 503} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			sent := make(chan int, 1)
			server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(status)
				sent <- endless(w)
			}), nil)
			assertBounded(t, server, status)
			assert.Less(t, <-sent, 64<<20)
		})
		t.Run(strconv.Itoa(status)+" gzip", func(t *testing.T) {
			server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Content-Encoding", "gzip")
				w.WriteHeader(status)
				z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
				for range 64 {
					if _, err := z.Write(chunk); err != nil {
						return
					}
				}
				_ = z.Close()
			}), nil)
			assertBounded(t, server, status)
		})
	}
}

func assertBounded(t *testing.T, server *httptest.Server, status int) {
	t.Helper()
	c := newClient(t, server, &diffhook.ClientOptions{MaxAttempts: 1, HTTPClient: &http.Client{Transport: ownTransport(t)}})
	stop := sampleHeap()
	err := c.Do(t.Context(), "GET", "monitors", nil, new(any))
	grown := stop()
	api := requireAPIError(t, err)
	assert.Equal(t, status, api.StatusCode)
	if status == 200 {
		assert.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
	}
	assert.Less(t, grown, uint64(128<<20))
}

// TestLongMessage: the discarded part of a server's message costs no work. Reading and
// decoding allocate 5 times the size, and scrubbing the whole would allocate 16 times.
func TestLongMessage(t *testing.T) {
	body := `{"error": "` + strings.Repeat("bearer dh_live_ ", 15<<16) + `"}`
	c := newHandlerClient(t, answeringJSON(400, body), &diffhook.ClientOptions{MaxAttempts: 1})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := c.Do(t.Context(), "GET", "monitors", nil, nil)
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, err, diffhook.ErrInvalidRequest)
	assert.Less(t, len(err.Error()), 500)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(10*len(body)))
}

// TestConnectionsAreReused: connections are reused after any answer, read in full or
// not.
func TestConnectionsAreReused(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"200":         answeringJSON(200, `{"data": {"id": "mon_1"}}`),
		"204":         answering(204, "", ""),
		"404":         answeringJSON(404, `{"error": "a"}`),
		"500":         answeringJSON(500, `{"error": "a"}`),
		"HTML":        answering(502, "text/html", strings.Repeat("<p>hello", 5000)),
		"1 MB":        answeringJSON(200, `{"data": "`+strings.Repeat("a", 1<<20)+`"}`),
		"redirect":    withHeader(answering(302, "text/html", "<p>moved"), "Location", "/x"),
		"not JSON":    answering(200, "text/plain", strings.Repeat("hello", 5000)),
		"left-overs":  answeringJSON(200, `{"data": {"id": "mon_1"}}`+strings.Repeat("\n", 50000)),
		"not decoded": answeringJSON(200, `{"data": 5}`),
	} {
		t.Run(name, func(t *testing.T) {
			var conns atomic.Int64
			server := serve(t, answer, func(s *httptest.Server) { s.Config.ConnState = countNew(&conns) })
			c := newClient(t, server, &diffhook.ClientOptions{MaxAttempts: 1, HTTPClient: &http.Client{Transport: ownTransport(t)}})
			for range 5 {
				_ = c.Monitors.Delete(t.Context(), "mon_abc123")
				_, _ = c.Monitors.Get(t.Context(), "mon_abc123")
				_ = c.Monitors.Trigger(t.Context(), "mon_abc123")
			}
			assert.EqualValues(t, 1, conns.Load())
		})
	}
}

// TestCloseIdleConnections: an unused client leaves no connection after the call, and
// can make calls again.
func TestCloseIdleConnections(t *testing.T) {
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	server := serve(t, answeringJSON(200, `{"data": []}`), func(s *httptest.Server) {
		s.Config.ConnState = func(conn net.Conn, state http.ConnState) {
			mu.Lock()
			defer mu.Unlock()
			switch state {
			case http.StateNew:
				open[conn] = true
			case http.StateClosed:
				delete(open, conn)
			}
		}
	})
	c := newClientAt(t, server.URL, nil) // with the default transport
	for range 2 {
		require.NoError(t, listKeys(t.Context(), c))
		c.CloseIdleConnections()
		require.Eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(open) == 0
		}, patience, time.Millisecond)
	}
}
