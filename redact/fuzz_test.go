package redact_test

import (
	"bytes"
	"html"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/redact"
)

// apart reports whether a placeholder and the text around can never form the secret. If
// they can, the output may contain the secret.
func apart(secret string) bool {
	return !strings.ContainsAny(secret, "[]") && !strings.Contains(secret, "\xe2") && !strings.Contains(secret, "\xa6") &&
		!strings.Contains(hiddenSecret, secret)
}

// FuzzWriter: however a text is cut, the output is the reference's output for the whole
// text, without a key or a secret. In text, the bytes 1 to 6 and 14 to 18 stand for the
// secrets, their beginnings, the prefix of keys, and secrets and keys escaped once or
// twice.
func FuzzWriter(f *testing.F) {
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
				n = 1 // so that the loop ends
			}
			parts, rest = append(parts, rest[:n]), rest[n:]
		}
		out := redacted(t, secrets, parts...)
		require.Equal(t, referenceRedaction(whole, texts...), out)
		for range redact.Find([]byte(out)) {
			require.Fail(t, "a key", "%q", out)
		}
		for _, s := range texts {
			require.False(t, apart(s) && strings.Contains(out, s), "a secret in %q", out)
		}

		// With a Flush after each part, the first 7 bytes of a secret may be written.
		var flushed bytes.Buffer
		w := redact.NewWriter(&flushed, secrets...)
		for _, part := range parts {
			_, err := w.Write([]byte(part))
			require.NoError(t, err)
			require.NoError(t, w.Flush())
		}
		for _, s := range texts {
			require.False(t, apart(s) && strings.Contains(flushed.String(), s), "a secret in %q", flushed.String())
		}

		var found [][]int
		for at, key := range redact.Find([]byte(whole)) {
			found = append(found, []int{at, at + len(key.Reveal())})
		}
		require.Equal(t, anyKey.FindAllStringIndex(whole, -1), found)
	})
}

// TestFuzzSeedsAreLoaded runs the target over the seeds as go test does, and counts the
// seeds. A file that does not parse fails the target.
func TestFuzzSeedsAreLoaded(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "fuzz", "FuzzWriter", "*"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 5)
	self, err := os.Executable()
	require.NoError(t, err)
	out, err := exec.CommandContext(t.Context(), self, "-test.run=^FuzzWriter$", "-test.v").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, len(redactions)+len(files), strings.Count(string(out), "--- PASS: FuzzWriter/"), "%s", out)
}
