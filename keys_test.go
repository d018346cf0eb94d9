package diffhook_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// inBothGenerations runs a test with an emulator and a client of each
// generation.
func inBothGenerations(t *testing.T, test func(t *testing.T, generation int, s *diffhooktest.Server, c *diffhook.Client)) {
	t.Helper()
	for generation := 1; generation <= 2; generation++ {
		t.Run("generation "+strconv.Itoa(generation), func(t *testing.T) {
			s := newBubbleServer(t)
			test(t, generation, s, teamClient(s.DefaultTeam(), generation, nil))
		})
	}
}

// teamClient returns a client of a team, without a limit.
func teamClient(team *diffhooktest.Team, generation int, opts *diffhook.ClientOptions) *diffhook.Client {
	var o diffhook.ClientOptions
	if opts != nil {
		o = *opts
	}
	o.Limiter = unlimited()
	if generation == 2 {
		return team.ClientGen2(&o)
	}
	return team.Client(&o)
}

// requireLastRequest checks the last request to the emulator: line is the method and
// the path with the query, body the JSON, or "" for no body.
func requireLastRequest(t *testing.T, s *diffhooktest.Server, line, body string) {
	t.Helper()
	requests := s.Requests()
	require.NotEmpty(t, requests)
	r := requests[len(requests)-1]
	got := r.Method + " " + r.Path
	if r.Query != "" {
		got += "?" + r.Query
	}
	require.Equal(t, line, got)
	assert.Equal(t, "application/json", r.Header.Get("Accept"))
	if body == "" {
		assert.Empty(t, r.Body)
		assert.NotContains(t, r.Header, "Content-Type")
		return
	}
	assert.Equal(t, "application/json", r.Header.Get("Content-Type"))
	assert.JSONEq(t, body, string(r.Body))
}

// answerWith returns a client with the same answer to every request, and a count of the
// requests.
func answerWith(t *testing.T, resp func() *http.Response) (*diffhook.Client, *int) {
	t.Helper()
	n := new(int)
	return newTransportClient(t, respond(func(*http.Request) (*http.Response, error) {
		*n++
		return resp(), nil
	}), nil), n
}

func TestKeys(t *testing.T) {
	inBothGenerations(t, func(t *testing.T, _ int, s *diffhooktest.Server, c *diffhook.Client) {
		made, key, err := c.Keys.Create(t.Context(), "ci-pipeline")
		require.NoError(t, err)
		requireLastRequest(t, s, "POST /api/keys", `{"label":"ci-pipeline"}`)
		known := s.DefaultTeam().Keys()[1]
		assert.True(t, known.Key.Equal(key))
		want := diffhook.Key{ID: known.ID, Label: "ci-pipeline", Prefix: key.Reveal()[:12], CreatedAt: known.CreatedAt.Truncate(time.Second)}
		assert.Empty(t, cmp.Diff(want, made))
		assert.Equal(t, time.UTC, made.CreatedAt.Location())
		assert.True(t, made.LastUsedAt.IsZero(), "never used")
		assert.True(t, made.MatchesPrefix(key))

		require.NoError(t, listKeys(t.Context(), c.WithCredentials(key)))
		keys, err := c.Keys.List(t.Context(), nil)
		require.NoError(t, err)
		requireLastRequest(t, s, "GET /api/keys?limit=200", "")
		require.Len(t, keys, 2)
		assert.False(t, keys[0].LastUsedAt.IsZero())
		assert.Equal(t, time.UTC, keys[0].LastUsedAt.Location())
		want.LastUsedAt = keys[0].LastUsedAt
		assert.Empty(t, cmp.Diff(want, keys[0]), "the newest first")
		assert.Equal(t, "default", keys[1].Label)

		require.NoError(t, c.Keys.Delete(t.Context(), made.ID))
		requireLastRequest(t, s, "DELETE /api/keys/"+made.ID, "")
		assert.True(t, s.DefaultTeam().Keys()[1].Revoked)

		err = c.Keys.Delete(t.Context(), made.ID)
		require.ErrorIs(t, err, diffhook.ErrNotFound)
		err = c.Keys.Delete(t.Context(), s.NewTeam(diffhooktest.Plan{}).Keys()[0].ID)
		require.ErrorIs(t, err, diffhook.ErrForbidden)
		assert.NotErrorIs(t, err, diffhook.ErrMonitorLimit)
	})
}

// TestRevocation: after the revocation, every call is a 401 with the causes.
func TestRevocation(t *testing.T) {
	inBothGenerations(t, func(t *testing.T, generation int, s *diffhooktest.Server, c *diffhook.Client) {
		require.NoError(t, listKeys(t.Context(), c))
		team := s.DefaultTeam()
		id, _ := team.ClientCredentials()
		team.RevokeKey(team.Keys()[0].ID)
		team.RevokeClientCredentials(id)
		before := s.Count("")
		err := listKeys(t.Context(), c)
		require.ErrorIs(t, err, diffhook.ErrUnauthorized)
		for _, other := range []error{diffhook.ErrForbidden, diffhook.ErrNotFound, diffhook.ErrInvalidRequest, diffhook.ErrServer} {
			assert.NotErrorIs(t, err, other)
		}
		for _, cause := range []string{"missing", "malformed", "revoked"} {
			assert.ErrorContains(t, err, cause)
		}
		var api *diffhook.APIError
		require.ErrorAs(t, err, &api)
		assert.Equal(t, http.StatusUnauthorized, api.StatusCode)
		assert.Equal(t, "Invalid API key", api.Message)
		assert.NotEmpty(t, api.RequestID)
		if generation == 1 {
			assert.Equal(t, "INVALID_API_KEY", api.Code)
		}
		assert.Equal(t, before+1, s.Count(""), "not retried")
	})
}

func TestKeyLabelIsRequired(t *testing.T) {
	inBothGenerations(t, func(t *testing.T, _ int, s *diffhooktest.Server, c *diffhook.Client) {
		for _, label := range []string{"", " ", "\t\n"} {
			_, _, err := c.Keys.Create(t.Context(), label)
			require.ErrorIs(t, err, diffhook.ErrInvalidRequest)
		}
		assert.Zero(t, s.Count(""))
		_, _, err := c.Keys.Create(t.Context(), `"quoted", <b>é</b> &c.`)
		require.NoError(t, err)
		assert.Equal(t, `"quoted", <b>é</b> &c.`, s.DefaultTeam().Keys()[1].Label)
	})
}

// TestKeyCreateWithoutKey: a key without a holder may exist now, and the library must
// not create another.
func TestKeyCreateWithoutKey(t *testing.T) {
	created := func(body string) func() *http.Response {
		return func() *http.Response { return replyJSON(http.StatusCreated, body) }
	}
	for _, c := range []struct {
		name string
		resp func() *http.Response
	}{
		{"absent", created(`{"data":{"id":"key_1","label":"label","prefix":"dh_live_viol"}}`)},
		{"null", created(`{"data":{"id":"key_1","key":null}}`)},
		{"empty", created(`{"data":{"id":"key_1","key":""}}`)},
		{"redacted", created(`{"data":{"id":"key_1","key":"dh_live_…wxyz"}}`)},
		{"with a newline", created(`{"data":{"id":"key_1","key":"` + longKeyText + `\n"}}`)},
		{"a number", created(`{"data":{"id":"key_1","key":123456789}}`)},
		{"an object", created(`{"data":{"id":"key_1","key":{"text":"` + longKeyText + `"}}}`)},
		{"in a list", created(`{"data":[{"id":"key_1","key":"` + longKeyText + `"}]}`)},
		{"data is null", created(`{"data":null}`)},
		{"no data", created(`{"id":"key_1","key":"` + longKeyText + `"}`)},
		{"empty object", created(`{}`)},
		{"no JSON", created(longKeyText)},
		{"empty answer", created("")},
		{"204", func() *http.Response { return replyJSON(http.StatusNoContent, "") }},
		{"HTML", func() *http.Response { return reply(http.StatusOK, "text/html", "<html></html>") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, asked := answerWith(t, c.resp)
			made, key, err := client.Keys.Create(t.Context(), "label")
			require.ErrorIs(t, err, diffhook.ErrOutcomeUnknown)
			require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
			assert.True(t, key.IsZero())
			assert.Zero(t, made)
			assert.Equal(t, 1, *asked)
			assertDoesNotRepeat(t, err, longKeyText)
			assert.NotContains(t, err.Error(), "triggered_at", "a field of events")
		})
	}
}

// TestKeyCreateIsNotRepeated: a call that may have been carried out is repeated only if
// twice is the same as once, as in TestKeyDeleteIsRepeated.
func TestKeyCreateIsNotRepeated(t *testing.T) {
	for name, fault := range map[string]diffhooktest.Fault{
		"answer lost":      {Reset: diffhooktest.AfterHandling},
		"answer cut off":   {Truncate: true},
		"500":              {Status: http.StatusInternalServerError},
		"502 afterwards":   {Status: http.StatusBadGateway, HTML: true, Handle: true},
		"no answer, ended": {Delay: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newBubbleServer(t)
				s.Fail(fault)
				_, key, err := s.Client(nil).Keys.Create(t.Context(), "label")
				require.ErrorIs(t, err, diffhook.ErrOutcomeUnknown)
				assert.True(t, key.IsZero())
				synctest.Wait() // until the emulator notices the end of the request
				assert.Equal(t, 1, s.Count("POST /api/keys"))
				assert.LessOrEqual(t, len(s.DefaultTeam().Keys()), 2)
			})
		})
	}
}

// TestKeyDeleteIsRepeated: the 404 for a retry is a success.
func TestKeyDeleteIsRepeated(t *testing.T) {
	for name, fault := range map[string]diffhooktest.Fault{
		"not done":    {Status: http.StatusServiceUnavailable},
		"answer lost": {Reset: diffhooktest.AfterHandling},
		"502 after":   {Status: http.StatusBadGateway, Handle: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newBubbleServer(t)
				key := s.DefaultTeam().NewKey("old")
				s.Fail(fault)
				require.NoError(t, s.Client(nil).Keys.Delete(t.Context(), key.ID))
				assert.Equal(t, 2, s.Count("DELETE /api/keys/{id}"))
				assert.True(t, s.DefaultTeam().Keys()[1].Revoked)
			})
		})
	}
}

func TestKeyDecoding(t *testing.T) {
	created, used := time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC), time.Date(2026, 3, 17, 1, 2, 3, 500e6, time.UTC)
	whole := diffhook.Key{ID: "key_1", Label: "ci", Prefix: "dh_live_viol", CreatedAt: created, LastUsedAt: used}
	unused := diffhook.Key{ID: "key_1", Label: "ci", Prefix: "dh_live_viol", CreatedAt: created}
	for _, c := range []struct {
		name, text string
		want       diffhook.Key
	}{
		{"camelCase", `{"id":"key_1","label":"ci","prefix":"dh_live_viol","createdAt":"2026-03-16T14:22:00Z","lastUsedAt":"2026-03-17T01:02:03.5Z"}`, whole},
		{"snake_case", `{"id":"key_1","label":"ci","prefix":"dh_live_viol","created_at":"2026-03-16T14:22:00Z","last_used_at":"2026-03-17T01:02:03.5Z"}`, whole},
		{"both", `{"id":"key_1","label":"ci","prefix":"dh_live_viol","createdAt":"2026-03-16T14:22:00Z","created_at":"2026-03-16T14:22:00Z","lastUsedAt":null,"last_used_at":"2026-03-17T01:02:03.5Z"}`, whole},
		{"other zones", `{"id":"key_1","label":"ci","prefix":"dh_live_viol","createdAt":"2026-03-16T16:22:00+02:00","lastUsedAt":"2026-03-16T20:02:03.5-05:00"}`, whole},
		{"never used: null", `{"id":"key_1","label":"ci","prefix":"dh_live_viol","createdAt":"2026-03-16T14:22:00Z","lastUsedAt":null}`, unused},
		{"never used: missing", `{"id":"key_1","label":"ci","prefix":"dh_live_viol","created_at":"2026-03-16T14:22:00Z"}`, unused},
		{"extra fields", `{"id":"key_1","label":"ci","prefix":"dh_live_viol","createdAt":"2026-03-16T14:22:00Z","scopes":["read"],"owner":{"id":1},"key":null}`, unused},
		{"all null", `{"id":"key_1","label":null,"prefix":null,"createdAt":null,"created_at":null,"lastUsedAt":null,"last_used_at":null}`, diffhook.Key{ID: "key_1"}},
		{"all missing", `{"id":"key_1"}`, diffhook.Key{ID: "key_1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := diffhook.Key{ID: "left over", LastUsedAt: time.Now()}
			require.NoError(t, json.Unmarshal([]byte(c.text), &got))
			assert.Empty(t, cmp.Diff(c.want, got))
			for _, at := range []time.Time{got.CreatedAt, got.LastUsedAt} {
				assert.Equal(t, time.UTC, at.Location())
			}
		})
	}
	for name, text := range map[string]string{
		"no object":       `"key_1"`,
		"null":            `null`,
		"no id":           `{"label":"ci","prefix":"dh_live_viol"}`,
		"id is null":      `{"id":null}`,
		"id is an object": `{"id":{"text":"key_1"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			got := unused
			require.Error(t, json.Unmarshal([]byte(text), &got))
			assert.Empty(t, cmp.Diff(unused, got), "the key is unchanged")
		})
	}
}

// TestKeyMatchesPrefix: a program that deletes unused keys must not delete the key in
// use, so false must be certain.
func TestKeyMatchesPrefix(t *testing.T) {
	key := mustAPIKey(t, longKeyText)
	for _, c := range []struct {
		name, prefix string
		key          diffhook.APIKey
		want         bool
	}{
		{"twelve characters", longKeyText[:12], key, true},
		{"with an ellipsis", longKeyText[:12] + "…", key, true},
		{"with three dots", longKeyText[:12] + "...", key, true},
		{"with asterisks", longKeyText[:12] + "****", key, true},
		{"the common prefix", "dh_live_", key, true},
		{"unknown", "", key, true},
		{"the whole key", longKeyText, key, true},
		{"another key", otherKeyText[:12], key, false},
		{"a character differs", longKeyText[:11] + "X", key, false},
		{"longer than the key", longKeyText + "0", key, false},
		{"no key", longKeyText[:12], diffhook.APIKey{}, false},
		{"no key and nothing known", "", diffhook.APIKey{}, false},
		// The printed form of an APIKey.
		{"first and last characters", longKeyText[:8] + "…" + longKeyText[len(longKeyText)-4:], key, true},
		{"first and last characters with asterisks", longKeyText[:12] + "********" + longKeyText[len(longKeyText)-4:], key, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, diffhook.Key{Prefix: c.prefix}.MatchesPrefix(c.key))
		})
	}
}

// lists are the endpoints of lists, each as the length of the list.
var lists = []struct {
	path string
	list func(t *testing.T, c *diffhook.Client, opts *diffhook.ListOptions) (int, error)
}{
	{"/api/keys", func(t *testing.T, c *diffhook.Client, opts *diffhook.ListOptions) (int, error) {
		got, err := c.Keys.List(t.Context(), opts)
		return len(got), err
	}},
	{"/api/monitors", func(t *testing.T, c *diffhook.Client, opts *diffhook.ListOptions) (int, error) {
		got, err := c.Monitors.List(t.Context(), opts)
		return len(got), err
	}},
	{"/api/logs", func(t *testing.T, c *diffhook.Client, opts *diffhook.ListOptions) (int, error) {
		got, err := c.Logs.List(t.Context(), opts)
		return len(got), err
	}},
}

// TestListOptions: the API's own default would omit all records after 50.
func TestListOptions(t *testing.T) {
	for _, l := range lists {
		t.Run(l.path, func(t *testing.T) {
			inBothGenerations(t, func(t *testing.T, _ int, s *diffhooktest.Server, c *diffhook.Client) {
				for _, call := range []struct {
					opts *diffhook.ListOptions
					want string // empty: an error
				}{
					{nil, "200"},
					{&diffhook.ListOptions{}, "200"},
					{&diffhook.ListOptions{Limit: 1}, "1"},
					{&diffhook.ListOptions{Limit: 50}, "50"},
					{&diffhook.ListOptions{Limit: 200}, "200"},
					{&diffhook.ListOptions{Limit: 201}, ""},
					{&diffhook.ListOptions{Limit: -1}, ""},
				} {
					before := s.Count("")
					_, err := l.list(t, c, call.opts)
					if call.want == "" {
						require.ErrorIs(t, err, diffhook.ErrInvalidRequest)
						assert.Equal(t, before, s.Count(""), "nothing was sent")
						continue
					}
					require.NoError(t, err)
					requireLastRequest(t, s, "GET "+l.path+"?limit="+call.want, "")
				}
			})
		})
	}
}

// TestListAnswers: an empty list is a list, and any other value is an error.
func TestListAnswers(t *testing.T) {
	for _, l := range lists {
		for _, c := range []struct {
			name, body string
			want       error
		}{
			{"empty", `{"data":[]}`, nil},
			{"with other fields", `{"data":[],"next":null,"total":0}`, nil},
			{"null", `{"data":null}`, nil},
			{"null and no error", `{"error":null,"data":null}`, nil},
			{"null and an error", `{"data":null,"error":{"code":"SERVER_ERROR"}}`, diffhook.ErrUnexpectedResponse},
			{"an object", `{"data":{}}`, diffhook.ErrUnexpectedResponse},
			{"inside an object", `{"data":{"items":[]}}`, diffhook.ErrUnexpectedResponse},
			{"a text", `{"data":"[]"}`, diffhook.ErrUnexpectedResponse},
			{"without data", `{"keys":[]}`, diffhook.ErrUnexpectedResponse},
			{"bare", `[]`, diffhook.ErrUnexpectedResponse},
			{"cut short", `{"data":[`, diffhook.ErrUnexpectedResponse},
			{"with something behind", `{"data":[]}{"data":[]}`, diffhook.ErrUnexpectedResponse},
		} {
			t.Run(strings.TrimPrefix(l.path, "/api/")+" "+c.name, func(t *testing.T) {
				client, _ := answerWith(t, func() *http.Response { return replyJSON(http.StatusOK, c.body) })
				n, err := l.list(t, client, nil)
				require.ErrorIs(t, err, c.want)
				assert.Zero(t, n, "no part of a list beside an error")
			})
		}
	}
}

// TestKeyStale: older than the age to the nanosecond, and not equal.
func TestKeyStale(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name     string
		is, than time.Duration
		want     bool
	}{
		{"90 days is the default", 90*day + 1, 0, true},
		{"as old as the default", 90 * day, 0, false},
		{"younger than the default", 90*day - 1, 0, false},
		{"new", 0, 0, false},
		{"older than a week", 7*day + 1, 7 * day, true},
		{"a week old", 7 * day, 7 * day, false},
		{"the default no longer counts", 91 * day, 365 * day, false},
		{"a nanosecond", 1, 1, false},
		{"by a clock ahead of ours", -time.Hour, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				key := diffhook.Key{CreatedAt: time.Now().Add(-c.is)}
				assert.Equal(t, c.want, key.Stale(c.than))
				key.CreatedAt = key.CreatedAt.UTC().Round(0)
				assert.Equal(t, c.want, key.Stale(c.than))
			})
		})
	}
	for _, age := range []time.Duration{0, 1, 100 * 365 * day} {
		assert.True(t, diffhook.Key{}.Stale(age), "of unknown age")
	}
	synctest.Test(t, func(t *testing.T) {
		s := newBubbleServer(t)
		s.DefaultTeam().AgeKey(s.DefaultTeam().NewKey("ci-pipeline").ID, 91*day)
		keys, err := s.Client(nil).Keys.List(t.Context(), nil)
		require.NoError(t, err)
		assert.True(t, keys[0].Stale(0))
		assert.False(t, keys[1].Stale(0))
	})
}

func idsOf(keys []diffhook.Key) (ids []string) {
	for _, k := range keys {
		ids = append(ids, k.ID)
	}
	return ids
}
