package diffhook_test

import (
	"context"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

const byteOrderMark = "\uFEFF"

func TestNewSecret(t *testing.T) {
	apiKey := "dh_live_" + strings.Repeat("x", 20)
	sixteen := "sixteen-bytes-01"
	printed := fmt.Sprint(mustSecret(t, currentText))

	for _, c := range []struct {
		name, text string
		legal      bool
	}{
		{"ordinary", currentText, true},
		{"exactly 16 bytes", sixteen, true},
		{"16 bytes of 8 characters", strings.Repeat("é", 8), true},
		{"longer than a block of the hash", strings.Repeat("0123456789", 20), true},
		{"inner spaces", "four words and 3 spaces", true},
		{"quotes and backslashes", `"quoted" and \n not`, true},
		{"not UTF-8", "\x81\xff\xfe\x80" + strings.Repeat("\xaa", 16), true},
		{"binary that ends in half a no-break space", strings.Repeat("\xaa", 16) + "\xa0", true},
		{"binary that begins with a lone 0x85", "\x85" + strings.Repeat("\xaa", 16), true},
		{"an API key inside", "not " + apiKey, true},
		{"the API key's prefix in capitals", strings.ToUpper(apiKey), true},

		// An unset variable or a truncated paste: HMAC accepts any key.
		{"empty", "", false},
		{"a byte", "x", false},
		{"15 bytes", sixteen[:15], false},
		{"15 characters of padding and a byte", strings.Repeat(" ", 15) + "x", false},

		// The newline of a file or a sloppy paste: a different key, so nothing matches.
		{"newline at the end", currentText + "\n", false},
		{"CRLF at the end", currentText + "\r\n", false},
		{"carriage return at the end", currentText + "\r", false},
		{"space at the end", currentText + " ", false},
		{"tab at the end", currentText + "\t", false},
		{"no-break space at the end", currentText + "\u00a0", false},
		{"ideographic space at the end", currentText + "\u3000", false},
		{"newline at the start", "\n" + currentText, false},
		{"CRLF at the start", "\r\n" + currentText, false},
		{"space at the start", " " + currentText, false},
		{"tab at the start", "\t" + currentText, false},
		{"no-break space at the start", "\u00a0" + currentText, false},
		{"only spaces", strings.Repeat(" ", 32), false},
		{"byte order mark at the start", byteOrderMark + currentText, false},
		{"byte order mark at the end", currentText + byteOrderMark, false},
		{"zero-width space at the end", currentText + "\u200b", false},
		{"byte order mark and newline", byteOrderMark + currentText + "\n", false},

		// Two lines of a file, or a zero-width space of a web page: nothing matches.
		{"inner newline", "two lines,\nlike this", false},
		{"inner carriage return", "two lines,\rlike this", false},
		{"inner line separator", "two lines,\u2028like this", false},
		{"inner tab", "a column\tand another", false},
		{"inner escape", "\x1b[31mred like this", false},
		{"inner zero byte", "before\x00after the zero", false},
		{"inner C1 control", "before\u0090behind the C1", false},
		{"inner byte order mark", "before" + byteOrderMark + "afterwards", false},
		{"inner zero-width space", "before\u200bafter it all", false},
		{"inner no-break space", "before\u00a0after it all", false},

		// The other credential of the platform, in the wrong variable.
		{"API key", apiKey, false},
		{"API key with a newline", apiKey + "\n", false},

		// A secret that was stored by printing: a publicly known key.
		{"the placeholder", printed, false},
		{"the placeholder with a newline", printed + "\n", false},
		{"the placeholder as JSON", `"` + printed + `"`, false},
		{"a printed struct", "{" + printed + "}", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			secret, err := diffhook.NewSecret(c.text)
			if c.legal {
				require.NoError(t, err)
				assert.Equal(t, c.text, secret.Reveal(), "used byte for byte")
				assert.False(t, secret.IsZero())
				return
			}
			require.ErrorIs(t, err, diffhook.ErrInvalidSecret)
			assert.True(t, secret.IsZero(), "nothing is returned with an error")
			assertDoesNotRepeat(t, err, c.text)
		})
	}
}

// assertDoesNotRepeat fails if the error shows 8 consecutive bytes of text. The prefix
// of API keys and the words of the placeholder are no secrets.
func assertDoesNotRepeat(t *testing.T, err error, text string) {
	t.Helper()
	shown := fmt.Sprintf("%v %+v %#v", err, err, err)
	for i := range len(text) - 7 {
		run := text[i : i+8]
		if run != "dh_live_" && strings.TrimSpace(run) != "" {
			assert.NotContains(t, shown, run)
		}
	}
}

// TestPrintedSecretCannotBeLoaded: a secret that was stored by printing or encoding
// must fail to load, not become a publicly known key.
func TestPrintedSecretCannotBeLoaded(t *testing.T) {
	secret := mustSecret(t, currentText)
	text, err := secret.MarshalText()
	require.NoError(t, err)
	for _, printed := range []string{
		fmt.Sprint(secret), fmt.Sprint(&secret), fmt.Sprintf("%s", secret), fmt.Sprintf("%x", secret),
		fmt.Sprintf("%+v", secret), fmt.Sprintf("%#v", secret), secret.String(), string(text),
	} {
		_, err := diffhook.NewSecret(printed)
		require.ErrorIs(t, err, diffhook.ErrInvalidSecret, printed)
	}

	encoded, err := json.Marshal(secret)
	require.NoError(t, err)
	var decoded struct{ Secret diffhook.Secret }
	require.Error(t, json.Unmarshal([]byte(`{"Secret":`+string(encoded)+`}`), &decoded))
	assert.True(t, decoded.Secret.IsZero())
}

// TestSecretPrintsOnePlaceholder: the same text for every verb, flag and size, and for
// the zero value, so that not even the length shows.
func TestSecretPrintsOnePlaceholder(t *testing.T) {
	assert.Equal(t, "(none)", fmt.Sprintf("%v", diffhook.Secret{}))
	for _, text := range []string{currentText, strings.Repeat("long", 100)} {
		secret := mustSecret(t, text)
		for _, verb := range strings.Split("vsqxXdbocUteEfFgGz", "") {
			for _, flags := range []string{"", "+", "#", " ", "-", "0", "+#", "20", "100", ".3", "-60.2"} {
				assert.Equal(t, hiddenSecret, fmt.Sprintf("%"+flags+verb, secret))
				assert.Equal(t, hiddenSecret, fmt.Sprintf("%"+flags+verb, &secret))
			}
		}
	}
}

type (
	embeddedSecret        struct{ diffhook.Secret }
	embeddedSecretPointer struct{ *diffhook.Secret }
	namedSecret           diffhook.Secret // a type without the methods
	serverConfig          struct {
		Address string
		Source  diffhook.SecretSource
		options *diffhook.VerifierOptions
		secrets diffhook.Secrets
	}
)

// plainSource is a source as commonly written: with the text in a field.
type plainSource struct{ text string }

func (s plainSource) Load(context.Context) (diffhook.Secrets, error) {
	secret, err := diffhook.NewSecret(s.text)
	return diffhook.Secrets{Current: secret}, err
}

// TestOpacity crosses all holders of a secret with all ways to print. fmt calls no
// methods on unexported fields, and spew and go-cmp read such fields and follow
// pointers.
func TestOpacity(t *testing.T) {
	both := func(c diffhook.Secret) diffhook.Secrets {
		return diffhook.Secrets{Current: c, Previous: mustSecret(t, opaqueText2), PreviousExpires: time.Now().Add(time.Hour)}
	}
	used := func(src diffhook.SecretSource, c diffhook.Secret) *diffhook.Verifier {
		v := newVerifier(t, src, nil)
		body := []byte(`{"event":"page.changed"}`)
		require.NoError(t, v.Verify(t.Context(), body, c.Sign(body)))
		return v
	}
	shapes := append(shapesOf[diffhook.Secret](), []shape[diffhook.Secret]{
		{"embedded", func(c diffhook.Secret) any { return embeddedSecret{c} }},
		{"embedded pointer", func(c diffhook.Secret) any { return embeddedSecretPointer{&c} }},
		{"type without methods", func(c diffhook.Secret) any { return namedSecret(c) }},
		{"method values", func(c diffhook.Secret) any { return []any{unexportedField[func() string]{c.Reveal}, c.Sign} }},
		{"Secrets", func(c diffhook.Secret) any { return both(c) }},
		{"*Secrets", func(c diffhook.Secret) any { s := both(c); return &s }},
		{"Secrets in an unexported field", func(c diffhook.Secret) any { return unexportedField[diffhook.Secrets]{both(c)} }},
		{"configuration", func(c diffhook.Secret) any {
			return serverConfig{"localhost:0", both(c), &diffhook.VerifierOptions{MaxAge: time.Hour}, both(c)}
		}},
		{"verifier of Secrets", func(c diffhook.Secret) any { return used(both(c), c) }},
		{"verifier in fields", func(c diffhook.Secret) any {
			v := used(both(c), c)
			return []any{exportedField[*diffhook.Verifier]{v}, unexportedField[*diffhook.Verifier]{v}, &v}
		}},
		{"verifier of a function", func(c diffhook.Secret) any {
			return used(diffhook.SecretSourceFunc(both(c).Load), c)
		}},
		{"verifier of a source with the text in a field", func(c diffhook.Secret) any {
			return used(plainSource{c.Reveal()}, c)
		}},
		{"verifier of a pointer to a source with the text in a field", func(c diffhook.Secret) any {
			return used(&plainSource{c.Reveal()}, c)
		}},
		{"verifier after a rotation", func(c diffhook.Secret) any {
			v := used(plainSource{c.Reveal()}, c)
			require.NoError(t, v.Rotate(mustSecret(t, opaqueText2), time.Hour))
			return v
		}},
		{"verifier after a failed refresh, and the error", func(c diffhook.Secret) any {
			source := &settableSource{answer: both(c)}
			v := used(source, c)
			source.set(diffhook.Secrets{}, errors.New("cannot use "+c.Reveal()))
			return []any{v.Refresh(t.Context()), unexportedField[*diffhook.Verifier]{v}, v.Status()}
		}},
		{"status", func(c diffhook.Secret) any { return used(both(c), c).Status() }},
		{"middleware", func(c diffhook.Secret) any { return used(both(c), c).Handler(http.NotFoundHandler()) }},
	}...)

	detector := newLeakDetector(opaqueText, opaqueText2)
	require.NotEmpty(t, detector.find(fmt.Sprint(plainSource{opaqueText})), "a plain source shows the text")
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			assertOpaque(t, detector, shape.hold(mustSecret(t, opaqueText)), shape.hold(mustSecret(t, otherText)))
		})
	}
}

func TestSecretEqual(t *testing.T) {
	a, again, b := mustSecret(t, currentText), mustSecret(t, currentText), mustSecret(t, previousText)
	longer := mustSecret(t, currentText+"0")
	var zero diffhook.Secret

	assert.True(t, a.Equal(a))
	assert.True(t, a.Equal(again))
	assert.True(t, zero.Equal(diffhook.Secret{}))
	for _, different := range []diffhook.Secret{b, longer, zero} {
		assert.False(t, a.Equal(different))
		assert.False(t, different.Equal(a))
	}
	assert.False(t, reflect.TypeOf(a).Comparable(), "== would compare something other than the texts")
}

func TestZeroSecret(t *testing.T) {
	var zero diffhook.Secret
	assert.True(t, zero.IsZero())
	assert.Empty(t, zero.Sign([]byte("body")))
	assert.Empty(t, zero.Reveal())
	assert.Empty(t, zero.Fingerprint())
	assert.Equal(t, "(none)", zero.String())
}

func TestFingerprint(t *testing.T) {
	seen := make(map[string]string)
	for _, text := range []string{currentText, previousText, currentText + "0", opaqueText, strings.Repeat("\xaa", 131)} {
		fingerprint := mustSecret(t, text).Fingerprint()
		assert.Regexp(t, `^[0-9a-f]{16}$`, fingerprint)
		assert.Equal(t, fingerprint, mustSecret(t, text).Fingerprint(), "the same in every process")
		assert.NotContains(t, seen, fingerprint)
		assert.NotContains(t, hex.EncodeToString([]byte(text)), fingerprint)
		seen[fingerprint] = text
	}

	// Fingerprints are kept in logs, so they must not change between versions. This one
	// is the beginning of the output of:
	//
	//	printf 'diffhook-go signing secret fingerprint v1' |
	//		openssl dgst -sha256 -hmac test-signing-secret-current-0001
	assert.Equal(t, "e59e0ec3f3c4efaa", mustSecret(t, currentText).Fingerprint())
}

// TestFingerprintIsNoSignature: logs show fingerprints, so a fingerprint must not be
// the beginning of a signature of a possible delivery.
func TestFingerprintIsNoSignature(t *testing.T) {
	secret := mustSecret(t, currentText)
	bodies := [][]byte{nil, []byte("{}"), []byte("null"), []byte("fingerprint"), []byte(currentText), []byte(secret.Fingerprint())}
	for _, v := range loadVectors(t) {
		bodies = append(bodies, v.body)
	}
	for _, body := range bodies {
		assert.NotContains(t, secret.Sign(body), secret.Fingerprint())
	}
}

// TestSecretConcurrentUse: an HMAC state used by two deliveries at once would reject
// both, or accept the wrong delivery.
func TestSecretConcurrentUse(t *testing.T) {
	current, previous := mustSecret(t, currentText), mustSecret(t, previousText)
	v := newVerifier(t, diffhook.Secrets{Current: current, Previous: previous}, nil)
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			for i := range 200 {
				body := []byte(strings.Repeat(strconv.Itoa(worker), i) + "body")
				assert.Equal(t, referenceSignature(currentText, body), current.Sign(body))
				assert.NoError(t, v.Verify(t.Context(), body, referenceSignature(currentText, body)))
				assert.NoError(t, v.Verify(t.Context(), body, referenceSignature(previousText, body)))
				assert.ErrorIs(t, v.Verify(t.Context(), body, referenceSignature(otherText, body)), diffhook.ErrSignatureMismatch)
			}
		})
	}
	wg.Wait()
	status := v.Status()
	assert.EqualValues(t, 16*200, status.Current.Uses)
	assert.EqualValues(t, 16*200, status.Previous.Uses)
}

// inUTF16 is a text in the encoding of PowerShell and Notepad.
func inUTF16(text string, bigEndian bool) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(text)) {
		if bigEndian {
			unit = unit<<8 | unit>>8
		}
		b.WriteByte(byte(unit))
		b.WriteByte(byte(unit >> 8))
	}
	return b.String()
}

// base64Text is a text in base64, with each kind of character.
var base64Text = base64.StdEncoding.EncodeToString([]byte("base64\xfb\xff of a text of 32 bytes"))

// notSecrets are texts in place of a secret, by kind. Each kind is a word of the error.
var notSecrets = map[string][]string{
	"reference": {
		"${DIFFHOOK_SIGNING_SECRET}", "$(DIFFHOOK_SIGNING_SECRET)", "$DIFFHOOK_SIGNING_SECRET", "$$DIFFHOOK_SIGNING_SECRET",
		"%DIFFHOOK_SIGNING_SECRET%", "{{DIFFHOOK_SIGNING_SECRET}}", "{{ .Values.diffhook.signingSecret }}", "<DIFFHOOK_SIGNING_SECRET>",
		"${DIFFHOOK_SIGNING_SECRET:-changeme}", "${DIFFHOOK_SIGNING_SECRET:?not set}", "${signingSecret}", "${env:DIFFHOOK_SECRET}", "${ssm:/prod/diffhook}",
		"${{ secrets.DIFFHOOK_SIGNING_SECRET }}", "${var.signing_secret}", "${A}", "$(cat /run/secrets/diffhook)", "$((HOOK_SECRET))",
		"$env:DIFFHOOK_SIGNING_SECRET", "$signing_secret", "${DIFFHOOK_SIGNING_SECRET", "#{DIFFHOOK_SIGNING_SECRET}#", "@{SIGNING_SECRET_HERE}",
		"%(signing_secret)s", "<%= ENV['DIFFHOOK_SIGNING_SECRET'] %>", "[[ signing_secret ]]", "{{resolve:secretsmanager:diffhook}}",
		"!Ref DiffhookSigningSecret", "!Sub ${DiffhookSecret}", "!vault |", "__SIGNING_SECRET__", "@@SIGNING_SECRET@@", "{signing_secret}",
		"<your-signing-secret>", "<YOUR SIGNING SECRET>", "<Your signing secret here>", "<paste your secret here, from the app>", "[your-signing-secret]",
		"(sensitive value)", "[REDACTED]", "<redacted>", "{DIFFHOOK_SIGNING_SECRET}",
		"$(</run/secrets/diffhook)", "$(< /run/secrets/diffhook)", "whsec_${DIFFHOOK_SIGNING_SECRET}", "whsec_${HOOK_SECRET}", "${HOOK_SECRET}${SUFFIX}", "prefix-{{HOOK_SECRET}}",
		`${DIFFHOOK_SIGNING_SECRET}\n`, `\${DIFFHOOK_SIGNING_SECRET}`, "!DIFFHOOK_SIGNING_SECRET!", "~DIFFHOOK_SIGNING_SECRET~", "$DIFFHOOK_SIGNING_SECRET}", "<DIFFHOOK_SIGNING_SECRET",
		"process.env.DIFFHOOK_SIGNING_SECRET", `os.environ["DIFFHOOK_SIGNING_SECRET"]`, "ENV['DIFFHOOK_SIGNING_SECRET']", `os.Getenv("DIFFHOOK_SIGNING_SECRET")`, "`echo $DIFFHOOK_SIGNING_SECRET`",
	},
	"address": {
		"arn:aws:secretsmanager:eu-west-1:123456789012:secret:diffhook-AbCdEf", "op://vault/diffhook/signing-secret", "@Microsoft.KeyVault(SecretUri=https://kv.vault.azure.net/secrets/d/)",
		"@Microsoft.KeyVault(VaultName=kv;SecretName=diffhook)", "vault:secret/data/diffhook#signing_secret", "vault://secret/diffhook", "awssm://diffhook", "gcpsm://diffhook",
		"gcpsecretmanager://projects/p/secrets/s", "projects/my-project/secrets/diffhook/versions/latest", "secret://diffhook", "env:DIFFHOOK_SIGNING_SECRET",
		"file:///run/secrets/diffhook", "file:/run/secrets/diffhook", "ref+vault://secret/diffhook#/signing_secret", "doppler://project/config/NAME",
		"https://www.diffhook.com/app/settings", "azurekeyvault://kv/diffhook", "keyvault:diffhook-signing", "sm://diffhook-signing-secret", "secret/data/diffhook",
		"ssm:/prod/diffhook/signing-secret",
	},
	"path":      {"/run/secrets/diffhook_signing_secret", "/etc/diffhook/secret", "/var/run/secrets/diffhook"},
	"encrypted": {"ENC[AES256_GCM,data:AbCd,iv:xyz,tag:xyz,type:str]", "ENC(AbCdEfGhIjKl)", "{cipher}0123456789abcdef", "$ANSIBLE_VAULT;1.1;AES256", "-----BEGIN PGP MESSAGE-----"},
	"name of a variable": {
		"DIFFHOOK_SIGNING_SECRET", "diffhook_signing_secret", "diffhook-signing-secret", "Diffhook.Signing.Secret", "diffhookSigningSecret",
		"DIFFHOOK_SIGNING_SECRET_PREVIOUS", "DIFFHOOK_CLIENT_SECRET", "MY_APP_HOOK_SECRET", "DIFFHOOK SIGNING SECRET",
	},
	"NAME=value": {
		"DIFFHOOK_SIGNING_SECRET=" + currentText, "DIFFHOOK_SIGNING_SECRET = " + currentText, `DIFFHOOK_SIGNING_SECRET="` + currentText + `"`,
		"export DIFFHOOK_SIGNING_SECRET=" + currentText, "export HOOK=" + currentText, "set HOOK=" + currentText, "$env:HOOK='" + currentText + "'",
		"signing_secret=" + currentText, "signing-secret: " + currentText, "signingSecret: " + currentText, "secret=" + currentText, "KEY=" + currentText,
		"DIFFHOOK_SIGNING_SECRET: " + currentText, `"signing_secret": "` + currentText + `"`, "--signing-secret=" + currentText, "APP_HMAC_VALUE=" + currentText,
		"Signing secret: " + currentText, "signing secret " + currentText, // with the label of the app
		"DIFFHOOK_SIGNING_SECRET=", `DIFFHOOK_SIGNING_SECRET=""`, "DIFFHOOK_SIGNING_SECRET=bXktc2lnbmluZy1zZWNyZXQ=",
	},
	"JSON": {
		`{"signing_secret":"` + currentText + `"}`, `{ "secret" : "` + currentText + `" }`, `{"secret":"` + currentText, `{'secret': '` + currentText + `'}`,
		`{secret: ` + currentText + `}`, `["` + currentText + `"]`,
	},
	"quotes": {
		`"` + currentText + `"`, `'` + currentText + `'`, "`" + currentText + "`", `"'` + currentText + `'"`, "“" + currentText + "”", "«" + currentText + "»", `\"` + currentText + `\"`,
		`"` + base64Text + `"`, `"whsec_` + base64Text + `"`,
	},
	"UTF-16": {
		"\xff\xfe" + inUTF16(currentText+"\r\n", false), "\xfe\xff" + inUTF16(currentText+"\n", true), inUTF16(currentText, false), inUTF16(currentText, true),
	},
	"byte order mark":   {byteOrderMark + currentText},
	"several lines":     {currentText + "\n" + previousText, currentText + "\r\n" + previousText, currentText + "\u0085" + previousText},
	"control character": {currentText + "\x07" + previousText, "column\t" + currentText, "before\u200b" + currentText},
	"signature": {
		"sha256=" + strings.Repeat("0123456789abcdef", 4), "SHA256=" + strings.Repeat("0123456789ABCDEF", 4), "X-DiffHook-Signature: sha256=" + strings.Repeat("0123456789abcdef", 4),
		"sha1=" + strings.Repeat("01234567", 5), "v1," + strings.Repeat("0123456789abcdef", 2), "v1," + base64Text, "v1a," + base64Text,
		"v1,whsec_" + base64Text, "t=1492774577,v1=" + strings.Repeat("0123456789abcdef", 4),
	},
	"error message": { // of curl, a shell or cat, in place of the secret that they should have fetched
		"404 page not found", "401 Unauthorized", "Internal Server Error", "503 Service Unavailable", "HTTP/1.1 403 Forbidden",
		"<html><head><title>404 Not Found</title></head></html>", "<!DOCTYPE html><title>Log in</title>", `<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>`,
		"cat: /run/secrets/diffhook: No such file or directory", "bash: vault: command not found", "cat: /run/secrets/diffhook: Permission denied",
	},
	"placeholder": {
		"your-signing-secret", "YOUR_PHRASE_GOES_HERE", "your_signing_key_here", "your signing secret here", "YourSigningSecretHere", "replace-me-with-a-secret", "REPLACE_ME_REPLACE_ME", "changeme-changeme", "changemechangeme",
		"CHANGE_ME_IN_PRODUCTION", "insert-secret-here", "webhook-signing-secret", "my-signing-secret", "placeholder-secret",
	},
	"masked": {strings.Repeat("x", 20), strings.Repeat("*", 20), strings.Repeat("•", 20), "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "whsec_xxxxxxxxxxxxxxxx", "XXXX-XXXX-XXXX-XXXX", "dh_secret_" + strings.Repeat("x", 20), "whsec_**** ****", "abcd••••••••wxyz", "5f2b9c0d8e7a41b6…", strings.Repeat("0", 32)},
}

// TestNotSecrets: anybody can guess these texts, or they sign nothing. The error names
// the kind and repeats no secret.
func TestNotSecrets(t *testing.T) {
	for kind, texts := range notSecrets {
		t.Run(kind, func(t *testing.T) {
			for _, text := range texts {
				for _, text := range []string{text, `"` + text + `"`} {
					secret, err := diffhook.NewSecret(text)
					require.ErrorIs(t, err, diffhook.ErrInvalidSecret, "%q", text)
					assert.True(t, secret.IsZero())
					assert.NotContains(t, err.Error(), currentText)
					assert.NotContains(t, err.Error(), previousText)
					if text[0] != '"' {
						assert.ErrorContains(t, err, kind, "%q", text)
					}
				}
			}
		})
	}
}

// TestNotSecretsFromSources: each source rejects the texts and names the place.
func TestNotSecretsFromSources(t *testing.T) {
	for kind, texts := range notSecrets {
		t.Run(kind, func(t *testing.T) {
			for _, text := range texts {
				if !strings.Contains(text, "\x00") { // impossible in a variable
					t.Setenv(envSecret, text)
					_, err := diffhook.EnvSecrets().Load(t.Context())
					require.ErrorIs(t, err, diffhook.ErrInvalidSecret, "%q", text)
					assert.ErrorContains(t, err, envSecret)
				}

				path := filepath.Join(t.TempDir(), "a-file")
				require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
				_, err := diffhook.FileSecrets(path).Load(t.Context())
				require.ErrorIs(t, err, diffhook.ErrInvalidSecret, "%q", text)
				assert.ErrorContains(t, err, path)
			}
		})
	}
}

// TestNotClientSecrets: client secrets come from the environment too.
func TestNotClientSecrets(t *testing.T) {
	for kind, texts := range notSecrets {
		t.Run(kind, func(t *testing.T) {
			for _, text := range texts {
				_, err := diffhook.NewClient(diffhook.ClientCredentials(apiKeyText, text), nil)
				require.ErrorIs(t, err, diffhook.ErrInvalidCredentials, "%q", text)
				assert.NotContains(t, err.Error(), currentText)
				assert.ErrorContains(t, err, kind, "%q", text)
			}
		})
	}
	_, err := diffhook.NewClient(diffhook.ClientCredentials(apiKeyText, apiKeyText), nil)
	require.ErrorIs(t, err, diffhook.ErrInvalidCredentials)
	for _, text := range []string{"opaque", currentText, "s3cr3t/with+punctuation=="} {
		_, err := diffhook.NewClient(diffhook.ClientCredentials(apiKeyText, text), nil)
		require.NoError(t, err, text)
	}
}

// TestSecretsThatLookOdd: texts similar to notSecrets that can be secrets.
func TestSecretsThatLookOdd(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("0123456789abcdef", 4), "5f2b9c0d8e7a41b6a3c4d5e6f7081920", "9b2f6a64-3c1e-4c57-9d37-1f0f6a3f7c11",
		"whsec_" + base64Text, base64Text, strings.NewReplacer("+", "-", "/", "_").Replace(base64Text),
		"MZXW6YTBOJRGC6RRGIZTINJWG44A====", "key=is not a name here"[:4] + "=" + strings.Repeat("=", 12), "dhsec_5f2b9c0d8e7a41b6a3c4d5e6f7081920",
		"Tr0ub4dor&3-and-more", "correct horse battery staple", "correct-horse-battery-staple", "change-of-horse-battery", "a{b}c$d%e<f>g:h/i,j=k",
		"$2a$10$N9qo8uLOickgx2ZMRZoMye", "$x9#Kd72jQ!mPz0<Lw", "<9xK#2d7Qj!mPz0Lw>", "%9xK#2d7Qj!mPz0Lw%", "{9xK#2d7Qj!mPz0Lw}", `"9xK#2d7Qj!mPz0Lw"`,
		"/9xK2d7QjmPz0Lw/8a7s6d5f", "9xK2d7Qj=mPz0Lw8a7s6", "x=9K2d7QjmPz0Lw8a7s6", "q7:K2d7QjmPz0Lw8a7s6", "v2,K2d7QjmPz0Lw8a7s6", "sha256-K2d7QjmPz0Lw8a7s6",
		"whsec_xxxxK2d7QjmPz0Lw8a7s6", "xxxxxxxx-5f2b-9c0d-8e7a-41b6a3c4d5e6", "9xK2${d7QjmPz0}Lw8a7s6", "9xK2d7Qj{{mPz0Lw}}8a7s6", "$(9xK2d7QjmPz0Lw8a7s6)",
		"404-page-not-found-9xK2", "<h9xK2d7Qj!mPz0Lw8a", "503 horses battery staple",
		"test_5f2b9c0d8e7a41b6", "signing-secret-5f2b9c0d8e7a41b6", "größer-als-sechzehn",
	} {
		_, err := diffhook.NewSecret(text)
		assert.NoError(t, err, "%q", text)
	}
}

// TestRandomSecretsAreAccepted: every secret that DiffHook could issue is accepted,
// whatever the alphabet.
func TestRandomSecretsAreAccepted(t *testing.T) {
	const lower, upper, digits = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
	var printable strings.Builder
	for c := byte('!'); c <= '~'; c++ {
		printable.WriteByte(c)
	}
	random := rand.New(rand.NewChaCha8([32]byte{8}))
	from := func(alphabet string) func(int) string {
		return func(n int) string {
			var b strings.Builder
			for range n {
				b.WriteByte(alphabet[random.IntN(len(alphabet))])
			}
			return b.String()
		}
	}
	raw := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	alphabets := map[string]func(int) string{
		"printable":                   from(printable.String()),
		"letters and digits":          from(lower + upper + digits),
		"small letters, digits":       from(lower + digits),
		"capitals and digits":         from(upper + digits),
		"letters":                     from(lower + upper),
		"digits":                      from(digits),
		"with < > $ { } % = , / :":    from(lower + upper + digits + "<>${}%=,/:"),
		"with - _ . ~":                from(lower + upper + digits + "-_.~"),
		"with the keys of a keyboard": from(lower + upper + digits + "!@#$%^&*()_+-=[]{}|;:,.<>?"),
		"hex":                         func(n int) string { return hex.EncodeToString(raw(n)) },
		"base64":                      func(n int) string { return base64.StdEncoding.EncodeToString(raw(n)) },
		"base64 without padding":      func(n int) string { return base64.RawStdEncoding.EncodeToString(raw(n)) },
		"base64 for URLs":             func(n int) string { return base64.URLEncoding.EncodeToString(raw(n)) },
		"the same without padding":    func(n int) string { return base64.RawURLEncoding.EncodeToString(raw(n)) },
		"base32":                      func(n int) string { return base32.StdEncoding.EncodeToString(raw(n)) },
		"whsec_":                      func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(raw(n)) },
		"UUID": func(int) string {
			b := raw(16)
			return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
		},
	}
	texts := sampled(22_000, 220_000)
	for name, text := range alphabets {
		t.Run(name, func(t *testing.T) {
			for range texts / len(alphabets) {
				text := text(16 + random.IntN(49))
				if _, err := diffhook.NewSecret(text); err != nil {
					require.NoError(t, err, "%q", text)
				}
			}
		})
	}
}
