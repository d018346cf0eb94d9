package diffhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// readers are calls that read a response, each with a good response and the result.
var readers = []struct {
	name, body, want string
	read             func(ctx context.Context, c *diffhook.Client) (string, error)
}{
	{"monitor", `{"data":{"id":"mon_1"}}`, "mon_1", func(ctx context.Context, c *diffhook.Client) (string, error) {
		m, err := c.Monitors.Get(ctx, "mon_1")
		return m.ID, err
	}},
	{"created monitor", `{"data":{"id":"mon_1"}}`, "mon_1", func(ctx context.Context, c *diffhook.Client) (string, error) {
		m, err := c.Monitors.Create(ctx, diffhook.MonitorParams{URL: "https://example.com/"})
		return m.ID, err
	}},
	{"created key", `{"data":{"id":"key_1","key":"` + longKeyText + `"}}`, longKeyText, func(ctx context.Context, c *diffhook.Client) (string, error) {
		_, key, err := c.Keys.Create(ctx, "ci-pipeline")
		return key.Reveal(), err
	}},
	{"keys", `{"data":[{"id":"key_1"}]}`, "[key_1]", func(ctx context.Context, c *diffhook.Client) (string, error) {
		keys, err := c.Keys.List(ctx, nil)
		return fmt.Sprint(idsOf(keys)), err
	}},
	{"rotated secret", `{"data":{"secret":"` + currentText + `","previous":null}}`, currentText, func(ctx context.Context, c *diffhook.Client) (string, error) {
		secrets, err := c.SigningSecret.Rotate(ctx)
		return secrets.Current.Reveal(), err
	}},
	{"Do", `{"data":{"name":"a"}}`, "a", func(ctx context.Context, c *diffhook.Client) (string, error) {
		var out struct{ Name string }
		err := c.Do(ctx, "POST", "things", nil, &out)
		return out.Name, err
	}},
	{"token", `{"access_token":"a-token"}`, "Bearer a-token", func(ctx context.Context, c *diffhook.Client) (string, error) {
		c.SetCredentials(diffhook.ClientCredentials("dh_live_id", opaqueText))
		var sent string
		err := c.Do(context.WithValue(ctx, sentKey{}, &sent), "GET", "things", nil, nil)
		return sent, err
	}},
}

// sentKey is the context key of a *string for the sent Authorization header.
type sentKey struct{}

// TestResponseIsJudgedByItsContent: JSON is read, whatever surrounds it.
func TestResponseIsJudgedByItsContent(t *testing.T) {
	for name, change := range map[string]func(resp *http.Response, body string) string{
		"Content-Type with a parameter":               contentType("application/json; charset=utf-8"),
		"Content-Type with a parameter without value": contentType("application/json; charset"),
		"Content-Type joined with another":            contentType("application/json; charset=utf-8,application/json"),
		"Content-Type text/json":                      contentType("text/json"),
		"Content-Type text/plain":                     contentType("text/plain; charset=utf-8"),
		"Content-Type text/html":                      contentType("text/html"),
		"malformed Content-Type":                      contentType(";;"),
		"no Content-Type": func(resp *http.Response, body string) string {
			resp.Header.Del("Content-Type")
			return body
		},
		"byte order mark":                 around("\ufeff", ""),
		"byte order mark and white space": around("\ufeff\r\n ", "\r\n"),
		"connection broken after the JSON": func(resp *http.Response, body string) string {
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(body), iotest.ErrReader(io.ErrUnexpectedEOF)))
			return ""
		},
	} {
		for _, r := range readers {
			t.Run(name+"/"+r.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					got, err := r.read(t.Context(), clientReading(t, r.body, change))
					require.NoError(t, err)
					assert.Equal(t, r.want, got)
				})
			})
		}
	}
}

func contentType(value string) func(*http.Response, string) string {
	return func(resp *http.Response, body string) string {
		resp.Header.Set("Content-Type", value)
		return body
	}
}

func around(before, behind string) func(*http.Response, string) string {
	return func(_ *http.Response, body string) string { return before + body + behind }
}

// clientReading returns a client of a platform whose answer is body, after change.
func clientReading(t *testing.T, body string, change func(*http.Response, string) string) *diffhook.Client {
	t.Helper()
	return newTransportClient(t, respond(func(r *http.Request) (*http.Response, error) {
		if sent, ok := r.Context().Value(sentKey{}).(*string); ok {
			*sent = r.Header.Get("Authorization")
		}
		resp := replyJSON(http.StatusOK, "")
		if text := change(resp, body); text != "" {
			resp.Body = io.NopCloser(strings.NewReader(text))
		}
		return resp, nil
	}), &diffhook.ClientOptions{MaxAttempts: 1})
}

// TestUnreadableResponse: an unreadable response is an error. If the Content-Type is
// another, the error names it.
func TestUnreadableResponse(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*http.Response, string) string
		names  string // Content-Type that explains the failure
	}{
		{"HTML", func(resp *http.Response, _ string) string {
			resp.Header.Set("Content-Type", "text/html; charset=utf-8")
			return "<p>Log in</p>"
		}, "text/html"},
		{"text", func(resp *http.Response, _ string) string {
			resp.Header.Set("Content-Type", "text/plain")
			return "ok"
		}, "text/plain"},
		{"Content-Type with a parameter without value", func(resp *http.Response, body string) string {
			resp.Header.Set("Content-Type", "application/json; charset")
			return body[1:]
		}, ""},
		{"no Content-Type", func(resp *http.Response, body string) string {
			resp.Header.Del("Content-Type")
			return body[1:]
		}, ""},
		{"half", func(_ *http.Response, body string) string { return body[:len(body)/2] }, ""},
		{"all but the last byte", func(_ *http.Response, body string) string { return body[:len(body)-1] }, ""},
		{"connection broken within the JSON", func(resp *http.Response, body string) string {
			resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(body[:len(body)-1]), iotest.ErrReader(io.ErrUnexpectedEOF)))
			return ""
		}, ""},
		{"byte order mark twice", around("\ufeff\ufeff", ""), ""},
		{"nothing but a byte order mark", func(*http.Response, string) string { return "\ufeff" }, ""},
		{"a comment after the JSON", around("", "<!-- 12 ms -->"), ""},
		{"only white space", func(*http.Response, string) string { return " \n" }, ""},
	} {
		for _, r := range readers {
			t.Run(c.name+"/"+r.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					got, err := r.read(t.Context(), clientReading(t, r.body, c.change))
					require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
					assert.ErrorContains(t, err, c.names)
					assert.NotEqual(t, r.want, got)
				})
			})
		}
	}
}

// TestEnvelope: the data is in the documented field, and a response without it is an
// error.
func TestEnvelope(t *testing.T) {
	data := func(body string) string { return strings.TrimSuffix(strings.TrimPrefix(body, `{"data":`), "}") }
	for _, r := range readers {
		for name, body := range map[string]string{
			"bare":               data(r.body),
			"in another field":   `{"result":` + data(r.body) + `}`,
			"one level too deep": `{"data":` + r.body + `}`,
			"as text":            `{"data":"x"}`,
			"false":              `{"data":false}`,
			"a list":             `[` + r.body + `]`,
		} {
			if name == "bare" && r.name == "token" || name == "one level too deep" && r.name == "Do" {
				continue // a token needs no envelope, and encoding/json ignores unknown fields
			}
			t.Run(r.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					got, err := r.read(t.Context(), clientReading(t, body, around("", "")))
					require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
					assert.NotEqual(t, r.want, got)
				})
			})
		}
	}
}

// TestCreatedKeyIsNotThrownAway: a key is shown once, so no other field makes the
// response unreadable.
func TestCreatedKeyIsNotThrownAway(t *testing.T) {
	created := time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC)
	for _, c := range []struct {
		name, fields string
		want         diffhook.Key
	}{
		{"the key alone", ``, diffhook.Key{}},
		{"id is a number", `,"id":7,"label":"ci"`, diffhook.Key{ID: "7", Label: "ci"}},
		{"id is an object", `,"id":{"oid":"x"},"label":"ci"`, diffhook.Key{Label: "ci"}},
		{"label is a number", `,"id":"key_1","label":7`, diffhook.Key{ID: "key_1", Label: "7"}},
		{"label is a list", `,"id":"key_1","label":["ci"]`, diffhook.Key{ID: "key_1"}},
		{"prefix is an object", `,"id":"key_1","prefix":{}`, diffhook.Key{ID: "key_1"}},
		{"last use is empty", `,"id":"key_1","createdAt":"2026-03-16T14:22:00Z","lastUsedAt":""`, diffhook.Key{ID: "key_1", CreatedAt: created}},
		{"last use is false", `,"id":"key_1","lastUsedAt":false`, diffhook.Key{ID: "key_1"}},
		{"times without zone", `,"id":"key_1","created_at":"2026-03-16 14:22:00"`, diffhook.Key{ID: "key_1", CreatedAt: created}},
		{"time is a number", `,"id":"key_1","createdAt":1773670920`, diffhook.Key{ID: "key_1"}},
		{"time is a secret", `,"id":"key_1","createdAt":"` + longKeyText + `"`, diffhook.Key{ID: "key_1"}},
		{"everything is an object", `,"id":{},"label":{},"prefix":{},"createdAt":{},"lastUsedAt":{},"key":{}`, diffhook.Key{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, _ := answerWith(t, func() *http.Response {
				return replyJSON(http.StatusCreated, `{"data":{"key":"`+longKeyText+`"`+c.fields+`}}`)
			})
			made, key, err := client.Keys.Create(t.Context(), "ci")
			require.NoError(t, err)
			assert.Equal(t, longKeyText, key.Reveal())
			assert.Empty(t, cmp.Diff(c.want, made))
		})
	}
}

// TestOneItemDoesNotSpoilAList: an unreadable item is zero, and the list keeps the
// length.
func TestOneItemDoesNotSpoilAList(t *testing.T) {
	const items = `{"data":[{"id":"a"},null,7,"x",[],{},{"id":{}},{"id":8,"label":[],"createdAt":"never"},{"id":"b"}]}`
	ids := []string{"a", "", "", "", "", "", "", "8", "b"}
	client, _ := answerWith(t, func() *http.Response { return replyJSON(http.StatusOK, items) })

	keys, err := client.Keys.List(t.Context(), nil)
	require.NoError(t, err)
	assert.Equal(t, ids, idsOf(keys))
	for _, key := range keys {
		assert.Empty(t, cmp.Diff(diffhook.Key{ID: key.ID}, key))
	}
	monitors, err := client.Monitors.List(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, monitors, len(ids))
	for i, monitor := range monitors {
		assert.Empty(t, cmp.Diff(diffhook.Monitor{ID: ids[i]}, monitor))
	}
	var raw struct{ Data []json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(items), &raw))
	logs, err := client.Logs.List(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, logs, len(ids))
	for i, log := range logs {
		assert.Empty(t, cmp.Diff(diffhook.Log{ID: ids[i], Raw: raw.Data[i]}, log))
	}
}

// TestListLength: a list longer than the limit is returned in full, up to a length that
// takes about as much memory as the longest response.
func TestListLength(t *testing.T) {
	listOf := func(n int) func() *http.Response {
		return func() *http.Response {
			return replyJSON(http.StatusOK, `{"data":[`+strings.TrimSuffix(strings.Repeat("{},", n), ",")+`]}`)
		}
	}
	for _, l := range lists {
		for _, n := range []int{1, 50, 200, 201, 5000, 1 << 16} {
			t.Run(fmt.Sprint(l.path, " ", n), func(t *testing.T) {
				client, _ := answerWith(t, listOf(n))
				for _, opts := range []*diffhook.ListOptions{nil, {Limit: 1}} {
					got, err := l.list(t, client, opts)
					require.NoError(t, err)
					assert.Equal(t, n, got)
				}
			})
		}
		t.Run(l.path+" longer", func(t *testing.T) {
			client, _ := answerWith(t, listOf(1<<16+1))
			got, err := l.list(t, client, nil)
			require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
			assert.Zero(t, got)
		})
	}
	client, _ := answerWith(t, listOf(sampled(1<<20, 5<<20))) // nearly the longest response; a Monitor is the largest item
	taken := allocated(func() {
		_, err := client.Monitors.List(t.Context(), nil)
		assert.ErrorIs(t, err, diffhook.ErrUnexpectedResponse)
	})
	assert.Less(t, taken, uint64(256<<20))
}

// allocated returns the bytes allocated while f runs, by all goroutines.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestDoReadsIntoTheLibrarysTypes: Do reads into the library's types as the services
// do, and into the caller's types as encoding/json does. Only the caller knows the
// important fields.
func TestDoReadsIntoTheLibrarysTypes(t *testing.T) {
	const drifted = `{"data":{"id":7,"label":true,"attempt":"2","createdAt":"2026-03-16 14:22"}}`
	at := time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC)
	client, _ := answerWith(t, func() *http.Response { return replyJSON(http.StatusOK, drifted) })
	do := func(out any) error { return client.Do(t.Context(), "GET", "things", nil, out) }

	var key diffhook.Key
	require.NoError(t, do(&key))
	assert.Empty(t, cmp.Diff(diffhook.Key{ID: "7", CreatedAt: at}, key))
	var monitor diffhook.Monitor
	require.NoError(t, do(&monitor))
	assert.Empty(t, cmp.Diff(diffhook.Monitor{ID: "7", CreatedAt: at}, monitor))
	var log diffhook.Log
	require.NoError(t, do(&log))
	log.Raw = nil
	assert.Empty(t, cmp.Diff(diffhook.Log{ID: "7", Attempt: 2, CreatedAt: at}, log))
	var whole any
	require.NoError(t, do(&whole))

	for name, out := range map[string]any{
		"a field of another type": new(struct{ ID string }),
		"a malformed time":        new(struct{ CreatedAt time.Time }),
		"a list":                  new([]diffhook.Key),
		"an UnmarshalJSON":        new(refuser),
		"no pointer":              struct{}{},
	} {
		err := do(out)
		require.ErrorIs(t, err, diffhook.ErrUnexpectedResponse, name)
		assert.NotContains(t, err.Error(), "14:22", "no piece of the response is shown")
	}
}

// refuser is a type that no JSON fits.
type refuser struct{}

func (*refuser) UnmarshalJSON(b []byte) error { return errors.New("cannot read " + string(b)) }

// TestDoOfNull: null is an empty list, and not a record.
func TestDoOfNull(t *testing.T) {
	client, _ := answerWith(t, func() *http.Response { return replyJSON(http.StatusOK, `{"data":null}`) })
	keys := []diffhook.Key{{ID: "left over"}}
	require.NoError(t, client.Do(t.Context(), "GET", "keys", nil, &keys))
	assert.Empty(t, keys)
	for _, out := range []any{new(diffhook.Key), new(diffhook.Monitor), new(diffhook.Log), new(map[string]any), new(any), new(json.RawMessage), new([]byte)} {
		require.ErrorIs(t, client.Do(t.Context(), "GET", "keys", nil, out), diffhook.ErrUnexpectedResponse, "%T", out)
	}
}

// TestUnmarshalJSONOfInvalidJSON: encoding/json never passes invalid JSON on, but a
// caller may.
func TestUnmarshalJSONOfInvalidJSON(t *testing.T) {
	for _, text := range []string{"", "{", `{"id`, `{"id":"a`, `{"id":"a"`, "]", `"`, `{"id":"a"}}`} {
		for _, into := range []json.Unmarshaler{new(diffhook.Key), new(diffhook.Monitor), new(diffhook.Log)} {
			assert.Error(t, into.UnmarshalJSON([]byte(text)), "%T %s", into, text)
		}
	}
}

// TestFieldOfAnotherType: a field is read from the types that a platform may send, and
// is zero for any other. An unreadable field does not affect other fields.
func TestFieldOfAnotherType(t *testing.T) {
	for _, c := range []struct {
		name, field string
		want        diffhook.Monitor
	}{
		{"text: number", `"label":7`, diffhook.Monitor{Label: "7"}},
		{"text: number verbatim", `"label":-59.00`, diffhook.Monitor{Label: "-59.00"}},
		{"text: false", `"label":false`, diffhook.Monitor{}},
		{"text: list", `"label":["x"]`, diffhook.Monitor{}},
		{"text: object", `"label":{"en":"x"}`, diffhook.Monitor{}},
		{"text: escapes", `"label":"a\u00e9\"\\\n\ud83d\ude00"`, diffhook.Monitor{Label: "aé\"\\\n😀"}},
		{"text: not UTF-8", "\"label\":\"a\xffb\"", diffhook.Monitor{Label: "a\ufffdb"}},

		{"integer: text", `"intervalMinutes":"15"`, diffhook.Monitor{IntervalMinutes: 15}},
		{"integer: text with white space", `"intervalMinutes":" 15\n"`, diffhook.Monitor{IntervalMinutes: 15}},
		{"integer: with a fraction of zero", `"interval_minutes":15.0`, diffhook.Monitor{IntervalMinutes: 15}},
		{"integer: with an exponent", `"intervalMinutes":1.5e1`, diffhook.Monitor{IntervalMinutes: 15}},
		{"integer: text with an exponent", `"intervalMinutes":"1.5E+1"`, diffhook.Monitor{IntervalMinutes: 15}},
		{"integer: negative", `"intervalMinutes":-15`, diffhook.Monitor{IntervalMinutes: -15}},
		{"integer: with a fraction", `"intervalMinutes":15.5`, diffhook.Monitor{}},
		{"integer: of more than 32 bits", `"intervalMinutes":4294967311`, diffhook.Monitor{}},
		{"integer: of more than a float64", `"intervalMinutes":1e400`, diffhook.Monitor{}},
		{"integer: empty text", `"intervalMinutes":""`, diffhook.Monitor{}},
		{"integer: text of another kind", `"intervalMinutes":"15m"`, diffhook.Monitor{}},
		{"integer: hexadecimal text", `"intervalMinutes":"0xf"`, diffhook.Monitor{}},
		{"integer: infinite", `"intervalMinutes":"Infinity"`, diffhook.Monitor{}},
		{"integer: list as text", `"intervalMinutes":"[15]"`, diffhook.Monitor{}},
		{"integer: true", `"intervalMinutes":true`, diffhook.Monitor{}},
		{"integer: object", `"intervalMinutes":{"value":15}`, diffhook.Monitor{}},

		{"boolean: text", `"jsRendering":"true"`, diffhook.Monitor{JSRendering: true}},
		{"boolean: text in capitals", `"jsRendering":"TRUE"`, diffhook.Monitor{JSRendering: true}},
		{"boolean: 1", `"js_rendering":1`, diffhook.Monitor{JSRendering: true}},
		{"boolean: 1 as text", `"jsRendering":"1"`, diffhook.Monitor{JSRendering: true}},
		{"boolean: 0", `"jsRendering":0`, diffhook.Monitor{}},
		{"boolean: false as text", `"jsRendering":"false"`, diffhook.Monitor{}},
		{"boolean: another text", `"jsRendering":"on request"`, diffhook.Monitor{}},
		{"boolean: list", `"jsRendering":[true]`, diffhook.Monitor{}},

		{"time: number", `"createdAt":1773670920`, diffhook.Monitor{}},
		{"time: list", `"createdAt":["2026-03-16T14:22:00Z"]`, diffhook.Monitor{}},

		{"object: text", `"notification_config":"x"`, diffhook.Monitor{}},
		{"object: list", `"notification_config":[]`, diffhook.Monitor{}},
		{"object: a single readable field", `"notificationConfig":{"webhook_url":["x"],"email":"ops@example.com"}`, diffhook.Monitor{Email: "ops@example.com"}},

		{"twice: the last", `"label":"a","label":"b"`, diffhook.Monitor{Label: "b"}},
		{"twice: the readable value", `"intervalMinutes":15,"interval_minutes":"often"`, diffhook.Monitor{IntervalMinutes: 15}},
		{"twice: the value that is set", `"created_at":"2026-03-16T14:22:00Z","createdAt":null`, diffhook.Monitor{CreatedAt: time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC)}},
		{"another name with an underscore", `"_id":"65f5","__v":0,"_label":"x","label_":"y"`, diffhook.Monitor{}},
		{"name with an escape", `"l\u0061bel":"x"`, diffhook.Monitor{Label: "x"}},
		{"brackets in texts", `"tags":["]","}","\\\""],"label":"x{[\"]}"`, diffhook.Monitor{Label: `x{["]}`}},
		{"deep neighbours", `"a":` + strings.Repeat(`[{"label":`, 500) + "1" + strings.Repeat("}]", 500) + `,"label":"x"`, diffhook.Monitor{Label: "x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.ID, c.want.Status = "mon_1", "active"
			var got diffhook.Monitor
			require.NoError(t, json.Unmarshal([]byte(`{"id":"mon_1",`+c.field+`,"status":"active"}`), &got))
			assert.Empty(t, cmp.Diff(c.want, got))
		})
	}
}

// TestTimesInUse: times are read in the forms of ISO 8601 in use. Any other text is the
// zero time.
func TestTimesInUse(t *testing.T) {
	at := time.Date(2026, 3, 16, 14, 22, 5, 0, time.UTC)
	minute := at.Truncate(time.Minute)
	for _, c := range []struct {
		text string
		want time.Time
	}{
		{"2026-03-16T14:22:05Z", at},
		{"2026-03-16T16:22:05+02:00", at},
		{"2026-03-16T14:22:05+0000", at},
		{"2026-03-16T09:22:05-0500", at},
		{"2026-03-16T14:22:05+00", at},
		{"2026-03-16T14:22:05-00:00", at},
		{"2026-03-16T14:22:05", at},
		{"2026-03-16t14:22:05z", at},
		{"2026-03-16 14:22:05", at},
		{"2026-03-16 14:22:05+00", at},
		{"2026-03-16 14:22:05Z", at},
		{"2026-03-16T14:22:05.5Z", at.Add(500 * time.Millisecond)},
		{"2026-03-16T14:22:05,5Z", at.Add(500 * time.Millisecond)},
		{"2026-03-16T14:22:05.500", at.Add(500 * time.Millisecond)},
		{"2026-03-16 14:22:05.500000+00", at.Add(500 * time.Millisecond)},
		{"2026-03-16T14:22:05.123456789987Z", at.Add(123456789)},
		{"2026-03-16T14:22Z", minute},
		{"2026-03-16T14:22", minute},
		{"2026-03-16 14:22", minute},
		{"2026-03-16T16:22+02:00", minute},
		{"2026-03-16T16:22+0200", minute},
		{"2026-03-16T16:22+02", minute},
		{"2026-03-16", time.Date(2026, 3, 16, 0, 0, 0, 0, time.UTC)},
		{"2026-12-31T23:59:60Z", time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"2027-01-01t01:59:60.25+0200", time.Date(2027, 1, 1, 0, 0, 0, 250e6, time.UTC)},
		{"9999-12-31T23:59:59Z", time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},

		{"", time.Time{}},
		{" ", time.Time{}},
		{"yesterday", time.Time{}},
		{"1773670925", time.Time{}},
		{"2026-03", time.Time{}},
		{"2026-02-30", time.Time{}},
		{"2026-03-16T", time.Time{}},
		{"2026-03-16T25:00:00Z", time.Time{}},
		{"2026-03-16T14:22:61Z", time.Time{}},
		{"2026-03-16T14:60:05Z", time.Time{}},
		{"2026-03-16T14:22:05ZZ", time.Time{}},
		{"2026-03-16T14:22:05 CET", time.Time{}},
		{"03/16/2026 14:22:05", time.Time{}},
		{"Mon, 16 Mar 2026 14:22:05 GMT", time.Time{}},
		{"10000-01-01T00:00:00Z", time.Time{}},
		{"9999-12-31T23:59:60Z", time.Time{}},
		{"9999-12-31T23:59:59-00:01", time.Time{}},
		{"0000-01-01T00:00:00+00:01", time.Time{}},
		{"-0001-01-01T00:00:00Z", time.Time{}},
		{"2026-03-16T14:22:05." + strings.Repeat("0", 1000) + "Z", time.Time{}},
	} {
		t.Run(c.text, func(t *testing.T) {
			text, err := json.Marshal(c.text)
			require.NoError(t, err)
			for _, text := range []string{string(text), strings.ReplaceAll(string(text), "+", `\u002B`)} { // the form of .NET
				var got diffhook.Key
				require.NoError(t, json.Unmarshal([]byte(`{"id":"key_1","lastUsedAt":`+text+`,"label":"L"}`), &got))
				assert.Empty(t, cmp.Diff(diffhook.Key{ID: "key_1", Label: "L", LastUsedAt: c.want}, got))
				assert.Equal(t, time.UTC, got.LastUsedAt.Location())
			}
		})
	}
}

// TestPrefixIsReadExactly: a wrong prefix would make MatchesPrefix certain of a wrong
// result.
func TestPrefixIsReadExactly(t *testing.T) {
	for _, prefix := range []string{`7`, `["dh_live_x"]`, `false`, "\"dh_live_\xff\""} {
		var got diffhook.Key
		require.NoError(t, json.Unmarshal([]byte(`{"id":7,"prefix":`+prefix+`}`), &got))
		assert.Empty(t, cmp.Diff(diffhook.Key{ID: "7"}, got), prefix)
		assert.True(t, got.MatchesPrefix(mustAPIKey(t, longKeyText)), prefix)
	}
}
