package diffhook_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

const (
	hiddenKey    = "dh_live_…"
	hiddenSecret = "[REDACTED SIGNING SECRET]"
)

var anyKey = regexp.MustCompile(`dh_live_[0-9A-Za-z_-]+`)

// loggedForms returns text as it is and as loggers write it, by having them do
// so, also of what they have written.
func loggedForms(tb testing.TB, text string) []string {
	tb.Helper()
	address := url.URL{Scheme: "https", Host: "example.com", Path: "/" + text}
	forms := map[string]bool{
		text: true, url.QueryEscape(text): true, url.PathEscape(text): true,
		strings.TrimPrefix(address.String(), "https://example.com/"): true,
	}
	for range 2 {
		for form := range maps.Clone(forms) {
			for _, quoted := range loggedQuoted(tb, form) {
				forms[quoted] = true
			}
		}
	}
	return slices.Collect(maps.Keys(forms))
}

func loggedQuoted(tb testing.TB, text string) []string {
	tb.Helper()
	var asJSON, bySlog bytes.Buffer
	encoder := json.NewEncoder(&asJSON)
	encoder.SetEscapeHTML(false)
	require.NoError(tb, encoder.Encode(text))
	slog.New(slog.NewJSONHandler(&bySlog, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key != slog.MessageKey {
			return slog.Attr{}
		}
		return a
	}})).Info(text)
	forHTML, err := json.Marshal(text)
	require.NoError(tb, err)

	within := func(s, before, after string) string {
		require.True(tb, strings.HasPrefix(s, before) && strings.HasSuffix(s, after), "%q", s)
		return s[len(before) : len(s)-len(after)]
	}
	return []string{
		within(fmt.Sprintf("%q", text), `"`, `"`),
		within(fmt.Sprintf("%+q", text), `"`, `"`),
		within(string(forHTML), `"`, `"`),
		within(asJSON.String(), `"`, "\"\n"),
		within(bySlog.String(), `{"msg":"`, "\"}\n"),
	}
}

// referenceRedaction says what becomes of text, whole, with Flush at its end:
// it marks each byte that a match covers, and shows the others.
func referenceRedaction(tb testing.TB, text string, secrets ...string) string {
	tb.Helper()
	marks := make([]string, len(text))
	mark := func(start, end int, placeholder string) {
		for i := start; i < end; i++ {
			if marks[i] == "" {
				marks[i] = placeholder
			}
		}
	}
	for _, secret := range secrets {
		for _, form := range loggedForms(tb, secret) {
			for i := range text {
				if strings.HasPrefix(text[i:], form) {
					mark(i, i+len(form), hiddenSecret)
				}
			}
			for n := 8; n < len(form); n++ { // cut off
				if strings.HasSuffix(text, form[:n]) {
					mark(len(text)-n, len(text), hiddenSecret)
				}
			}
		}
	}
	for _, at := range anyKey.FindAllStringIndex(text, -1) {
		mark(at[0], at[1], hiddenKey)
	}
	var out strings.Builder
	for i := range len(text) {
		switch {
		case marks[i] == "":
			out.WriteByte(text[i])
		case i == 0 || marks[i-1] == "":
			out.WriteString(marks[i])
		}
	}
	return out.String()
}

// writes records what is written, one by one.
type writes []string

func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, string(p))
	return len(p), nil
}

// redacted returns what becomes of the parts, written one after the other. It
// checks what every write is promised.
func redacted(tb testing.TB, secrets []diffhook.Secret, parts ...string) string {
	tb.Helper()
	var out writes
	w := diffhook.NewRedactingWriter(&out, secrets...)
	for _, part := range parts {
		before := len(out)
		p := []byte(part)
		n, err := w.Write(p)
		if err != nil || n != len(part) || string(p) != part || len(out) > before+1 {
			require.Fail(tb, "write", "%d, %v, changed %v, %d writes of %q", n, err, string(p) != part, len(out)-before, part)
		}
		clear(p) // it must not have been kept
	}
	require.NoError(tb, w.Flush())
	require.NotContains(tb, out, "", "a write of nothing")
	return strings.Join(out, "")
}

func mustSecrets(tb testing.TB, texts []string) (secrets []diffhook.Secret) {
	tb.Helper()
	for _, text := range texts {
		secrets = append(secrets, mustSecret(tb, text))
	}
	return secrets
}

// redactions are texts with what is to become of them, whatever the cuts.
var redactions = []struct {
	name    string
	secrets []string
	text    string
	want    string
}{
	{"nothing", []string{currentText}, "", ""},
	{"clean", []string{currentText}, "test-signing-secret, dh_live, test-signing-secret-current-1000\n", "test-signing-secret, dh_live, test-signing-secret-current-1000\n"},
	{"no secrets", nil, "the text of " + currentText + "\n", "the text of " + currentText + "\n"},
	{"a key", nil, "Bearer " + testKeyText + "\n", "Bearer dh_live_…\n"},
	{"a key at the end", nil, "Bearer " + testKeyText, "Bearer dh_live_…"},
	{"the shortest key", nil, "dh_live_x.", "dh_live_…."},
	{"the prefix alone", nil, "dh_live_, dh_live_\n", "dh_live_, dh_live_\n"},
	{"the prefix alone, at the end", nil, "dh_live_", "dh_live_"},
	{"a key as it prints", nil, "dh_live_…wxyz\n", "dh_live_…wxyz\n"},
	{"two keys", nil, testKeyText + "," + testKeyText, "dh_live_…,dh_live_…"},
	{"beginnings before a key", nil, "ddh_dh_live" + testKeyText + "\n", "ddh_dh_livedh_live_…\n"},
	{"a key with beginnings of keys in it", nil, "dh_live_dh_live_d.h_live_d\n", "dh_live_….h_live_d\n"},
	{"a secret", []string{currentText}, "secret=" + currentText + ".\n", "secret=" + hiddenSecret + ".\n"},
	{"a secret at the end", []string{currentText}, "secret=" + currentText, "secret=" + hiddenSecret},
	{"two secrets", []string{currentText, previousText}, currentText + "," + previousText + "," + currentText, hiddenSecret + "," + hiddenSecret + "," + hiddenSecret},

	// What is cut off may be enough to guess the rest.
	{"all of a secret but its last byte", []string{currentText}, "is " + currentText[:len(currentText)-1], "is " + hiddenSecret},
	{"8 bytes of a secret", []string{currentText}, "is " + currentText[:8], "is " + hiddenSecret},
	{"7 bytes of a secret", []string{currentText}, "is " + currentText[:7], "is " + currentText[:7]},

	// Two matches side by side, or one upon the other: neither may hide the
	// other from view and so let its rest pass.
	{"a secret touches itself", []string{currentText}, currentText + currentText + "\n", hiddenSecret + "\n"},
	{"a key touches a secret", []string{"!" + currentText}, testKeyText + "!" + currentText + "\n", hiddenKey + "\n"},
	{"a secret touches a key", []string{currentText}, currentText + testKeyText + "\n", hiddenSecret + "\n"},
	{"a secret's end is another's beginning", []string{"0123456789abcdef-overlap", "-overlap-fedcba98"}, "<0123456789abcdef-overlap-fedcba98>\n", "<" + hiddenSecret + ">\n"},
	{"the same with the second cut off", []string{"0123456789abcdef-overlap", "-overlap-fedcba98"}, "<0123456789abcdef-overlap-fedcba9>\n", "<" + hiddenSecret + "-fedcba9>\n"},
	{"the same with the first cut off", []string{"0123456789abcdef-overlap", "-overlap-fedcba98"}, "<123456789abcdef-overlap-fedcba98>\n", "<123456789abcdef" + hiddenSecret + ">\n"},
	{"a secret that begins as another does", []string{"0123456789abcdef", "0123456789abcdefghij"}, "0123456789abcdefghi 0123456789abcdefghij\n", hiddenSecret + "ghi " + hiddenSecret + "\n"},
	{"a secret within another", []string{"0123456789abcdef", "(0123456789abcdef)"}, "(0123456789abcdef (0123456789abcdef)\n", "(" + hiddenSecret + " " + hiddenSecret + "\n"},
	{"a secret that repeats itself", []string{"abababababababab"}, "b" + strings.Repeat("ab", 15) + "a\n", "b" + hiddenSecret + "a\n"},
	{"the same, cut off", []string{"abababababababab"}, strings.Repeat("ab", 9) + "a", hiddenSecret},
	{"a secret of one letter", []string{strings.Repeat("a", 16)}, strings.Repeat("a", 15) + "b" + strings.Repeat("a", 40) + "\n", strings.Repeat("a", 15) + "b" + hiddenSecret + "\n"},

	// A key is as long as it goes on, whatever that is.
	{"a key that goes on as a secret", []string{currentText}, testKeyText + currentText + "more\n", hiddenKey + "\n"},
	{"a key that ends within a secret", []string{"0123456789abcdef!0123456789"}, testKeyText + "0123456789abcdef!0123456789.\n", hiddenKey + ".\n"},
	{"a key that ends in a secret's beginning", []string{"0123456789abcdef!0123456789"}, testKeyText + "0123456789abcdef!.\n", hiddenKey + "!.\n"},
	{"a secret with a key in it", []string{"0123456789 dh_live_abc."}, "0123456789 dh_live_abc.\n", hiddenSecret + "\n"},
	{"the same, unlike at its end", []string{"0123456789 dh_live_abc."}, "0123456789 dh_live_abcd.\n", "0123456789 dh_live_….\n"},
	{"the same, cut off in the key", []string{"0123456789 dh_live_abc."}, "0123456789 dh_live_ab", hiddenSecret},
	{"a secret that ends in the prefix of keys", []string{"0123456789abcdef.dh_live_"}, "0123456789abcdef.dh_live_abc.\n", hiddenSecret + ".\n"},
	{"a secret that ends in half the prefix", []string{"0123456789abcdef.dh_li"}, "0123456789abcdef.dh_live_abc.\n", hiddenSecret + ".\n"},

	// A secret is recognised in every dress.
	{"as JSON and %q have it", []string{`quo"ted\and-long`}, `{"quo\"ted\\and-long"}` + "\n", `{"` + hiddenSecret + `"}` + "\n"},
	{"as JSON for HTML has it", []string{"<angled>&-and-long"}, `{"\u003cangled\u003e\u0026-and-long"}` + "\n", `{"` + hiddenSecret + `"}` + "\n"},
	{"as slog and JSON not for HTML have it", []string{`<angled>"and" &-long`}, `{"<angled>\"and\" &-long"}` + "\n", `{"` + hiddenSecret + `"}` + "\n"},
	{"a backslash before what looks like an escape", []string{`0123456789\b\u003c\f`}, `{"0123456789\\b\\u003c\\f"}` + "\n", `{"` + hiddenSecret + `"}` + "\n"},
	{"the same as slog and JSON not for HTML have it", []string{`<b>0123456789\u003c`}, `<b>0123456789\\u003c` + "\n", hiddenSecret + "\n"},
	{"as %q has private characters", []string{"private\ue001 and more"}, `"private\ue001 and more"` + "\n", `"` + hiddenSecret + `"` + "\n"},
	{"as %+q has it", []string{"größer-als-sechzehn"}, `"gr\u00f6\u00dfer-als-sechzehn"` + "\n", `"` + hiddenSecret + `"` + "\n"},
	{"as a query has it", []string{"a+b/c=d e&f-and-long"}, "?s=a%2Bb%2Fc%3Dd+e%26f-and-long&t=\n", "?s=" + hiddenSecret + "&t=\n"},
	{"as a path has it", []string{"a+b/c=d e&f-and-long"}, "/a+b%2Fc=d%20e&f-and-long/\n", "/" + hiddenSecret + "/\n"},
	{"as a URL has it", []string{`a"b/c=d e&f-and-long`}, "https://example.com/a%22b/c=d%20e&f-and-long\n", "https://example.com/" + hiddenSecret + "\n"},
	{"as JSON has a URL", []string{"a+b/c=d e&f-and-long"}, `"/a+b%2Fc=d%20e\u0026f-and-long"` + "\n", `"/` + hiddenSecret + `"` + "\n"},
	{"as JSON has what %q made", []string{`quo"ted\and-long`}, `{"at \"quo\\\"ted\\\\and-long\""}` + "\n", `{"at \"` + hiddenSecret + `\""}` + "\n"},
	{"not UTF-8", []string{strings.Repeat("\xff\x80", 8)}, "\xff" + strings.Repeat("\xff\x80", 8) + "\x80\n", "\xff" + hiddenSecret + "\x80\n"},
}
