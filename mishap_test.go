package diffhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// What other people's code does to a verifier: sources, bodies and options
// that nobody would write on purpose.

type nilError struct{ code string }

func (e *nilError) Error() string { return e.code }

// The classic: a nil pointer of an error type is an error that is not nil, and
// panics when it is asked for its text.
func TestSourceReturnsTypedNil(t *testing.T) {
	broken := false
	source := diffhook.SecretSourceFunc(func(context.Context) (diffhook.Secrets, error) {
		if broken {
			var err *nilError
			return diffhook.Secrets{Current: letter(t, "B")}, err
		}
		return diffhook.Secrets{Current: letter(t, "A")}, nil
	})
	v := newVerifier(t, source, nil)
	broken = true
	require.ErrorIs(t, verifySigned(t, t.Context(), v, "B"), diffhook.ErrSecretsUnavailable)
	assert.NotEmpty(t, v.Status().RefreshError)
	_, err := diffhook.NewVerifier(t.Context(), source, nil)
	require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)
}

// A source that answers from its cache when its context ends answers as its
// time is up. That it did is its last word: it does not fail.
func TestSourceAnswersInTheLastMoment(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			first := true
			v := newVerifier(t, diffhook.SecretSourceFunc(func(ctx context.Context) (diffhook.Secrets, error) {
				if !first {
					<-ctx.Done()
				}
				first = false
				return diffhook.Secrets{Current: letter(t, "A")}, nil
			}), nil)
			_ = v.Refresh(t.Context()) // either may be told first
			synctest.Wait()
			assert.Empty(t, v.Status().RefreshError)
			assert.Equal(t, v.Status().Since.Add(5*time.Second), v.Status().LastRefresh)
		})
	}
}

// One line for a source that keeps failing the same way, however it does.
func TestFailingSourceIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := new(logged)
		source := &slowSource{}
		source.set(diffhook.Secrets{Current: letter(t, "A")}, nil)
		v := newVerifier(t, source, &diffhook.VerifierOptions{Logger: logs.logger()})
		source.delay = time.Hour
		for range 20 {
			require.ErrorIs(t, v.Refresh(t.Context()), diffhook.ErrSecretsUnavailable)
			synctest.Wait()
		}
		assert.Len(t, logs.lines(), 1)
	})
}

// A source that is built on this package, and passes its errors on, does not
// make a failing source look like a bad request.
func TestSourceErrorIsOneOfOurs(t *testing.T) {
	source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
	v := newVerifier(t, source, nil)
	source.set(diffhook.Secrets{}, diffhook.ErrBodyRead)
	assert.Equal(t, http.StatusServiceUnavailable, diffhook.HTTPStatus(verifySigned(t, t.Context(), v, "B")))
}

// An error may quote the secret it could not use, escaped, and one that is in
// its own answer.
func TestSourceErrorQuotesSecrets(t *testing.T) {
	inForce := mustSecret(t, `a "quoted" \ test secret`)
	beside := mustSecret(t, "another secret in the answer")
	source := &settableSource{answer: diffhook.Secrets{Current: inForce}}
	v := newVerifier(t, source, nil)
	encoded, err := json.Marshal([]string{inForce.Reveal(), beside.Reveal()})
	require.NoError(t, err)
	source.set(diffhook.Secrets{Current: beside}, errors.New("cannot use "+string(encoded)))
	text := v.Refresh(t.Context()).Error()
	assert.NotContains(t, text, "quoted")
	assert.NotContains(t, text, "another secret")
	assert.Contains(t, text, "cannot use")
}

// JSON has no year 10000, in which this one ends in UTC.
func TestStatusMarshalsWhateverTheSourceSays(t *testing.T) {
	expires, err := time.Parse(time.RFC3339, "9999-12-31T23:59:59-12:00")
	require.NoError(t, err)
	_, err = diffhook.NewVerifier(t.Context(), diffhook.Secrets{Current: letter(t, "A"), Previous: letter(t, "B"), PreviousExpires: expires}, nil)
	require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable)

	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, &diffhook.VerifierOptions{RotationWindow: math.MaxInt64})
	require.NoError(t, v.Rotate(letter(t, "B"), math.MaxInt64))
	_, err = json.Marshal(v.Status())
	require.NoError(t, err)
}

func TestWatchForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &settableSource{answer: diffhook.Secrets{Current: letter(t, "A")}}
		v := newVerifier(t, source, nil)
		for range 50 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			v.Watch(ctx, math.MaxInt64)
			cancel()
		}
		assert.Equal(t, 1, source.count())
	})
}

// Replays must not make an old secret look in use.
func TestStaleDeliveryIsNoUse(t *testing.T) {
	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A"), Previous: letter(t, "B")}, &diffhook.VerifierOptions{MaxAge: time.Minute})
	old := diffhooktest.PageChanged()
	require.ErrorIs(t, v.Verify(t.Context(), old, letter(t, "B").Sign(old)), diffhook.ErrStale)
	assert.Zero(t, v.Status().Previous.Uses)
}

func TestMaxAge(t *testing.T) {
	tests := []struct {
		name string
		body func(now time.Time) string
		want error
	}{
		{"new", func(now time.Time) string { return triggered(now) }, nil},
		{"as old as allowed", func(now time.Time) string { return triggered(now.Add(-time.Hour)) }, nil},
		{"a second older", func(now time.Time) string { return triggered(now.Add(-time.Hour - time.Second)) }, diffhook.ErrStale},
		{"in the future, by a clock that is ahead", func(now time.Time) string { return triggered(now.Add(time.Minute)) }, nil},
		{"without a time: its age is not known", func(time.Time) string { return `{"event":"page.changed"}` }, diffhook.ErrStale},
		{"no event", func(time.Time) string { return `[]` }, diffhook.ErrInvalidEvent},
		{"empty", func(time.Time) string { return `` }, diffhook.ErrInvalidEvent},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, &diffhook.VerifierOptions{MaxAge: time.Hour})
				body := []byte(test.body(time.Now().UTC()))
				require.ErrorIs(t, v.Verify(t.Context(), body, letter(t, "A").Sign(body)), test.want)
			})
		})
	}
}

func triggered(at time.Time) string {
	return `{"event":"page.changed","triggered_at":"` + at.Format(time.RFC3339) + `"}`
}

// The shortest MaxAge that the documentation calls safe lets the last attempt
// of a delivery in, whose earlier ones all took their 10 s.
func TestMaxAgeLeavesRoomForRetries(t *testing.T) {
	for generation, maxAge := range map[int]time.Duration{1: 2 * time.Minute, 2: 18 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, &diffhook.VerifierOptions{MaxAge: maxAge})
			attempts := map[int]int{1: 3, 2: 11}[generation]
			h := v.EventHandler(func(ctx context.Context, _ *diffhook.Event) error {
				if attempts--; attempts == 0 {
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			})
			sender := diffhooktest.NewSender(letter(t, "A"), &diffhooktest.SenderOptions{Generation: generation})
			assert.True(t, sender.SendTo(t.Context(), h, []byte(triggered(time.Now().UTC()))).Delivered)
			<-time.After(time.Second)
		})
	}
}

// brokenBody answers every read in the same way.
type brokenBody func([]byte) (int, error)

func (b brokenBody) Read(p []byte) (int, error) { return b(p) }
func (brokenBody) Close() error                 { return nil }

func TestBrokenBodies(t *testing.T) {
	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, nil)
	for name, body := range map[string]brokenBody{
		"nothing, for ever": func([]byte) (int, error) { return 0, nil },
		"less than nothing": func([]byte) (int, error) { return -1, nil },
		"more than fits":    func(p []byte) (int, error) { return len(p) + 1, nil },
	} {
		t.Run(name, func(t *testing.T) {
			r := signedRequest(nil, letter(t, "A").Sign(nil))
			r.Body, r.ContentLength = body, -1
			_, err := v.VerifyRequest(r)
			require.ErrorIs(t, err, diffhook.ErrBodyRead)
		})
	}
}

// A panic in a body's Read, which middleware outside recovers, leaves nothing
// behind that could cut off a later request on the connection.
func TestPanickingBodyDisarmsCutoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, nil)
		w := &deadlineRecorder{header: http.Header{}}
		r := signedRequest(nil, letter(t, "A").Sign(nil))
		r.Body, r.ContentLength = brokenBody(func([]byte) (int, error) { panic(http.ErrAbortHandler) }), 5
		assert.PanicsWithValue(t, http.ErrAbortHandler, func() { v.Handler(alive).ServeHTTP(w, r) })
		<-time.After(time.Minute)
		assert.Zero(t, w.deadlines)
	})
}

// deadlineRecorder counts the read deadlines that are set on it.
type deadlineRecorder struct {
	header    http.Header
	deadlines int
}

func (w *deadlineRecorder) Header() http.Header             { return w.header }
func (*deadlineRecorder) Write(p []byte) (int, error)       { return len(p), nil }
func (*deadlineRecorder) WriteHeader(int)                   {}
func (w *deadlineRecorder) SetReadDeadline(time.Time) error { w.deadlines++; return nil }

// The sender of a body that is refused unread gets the answer, and not a
// connection that is reset while it is still sending.
func TestRefusedSendersGetTheirAnswer(t *testing.T) {
	v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
	wrapped := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = struct{ io.ReadCloser }{r.Body}
		v.Handler(alive).ServeHTTP(w, r)
	})
	for name, h := range map[string]http.Handler{"as it is": v.Handler(alive), "wrapped by middleware": wrapped} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, h, nil)
			for _, chunked := range []bool{false, true} {
				for range 50 {
					var body io.Reader = strings.NewReader(strings.Repeat("x", 64<<10))
					if chunked {
						body = struct{ io.Reader }{body}
					}
					response, err := server.Client().Post(server.URL, "application/json", body)
					require.NoError(t, err)
					_, _ = io.Copy(io.Discard, response.Body)
					response.Body.Close()
					require.Equal(t, http.StatusUnauthorized, response.StatusCode)
				}
			}
		})
	}
}

func TestNilHandlersPanicWhenBuilt(t *testing.T) {
	v := newVerifier(t, diffhook.Secrets{Current: letter(t, "A")}, nil)
	assert.Panics(t, func() { v.Handler(nil) })
	assert.Panics(t, func() { v.EventHandler(nil) })
}

// A zero Verifier, mounted, refuses and does not crash.
func TestZeroVerifierMounted(t *testing.T) {
	var v diffhook.Verifier
	body := []byte("{}")
	for _, h := range []http.Handler{v.Handler(alive), v.EventHandler(func(context.Context, *diffhook.Event) error { return nil })} {
		w := &statusRecorder{deadlineRecorder: deadlineRecorder{header: http.Header{}}}
		h.ServeHTTP(w, signedRequest(body, letter(t, "A").Sign(body)))
		assert.Equal(t, http.StatusServiceUnavailable, w.status)
		assert.Equal(t, "Service Unavailable\n", w.body.String())
	}
}

type statusRecorder struct {
	deadlineRecorder
	status int
	body   bytes.Buffer
}

func (w *statusRecorder) WriteHeader(status int)      { w.status = status }
func (w *statusRecorder) Write(p []byte) (int, error) { return w.body.Write(p) }
