package diffhook_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// logged is a slog.Handler that keeps the lines.
type logged struct {
	least  slog.Level
	onLine func(line map[string]any)
	asked  atomic.Int64 // number of calls of Enabled

	mu   sync.Mutex
	kept []map[string]any
}

func (l *logged) logger() *slog.Logger { return slog.New(l) }

func (l *logged) lines() []map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.kept)
}

func (l *logged) Enabled(_ context.Context, level slog.Level) bool {
	l.asked.Add(1)
	return level >= l.least
}

func (l *logged) Handle(_ context.Context, r slog.Record) error {
	line := map[string]any{"level": r.Level.String(), "msg": r.Message}
	r.Attrs(func(a slog.Attr) bool { line[a.Key] = a.Value.Resolve().Any(); return true })
	if l.onLine != nil {
		l.onLine(line)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, line)
	return nil
}

func (l *logged) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *logged) WithGroup(string) slog.Handler      { return l }

const (
	rejectedLine = "diffhook: delivery rejected"
	summaryLine  = "diffhook: more deliveries rejected than logged one by one"
)

// count returns the number of rejections in the lines, by result, and how many lines
// are about a single rejection.
func (l *logged) count() (rejections map[string]uint64, single int) {
	rejections = make(map[string]uint64)
	for _, line := range l.lines() {
		switch line["msg"] {
		case rejectedLine:
			single++
			rejections[line["result"].(string)]++
		case summaryLine:
			for result, n := range line {
				if n, ok := n.(uint64); ok {
					rejections[result] += n
				}
			}
		}
	}
	return rejections, single
}

// TestLogRejections: a line is enough to act on, and repeats no secret.
func TestLogRejections(t *testing.T) {
	for _, o := range outcomes(t) {
		t.Run(o.name, func(t *testing.T) {
			logs := new(logged)
			var text lockedBuffer
			logs.onLine = func(line map[string]any) { fmt.Fprintf(&text, "%+v\n", line) }
			v := o.verifier(t, func(opts *diffhook.VerifierOptions) { opts.Logger = logs.logger() })
			r := o.request()
			v.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(httptest.NewRecorder(), r)

			lines := slices.DeleteFunc(logs.lines(), func(line map[string]any) bool { return line["msg"] != rejectedLine })
			if o.err == nil {
				require.Empty(t, logs.lines())
				return
			}
			want := map[string]any{
				"level": "WARN", "msg": rejectedLine,
				"result":     o.result,
				"error":      o.err,
				"body_bytes": int64(o.read),
				"remote":     "192.0.2.1:1234",
			}
			if o.result == "mismatch" { // the fingerprints of the secrets in force
				want["current"], want["previous"] = v.Status().Current.Fingerprint, v.Status().Previous.Fingerprint
			}
			require.Empty(t, cmp.Diff([]map[string]any{want}, lines, cmpopts.EquateErrors()))
			requireNoLeak(t, text.String(), r)
			require.NotContains(t, text.String(), pathToken)
			require.NotContains(t, text.String(), queryToken)
		})
	}
}

// TestLogRoute: the URL of a webhook may be a secret itself, so no part of the path is
// logged, only the matched pattern.
func TestLogRoute(t *testing.T) {
	for _, tc := range []struct {
		name, path, pattern string
		want                any
	}{
		{"pattern", "/hooks/" + pathToken, "POST /hooks/{token}", "POST /hooks/{token}"},
		{"pattern of words", "/api/v1/page-changes/", "example.com/api/v1/page-changes/{$}", "example.com/api/v1/page-changes/{$}"},
		{"token in the pattern", "/" + pathToken, "/" + pathToken, "/…"},
		{"token within the pattern", "/hooks/" + pathToken + "/x", "POST /hooks/" + pathToken + "/{id}", "POST /hooks/…/{id}"},
		{"short token in the pattern", "/hooks/x7k2p9", "/hooks/x7k2p9", "/hooks/…"},
		{"token of letters in the pattern", "/hooks/qWmZkRtYbNvLxPcD", "/hooks/qWmZkRtYbNvLxPcD", "/hooks/…"},
		{"pattern of another router", "/" + pathToken, pathToken, nil},
		{"token in the first element", "/" + pathToken, "", nil},
		{"token in the second element", "/hooks/" + pathToken + "/x", "", nil},
		{"root", "/", "", nil},
		{"none", "", "", nil},
		{"control characters", "/a\nlevel=ERROR\x1b[2J\u0085", "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			logs := new(logged)
			v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{Logger: logs.logger()})
			r := httptest.NewRequest(http.MethodPost, target, nil)
			r.URL.Path, r.Pattern = tc.path, tc.pattern
			_, err := v.VerifyRequest(r)
			require.ErrorIs(t, err, diffhook.ErrNoSignature)
			require.Len(t, logs.lines(), 1)
			require.Equal(t, tc.want, logs.lines()[0]["route"])
			require.NotContains(t, fmt.Sprint(logs.lines()), pathToken)
		})
	}
	t.Run("no request", func(t *testing.T) {
		logs := new(logged)
		v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{Logger: logs.logger()})
		require.ErrorIs(t, v.Verify(t.Context(), nil, ""), diffhook.ErrNoSignature)
		require.NotContains(t, logs.lines()[0], "route")
		require.NotContains(t, logs.lines()[0], "remote")
	})
}

// TestLogHint: a mismatch explains itself to the operator. The sender learns nothing,
// and a near match is rejected like any other.
func TestLogHint(t *testing.T) {
	const body = "a" + pageText
	synctest.Test(t, func(t *testing.T) {
		current, previous := mustSecret(t, currentText), mustSecret(t, previousText)
		set := diffhook.Secrets{Current: current, Previous: previous, PreviousExpires: time.Now().Add(time.Hour)}
		for _, tc := range []struct{ name, body, signature, encoding, hint string }{
			{"forgery", body, forgedSignature, "", ""},
			{"empty body", "", current.Sign([]byte(body)), "", "empty"},
			{"encoded", body, forgedSignature, "gzip", "Content-Encoding"},
			{"newline added", body + "\n", current.Sign([]byte(body)), "", "newline"},
			{"DOS newline added", body + "\r\n", current.Sign([]byte(body)), "", "newline"},
			{"newline, but a forgery", body + "\n", forgedSignature, "", ""},
			{"newline taken away", body, current.Sign([]byte(body + "\n")), "", "newline"},
			{"space added", body + " ", current.Sign([]byte(body)), "", ""},
			{"previous secret after its window", body, previous.Sign([]byte(body)), "", "window is over"},
			{"previous secret and newline", body + "\n", previous.Sign([]byte(body)), "", ""},
		} {
			logs := new(logged)
			v := newVerifier(t, set, &diffhook.VerifierOptions{Logger: logs.logger()})
			if time.Now().Before(set.PreviousExpires) {
				pause(time.Until(set.PreviousExpires))
			}
			r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(tc.body))
			r.Header.Set(diffhook.SignatureHeader, tc.signature)
			if tc.encoding != "" {
				r.Header.Set("Content-Encoding", tc.encoding)
			}
			w := httptest.NewRecorder()
			v.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { assert.Fail(t, "accepted", tc.name) })).ServeHTTP(w, r)

			require.Equal(t, "401 Unauthorized\n", fmt.Sprint(w.Code, " ", w.Body.String()), tc.name)
			require.Len(t, logs.lines(), 1, tc.name)
			line := logs.lines()[0]
			require.Equal(t, "mismatch", line["result"], tc.name)
			if tc.hint == "" {
				require.NotContains(t, line, "hint", tc.name)
				continue
			}
			require.Contains(t, line["hint"], tc.hint, tc.name)
		}
	})
}

// TestNoLogger: with a nil Logger nothing is written, also not to the default logger.
func TestNoLogger(t *testing.T) {
	var written bytes.Buffer
	before, writer, flags := slog.Default(), log.Writer(), log.Flags()
	t.Cleanup(func() {
		slog.SetDefault(before)
		log.SetOutput(writer)
		log.SetFlags(flags)
	})
	slog.SetDefault(slog.New(slog.NewTextHandler(&written, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for _, o := range outcomes(t) {
		v := o.verifier(t, nil)
		v.EventHandler(func(context.Context, *diffhook.Event) error { return errors.New("failed") }).ServeHTTP(httptest.NewRecorder(), o.request())
		require.NoError(t, v.Rotate(mustSecret(t, "test-signing-secret-other-0001"), time.Hour))
		require.NoError(t, v.Reject(v.Status().Previous.Fingerprint))
	}
	require.Empty(t, written.String())
}

// kinds is the number of kinds of rejections in a flood.
const kinds = 4

// flood causes n rejections of each kind.
func flood(ctx context.Context, v *diffhook.Verifier, n int) {
	short := strings.NewReader("")
	for range n {
		_ = v.Verify(ctx, nil, "")
		_ = v.Verify(ctx, nil, "sha256=zz")
		_ = v.Verify(ctx, []byte("{}"), forgedSignature)
		r := &http.Request{Header: http.Header{diffhook.SignatureHeader: nil, "X-Signature": {forgedSignature}}, Body: io.NopCloser(short), ContentLength: 1}
		_, _ = v.VerifyRequest(r)
	}
}

// of returns the counts of n rejections of each kind.
func of(n uint64) map[string]uint64 {
	return map[string]uint64{"no_signature": n, "malformed_signature": n, "mismatch": n, "body_consumed": n}
}

// TestLogFlood: attackers may try to fill a disk, or to hide a line among very many.
func TestLogFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := new(logged)
		secret := mustSecret(t, currentText)
		v := newVerifier(t, diffhook.Secrets{Current: secret}, &diffhook.VerifierOptions{Logger: logs.logger()})
		accept := func() { require.NoError(t, v.Verify(t.Context(), nil, secret.Sign(nil))) }

		flood(t.Context(), v, 25_000)
		_, single := logs.count()
		require.Equal(t, kinds*10, single)
		require.Len(t, logs.lines(), kinds*10, "the summary comes when the minute is over")
		pause(time.Minute - 1)
		accept()
		require.Len(t, logs.lines(), kinds*10)

		// An accepted delivery writes the summary of the ended flood.
		pause(1)
		accept()
		require.Len(t, logs.lines(), kinds*10+1)
		summary := logs.lines()[kinds*10]
		require.Equal(t, "WARN", summary["level"])
		require.Equal(t, summaryLine, summary["msg"])
		rejections, _ := logs.count()
		require.Empty(t, cmp.Diff(of(25_000), rejections))
		asked := logs.asked.Load()
		accept()
		pause(time.Hour)
		accept()
		require.Len(t, logs.lines(), kinds*10+1, "a single summary")
		require.Equal(t, asked, logs.asked.Load(), "an accepted delivery costs no logging")

		// So does the next rejection. A flood over several minutes writes 10 lines of
		// each kind and a summary in each minute.
		for range 5 {
			flood(t.Context(), v, 1000)
			pause(time.Minute)
		}
		require.Len(t, logs.lines(), kinds*10+1+5*kinds*10+4)
		flood(t.Context(), v, 1)
		require.Len(t, logs.lines(), kinds*10+1+5*kinds*10+5+kinds)
		rejections, _ = logs.count()
		require.Empty(t, cmp.Diff(of(30_001), rejections))
	})
}

// TestLogFloodHidesNoOtherKind: permanent probes without a signature must not hide the
// mismatch that an operator needs to see.
func TestLogFloodHidesNoOtherKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := new(logged)
		current, previous := mustSecret(t, currentText), mustSecret(t, previousText)
		v := newVerifier(t, diffhook.Secrets{Current: current}, &diffhook.VerifierOptions{Logger: logs.logger()})
		probe := func(n int) {
			for range n {
				require.ErrorIs(t, v.Verify(t.Context(), nil, ""), diffhook.ErrNoSignature)
			}
		}
		mismatch := func() {
			require.ErrorIs(t, v.Verify(t.Context(), nil, forgedSignature), diffhook.ErrSignatureMismatch)
		}
		probe(1000)
		mismatch()
		last := logs.lines()[len(logs.lines())-1]
		require.Equal(t, "mismatch", last["result"])
		require.Equal(t, current.Fingerprint(), last["current"])

		// A kind whose minute runs on does not delay the summary.
		for range 11 {
			mismatch()
		}
		pause(59 * time.Second)
		probe(1)
		require.NoError(t, v.Rotate(previous, time.Hour))
		pause(time.Second)
		probe(1)
		lines := logs.lines()
		summary := lines[len(lines)-2]
		require.Empty(t, cmp.Diff(map[string]any{
			"level": "WARN", "msg": summaryLine, "no_signature": uint64(991), "mismatch": uint64(2),
			"current": previous.Fingerprint(), "previous": current.Fingerprint(),
		}, summary), "the fingerprints of the secrets in force now")
		require.Equal(t, "no_signature", lines[len(lines)-1]["result"])
	})
}

// TestLogFloodConcurrent: lines and summaries count every rejection, also if many begin
// a new minute together.
func TestLogFloodConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const goroutines, minutes, each = 8, 20, 50
		logs := new(logged)
		secret := mustSecret(t, currentText)
		v := newVerifier(t, diffhook.Secrets{Current: secret}, &diffhook.VerifierOptions{Logger: logs.logger()})
		for minute := range minutes {
			start := make(chan struct{})
			var wg sync.WaitGroup
			for range goroutines {
				wg.Go(func() {
					<-start
					flood(t.Context(), v, each)
				})
			}
			synctest.Wait()
			close(start)
			wg.Wait()
			_, single := logs.count()
			require.Equal(t, kinds*10*(minute+1), single)
			pause(time.Minute)
		}
		require.NoError(t, v.Verify(t.Context(), nil, secret.Sign(nil)))
		rejections, _ := logs.count()
		require.Empty(t, cmp.Diff(of(goroutines*minutes*each), rejections))
	})
}

// TestLogCostsNothing: without a line, nothing is formatted. (This kind of rejection
// uses no sync.Pool, which drops items at random under the race detector.)
func TestLogCostsNothing(t *testing.T) {
	for _, tc := range []struct {
		name   string
		least  slog.Level
		before int // earlier rejections
	}{
		{"level disabled", slog.LevelError, 0},
		{"line suppressed", slog.LevelDebug, 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			logs := &logged{least: tc.least}
			v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, &diffhook.VerifierOptions{Logger: logs.logger()})
			ctx := t.Context()
			reject := func() {
				if v.Verify(ctx, nil, "sha256=zz") == nil {
					panic("accepted")
				}
			}
			for range tc.before {
				reject()
			}
			require.Len(t, logs.lines(), tc.before)
			asked := logs.asked.Load()
			require.Zero(t, testing.AllocsPerRun(1000, reject))
			require.Len(t, logs.lines(), tc.before)
			require.EqualValues(t, 1001, logs.asked.Load()-asked, "Enabled decides, and is asked once")
		})
	}
}

// TestLogHandlerAsksVerifier: a log handler that reads the status of the verifier must
// not deadlock.
func TestLogHandlerAsksVerifier(t *testing.T) {
	first, second, third := mustSecret(t, previousText), mustSecret(t, currentText), mustSecret(t, "test-signing-secret-third-0001")
	answers := make(chan diffhook.Secrets, 1)
	source := diffhook.SecretSourceFunc(func(context.Context) (diffhook.Secrets, error) {
		select {
		case set := <-answers:
			return set, nil
		default:
			return diffhook.Secrets{}, errors.New("the vault is sealed")
		}
	})
	var v *diffhook.Verifier
	type seen struct{ msg, current any }
	lines := make(chan seen, 16)
	logs := &logged{onLine: func(line map[string]any) {
		assert.NotContains(t, fmt.Sprint(line), "test-signing-secret")
		lines <- seen{line["msg"], v.Status().Current.Fingerprint}
	}}
	requireLine := func(msg string, current diffhook.Secret) {
		t.Helper()
		select {
		case got := <-lines:
			require.Equal(t, seen{msg, current.Fingerprint()}, got)
		case <-time.After(patience):
			require.Fail(t, "no line: a deadlock", msg)
		}
	}
	answers <- diffhook.Secrets{Current: first}
	v = newVerifier(t, source, &diffhook.VerifierOptions{Logger: logs.logger()})
	require.Empty(t, lines)

	const changed = "diffhook: signing secrets changed"
	go v.Rotate(second, time.Hour)
	requireLine(changed, second)
	go v.Reject(first.Fingerprint())
	requireLine(changed, second)
	go v.Refresh(t.Context())
	requireLine("diffhook: reading the secret source failed; the secrets in force stay", second)
	go v.Verify(t.Context(), nil, "")
	requireLine(rejectedLine, second)
	answers <- diffhook.Secrets{Current: third, NoPrevious: true}
	go v.Refresh(t.Context())
	requireLine(changed, third)
	requireLine("diffhook: the secret source answers again", third)
}

// hintFor returns the logged hint for a rejected delivery. Nothing in the line may help
// a forger.
func hintFor(t *testing.T, set diffhook.Secrets, body []byte, signature string) string {
	t.Helper()
	logs := new(logged)
	v := newVerifier(t, set, &diffhook.VerifierOptions{Logger: logs.logger()})
	require.ErrorIs(t, v.Verify(t.Context(), body, signature), diffhook.ErrSignatureMismatch)
	require.Len(t, logs.lines(), 1)
	line := fmt.Sprint(logs.lines()[0])
	for _, secret := range []diffhook.Secret{set.Current, set.Previous} {
		if text := secret.Reveal(); text != "" {
			assert.NotContains(t, line, text)
		}
	}
	assert.NotContains(t, line, strings.TrimPrefix(signature, "sha256="))
	if hint := logs.lines()[0]["hint"]; hint != nil {
		return fmt.Sprint(hint)
	}
	return ""
}

// TestHintOfBody: changes of a body by gateways and parsers before the verifier, with
// either secret in force.
func TestHintOfBody(t *testing.T) {
	const signed = "{\n  \"event\": \"page.changed\", \"label\": \"a & b\",\r\n  \"n\": 1}\r\n"
	compact := `{"event":"page.changed","label":"a & b","n":1}`
	var indented, escaped bytes.Buffer
	require.NoError(t, json.Indent(&indented, []byte(compact), "", "  "))
	json.HTMLEscape(&escaped, []byte(compact))
	quoted, err := json.Marshal(signed)
	require.NoError(t, err)

	set := diffhook.Secrets{Current: mustSecret(t, currentText), Previous: mustSecret(t, previousText)}
	for _, tc := range []struct{ name, signed, received, want string }{
		{"newline added", compact, compact + "\n", "without the newline"},
		{"CR LF added", compact, compact + "\r\n", "without the newline"},
		{"newline of CR LF kept", compact + "\r", compact + "\r\n", "without the newline"},
		{"newline trimmed", compact + "\n", compact, "with a newline"},
		{"byte order mark", signed, "\uFEFF" + signed, "byte order mark"},
		{"base64", signed, base64.StdEncoding.EncodeToString([]byte(signed)), "base64"},
		{"base64 for URLs", signed, base64.RawURLEncoding.EncodeToString([]byte(signed)), "base64"},
		{"base64 in lines", signed, base64.StdEncoding.EncodeToString([]byte(signed))[:40] + "\r\n" + base64.StdEncoding.EncodeToString([]byte(signed))[40:], "base64"},
		{"string of JSON", signed, string(quoted), "string of JSON"},
		{"CR LF", strings.ReplaceAll(signed, "\r\n", "\n"), signed, "CR LF"},
		{"indented", compact, indented.String(), "white space"},
		{"escaped", compact, escaped.String(), `\u0026`},
		{"half of it", compact, compact[20:], ""},
		{"another value", compact, strings.Replace(compact, "1", "2", 1), ""},
	} {
		for name, secret := range map[string]diffhook.Secret{"current": set.Current, "previous": set.Previous} {
			t.Run(tc.name+" "+name, func(t *testing.T) {
				hint := hintFor(t, set, []byte(tc.received), secret.Sign([]byte(tc.signed)))
				assert.Equal(t, tc.want == "", hint == "", hint)
				assert.Contains(t, hint, tc.want)
			})
		}
	}
}

// TestHintOfSecret: mistakes in copying a secret from the app to the source. NewSecret
// accepts the text, and every delivery is rejected.
func TestHintOfSecret(t *testing.T) {
	const right = "5f2b9c0d8e7a41b6a3c4d5e6f7081920"
	base64Of := base64.StdEncoding.EncodeToString
	body := []byte(signedBody)
	other := mustSecret(t, previousText)
	for _, tc := range []struct{ name, right, configured, want string }{
		{"quotes around punctuation", "a&b#c?d!e(f)g;h@", `"a&b#c?d!e(f)g;h@"`, "without the quotes"},
		{"the rest of a line of JSON", right, `"` + right + `",`, "punctuation"},
		{"the mark of a shell for no newline", right, right + "%", "punctuation"},
		{"an invisible letter", right, right + "\u3164", "punctuation"},
		{"escaped newline", right, right + `\n`, "escapes"},
		{"escaped CR LF", right, right + `\r\n`, "escapes"},
		{"whsec_", right, "whsec_" + right, "without the prefix"},
		{"base64 with whsec_", "\x01\x02\xff" + right, "whsec_" + base64Of([]byte("\x01\x02\xff"+right)), "without the prefix and base64-decoded"},
		{"base64", right, base64Of([]byte(right)), "base64-decoded"},
		{"base64 for URLs", "ÿÿÿ>>>???" + right, base64.RawURLEncoding.EncodeToString([]byte("ÿÿÿ>>>???" + right)), "base64-decoded"},
		{"base64 with a newline", right, base64Of([]byte(right + "\n")), "base64-decoded and trimmed"},
		{"hex", right, hex.EncodeToString([]byte(right)), "hex-decoded"},
		{"decoded from base64", base64Of([]byte("a-key-of-the-app-01")), "a-key-of-the-app-01", "base64-encoded"},
		{"decoded from hex", hex.EncodeToString([]byte("a-key-of-the-app-01")), "a-key-of-the-app-01", "hex-encoded"},
		{"escaped for a URL", "a+b/c=d&e#f?g%h:i", "a%2Bb%2Fc%3Dd%26e%23f%3Fg%25h%3Ai", "URL-decoded"},
		{"capitals", right, strings.ToUpper(right), "lower case"},
		{"small letters", strings.ToUpper(right), right, "upper case"},
		{"a forgery", otherText, right, ""},
		{"too short for a secret", "\x5f\x2b\x9c\x0d\x8e\x7a\x41\xb6", right[:16], ""}, // a key that panics in FIPS 140-only mode
	} {
		t.Run(tc.name, func(t *testing.T) {
			configured, signature := mustSecret(t, tc.configured), referenceSignature(tc.right, body)
			for role, set := range map[string]diffhook.Secrets{
				"current secret":  {Current: configured, Previous: other},
				"previous secret": {Current: other, Previous: configured},
			} {
				hint := hintFor(t, set, body, signature)
				if tc.want == "" {
					assert.Empty(t, hint)
					continue
				}
				assert.Contains(t, hint, role)
				assert.Contains(t, hint, tc.want)
				assert.NotContains(t, hint, tc.right)
			}
		})
	}
}

// TestHintIsBounded: the last forms are not tried on the longest bodies, so a forgery
// of 8 MiB costs only a few passes over the body.
func TestHintIsBounded(t *testing.T) {
	configured := mustSecret(t, strings.Repeat("0123456789abcdef", 2))
	right := strings.ToUpper(configured.Reveal())
	for size, want := range map[int]string{1 << 10: "upper case", diffhook.DefaultMaxBodyBytes: ""} {
		body := []byte(`{"content":"` + strings.Repeat("x", size-14) + `"}`)
		require.Len(t, body, size)
		hint := hintFor(t, diffhook.Secrets{Current: configured}, body, referenceSignature(right, body))
		assert.Equal(t, want == "", hint == "")
		assert.Contains(t, hint, want)
	}
}
