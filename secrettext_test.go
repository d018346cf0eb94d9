package diffhook_test

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// inUTF16 is a text as PowerShell and Notepad save it.
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

// notSecrets are texts in the place of a secret, by kind. Each kind is a word of
// the error.
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
		"DIFFHOOK_SIGNING_SECRET=", `DIFFHOOK_SIGNING_SECRET=""`, "DIFFHOOK_SIGNING_SECRET=bXktc2lnbmluZy1zZWNyZXQ=",
	},
	"JSON": {
		`{"signing_secret":"` + currentText + `"}`, `{ "secret" : "` + currentText + `" }`, `{"secret":"` + currentText, `{'secret': '` + currentText + `'}`,
		`{secret: ` + currentText + `}`, `["` + currentText + `"]`,
	},
	"quotes": {
		`"` + currentText + `"`, `'` + currentText + `'`, "`" + currentText + "`", `"'` + currentText + `'"`, "“" + currentText + "”", "«" + currentText + "»", `\"` + currentText + `\"`,
		`"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw+/8="`, `"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"`,
	},
	"UTF-16": {
		"\xff\xfe" + inUTF16(currentText+"\r\n", false), "\xfe\xff" + inUTF16(currentText+"\n", true), inUTF16(currentText, false), inUTF16(currentText, true),
	},
	"byte order mark":   {byteOrderMark + currentText},
	"several lines":     {currentText + "\n" + previousText, currentText + "\r\n" + previousText, currentText + "\u0085" + previousText},
	"control character": {currentText + "\x07" + previousText, "column\t" + currentText, "before\u200b" + currentText},
	"signature": {
		"sha256=" + strings.Repeat("0123456789abcdef", 4), "SHA256=" + strings.Repeat("0123456789ABCDEF", 4), "X-DiffHook-Signature: sha256=" + strings.Repeat("0123456789abcdef", 4),
		"sha1=" + strings.Repeat("01234567", 5), "v1," + strings.Repeat("0123456789abcdef", 2), "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=", "v1a,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
		"v1,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "t=1492774577,v1=" + strings.Repeat("0123456789abcdef", 4),
	},
	"placeholder": {
		"your-signing-secret", "YOUR_PHRASE_GOES_HERE", "your_signing_key_here", "your signing secret here", "YourSigningSecretHere", "replace-me-with-a-secret", "REPLACE_ME_REPLACE_ME", "changeme-changeme", "changemechangeme",
		"CHANGE_ME_IN_PRODUCTION", "insert-secret-here", "webhook-signing-secret", "my-signing-secret", "placeholder-secret",
	},
	"masked": {strings.Repeat("x", 20), strings.Repeat("*", 20), strings.Repeat("•", 20), "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "whsec_xxxxxxxxxxxxxxxx", "XXXX-XXXX-XXXX-XXXX", "dh_secret_" + strings.Repeat("x", 20), "whsec_**** ****", "abcd••••••••wxyz", "5f2b9c0d8e7a41b6…", strings.Repeat("0", 32)},
}

// TestNotSecrets: whoever knows the habits of deployments knows these keys, or
// they sign nothing. The error says which habit it is, and repeats no secret.
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

// TestNotSecretsFromSources: each source refuses them, and names the place.
func TestNotSecretsFromSources(t *testing.T) {
	for kind, texts := range notSecrets {
		t.Run(kind, func(t *testing.T) {
			for _, text := range texts {
				if !strings.Contains(text, "\x00") { // no variable can have that
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

// TestNotClientSecrets: the other secret that comes from the environment.
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

// TestSecretsThatLookOdd: texts near the ones above that can be secrets.
func TestSecretsThatLookOdd(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("0123456789abcdef", 4), "5f2b9c0d8e7a41b6a3c4d5e6f7081920", "9b2f6a64-3c1e-4c57-9d37-1f0f6a3f7c11",
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw+/8=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw-_8=",
		"MZXW6YTBOJRGC6RRGIZTINJWG44A====", "key=is not a name here"[:4] + "=" + strings.Repeat("=", 12), "dhsec_5f2b9c0d8e7a41b6a3c4d5e6f7081920",
		"Tr0ub4dor&3-and-more", "correct horse battery staple", "correct-horse-battery-staple", "change-of-horse-battery", "a{b}c$d%e<f>g:h/i,j=k",
		"$2a$10$N9qo8uLOickgx2ZMRZoMye", "$x9#Kd72jQ!mPz0<Lw", "<9xK#2d7Qj!mPz0Lw>", "%9xK#2d7Qj!mPz0Lw%", "{9xK#2d7Qj!mPz0Lw}", `"9xK#2d7Qj!mPz0Lw"`,
		"/9xK2d7QjmPz0Lw/8a7s6d5f", "9xK2d7Qj=mPz0Lw8a7s6", "x=9K2d7QjmPz0Lw8a7s6", "q7:K2d7QjmPz0Lw8a7s6", "v2,K2d7QjmPz0Lw8a7s6", "sha256-K2d7QjmPz0Lw8a7s6",
		"whsec_xxxxK2d7QjmPz0Lw8a7s6", "xxxxxxxx-5f2b-9c0d-8e7a-41b6a3c4d5e6", "9xK2${d7QjmPz0}Lw8a7s6", "9xK2d7Qj{{mPz0Lw}}8a7s6", "$(9xK2d7QjmPz0Lw8a7s6)",
		"test_5f2b9c0d8e7a41b6", "signing-secret-5f2b9c0d8e7a41b6", "größer-als-sechzehn",
	} {
		_, err := diffhook.NewSecret(text)
		assert.NoError(t, err, "%q", text)
	}
}

// TestRandomSecretsAreAccepted: nothing that DiffHook could issue is refused,
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
		"printable":                from(printable.String()),
		"letters and digits":       from(lower + upper + digits),
		"small letters, digits":    from(lower + digits),
		"capitals and digits":      from(upper + digits),
		"letters":                  from(lower + upper),
		"digits":                   from(digits),
		"with < > $ { } % = , / :": from(lower + upper + digits + "<>${}%=,/:"),
		"with - _ . ~":             from(lower + upper + digits + "-_.~"),
		"with what keyboards have": from(lower + upper + digits + "!@#$%^&*()_+-=[]{}|;:,.<>?"),
		"hex":                      func(n int) string { return hex.EncodeToString(raw(n)) },
		"base64":                   func(n int) string { return base64.StdEncoding.EncodeToString(raw(n)) },
		"base64 without padding":   func(n int) string { return base64.RawStdEncoding.EncodeToString(raw(n)) },
		"base64 for URLs":          func(n int) string { return base64.URLEncoding.EncodeToString(raw(n)) },
		"the same without padding": func(n int) string { return base64.RawURLEncoding.EncodeToString(raw(n)) },
		"base32":                   func(n int) string { return base32.StdEncoding.EncodeToString(raw(n)) },
		"whsec_":                   func(n int) string { return "whsec_" + base64.StdEncoding.EncodeToString(raw(n)) },
		"UUID": func(int) string {
			b := raw(16)
			return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
		},
	}
	const texts = 220_000
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
