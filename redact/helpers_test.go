package redact_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/redact"
)

const (
	currentText  = "test-signing-secret-current-0001"
	previousText = "test-signing-secret-previous-0001"
)

var testKeyText = "dh_live_" + strings.Repeat("k", 24)

const (
	hiddenKey    = "dh_live_…"
	hiddenSecret = "[REDACTED SIGNING SECRET]"
)

// anyKey is a key in plain text.
var anyKey = regexp.MustCompile(`dh_live_[0-9A-Za-z_-]+`)

// writes records each write.
type writes []string

func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, string(p))
	return len(p), nil
}

// redacted returns the output for the parts, written in order. redacted checks the
// promises of every write.
func redacted(tb testing.TB, secrets []diffhook.Secret, parts ...string) string {
	tb.Helper()
	var out writes
	w := redact.NewWriter(&out, secrets...)
	for _, part := range parts {
		before := len(out)
		p := []byte(part)
		n, err := w.Write(p)
		if err != nil || n != len(part) || string(p) != part || len(out) > before+1 {
			require.Fail(tb, "write", "%d, %v, changed %v, %d writes of %q", n, err, string(p) != part, len(out)-before, part)
		}
		clear(p) // a Writer must not keep it
	}
	require.NoError(tb, w.Flush())
	require.NotContains(tb, out, "", "a write of nothing")
	return strings.Join(out, "")
}

func mustSecret(tb testing.TB, text string) diffhook.Secret {
	tb.Helper()
	secret, err := diffhook.NewSecret(text)
	require.NoError(tb, err)
	return secret
}

func mustSecrets(tb testing.TB, texts []string) (secrets []diffhook.Secret) {
	tb.Helper()
	for _, text := range texts {
		secrets = append(secrets, mustSecret(tb, text))
	}
	return secrets
}

// redactions are texts with their output, for any cuts.
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
	{"a printed key", nil, "dh_live_…wxyz\n", "dh_live_…wxyz\n"},
	{"two keys", nil, testKeyText + "," + testKeyText, "dh_live_…,dh_live_…"},
	{"beginnings before a key", nil, "ddh_dh_live" + testKeyText + "\n", "ddh_dh_livedh_live_…\n"},
	{"a key around beginnings of keys", nil, "dh_live_dh_live_d.h_live_d\n", "dh_live_….h_live_d\n"},
	{"a secret", []string{currentText}, "secret=" + currentText + ".\n", "secret=" + hiddenSecret + ".\n"},
	{"a secret at the end", []string{currentText}, "secret=" + currentText, "secret=" + hiddenSecret},
	{"two secrets", []string{currentText, previousText}, currentText + "," + previousText + "," + currentText, hiddenSecret + "," + hiddenSecret + "," + hiddenSecret},

	// The rest of a truncated secret may be guessed.
	{"all but the last byte of a secret", []string{currentText}, "is " + currentText[:len(currentText)-1], "is " + hiddenSecret},
	{"8 bytes of a secret", []string{currentText}, "is " + currentText[:8], "is " + hiddenSecret},
	{"7 bytes of a secret", []string{currentText}, "is " + currentText[:7], "is " + currentText[:7]},

	// Two matches side by side, or overlapping: neither may hide the other and so let a
	// part pass.
	{"a secret touches itself", []string{currentText}, currentText + currentText + "\n", hiddenSecret + "\n"},
	{"a key touches a secret", []string{"!" + currentText}, testKeyText + "!" + currentText + "\n", hiddenKey + "\n"},
	{"a secret touches a key", []string{currentText}, currentText + testKeyText + "\n", hiddenSecret + "\n"},
	{"a secret's end is another's beginning", []string{"0123456789abcdef-overlap", "-overlap-fedcba98"}, "<0123456789abcdef-overlap-fedcba98>\n", "<" + hiddenSecret + ">\n"},
	{"the same with the second cut off", []string{"0123456789abcdef-overlap", "-overlap-fedcba98"}, "<0123456789abcdef-overlap-fedcba9>\n", "<" + hiddenSecret + "-fedcba9>\n"},
	{"the same with the first cut off", []string{"0123456789abcdef-overlap", "-overlap-fedcba98"}, "<123456789abcdef-overlap-fedcba98>\n", "<123456789abcdef" + hiddenSecret + ">\n"},
	{"a secret that begins another secret", []string{"0123456789abcdef", "0123456789abcdefghij"}, "0123456789abcdefghi 0123456789abcdefghij\n", hiddenSecret + "ghi " + hiddenSecret + "\n"},
	{"a secret within another", []string{"0123456789abcdef", "(0123456789abcdef)"}, "(0123456789abcdef (0123456789abcdef)\n", "(" + hiddenSecret + " " + hiddenSecret + "\n"},
	{"a secret that repeats itself", []string{"abababababababab"}, "b" + strings.Repeat("ab", 15) + "a\n", "b" + hiddenSecret + "a\n"},
	{"the same, cut off", []string{"abababababababab"}, strings.Repeat("ab", 9) + "a", hiddenSecret},
	{"a secret of a single letter", []string{strings.Repeat("a", 16)}, strings.Repeat("a", 15) + "b" + strings.Repeat("a", 40) + "\n", strings.Repeat("a", 15) + "b" + hiddenSecret + "\n"},

	// A key goes on over all legal characters.
	{"a key followed by a secret", []string{currentText}, testKeyText + currentText + "more\n", hiddenKey + "\n"},
	{"a key that ends within a secret", []string{"0123456789abcdef!0123456789"}, testKeyText + "0123456789abcdef!0123456789.\n", hiddenKey + ".\n"},
	{"a key that ends in a secret's beginning", []string{"0123456789abcdef!0123456789"}, testKeyText + "0123456789abcdef!.\n", hiddenKey + "!.\n"},
	{"a secret with a key in it", []string{"0123456789 dh_live_abc."}, "0123456789 dh_live_abc.\n", hiddenSecret + "\n"},
	{"the same with another end", []string{"0123456789 dh_live_abc."}, "0123456789 dh_live_abcd.\n", "0123456789 dh_live_….\n"},
	{"the same, cut off in the key", []string{"0123456789 dh_live_abc."}, "0123456789 dh_live_ab", hiddenSecret},
	{"a secret that ends in the prefix of keys", []string{"0123456789abcdef.dh_live_"}, "0123456789abcdef.dh_live_abc.\n", hiddenSecret + ".\n"},
	{"a secret that ends in half the prefix", []string{"0123456789abcdef.dh_li"}, "0123456789abcdef.dh_live_abc.\n", hiddenSecret + ".\n"},

	// A secret is recognized in every encoding.
	{"in JSON and %q", []string{`quo"ted\and-long`}, `{"quo\"ted\\and-long"}` + "\n", `{"` + hiddenSecret + `"}` + "\n"},
	{"in JSON for HTML", []string{"<angled>&-and-long"}, `{"\u003cangled\u003e\u0026-and-long"}` + "\n", `{"` + hiddenSecret + `"}` + "\n"},
	{"in slog and in JSON without HTML", []string{`<angled>"and" &-long`}, `{"<angled>\"and\" &-long"}` + "\n", `{"` + hiddenSecret + `"}` + "\n"},
	{"a backslash before a possible escape", []string{`0123456789\b\u003c\f`}, `{"0123456789\\b\\u003c\\f"}` + "\n", `{"` + hiddenSecret + `"}` + "\n"},
	{"the same in slog and in JSON without HTML", []string{`<b>0123456789\u003c`}, `<b>0123456789\\u003c` + "\n", hiddenSecret + "\n"},
	{"private characters in %q", []string{"private\ue001 and more"}, `"private\ue001 and more"` + "\n", `"` + hiddenSecret + `"` + "\n"},
	{"in %+q", []string{"größer-als-sechzehn"}, `"gr\u00f6\u00dfer-als-sechzehn"` + "\n", `"` + hiddenSecret + `"` + "\n"},
	{"in a query", []string{"a+b/c=d e&f-and-long"}, "?s=a%2Bb%2Fc%3Dd+e%26f-and-long&t=\n", "?s=" + hiddenSecret + "&t=\n"},
	{"in a path", []string{"a+b/c=d e&f-and-long"}, "/a+b%2Fc=d%20e&f-and-long/\n", "/" + hiddenSecret + "/\n"},
	{"in a URL", []string{`a"b/c=d e&f-and-long`}, "https://example.com/a%22b/c=d%20e&f-and-long\n", "https://example.com/" + hiddenSecret + "\n"},
	{"in a URL in JSON", []string{"a+b/c=d e&f-and-long"}, `"/a+b%2Fc=d%20e\u0026f-and-long"` + "\n", `"/` + hiddenSecret + `"` + "\n"},
	{"in %q in JSON", []string{`quo"ted\and-long`}, `{"at \"quo\\\"ted\\\\and-long\""}` + "\n", `{"at \"` + hiddenSecret + `\""}` + "\n"},

	// Single characters escaped, in any form and in either case.
	{"escapes in lower case", []string{"a+b/c=d e&f-and-long"}, "?s=a%2bb%2fc%3dd%20e%26f-and-long&t=\n", "?s=" + hiddenSecret + "&t=\n"},
	{"escapes in either case", []string{"a+b/c=d e&f-and-long"}, "?s=a%2bb%2Fc%3Dd+e%26f-and-long&t=\n", "?s=" + hiddenSecret + "&t=\n"},
	{"JSON in upper case", []string{"<angled>&-and-long"}, `{"\u003Cangled\u003E\u0026-and-long"}` + "\n", `{"` + hiddenSecret + `"}` + "\n"},
	{"JSON with escaped slashes", []string{"a/b/c-and-so-on/and-long"}, `{"a\/b\/c-and-so-on\/and-long"}` + "\n", `{"` + hiddenSecret + `"}` + "\n"},
	{"some characters escaped", []string{"a+b/c=d+e&f-and-long"}, "?s=a%2Bb/c%3dd+e&f-and-long&t=\n", "?s=" + hiddenSecret + "&t=\n"},
	{"characters that need no escape", []string{currentText}, `%74\u0065\x73\164-signing-secret-curre&#110;t-0001` + "\n", hiddenSecret + "\n"},
	{"JSON within a query", []string{`quo"ted\and-long`}, "?q=%22quo%5C%22ted%5C%5cand-long%22\n", "?q=%22" + hiddenSecret + "%22\n"},
	{"a query within a query", []string{"a+b/c=d e&f-and-long"}, "?u=%2F%3Fs%3Da%252Bb%252fc%253Dd%2Be%2526f-and-long\n", "?u=%2F%3Fs%3D" + hiddenSecret + "\n"},
	{"a query within JSON within JSON", []string{"a&b-c&d-and-so-on"}, `"{\"u\":\"?s=a\\u0026b-c\\u0026d-and-so-on\"}"` + "\n", `"{\"u\":\"?s=` + hiddenSecret + `\"}"` + "\n"},
	{"JSON three times over", []string{`quo"ted\and-long`}, `quo\\\\\\\"ted\\\\\\\\and-long` + "\n", hiddenSecret + "\n"},
	{"HTML", []string{`<'quoted' & "long">`}, "<p>&lt;&#39;quoted&#x27; &amp; &quot;long&#034;&gt;</p>\n", "<p>" + hiddenSecret + "</p>\n"},
	{"HTML of JSON", []string{`quo"ted\and-long`}, "{&#34;quo\\&#34;ted\\\\and-long&#34;}\n", "{&#34;" + hiddenSecret + "&#34;}\n"},
	{"a shell", []string{"a$b c'd-and-so-on"}, `a\$b\ c\'d-and-so-on` + "\n", hiddenSecret + "\n"},
	{"ECMAScript and Rust", []string{"größer-als-sechzehn"}, `gr\u{f6}\u{DF}er-als-sechzehn` + "\n", hiddenSecret + "\n"},
	{"half of a character escaped", []string{"größer-als-sechzehn"}, "gr\xc3%b6\\xc3\x9fer-als-sechzehn\n", hiddenSecret + "\n"},
	{"a surrogate pair", []string{"sixteen 😀 or more"}, `"sixteen \uD83D\ude00 or more"` + "\n", `"` + hiddenSecret + `"` + "\n"},
	{"half a surrogate pair", []string{"sixteen 😀 or more"}, `"sixteen \uD83D or more"` + "\n", `"sixteen \uD83D or more"` + "\n"},
	{"a key", nil, "?k=dh%5Flive%5fabc%2Ddef&t=\n", "?k=" + hiddenKey + "&t=\n"},
	{"a key in JSON", nil, `{"k":"\u0064h\u005flive\u005Fab\u0063"}` + "\n", `{"k":"` + hiddenKey + `"}` + "\n"},
	{"a key before an escape", nil, `{"k":"dh_live_abc\n%20"}` + "\n", `{"k":"` + hiddenKey + `\n%20"}` + "\n"},
	{"a key before an escape that ends with the text", nil, `dh_live_abc\u00`, hiddenKey + `\u00`},
	{"a secret cut off in an escape", []string{"0123456789+abcdef"}, "?s=0123456789%2", "?s=" + hiddenSecret},
	{"few characters, however long", []string{currentText}, `\u0074\u0065\u0073\u0074`, `\u0074\u0065\u0073\u0074`},

	// Texts that are no form of the secret.
	{"an escape of another character", []string{"a+b/c=d e&f-and-long"}, "?s=a%2Cb%2Fc%3Dd+e%26f-and-long\n", "?s=a%2Cb%2Fc%3Dd+e%26f-and-long\n"},
	{"a truncated escape", []string{"a+b/c=d e&f-and-long"}, "?s=a%2b%2Fc%3Dd+e%26f-and-long\n", "?s=a%2b%2Fc%3Dd+e%26f-and-long\n"},
	{"another case of a letter", []string{currentText}, "Test-signing-secret-current-0001\n", "Test-signing-secret-current-0001\n"},
	{"escapes of nothing", []string{currentText}, `\\\u0041%25%%41&amp;&#;&\` + "\n", `\\\u0041%25%%41&amp;&#;&\` + "\n"},
	{"a backslash before a secret", []string{currentText}, `C:\` + currentText + "\n", `C:\` + hiddenSecret + "\n"},

	{"not UTF-8", []string{strings.Repeat("\xff\x80", 8)}, "\xff" + strings.Repeat("\xff\x80", 8) + "\x80\n", "\xff" + hiddenSecret + "\x80\n"},
	{"not UTF-8, in JSON", []string{"0123456789abcdef\xff!"}, `"0123456789abcdef\ufffd!"` + "\n", `"` + hiddenSecret + `"` + "\n"},
}
