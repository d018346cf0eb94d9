package diffhook_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// hintFor returns the hint that is logged for a delivery that is refused. Nothing
// in the line may help to forge another.
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

// TestHintOfBody: what gateways and parsers do to a body between DiffHook and
// the verifier, with either secret in force.
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

// TestHintOfSecret: what people do to a secret between the app and the source.
// The configured text passes NewSecret, and every delivery is refused.
func TestHintOfSecret(t *testing.T) {
	const right = "5f2b9c0d8e7a41b6a3c4d5e6f7081920"
	base64Of := base64.StdEncoding.EncodeToString
	body := []byte(signedBody)
	other := mustSecret(t, previousText)
	for _, tc := range []struct{ name, right, configured, want string }{
		{"quotes around punctuation", "a&b#c?d!e(f)g;h", `"a&b#c?d!e(f)g;h"`, "without the quotes"},
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

// TestHintIsBounded: the forms that are tried last are not tried on the longest
// bodies, so a forgery of 8 MiB costs a few passes over the body and no more.
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
