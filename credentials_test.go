package diffhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// Made-up keys. longKeyText is long enough to show the last four characters, and
// shortKeyText is not.
const (
	longKeyText  = "dh_live_violetWALRUS-plays_THEquartz7wxyz"
	shortKeyText = "dh_live_amberPELICAN"
	otherKeyText = "dh_live_another-KEY-that-is-compared-0000"
)

// mustAPIKey returns the API key with the given text.
func mustAPIKey(tb testing.TB, text string) diffhook.APIKey {
	tb.Helper()
	key, err := diffhook.NewAPIKey(text)
	require.NoError(tb, err)
	return key
}

// keyDetector finds any 8 consecutive bytes of a key, except of the prefix of all keys.
func keyDetector(text string) leakDetector { return newLeakDetector(text[1:]) }

func TestNewAPIKey(t *testing.T) {
	for _, c := range []struct {
		name, text string
		legal      bool
	}{
		{"ordinary", longKeyText, true},
		{"one character", "dh_live_x", true},
		{"digits, hyphens and underscores", "dh_live_0-9_", true},
		{"the prefix twice", "dh_live_dh_live_", true},
		{"very long", "dh_live_" + strings.Repeat("0123456789", 400), true},

		// An unset variable, a truncated paste.
		{"empty", "", false},
		{"the prefix alone", "dh_live_", false},
		{"a part of the prefix", "dh_live", false},
		{"without the prefix", longKeyText[8:], false},

		// A sloppy paste, or the newline of a file: at best a 401, and some characters
		// are illegal in a header.
		{"newline at the end", longKeyText + "\n", false},
		{"CRLF at the end", longKeyText + "\r\n", false},
		{"space at the start", " " + longKeyText, false},
		{"no-break space at the end", longKeyText + "\u00a0", false},
		{"byte order mark at the start", byteOrderMark + longKeyText, false},
		{"zero-width space at the end", longKeyText + "\u200b", false},
		{"in quotes", `"` + longKeyText + `"`, false},
		{"with the scheme", "Bearer " + longKeyText, false},
		{"with the variable", "DIFFHOOK_API_KEY=" + longKeyText, false},
		{"white space only", " \t\n", false},

		// Characters that would end the header and begin another.
		{"CRLF and a header inside", "dh_live_violet\r\nX-Admin: true", false},
		{"newline inside", "dh_live_violet\nwalrus", false},
		{"NUL inside", "dh_live_violet\x00walrus", false},
		{"space inside", "dh_live_violet walrus-plays", false},
		{"comma inside", "dh_live_violet,walrus-plays", false},
		{"not UTF-8", "dh_live_violet\xff\xfewalrus", false},
		{"a letter beyond ASCII", "dh_live_violéta-walrus-plays", false},
		{"a Cyrillic letter that looks Latin", "dh_live_viоlet-walrus-plays", false},

		// The wrong kind of credential.
		{"the signing secret", currentText, false},
		{"a key of another kind", "dh_test_violet-walrus-plays", false},
		{"the prefix in capitals", "DH_LIVE_violet-walrus-plays", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			key, err := diffhook.NewAPIKey(c.text)
			if c.legal {
				require.NoError(t, err)
				assert.Equal(t, c.text, key.Reveal())
				token, err := key.Token(t.Context())
				require.NoError(t, err)
				assert.Equal(t, c.text, token)
				assert.False(t, key.IsZero())
				return
			}
			require.ErrorIs(t, err, diffhook.ErrInvalidCredentials)
			assert.True(t, key.IsZero())
			assertDoesNotRepeat(t, err, strings.ReplaceAll(c.text, "dh_live_", ""))
		})
	}
}

// TestTextBeforeKey: the error names the text before dh_live_, some of which nobody sees.
func TestTextBeforeKey(t *testing.T) {
	for text, want := range map[string]string{
		byteOrderMark + longKeyText:            "byte order mark",
		"\u200b" + longKeyText:                 "invisible character",
		`"` + longKeyText + `"`:                "quotes",
		"DIFFHOOK_API_KEY=" + longKeyText:      "NAME=value",
		`{"key": "` + longKeyText + `"}`:       "JSON",
		"${DIFFHOOK_API_KEY}":                  "reference",
		"Bearer " + longKeyText:                "alone",
		"Authorization: Bearer " + longKeyText: "alone",
		currentText:                            "does not begin with dh_live_",
	} {
		_, err := diffhook.NewAPIKey(text)
		assert.ErrorContains(t, err, want, "%q", text)
		_, err = diffhook.NewClient(diffhook.ClientCredentials(text, opaqueText), nil)
		assert.ErrorContains(t, err, want, "%q", text)
	}
}

func TestAPIKeyShows(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"ordinary", longKeyText, "dh_live_…wxyz"},
		{"16 characters", "dh_live_0123456789abwxyz", "dh_live_…wxyz"},
		{"15 characters, too short to show four", "dh_live_0123456789awxyz", "dh_live_…"},
		{"short", shortKeyText, "dh_live_…"},
		{"one character", "dh_live_x", "dh_live_…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := mustAPIKey(t, c.text)
			var logged bytes.Buffer
			slog.New(slog.NewTextHandler(&logged, nil)).Info("key", "key", key)
			asJSON, err := json.Marshal(key)
			require.NoError(t, err)

			assert.Equal(t, c.want, key.String())
			assert.Equal(t, c.want+c.want+c.want+c.want, fmt.Sprintf("%v%+v%#v%s", key, key, key, key))
			assert.Equal(t, `"`+c.want+`"`, string(asJSON))
			assert.Contains(t, logged.String(), "key="+c.want+"\n")

			// A printed key that was stored as a key must fail to load, before the API
			// ever rejects it.
			for _, printed := range []string{key.String(), fmt.Sprintf("%q", key), fmt.Sprintf("%x", key)} {
				_, err := diffhook.NewAPIKey(printed)
				assert.ErrorIs(t, err, diffhook.ErrInvalidCredentials, printed)
			}
		})
	}
}

func TestAPIKeyEqual(t *testing.T) {
	a, again := mustAPIKey(t, longKeyText), mustAPIKey(t, longKeyText)
	var zero diffhook.APIKey
	assert.True(t, a.Equal(a))
	assert.True(t, a.Equal(again))
	assert.True(t, zero.Equal(diffhook.APIKey{}))
	for _, different := range []diffhook.APIKey{mustAPIKey(t, shortKeyText), mustAPIKey(t, longKeyText+"0"), zero} {
		assert.False(t, a.Equal(different))
		assert.False(t, different.Equal(a))
	}
	assert.False(t, reflect.TypeOf(a).Comparable(), "== would compare something other than the texts")
}

func TestZeroAPIKey(t *testing.T) {
	var zero diffhook.APIKey
	assert.True(t, zero.IsZero())
	assert.Empty(t, zero.Reveal())
	assert.Equal(t, "(none)", fmt.Sprint(zero))
	token, err := zero.Token(t.Context())
	require.ErrorIs(t, err, diffhook.ErrInvalidCredentials)
	assert.Empty(t, token)
}

type (
	embeddedKey        struct{ diffhook.APIKey }
	embeddedKeyPointer struct{ *diffhook.APIKey }
	namedKey           diffhook.APIKey
)

// TestAPIKeyOpacity crosses all holders of a key with all ways to print.
func TestAPIKeyOpacity(t *testing.T) {
	shapes := append(shapesOf[diffhook.APIKey](), []shape[diffhook.APIKey]{
		{"embedded", func(k diffhook.APIKey) any { return embeddedKey{k} }},
		{"embedded pointer", func(k diffhook.APIKey) any { return embeddedKeyPointer{&k} }},
		{"type without methods", func(k diffhook.APIKey) any { return namedKey(k) }},
		{"method values", func(k diffhook.APIKey) any { return []any{unexportedField[func() string]{k.Reveal}, k.Token} }},
		{"Credentials", func(k diffhook.APIKey) any { return unexportedField[diffhook.Credentials]{k} }},
	}...)
	detector := keyDetector(longKeyText)
	require.NotEmpty(t, detector.find(longKeyText))
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			t.Parallel()
			assertOpaque(t, detector, shape.hold(mustAPIKey(t, longKeyText)), shape.hold(mustAPIKey(t, otherKeyText)))
		})
	}
	t.Run("short", func(t *testing.T) {
		assertOpaque(t, keyDetector(shortKeyText), mustAPIKey(t, shortKeyText), mustAPIKey(t, otherKeyText))
	})
}

// respond is a transport of one function. Printing it shows nothing of the answers.
type respond func(*http.Request) (*http.Response, error)

func (f respond) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	return f(r)
}

// reply is an answer of respond.
func reply(status int, contentType, body string) *http.Response {
	return &http.Response{
		StatusCode: status,
		Header:     http.Header{"Content-Type": {contentType}},
		Body:       io.NopCloser(strings.NewReader(body)),
	}
}

func replyJSON(status int, body string) *http.Response {
	return reply(status, "application/json", body)
}

// isExchange reports whether r asks for a token.
func isExchange(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/oauth/token") }

// TestClientOpacity prints complete clients: with the key, the client secret and the
// exchanged token.
func TestClientOpacity(t *testing.T) {
	const tokenText = "copper-octopus-reads-the-tidal-gazette"
	answers := respond(func(r *http.Request) (*http.Response, error) {
		if isExchange(r) {
			return replyJSON(http.StatusOK, `{"access_token":"`+tokenText+`","expires_in":86400}`), nil
		}
		if strings.HasSuffix(r.URL.Path, "/keys") {
			return replyJSON(http.StatusOK, `{"data":[]}`), nil
		}
		return replyJSON(http.StatusUnauthorized, `{"error":"Invalid API key"}`), nil
	})
	used := func(creds diffhook.Credentials) *diffhook.Client {
		c, err := diffhook.NewClient(creds, &diffhook.ClientOptions{HTTPClient: &http.Client{Transport: answers}, Limiter: unlimited()})
		require.NoError(t, err)
		_, err = c.Keys.List(t.Context(), nil)
		require.NoError(t, err)
		return c
	}
	detector := newLeakDetector(longKeyText[1:], opaqueText, tokenText)
	credentials := func(text string) diffhook.Credentials { return diffhook.ClientCredentials("dh_live_id", text) }

	for _, c := range []struct {
		name string
		x, y any
	}{
		{"client of a key", used(mustAPIKey(t, longKeyText)), used(mustAPIKey(t, otherKeyText))},
		{"client credentials", credentials(opaqueText), credentials(otherText)},
		{"client credentials in fields", unexportedField[any]{credentials(opaqueText)}, unexportedField[any]{credentials(otherText)}},
		{"client of client credentials", used(credentials(opaqueText)), used(credentials(otherText))},
		{
			"client in an unexported field",
			unexportedField[*diffhook.Client]{used(credentials(opaqueText))}, unexportedField[*diffhook.Client]{used(credentials(otherText))},
		},
		{
			"service alone",
			used(credentials(opaqueText)).Monitors, used(mustAPIKey(t, otherKeyText)).Monitors,
		},
		{
			"client with other credentials",
			used(mustAPIKey(t, longKeyText)).WithCredentials(credentials(opaqueText)), used(mustAPIKey(t, otherKeyText)),
		},
		{
			"error of a rejected key",
			func() any { _, err := used(mustAPIKey(t, longKeyText)).Logs.List(t.Context(), nil); return err }(),
			errors.New(otherText),
		},
		{
			"error of a rejected token",
			func() any { _, err := used(credentials(opaqueText)).Logs.List(t.Context(), nil); return err }(),
			errors.New(otherText),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			assertOpaque(t, detector, c.x, c.y)
		})
	}
}

// TestLiveClientIsOpaque prints clients with open connections while other goroutines
// use them. The buffers of the connections hold the last request with the token.
func TestLiveClientIsOpaque(t *testing.T) {
	const tokenText = "copper-octopus-reads-the-tidal-gazette"
	detector := newLeakDetector(longKeyText[1:], opaqueText, tokenText)
	for name, creds := range map[string]diffhook.Credentials{
		"key":                mustAPIKey(t, longKeyText),
		"client credentials": diffhook.ClientCredentials("dh_live_id", opaqueText),
	} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, `{"access_token":"`+tokenText+`","data":[]}`)
			}), nil)
			client := func() *diffhook.Client {
				c, err := diffhook.NewClient(creds, &diffhook.ClientOptions{BaseURL: srv.URL, Limiter: unlimited()})
				require.NoError(t, err)
				t.Cleanup(c.CloseIdleConnections)
				_, err = c.Keys.List(t.Context(), nil)
				require.NoError(t, err)
				return c
			}
			x, y := client(), client()
			var stop atomic.Bool
			var busy sync.WaitGroup
			busy.Go(func() {
				for !stop.Load() {
					_, err := x.Keys.List(t.Context(), nil)
					assert.NoError(t, err)
				}
			})
			assertOpaque(t, detector, x, y)
			assertOpaque(t, detector, unexportedField[*diffhook.Client]{x}, unexportedField[*diffhook.Client]{y})
			assert.NotContains(t, showAssertions(x.Monitors, y.Monitors), "Transport")
			stop.Store(true)
			busy.Wait()
		})
	}
}

func TestEnvCredentials(t *testing.T) {
	const (
		none      = ""
		byKey     = "the key"
		byClient  = "the client credentials"
		variables = "DIFFHOOK_API_KEY DIFFHOOK_CLIENT_ID DIFFHOOK_CLIENT_SECRET"
		clientID  = "dh_live_id-of-a-client-0001"
	)
	for _, c := range []struct {
		name            string
		key, id, secret string
		used            string
		names           string // variables in the text of the error
	}{
		{"nothing", "", "", "", none, variables},
		{"key", longKeyText, "", "", byKey, ""},
		{"client credentials", "", clientID, opaqueText, byClient, ""},
		{"key and client credentials", longKeyText, clientID, opaqueText, byKey, ""},
		{"key and half of the client credentials", longKeyText, clientID, "", byKey, ""},
		{"key with a newline", longKeyText + "\n", "", "", none, "DIFFHOOK_API_KEY"},
		{"signing secret as the key", currentText, "", "", none, "DIFFHOOK_API_KEY"},
		{"placeholder as the key", "dh_live_…wxyz", "", "", none, "DIFFHOOK_API_KEY"},
		{"id without a secret", "", clientID, "", none, "DIFFHOOK_CLIENT_ID DIFFHOOK_CLIENT_SECRET"},
		{"secret without an id", "", "", opaqueText, none, "DIFFHOOK_CLIENT_ID DIFFHOOK_CLIENT_SECRET"},
		{"id and secret exchanged", "", opaqueText, clientID, none, "DIFFHOOK_CLIENT_ID DIFFHOOK_CLIENT_SECRET"},
		// No fallback to the client credentials: they may belong to another team.
		{"malformed key and client credentials", "dh_live_", clientID, opaqueText, none, "DIFFHOOK_API_KEY"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("DIFFHOOK_API_KEY", c.key)
			t.Setenv("DIFFHOOK_CLIENT_ID", c.id)
			t.Setenv("DIFFHOOK_CLIENT_SECRET", c.secret)
			used := none
			client, err := diffhook.NewClient(diffhook.EnvCredentials(), &diffhook.ClientOptions{
				HTTPClient: &http.Client{Transport: respond(func(r *http.Request) (*http.Response, error) {
					if isExchange(r) {
						return replyJSON(http.StatusOK, `{"access_token":"a-token"}`), nil
					}
					used = byClient
					if r.Header.Get("Authorization") == "Bearer "+c.key {
						used = byKey
					}
					return replyJSON(http.StatusOK, `{"data":[]}`), nil
				})},
			})
			if c.used == none {
				require.ErrorIs(t, err, diffhook.ErrInvalidCredentials)
				assert.Nil(t, client)
				for variable := range strings.FieldsSeq(c.names) {
					assert.ErrorContains(t, err, variable)
				}
				for _, value := range []string{c.key, c.id, c.secret} {
					assertDoesNotRepeat(t, err, value)
				}
				_, err = diffhook.EnvCredentials().Token(t.Context())
				require.ErrorIs(t, err, diffhook.ErrInvalidCredentials)
				return
			}
			require.NoError(t, err)
			// The client reads the environment once: later changes have no effect.
			t.Setenv("DIFFHOOK_API_KEY", "")
			_, err = client.Keys.List(t.Context(), nil)
			require.NoError(t, err)
			assert.Equal(t, c.used, used)
		})
	}
}

// TestEnvCredentialsToken: without a client, EnvCredentials return the key but no token
// of client credentials, which only a client can exchange.
func TestEnvCredentialsToken(t *testing.T) {
	t.Setenv("DIFFHOOK_API_KEY", longKeyText)
	token, err := diffhook.EnvCredentials().Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, longKeyText, token)

	t.Setenv("DIFFHOOK_API_KEY", "")
	t.Setenv("DIFFHOOK_CLIENT_ID", "dh_live_id")
	t.Setenv("DIFFHOOK_CLIENT_SECRET", opaqueText)
	_, err = diffhook.EnvCredentials().Token(t.Context())
	require.ErrorIs(t, err, diffhook.ErrInvalidOptions)
	assertDoesNotRepeat(t, err, opaqueText)
}

// badCredentials cannot be right, as far as the client can judge without the API.
var badCredentials = []struct {
	name  string
	creds diffhook.Credentials
	want  error
}{
	{"nil", nil, diffhook.ErrInvalidOptions},
	{"zero key", diffhook.APIKey{}, diffhook.ErrInvalidCredentials},
	{"client credentials without an id", diffhook.ClientCredentials("", opaqueText), diffhook.ErrInvalidCredentials},
	{"client credentials without a secret", diffhook.ClientCredentials("dh_live_id", ""), diffhook.ErrInvalidCredentials},
	{"client credentials exchanged", diffhook.ClientCredentials(opaqueText, "dh_live_id"), diffhook.ErrInvalidCredentials},
	{"empty environment", diffhook.EnvCredentials(), diffhook.ErrInvalidCredentials},
}

func emptyEnvironment(t *testing.T) {
	for _, name := range []string{"DIFFHOOK_API_KEY", "DIFFHOOK_CLIENT_ID", "DIFFHOOK_CLIENT_SECRET"} {
		t.Setenv(name, "")
	}
}

func TestNewClientReportsBadCredentials(t *testing.T) {
	emptyEnvironment(t)
	for _, c := range badCredentials {
		t.Run(c.name, func(t *testing.T) {
			client, err := diffhook.NewClient(c.creds, nil)
			require.ErrorIs(t, err, c.want)
			assert.Nil(t, client)
			assertDoesNotRepeat(t, err, opaqueText)
		})
	}
}

// TestBadCredentialsLater: SetCredentials and WithCredentials return no error, so the
// calls return it and send nothing.
func TestBadCredentialsLater(t *testing.T) {
	emptyEnvironment(t)
	for _, c := range badCredentials {
		t.Run(c.name, func(t *testing.T) {
			s := newBubbleServer(t)
			client := s.Client(&diffhook.ClientOptions{Limiter: unlimited()})

			_, err := client.WithCredentials(c.creds).Keys.List(t.Context(), nil)
			require.ErrorIs(t, err, c.want)
			_, err = client.Keys.List(t.Context(), nil)
			require.NoError(t, err, "the first client keeps its credentials")
			assert.Equal(t, 1, s.Count(""))

			client.SetCredentials(c.creds)
			_, err = client.Keys.List(t.Context(), nil)
			require.ErrorIs(t, err, c.want)
			assertDoesNotRepeat(t, err, opaqueText)
			_, _, err = client.Keys.Create(t.Context(), "label")
			require.ErrorIs(t, err, c.want)
			assert.NotErrorIs(t, err, diffhook.ErrOutcomeUnknown)
			assert.Equal(t, 1, s.Count(""), "nothing was sent")

			client.SetCredentials(s.APIKey())
			_, err = client.Keys.List(t.Context(), nil)
			require.NoError(t, err)
		})
	}
}

// TestCredentialsFunc: the client calls it for every attempt, and checks the token
// before it becomes a header.
func TestCredentialsFunc(t *testing.T) {
	errVault := errors.New("the vault is sealed")
	for _, c := range []struct {
		name, token string
		err, want   error
	}{
		{"key", longKeyText, nil, nil},
		{"token of another form", "a-token.with~other/characters+==", nil, nil},
		{"error", "", errVault, errVault},
		{"error beside a token", longKeyText, errVault, errVault},
		{"empty", "", nil, diffhook.ErrInvalidCredentials},
		{"another header", longKeyText + "\r\nX-Admin: true", nil, diffhook.ErrInvalidCredentials},
		{"newline at the end", longKeyText + "\n", nil, diffhook.ErrInvalidCredentials},
		{"beyond ASCII", longKeyText + "é", nil, diffhook.ErrInvalidCredentials},
	} {
		t.Run(c.name, func(t *testing.T) {
			var sent []string
			client := newTransportClient(t, respond(func(r *http.Request) (*http.Response, error) {
				sent = append(sent, r.Header.Get("Authorization"))
				return replyJSON(http.StatusOK, `{"data":[]}`), nil
			}), nil)
			client.SetCredentials(diffhook.CredentialsFunc(func(context.Context) (string, error) { return c.token, c.err }))
			_, err := client.Keys.List(t.Context(), nil)
			if c.want == nil {
				require.NoError(t, err)
				assert.Equal(t, []string{"Bearer " + c.token}, sent)
				return
			}
			require.ErrorIs(t, err, c.want)
			assert.Empty(t, sent)
			assertDoesNotRepeat(t, err, longKeyText)
		})
	}
}

// TestSetCredentialsReachesRetries: a key replaced between retries is used by the next
// retry.
func TestSetCredentialsReachesRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBubbleServer(t)
		team := s.DefaultTeam()
		client := s.Client(&diffhook.ClientOptions{Limiter: unlimited()})
		s.Fail(diffhooktest.Fault{Status: http.StatusServiceUnavailable, RetryAfter: 10 * time.Second})
		var listed sync.WaitGroup
		listed.Go(func() {
			_, err := client.Keys.List(t.Context(), nil)
			assert.NoError(t, err)
		})
		pause(5 * time.Second)
		require.Equal(t, 1, s.Count(""))
		next := team.NewKey("next")
		client.SetCredentials(next.Key)
		team.RevokeKey(team.Keys()[0].ID)
		listed.Wait()

		requests := s.Requests()
		require.Len(t, requests, 2)
		assert.NotEqual(t, requests[0].Header["Authorization"], requests[1].Header["Authorization"])
		assert.False(t, team.Keys()[1].LastUsedAt.IsZero())
	})
}

// TestBadCredentialsReachRetries: a call fails with the new problem, the problem that
// the caller can mend.
func TestBadCredentialsReachRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBubbleServer(t)
		client := s.Client(&diffhook.ClientOptions{Limiter: unlimited()})
		s.Fail(diffhooktest.Fault{Status: http.StatusServiceUnavailable, RetryAfter: 10 * time.Second})
		var listed sync.WaitGroup
		listed.Go(func() {
			_, err := client.Keys.List(t.Context(), nil)
			assert.ErrorIs(t, err, diffhook.ErrInvalidCredentials)
		})
		pause(5 * time.Second)
		client.SetCredentials(diffhook.APIKey{})
		listed.Wait()
		assert.Equal(t, 1, s.Count(""))
	})
}

// TestSetCredentialsRace: an attempt uses either set of credentials in full, in either
// generation, never a mixture.
func TestSetCredentialsRace(t *testing.T) {
	var mixed, gen1, gen2 atomic.Int64
	client := newTransportClient(t, respond(func(r *http.Request) (*http.Response, error) {
		switch {
		case isExchange(r):
			return replyJSON(http.StatusOK, `{"access_token":"a-token"}`), nil
		case r.Header.Get("Authorization") == "Bearer "+longKeyText:
			gen1.Add(1)
		case r.Header.Get("Authorization") == "Bearer a-token":
			gen2.Add(1)
		default:
			mixed.Add(1)
		}
		return replyJSON(http.StatusOK, `{"data":[]}`), nil
	}), nil)
	credentials := []diffhook.Credentials{mustAPIKey(t, longKeyText), diffhook.ClientCredentials("dh_live_id", opaqueText)}
	client.SetCredentials(credentials[0])

	done := make(chan struct{})
	var callers, setter sync.WaitGroup
	setter.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-done:
				return
			default:
				client.SetCredentials(credentials[i%2])
			}
		}
	})
	for range 8 {
		callers.Go(func() {
			for range 50 {
				_, err := client.Keys.List(t.Context(), nil)
				assert.NoError(t, err)
			}
		})
	}
	callers.Wait()
	close(done)
	setter.Wait()
	assert.Zero(t, mixed.Load())
	assert.EqualValues(t, 400, gen1.Load()+gen2.Load())
}

// TestWithCredentials: another key shares the limits, since the API counts by address
// too.
func TestWithCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newBubbleServer(t)
		first := s.Client(&diffhook.ClientOptions{Limiter: rate.NewLimiter(rate.Every(10*time.Second), 1), MaxAttempts: 1})
		second := first.WithCredentials(s.NewTeam(diffhooktest.Plan{}).APIKey())
		began := time.Now()
		list := func(c *diffhook.Client) error {
			_, err := c.Keys.List(t.Context(), nil)
			return err
		}

		require.NoError(t, list(first))
		require.NoError(t, list(second))
		assert.Equal(t, 10*time.Second, time.Since(began), "the limiter is shared")
		requests := s.Requests()
		require.Len(t, requests, 2, "the transport is shared")
		assert.NotEqual(t, requests[0].Header["Authorization"], requests[1].Header["Authorization"])

		pause(time.Minute)
		s.Fail(diffhooktest.Fault{Status: http.StatusTooManyRequests, RetryAfter: 30 * time.Second})
		began = time.Now()
		require.ErrorIs(t, list(first), diffhook.ErrRateLimited)
		require.NoError(t, list(second))
		assert.GreaterOrEqual(t, time.Since(began), 30*time.Second, "a 429 stops both")
	})
}
