package diffhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// A delivery with a text that must appear nowhere else. The path and the query of the
// target must not be logged.
const (
	pageText   = "what-the-page-said"
	eventBody  = `{"event":"page.changed","monitor_id":"mon_abc123","url":"https://example.com/","triggered_at":"2026-03-16T14:22:00Z","content":"` + pageText + `"}`
	pathToken  = "tok_9f8e7d6c5b4a"
	queryToken = "q_1a2b3c4d5e6f"
	target     = "/hooks/" + pathToken + "?key=" + queryToken
)

// outcome is a way for a delivery to end.
type outcome struct {
	name     string
	result   string
	err      error
	status   int
	body     string // as sent
	read     int    // bytes read from the body of a request
	previous bool
	onlyHTTP bool // only in reading the body of a request

	opts    diffhook.VerifierOptions
	source  func() diffhook.SecretSource
	request func() *http.Request
}

// verifier returns a new verifier for the outcome. add may change the options.
func (o outcome) verifier(tb testing.TB, add func(*diffhook.VerifierOptions)) *diffhook.Verifier {
	tb.Helper()
	opts := o.opts
	if add != nil {
		add(&opts)
	}
	return newVerifier(tb, o.source(), &opts)
}

// outcomes returns an outcome for each Result but "error", which no error of the
// verifier itself gets.
func outcomes(tb testing.TB) []outcome {
	tb.Helper()
	set := diffhook.Secrets{Current: mustSecret(tb, currentText), Previous: mustSecret(tb, previousText)}
	sign := set.Current.Sign([]byte(eventBody))
	fixed := func() diffhook.SecretSource { return set }
	failing := func() diffhook.SecretSource {
		first := true
		return diffhook.SecretSourceFunc(func(context.Context) (diffhook.Secrets, error) {
			if first {
				first = false
				return set, nil
			}
			return diffhook.Secrets{}, errors.New("the vault is sealed")
		})
	}
	with := func(signature string, body io.Reader, length int64) func() *http.Request {
		return func() *http.Request {
			r := httptest.NewRequest(http.MethodPost, target, body)
			r.Header.Set(diffhook.SignatureHeader, signature)
			r.ContentLength = length
			return r
		}
	}
	whole := func(signature, body string) func() *http.Request {
		return func() *http.Request { return with(signature, strings.NewReader(body), int64(len(body)))() }
	}
	broken := func(err error) func() *http.Request {
		return func() *http.Request {
			return with(sign, io.MultiReader(strings.NewReader(pageText), iotest.ErrReader(err)), int64(len(eventBody)))()
		}
	}
	n := len(eventBody)
	small := diffhook.VerifierOptions{MaxBodyBytes: 64}
	aged := diffhook.VerifierOptions{MaxAge: time.Minute}
	all := []outcome{
		{name: "current secret", result: "accepted", status: http.StatusOK, read: n, request: whole(sign, eventBody)},
		{name: "previous secret", result: "accepted", status: http.StatusOK, read: n, previous: true, request: whole(set.Previous.Sign([]byte(eventBody)), eventBody)},
		{name: "no signature", result: "no_signature", err: diffhook.ErrNoSignature, status: http.StatusUnauthorized, request: whole("", eventBody)},
		{name: "malformed signature", result: "malformed_signature", err: diffhook.ErrMalformedSignature, status: http.StatusUnauthorized, request: whole(strings.ToUpper(sign), eventBody)},
		{name: "forgery", result: "mismatch", err: diffhook.ErrSignatureMismatch, status: http.StatusUnauthorized, read: n, request: whole(forgedSignature, eventBody)},
		{name: "replay", result: "stale", err: diffhook.ErrStale, status: http.StatusUnauthorized, read: n, opts: aged, request: whole(sign, eventBody)},
		{name: "long Content-Length", result: "body_too_large", err: diffhook.ErrBodyTooLarge, status: http.StatusRequestEntityTooLarge, opts: small, onlyHTTP: true, request: whole(sign, eventBody)},
		{name: "long body", result: "body_too_large", err: diffhook.ErrBodyTooLarge, status: http.StatusRequestEntityTooLarge, read: 65, opts: small, onlyHTTP: true, request: func() *http.Request { return with(sign, strings.NewReader(eventBody), -1)() }},
		{name: "slow body", result: "body_timeout", err: diffhook.ErrBodyTimeout, status: http.StatusRequestTimeout, read: len(pageText), onlyHTTP: true, request: broken(os.ErrDeadlineExceeded)},
		{name: "broken body", result: "body_read", err: diffhook.ErrBodyRead, status: http.StatusBadRequest, read: len(pageText), onlyHTTP: true, request: broken(io.ErrUnexpectedEOF)},
		{name: "consumed body", result: "body_consumed", err: diffhook.ErrBodyConsumed, status: http.StatusInternalServerError, read: len(pageText), onlyHTTP: true, request: func() *http.Request { return with(sign, strings.NewReader(pageText), int64(n))() }},
		{name: "failing source", result: "secrets_unavailable", err: diffhook.ErrSecretsUnavailable, status: http.StatusServiceUnavailable, read: n, source: failing, request: whole(forgedSignature, eventBody)},
		{name: "no event", result: "invalid_event", err: diffhook.ErrInvalidEvent, status: http.StatusBadRequest, body: pageText, read: len(pageText), opts: aged, request: whole(set.Current.Sign([]byte(pageText)), pageText)},
	}
	for i := range all {
		if all[i].body == "" {
			all[i].body = eventBody
		}
		if all[i].source == nil {
			all[i].source = fixed
		}
	}
	return all
}

// requireNoLeak requires that text shows no body, no received or correct signature and
// no secret.
func requireNoLeak(t *testing.T, text string, r *http.Request) {
	t.Helper()
	current := mustSecret(t, currentText)
	for _, hidden := range []string{
		pageText, currentText, previousText,
		r.Header.Get(diffhook.SignatureHeader),
		strings.TrimPrefix(current.Sign([]byte(eventBody)), "sha256="),
		strings.TrimPrefix(mustSecret(t, previousText).Sign([]byte(eventBody)), "sha256="),
	} {
		if hidden != "" {
			require.NotContains(t, text, hidden)
		}
	}
}

// TestAnswers: senders must not learn from the answer why they were rejected, and
// caches must not keep it.
func TestAnswers(t *testing.T) {
	texts := make(map[int]string)
	for _, o := range outcomes(t) {
		for name, handler := range map[string]func(*diffhook.Verifier, *bool) http.Handler{
			"Handler": func(v *diffhook.Verifier, called *bool) http.Handler {
				return v.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { *called = true }))
			},
			"EventHandler": func(v *diffhook.Verifier, called *bool) http.Handler {
				return v.EventHandler(func(context.Context, *diffhook.Event) error { *called = true; return nil })
			},
		} {
			t.Run(o.name+"/"+name, func(t *testing.T) {
				called := false
				w, r := httptest.NewRecorder(), o.request()
				handler(o.verifier(t, nil), &called).ServeHTTP(w, r)

				require.Equal(t, o.err == nil, called, "whether the delivery was handled")
				if o.err == nil {
					return
				}
				require.Equal(t, o.status, w.Code)
				want := http.Header{
					"Cache-Control":          {"no-store"},
					"Content-Type":           {"text/plain; charset=utf-8"},
					"X-Content-Type-Options": {"nosniff"},
				}
				w.Header().Del("Connection")
				require.Empty(t, cmp.Diff(want, w.Header()))
				if first, ok := texts[o.status]; ok {
					require.Equal(t, first, w.Body.String(), "a single text for each status")
				}
				texts[o.status] = w.Body.String()
				requireNoLeak(t, w.Body.String(), r)
			})
		}
	}
}

// TestDeny: the caller writes the answer, and gets the same error as from
// VerifyRequest.
func TestDeny(t *testing.T) {
	for _, o := range outcomes(t) {
		if o.err == nil {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			_, want := o.verifier(t, nil).VerifyRequest(o.request())
			require.ErrorIs(t, want, o.err)
			wantBody, wantErr := io.ReadAll(o.request().Body)
			var got, observed []error
			v := o.verifier(t, func(opts *diffhook.VerifierOptions) {
				opts.Observe = func(_ context.Context, o diffhook.Observation) { observed = append(observed, o.Err) }
				opts.Deny = func(w http.ResponseWriter, r *http.Request, err error) {
					got = append(got, err)
					body, readErr := io.ReadAll(r.Body)
					require.Equal(t, wantBody, body, "the body is whole")
					require.Equal(t, wantErr, readErr)
					w.WriteHeader(http.StatusTeapot)
				}
			})
			w := httptest.NewRecorder()
			v.Handler(http.NotFoundHandler()).ServeHTTP(w, o.request())

			require.Len(t, got, 1)
			require.Equal(t, want.Error(), got[0].Error())
			require.ErrorIs(t, got[0], o.err)
			require.Equal(t, observed, got)
			require.Equal(t, http.StatusTeapot, w.Code)
			w.Header().Del("Connection")
			require.Empty(t, w.Header(), "something was added to the answer")
		})
	}
}

// TestHandlerPassesRequestOn compares the request in a handler with and without a
// verifier before the handler, through a server and a mux.
func TestHandlerPassesRequestOn(t *testing.T) {
	type view struct {
		Method, URL, Host, RequestURI, Proto, Pattern, Team, Body string
		ContentLength                                             int64
		TransferEncoding                                          []string
		Header, Trailer                                           http.Header
		Values                                                    any
	}
	views := make(chan view, 1)
	next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		views <- view{
			r.Method, r.URL.String(), r.Host, r.RequestURI, r.Proto, r.Pattern, r.PathValue("team"), string(body),
			r.ContentLength, r.TransferEncoding, r.Header.Clone(), r.Trailer.Clone(), r.Context().Value(outerKey{}),
		}
	})
	v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
	outer := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), outerKey{}, "from outside")))
		})
	}
	chain := func(h http.Handler, layers ...func(http.Handler) http.Handler) http.Handler {
		for _, layer := range slices.Backward(layers) {
			h = layer(h)
		}
		return h
	}
	mux := http.NewServeMux()
	mux.Handle("POST /plain/{team}", chain(next, outer))
	mux.Handle("POST /verified/{team}", chain(next, outer, v.Handler))
	srv := serve(t, mux, nil)
	for name, request := range map[string]string{
		"Content-Length": strings.Replace(delivery(t, eventBody), "/hook", "/plain/red?a=1&b=2", 1),
		"no body":        strings.Replace(delivery(t, ""), "/hook", "/plain/red", 1),
		"chunked with trailers": strings.Replace(post(signed(t, "hello"), "Transfer-Encoding: chunked", "Trailer: X-Checksum"), "/hook", "/plain/red", 1) +
			"5\r\nhello\r\n0\r\nX-Checksum: 5d41\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, srv)
			c.send(request)
			c.requireStatus(http.StatusOK)
			want := <-views
			want.URL = strings.Replace(want.URL, "plain", "verified", 1)
			want.RequestURI = strings.Replace(want.RequestURI, "plain", "verified", 1)
			want.Pattern = strings.Replace(want.Pattern, "plain", "verified", 1)
			c.send(strings.Replace(request, "plain", "verified", 1))
			c.requireStatus(http.StatusOK)
			require.Empty(t, cmp.Diff(want, <-views))
			require.NotEmpty(t, want.Team)
		})
	}
}

type outerKey struct{}

// TestRouterThatAnswersItself is a router with contexts of another kind, like gin and
// echo: VerifyRequest and HTTPStatus are enough.
func TestRouterThatAnswersItself(t *testing.T) {
	type routerContext struct {
		Request *http.Request
		Writer  http.ResponseWriter
	}
	for _, o := range outcomes(t) {
		t.Run(o.name, func(t *testing.T) {
			v := o.verifier(t, nil)
			route := func(c *routerContext) {
				d, err := v.VerifyRequest(c.Request)
				if err != nil {
					c.Writer.WriteHeader(diffhook.HTTPStatus(err))
					return
				}
				_, _ = c.Writer.Write(d.Body)
			}
			w := httptest.NewRecorder()
			route(&routerContext{o.request(), w})
			require.Equal(t, o.status, w.Code)
			require.Equal(t, o.err == nil, w.Body.String() == o.body)
		})
	}
	require.Equal(t, http.StatusOK, diffhook.HTTPStatus(nil))
	require.Equal(t, http.StatusInternalServerError, diffhook.HTTPStatus(errors.New("some other")))
	require.Equal(t, http.StatusServiceUnavailable, diffhook.HTTPStatus(fmt.Errorf("%w: busy", diffhook.ErrUnavailable)))
	require.Equal(t, http.StatusBadRequest, diffhook.HTTPStatus(fmt.Errorf("%w: %w", diffhook.ErrInvalidEvent, diffhook.ErrUnavailable)),
		"the verdict on the delivery comes first")
}

func TestEventHandler(t *testing.T) {
	failed := errors.New("database: password hunter2 was rejected")
	current := mustSecret(t, currentText)
	for _, tc := range []struct {
		name, body, signature string
		err                   error // the error of handle
		status                int
		result                string
	}{
		{"handled", eventBody, current.Sign([]byte(eventBody)), nil, http.StatusNoContent, "accepted"},
		{"failed", eventBody, current.Sign([]byte(eventBody)), failed, http.StatusInternalServerError, "accepted"},
		{"unavailable", eventBody, current.Sign([]byte(eventBody)), diffhook.ErrUnavailable, http.StatusServiceUnavailable, "accepted"},
		{"unavailable, with a cause", eventBody, current.Sign([]byte(eventBody)), fmt.Errorf("%w: %w", diffhook.ErrUnavailable, failed), http.StatusServiceUnavailable, "accepted"},
		{"another 503 of the library", eventBody, current.Sign([]byte(eventBody)), diffhook.ErrSecretsUnavailable, http.StatusInternalServerError, "accepted"},
		{"no event", pageText, current.Sign([]byte(pageText)), nil, http.StatusBadRequest, "invalid_event"},
		{"forgery", eventBody, forgedSignature, nil, http.StatusUnauthorized, "mismatch"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			logs := new(logged)
			var results []string
			v := newVerifier(t, diffhook.Secrets{Current: current}, &diffhook.VerifierOptions{
				Logger:  logs.logger(),
				Observe: func(_ context.Context, o diffhook.Observation) { results = append(results, string(o.Result)) },
			})
			var events []*diffhook.Event
			h := v.EventHandler(func(_ context.Context, e *diffhook.Event) error {
				events = append(events, e)
				return tc.err
			})
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, target, strings.NewReader(tc.body))
			r.Header.Set(diffhook.SignatureHeaderGen2, tc.signature)
			h.ServeHTTP(w, r)

			require.Equal(t, tc.status, w.Code)
			require.Equal(t, []string{tc.result}, results)
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			require.NotContains(t, w.Body.String(), "hunter2", "the error is the operator's, not the sender's")
			if tc.result != "accepted" {
				require.Empty(t, events)
				return
			}
			want, err := diffhook.ParseEvent([]byte(tc.body))
			require.NoError(t, err)
			require.Empty(t, cmp.Diff([]*diffhook.Event{want}, events))
			if tc.err == nil {
				require.Empty(t, w.Body.String())
				require.Empty(t, logs.lines())
				return
			}
			require.Len(t, logs.lines(), 1)
			line := logs.lines()[0]
			level := "ERROR"
			if errors.Is(tc.err, diffhook.ErrUnavailable) {
				level = "WARN"
			}
			require.Equal(t, level, line["level"])
			require.Equal(t, tc.err, line["error"])
			require.NotContains(t, fmt.Sprint(line), pathToken)
		})
	}
}

// TestEventHandlerContext: DiffHook gives up on an attempt DeliveryTimeout after the
// start, however much of that time the body took.
func TestEventHandlerContext(t *testing.T) {
	for _, tc := range []struct {
		name          string
		slow, hangsUp time.Duration // after the start; 0: never
		ends          time.Duration
		err           error
	}{
		{"body at once", 0, 0, diffhook.DeliveryTimeout, context.DeadlineExceeded},
		{"body after 4 s", 4 * time.Second, 0, diffhook.DeliveryTimeout, context.DeadlineExceeded},
		{"sender hangs up", 0, 3 * time.Second, 3 * time.Second, context.Canceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
				start := time.Now()
				var ended time.Duration
				var why error
				h := v.EventHandler(func(ctx context.Context, _ *diffhook.Event) error {
					<-ctx.Done()
					ended, why = time.Since(start), ctx.Err()
					return nil
				})
				deliverSlowly(t, h, tc.slow, tc.hangsUp)
				require.Equal(t, tc.ends, ended)
				require.ErrorIs(t, why, tc.err)
			})
		})
	}
}

// TestEventHandlerTellsLateness: a function that succeeds after the end of the context
// has done the work, but DiffHook counted a failure.
func TestEventHandlerTellsLateness(t *testing.T) {
	failed := errors.New("failed")
	for _, tc := range []struct {
		name           string
		slow           time.Duration // delay of the body
		takes, hangsUp time.Duration
		err            error // the error of handle
		level          any   // level of the line; nil: no line
		cause          error
		took           time.Duration
	}{
		{"in time", 0, diffhook.DeliveryTimeout - 1, 0, nil, nil, nil, 0},
		{"too late", 0, diffhook.DeliveryTimeout + time.Second, 0, nil, "WARN", context.DeadlineExceeded, diffhook.DeliveryTimeout + time.Second},
		{"too late with the body", 6 * time.Second, 5 * time.Second, 0, nil, "WARN", context.DeadlineExceeded, 11 * time.Second},
		{"sender hangs up", 0, 2 * time.Second, time.Second, nil, "WARN", context.Canceled, 2 * time.Second},
		{"failed too late", 0, diffhook.DeliveryTimeout + time.Second, 0, failed, "ERROR", failed, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				logs := new(logged)
				v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{Logger: logs.logger()})
				h := v.EventHandler(func(context.Context, *diffhook.Event) error {
					pause(tc.takes)
					return tc.err
				})
				w := deliverSlowly(t, h, tc.slow, tc.hangsUp)

				if tc.err == nil {
					require.Equal(t, http.StatusNoContent, w.Code)
				}
				if tc.level == nil {
					require.Empty(t, logs.lines())
					return
				}
				require.Len(t, logs.lines(), 1)
				line := logs.lines()[0]
				require.Equal(t, tc.level, line["level"])
				require.ErrorIs(t, line["error"].(error), tc.cause)
				require.Equal(t, "mon_abc123@2026-03-16T14:22:00Z", line["event"])
				require.Equal(t, slowPattern, line["route"])
				if tc.took > 0 {
					require.Equal(t, tc.took, line["took"])
				}
			})
		})
	}
}

// slowPattern is the pattern of the requests of deliverSlowly.
const slowPattern = "POST /hooks/{token}"

// deliverSlowly delivers an event whose body arrives after slow. If hangsUp is not 0,
// the context of the request ends then.
func deliverSlowly(t *testing.T, h http.Handler, slow, hangsUp time.Duration) *httptest.ResponseRecorder {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if hangsUp > 0 {
		time.AfterFunc(hangsUp, cancel)
	}
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, target, after(slow, eventBody))
	r.Header.Set(diffhook.SignatureHeader, mustSecret(t, currentText).Sign([]byte(eventBody)))
	r.Pattern = slowPattern
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// after is a body that arrives after d.
func after(d time.Duration, body string) io.Reader {
	text := strings.NewReader(body)
	return readerFunc(func(p []byte) (int, error) {
		if text.Len() == len(body) && d > 0 {
			pause(d)
		}
		return text.Read(p)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestEventHandlerPanics: the server, or the caller's middleware, must see a panic.
// http.ErrAbortHandler aborts the answer on purpose.
func TestEventHandlerPanics(t *testing.T) {
	for name, p := range map[string]any{"abort": http.ErrAbortHandler, "value": "out of range"} {
		t.Run(name, func(t *testing.T) {
			o := outcomes(t)[0]
			h := o.verifier(t, nil).EventHandler(func(context.Context, *diffhook.Event) error { panic(p) })
			require.PanicsWithValue(t, p, func() { h.ServeHTTP(httptest.NewRecorder(), o.request()) })
		})
	}
}

// TestObserve counts a single observation for each delivery, before the answer, for
// every method and outcome.
func TestObserve(t *testing.T) {
	type entry struct {
		name string
		http bool
		call func(v *diffhook.Verifier, r *http.Request, body string, answered func()) error
	}
	entries := []entry{
		{"Verify", false, func(v *diffhook.Verifier, r *http.Request, body string, answered func()) error {
			defer answered()
			return v.Verify(r.Context(), []byte(body), r.Header.Get(diffhook.SignatureHeader))
		}},
		{"VerifyHeader", false, func(v *diffhook.Verifier, r *http.Request, body string, answered func()) error {
			defer answered()
			return v.VerifyHeader(r.Context(), []byte(body), r.Header)
		}},
		{"VerifyRequest", true, func(v *diffhook.Verifier, r *http.Request, _ string, answered func()) error {
			defer answered()
			_, err := v.VerifyRequest(r)
			return err
		}},
		{"Handler", true, func(v *diffhook.Verifier, r *http.Request, _ string, answered func()) error {
			v.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { answered() })).ServeHTTP(onAnswer{httptest.NewRecorder(), answered}, r)
			return nil
		}},
		{"EventHandler", true, func(v *diffhook.Verifier, r *http.Request, _ string, answered func()) error {
			v.EventHandler(func(context.Context, *diffhook.Event) error { return nil }).ServeHTTP(onAnswer{httptest.NewRecorder(), answered}, r)
			return nil
		}},
	}
	seen := make(map[string]bool)
	for _, o := range outcomes(t) {
		for _, e := range entries {
			if o.onlyHTTP && !e.http {
				continue
			}
			t.Run(o.name+"/"+e.name, func(t *testing.T) {
				var got []diffhook.Observation
				v := o.verifier(t, func(opts *diffhook.VerifierOptions) {
					opts.Observe = func(_ context.Context, o diffhook.Observation) { got = append(got, o) }
				})
				err := e.call(v, o.request(), o.body, func() { require.Len(t, got, 1, "the verdict comes before the answer") })

				want := diffhook.Observation{
					Result:           diffhook.Result(o.result),
					Err:              o.err,
					SignedByPrevious: o.previous,
					Refreshed:        o.result == "secrets_unavailable",
					BodyBytes:        o.read,
				}
				if !e.http {
					want.BodyBytes = len(o.body)
				}
				require.Empty(t, cmp.Diff([]diffhook.Observation{want}, got,
					cmpopts.EquateErrors(), cmpopts.IgnoreFields(diffhook.Observation{}, "Duration")))
				require.GreaterOrEqual(t, got[0].Duration, time.Duration(0))
				if err != nil {
					require.Equal(t, err, got[0].Err, "the same error is observed and returned")
					requireNoLeak(t, err.Error(), o.request())
				}
			})
			seen[o.result] = true
		}
	}
	require.Equal(t, []string{
		"accepted", "body_consumed", "body_read", "body_timeout", "body_too_large", "invalid_event",
		"malformed_signature", "mismatch", "no_signature", "secrets_unavailable", "stale",
	}, slices.Sorted(maps.Keys(seen)))
}

// onAnswer calls f when an answer begins.
type onAnswer struct {
	http.ResponseWriter
	f func()
}

func (w onAnswer) WriteHeader(status int) {
	w.f()
	w.ResponseWriter.WriteHeader(status)
}

// TestObserveDuration: the time covers reading the body and waiting for the source, and
// not the handler.
func TestObserveDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		previous, current := mustSecret(t, previousText), mustSecret(t, currentText)
		reads := 0
		source := diffhook.SecretSourceFunc(func(context.Context) (diffhook.Secrets, error) {
			if reads++; reads == 1 {
				return diffhook.Secrets{Current: previous}, nil
			}
			pause(2 * time.Second)
			return diffhook.Secrets{Current: current}, nil
		})
		var got []diffhook.Observation
		v := newVerifier(t, source, &diffhook.VerifierOptions{
			Observe: func(_ context.Context, o diffhook.Observation) { got = append(got, o) },
		})
		h := v.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { pause(time.Minute) }))
		r := httptest.NewRequest(http.MethodPost, target, after(3*time.Second, eventBody))
		r.Header.Set(diffhook.SignatureHeader, current.Sign([]byte(eventBody)))
		h.ServeHTTP(httptest.NewRecorder(), r)
		require.Empty(t, cmp.Diff([]diffhook.Observation{{
			Result: "accepted", Refreshed: true, BodyBytes: len(eventBody), Duration: 5 * time.Second,
		}}, got))
	})
}
