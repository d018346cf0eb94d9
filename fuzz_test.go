package diffhook_test

import (
	"bytes"
	"encoding/json"
	"html"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// Seeds are the cases of testdata/vectors, added here, and the files of
// testdata/fuzz, which go test loads by itself.

// fuzzVectors are the vectors without the body of 1 MiB, which would slow
// down all that is derived from it.
func fuzzVectors(tb testing.TB) (small []vector) {
	tb.Helper()
	for _, v := range loadVectors(tb) {
		if len(v.body) < 64<<10 {
			small = append(small, v)
		}
	}
	require.Len(tb, small, 24)
	return small
}

// wellFormed is the one form of a signature. Unlike $, \z does not match
// before a newline at the end.
var wellFormed = regexp.MustCompile(`\Asha256=[0-9a-f]{64}\z`)

// FuzzParseSignature: a signature is read exactly where it is well formed.
func FuzzParseSignature(f *testing.F) {
	for _, v := range fuzzVectors(f) {
		f.Add(v.signatures["node"])
	}
	body := []byte(signedBody)
	right := referenceSignature(currentText, body)
	f.Add(right)
	v := newVerifier(f, diffhook.Secrets{Current: mustSecret(f, currentText)}, nil)

	f.Fuzz(func(t *testing.T, signature string) {
		err := v.Verify(t.Context(), body, signature)
		switch signature = strings.Trim(signature, " \t"); {
		case signature == "":
			requireRefused(t, err, diffhook.ErrNoSignature)
		case !wellFormed.MatchString(signature):
			requireRefused(t, err, diffhook.ErrMalformedSignature)
		case signature != right:
			requireRefused(t, err, diffhook.ErrSignatureMismatch)
		default:
			require.NoError(t, err)
		}
	})
}

// illegalSecret says in other words than NewSecret which texts are never secrets,
// and plainSecret which texts always are.
func illegalSecret(text string) bool {
	first, _ := utf8.DecodeRuneInString(text)
	last, _ := utf8.DecodeLastRuneInString(text)
	edge := func(r rune) bool { return unicode.IsSpace(r) || unicode.In(r, unicode.Cf) }
	return len(text) < 16 || edge(first) || edge(last) || strings.HasPrefix(text, "dh_live_") || strings.Contains(text, hiddenSecret) ||
		strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 })
}

var plainSecret = regexp.MustCompile(`^(whsec_|test-)?[0-9A-Za-z+/]*[0-9][0-9A-Za-z+/]*[2-9]=*$`)

// FuzzVerify: a signature is accepted exactly where crypto/hmac, used
// directly, comes to the same.
func FuzzVerify(f *testing.F) {
	for _, v := range fuzzVectors(f) {
		f.Add(v.body, v.secret, v.signatures["python"])
	}
	f.Fuzz(func(t *testing.T, body []byte, text, signature string) {
		secret, err := diffhook.NewSecret(text)
		if err != nil {
			require.ErrorIs(t, err, diffhook.ErrInvalidSecret)
			require.True(t, secret.IsZero())
			require.False(t, !illegalSecret(text) && plainSecret.MatchString(text))
			return
		}
		require.False(t, illegalSecret(text))

		right := referenceSignature(text, body)
		require.Equal(t, right, secret.Sign(body))
		v := newVerifier(t, diffhook.Secrets{Current: secret}, nil)
		require.NoError(t, v.Verify(t.Context(), body, right))
		err = v.Verify(t.Context(), body, signature)
		if strings.Trim(signature, " \t") == right {
			require.NoError(t, err)
			return
		}
		require.Error(t, err)
		require.Equal(t, 401, diffhook.HTTPStatus(err))
		requireRefused(t, v.Verify(t.Context(), append(bytes.Clone(body), 0), right), diffhook.ErrSignatureMismatch)
	})
}

// FuzzParseEvent: exactly a JSON object is an event, an error shows nothing of
// the body, and an event survives being written and read again. A field that
// is listed as unreadable is a known name, and its value is zero.
func FuzzParseEvent(f *testing.F) {
	for _, v := range fuzzVectors(f) {
		f.Add(v.body)
	}
	for _, drift := range drifts {
		f.Add([]byte(drift.body))
	}
	errorTexts := regexp.MustCompile(eventErrorTexts)

	f.Fuzz(func(t *testing.T, body []byte) {
		event, err := diffhook.ParseEvent(body)
		object := bytes.TrimPrefix(body, []byte(byteOrderMark))
		isObject := json.Valid(object) && bytes.HasPrefix(bytes.TrimLeft(object, " \t\r\n"), []byte("{"))
		require.Equal(t, isObject, err == nil)
		if err != nil {
			require.ErrorIs(t, err, diffhook.ErrInvalidEvent)
			require.Nil(t, event)
			require.Regexp(t, errorTexts, err.Error())
			return
		}
		require.Equal(t, object, []byte(event.Raw))
		for _, name := range event.Unreadable {
			require.True(t, isZeroField(t, event, name), name)
		}
		require.NotPanics(t, func() { _ = event.DedupKey() })

		// With a repeated field of another type, it is read field by field.
		if event.Label != "" {
			slowly, err := diffhook.ParseEvent(bytes.Replace(object, []byte("{"), []byte(`{"label":1,`), 1))
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(event, slowly, cmpopts.IgnoreFields(diffhook.Event{}, "Raw")))
		}

		written, err := json.Marshal(event)
		require.NoError(t, err)
		again, err := diffhook.ParseEvent(written)
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(event, again, ignoreRaw))
		require.Empty(t, again.Unreadable)
		require.Equal(t, event.DedupKey(), again.DedupKey())
		require.Equal(t, event.MonitorID == "" || event.TriggeredAt.IsZero(), event.DedupKey() == "")
	})
}

// apart reports that no text in which placeholders stand for the secret can
// have the secret in it all the same, made of a placeholder and its neighbours.
func apart(secret string) bool {
	return !strings.ContainsAny(secret, "[]") && !strings.Contains(secret, "\xe2") && !strings.Contains(secret, "\xa6") &&
		!strings.Contains(hiddenSecret, secret)
}

// FuzzRedactingWriter: whatever is written, and however it is cut, what comes
// out is what the reference makes of the whole, with no key and no secret in
// it. In text, the bytes 1 to 6 and 14 to 18 stand for the secrets, their
// beginnings, the prefix of keys, and secrets and keys escaped once or twice.
func FuzzRedactingWriter(f *testing.F) {
	for _, c := range redactions {
		texts := append(slices.Clone(c.secrets), "", "")
		f.Add([]byte(c.text), []byte{3}, texts[0], texts[1])
	}
	f.Fuzz(func(t *testing.T, text, cuts []byte, first, second string) {
		if len(text) > 256 || len(first) > 64 || len(second) > 64 {
			return // the reference is slow
		}
		var texts []string
		var secrets []diffhook.Secret
		for _, s := range []string{first, second} {
			if secret, err := diffhook.NewSecret(s); err == nil {
				texts, secrets = append(texts, s), append(secrets, secret)
			}
		}
		whole := strings.NewReplacer("\x01", first, "\x02", second, "\x03", first[:len(first)/2], "\x04", second[:len(second)/2],
			"\x05", "dh_live_", "\x06", strconv.Quote(first), "\x0e", url.QueryEscape(second),
			"\x0f", url.QueryEscape(strconv.Quote(first)), "\x10", strconv.Quote(url.PathEscape(second)),
			"\x11", html.EscapeString(strconv.QuoteToASCII(first)), "\x12", `dh%5Flive\x5f`).Replace(string(text))
		if len(whole) > 400 {
			return
		}

		var parts []string
		for rest, i := whole, 0; rest != ""; i++ {
			n := len(rest)
			if len(cuts) > 0 {
				n = min(n, int(cuts[i%len(cuts)]))
			}
			if n == 0 && i >= len(cuts) {
				n = 1 // lest it never end
			}
			parts, rest = append(parts, rest[:n]), rest[n:]
		}
		out := redacted(t, secrets, parts...)
		require.Equal(t, referenceRedaction(whole, texts...), out)
		for range diffhook.FindAPIKeys([]byte(out)) {
			require.Fail(t, "a key", "%q", out)
		}
		for _, s := range texts {
			require.False(t, apart(s) && strings.Contains(out, s), "a secret in %q", out)
		}

		// Flushed after each part, a secret may show its first 7 bytes.
		var flushed bytes.Buffer
		w := diffhook.NewRedactingWriter(&flushed, secrets...)
		for _, part := range parts {
			_, err := w.Write([]byte(part))
			require.NoError(t, err)
			require.NoError(t, w.Flush())
		}
		for _, s := range texts {
			require.False(t, apart(s) && strings.Contains(flushed.String(), s), "a secret in %q", flushed.String())
		}

		var found [][]int
		for at, key := range diffhook.FindAPIKeys([]byte(whole)) {
			found = append(found, []int{at, at + len(key.Reveal())})
		}
		require.Equal(t, anyKey.FindAllStringIndex(whole, -1), found)
	})
}

// TestFuzzSeedsAreLoaded runs the targets over their seeds as go test does,
// and counts what ran. A file that does not parse fails its target.
func TestFuzzSeedsAreLoaded(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	for target, added := range map[string]int{"FuzzParseSignature": 25, "FuzzVerify": 24, "FuzzParseEvent": 24 + len(drifts), "FuzzRedactingWriter": len(redactions)} {
		t.Run(target, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*"))
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(files), 5)
			for _, file := range files {
				content, err := os.ReadFile(file)
				require.NoError(t, err)
				require.True(t, strings.HasPrefix(string(content), "go test fuzz v1"), file)
			}

			out, err := exec.CommandContext(t.Context(), self, "-test.run=^"+target+"$", "-test.v").CombinedOutput()
			require.NoError(t, err, "%s", out)
			ran := strings.Count(string(out), "--- PASS: "+target+"/")
			require.Equal(t, added+len(files), ran, "%s", out)
		})
	}
}
