package diffhook_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

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

		// An unset variable, a truncated paste: HMAC would take any key.
		{"empty", "", false},
		{"one byte", "x", false},
		{"15 bytes", sixteen[:15], false},
		{"15 characters of padding and one byte", strings.Repeat(" ", 15) + "x", false},

		// A file's newline, a sloppy paste: another key, so nothing matches.
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

		// Two lines of a file, a zero-width space of a web page: nothing matches.
		{"inner newline", "two lines,\nas it were", false},
		{"inner carriage return", "two lines,\ras it were", false},
		{"inner line separator", "two lines,\u2028as it were", false},
		{"inner tab", "a column\tand another", false},
		{"inner escape", "\x1b[31mred as it were", false},
		{"inner zero byte", "before\x00after the zero", false},
		{"inner C1 control", "before\u0090behind the C1", false},
		{"inner byte order mark", "before" + byteOrderMark + "after it", false},
		{"inner zero-width space", "before\u200bafter it all", false},
		{"inner no-break space", "before\u00a0after it all", false},

		// The other credential of the platform, in the wrong variable.
		{"API key", apiKey, false},
		{"API key with a newline", apiKey + "\n", false},

		// A secret stored by printing it: a key that everyone knows.
		{"the placeholder", printed, false},
		{"the placeholder with a newline", printed + "\n", false},
		{"the placeholder as JSON", `"` + printed + `"`, false},
		{"a struct printed with it", "{" + printed + "}", false},
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

// assertDoesNotRepeat fails where the error shows 8 bytes in a row of text.
// The prefix of API keys and the words of the placeholder are no secrets.
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

// TestPrintedSecretCannotBeLoaded: a secret that was stored by printing or
// encoding it must fail to load, not become a key that everyone knows.
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

// TestSecretPrintsOnePlaceholder: whatever the verb, flags and size, and for
// the zero value too, so that not even the length shows.
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
	namedSecret           diffhook.Secret // without the methods
	serverConfig          struct {
		Address string
		Source  diffhook.SecretSource
		options *diffhook.VerifierOptions
		secrets diffhook.Secrets
	}
)

// plainSource is a source as people write them: with the text in a field.
type plainSource struct{ text string }

func (s plainSource) Load(context.Context) (diffhook.Secrets, error) {
	secret, err := diffhook.NewSecret(s.text)
	return diffhook.Secrets{Current: secret}, err
}

// TestOpacity crosses all that can hold a secret with all ways to show it.
// fmt calls no methods on unexported fields, spew and go-cmp look into those
// and follow pointers.
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
		{"verifier after a refresh that failed, and its error", func(c diffhook.Secret) any {
			source := &settableSource{answer: both(c)}
			v := used(source, c)
			source.set(diffhook.Secrets{}, errors.New("cannot use "+c.Reveal()))
			return []any{v.Refresh(t.Context()), unexportedField[*diffhook.Verifier]{v}, v.Status()}
		}},
		{"status", func(c diffhook.Secret) any { return used(both(c), c).Status() }},
		{"middleware", func(c diffhook.Secret) any { return used(both(c), c).Handler(http.NotFoundHandler()) }},
	}...)

	detector := newLeakDetector(opaqueText, opaqueText2)
	require.NotEmpty(t, detector.find(fmt.Sprint(plainSource{opaqueText})), "the source itself shows it")
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

	// Kept in logs, so it must not change between versions. It is the
	// beginning of what this prints:
	//	printf 'diffhook-go signing secret fingerprint v1' |
	//		openssl dgst -sha256 -hmac test-signing-secret-current-0001
	assert.Equal(t, "e59e0ec3f3c4efaa", mustSecret(t, currentText).Fingerprint())
}

// TestFingerprintIsNoSignature: logs show fingerprints, so one must not be
// the beginning of a signature of something that could be delivered.
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

// TestSecretConcurrentUse: one HMAC state used by two deliveries at once
// would refuse both, or accept the wrong one.
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
