package redact_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// encoders write a text in the form of a log, between delimiters.
var encoders = map[string]func(testing.TB, string) string{
	"url.QueryEscape": func(_ testing.TB, s string) string { return url.QueryEscape(s) },
	"url.PathEscape":  func(_ testing.TB, s string) string { return url.PathEscape(s) },
	"url.URL": func(tb testing.TB, s string) string {
		return between(tb, (&url.URL{Scheme: "https", Host: "example.com", Path: "/" + s}).String(), "https://example.com/", "")
	},
	"json.Marshal": func(tb testing.TB, s string) string {
		quoted, err := json.Marshal(s)
		require.NoError(tb, err)
		return between(tb, string(quoted), `"`, `"`)
	},
	"json.Encoder": func(tb testing.TB, s string) string {
		var out bytes.Buffer
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		require.NoError(tb, encoder.Encode(s))
		return between(tb, out.String(), `"`, "\"\n")
	},
	"slog.JSONHandler": func(tb testing.TB, s string) string {
		var out bytes.Buffer
		slog.New(slog.NewJSONHandler(&out, messageOnly)).Info(s)
		return between(tb, out.String(), `{"msg":"`, "\"}\n")
	},
	"slog.TextHandler": func(tb testing.TB, s string) string {
		var out bytes.Buffer
		slog.New(slog.NewTextHandler(&out, messageOnly)).Info(s)
		return strings.TrimSuffix(strings.TrimPrefix(between(tb, out.String(), "msg=", "\n"), `"`), `"`)
	},
	"%q":                            func(tb testing.TB, s string) string { return between(tb, fmt.Sprintf("%q", s), `"`, `"`) },
	"%+q":                           func(tb testing.TB, s string) string { return between(tb, fmt.Sprintf("%+q", s), `"`, `"`) },
	"strconv.QuoteToGraphic":        func(tb testing.TB, s string) string { return between(tb, strconv.QuoteToGraphic(s), `"`, `"`) },
	"html.EscapeString":             func(_ testing.TB, s string) string { return html.EscapeString(s) },
	"template.HTMLEscapeString":     func(_ testing.TB, s string) string { return template.HTMLEscapeString(s) },
	"template.JSEscapeString":       func(_ testing.TB, s string) string { return template.JSEscapeString(s) },
	"any escapes of any characters": func(_ testing.TB, s string) string { return escapedAnyhow(s) },
}

var messageOnly = &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
	if a.Key != slog.MessageKey {
		return slog.Attr{}
	}
	return a
}}

func between(tb testing.TB, s, before, after string) string {
	tb.Helper()
	require.True(tb, len(s) >= len(before)+len(after) && strings.HasPrefix(s, before) && strings.HasSuffix(s, after), "%q", s)
	return s[len(before) : len(s)-len(after)]
}

// escapedAnyhow escapes some characters of s, each in a different way.
func escapedAnyhow(s string) string {
	var out strings.Builder
	for _, char := range characters(s) {
		if escapes := escapesOf(char); rand.IntN(3) == 0 {
			char = eitherCase(escapes[rand.IntN(len(escapes))])
		}
		out.WriteString(char)
	}
	return out.String()
}

// characters returns the characters of s, and the bytes outside characters.
func characters(s string) (chars []string) {
	for len(s) > 0 {
		_, size := utf8.DecodeRuneInString(s)
		chars, s = append(chars, s[:size]), s[size:]
	}
	return chars
}

// eitherCase changes the case of some letters of an escape.
func eitherCase(escape string) string {
	mixed := []byte(escape)
	for i, c := range mixed {
		if 'A' <= c && c <= 'Z' && mixed[i-1] != '\\' && rand.IntN(2) == 0 {
			mixed[i] = c - 'A' + 'a'
		}
	}
	return string(mixed)
}

// randomSecret returns a secret with characters of a single kind, or of every kind but
// NUL, which templates replace.
func randomSecret() string {
	alphabets := []string{
		"0123456789abcdef", keyCharacters, keyCharacters + "+/=", `<>&"'\/%`, "!#$()*,.:;=?@[]^`{|}~ ab", "abnrtuxU0\\\"%&;#",
		"\x01\x02\a\b\f\n\r\t\v\x1b\x7f ab", "öäüß€ß", "😀𝕏a", "\u2028\u2029\u200b\ufeffa", "a\x80\xff\xc3",
	}
	alphabet := alphabets[rand.IntN(len(alphabets))]
	if rand.IntN(4) == 0 {
		alphabet = strings.Join(alphabets, "")
	}
	chars := characters(alphabet)
	var out strings.Builder
	for out.Len() < 16+rand.IntN(24) {
		out.WriteString(chars[rand.IntN(len(chars))])
	}
	return out.String()
}

// TestWriterEncoders: whichever encoders write a secret, up to three deep, no part of
// the secret is written, and the text around it is unchanged.
func TestWriterEncoders(t *testing.T) {
	const before, after = "2026-03-16 a line with <", "> in it\n"
	for outer, third := range encoders {
		t.Run(outer, func(t *testing.T) {
			t.Parallel()
			for inner, second := range encoders {
				for core, first := range encoders {
					text := randomSecret()
					secret, err := diffhook.NewSecret(text)
					if err != nil {
						continue // no secret: white space at an end
					}
					once := third(t, text)
					twice := third(t, second(t, text))
					thrice := third(t, second(t, first(t, text)))
					for _, encoded := range []string{once, twice, thrice} {
						whole := before + encoded + after
						cut := rand.IntN(len(whole))
						require.Equal(t, before+hiddenSecret+after, redacted(t, []diffhook.Secret{secret}, whole[:cut], whole[cut:]),
							"%s of %s of %s: %q of %q, cut at %d", outer, inner, core, encoded, text, cut)
					}
				}
			}
		})
	}
}

// TestWriterEncodersKeys: the same for API keys.
func TestWriterEncodersKeys(t *testing.T) {
	for outer, second := range encoders {
		for inner, first := range encoders {
			whole := "a line with <" + second(t, first(t, testKeyText)) + "> in it\n"
			cut := rand.IntN(len(whole))
			require.Equal(t, "a line with <"+hiddenKey+"> in it\n", redacted(t, nil, whole[:cut], whole[cut:]), "%s of %s: %q", outer, inner, whole)
		}
	}
}
