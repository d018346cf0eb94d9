package diffhook_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// The names of the headers as documented, and in the canonical form of net/http.
const (
	gen1Header    = "X-DiffHook-Signature"
	gen1Canonical = "X-Diffhook-Signature"
	gen2Header    = "X-Signature"
)

// receiveErrors are the sentinels for a rejected delivery, with their statuses.
var receiveErrors = map[error]int{
	diffhook.ErrNoSignature:        http.StatusUnauthorized,
	diffhook.ErrMalformedSignature: http.StatusUnauthorized,
	diffhook.ErrSignatureMismatch:  http.StatusUnauthorized,
	diffhook.ErrStale:              http.StatusUnauthorized,
	diffhook.ErrBodyTooLarge:       http.StatusRequestEntityTooLarge,
	diffhook.ErrBodyTimeout:        http.StatusRequestTimeout,
	diffhook.ErrBodyRead:           http.StatusBadRequest,
	diffhook.ErrBodyConsumed:       http.StatusInternalServerError,
	diffhook.ErrSecretsUnavailable: http.StatusServiceUnavailable,
	diffhook.ErrInvalidEvent:       http.StatusBadRequest,
}

var hexRun = regexp.MustCompile("[0-9a-fA-F]{16}")

// requireRejected requires that err is want and no other sentinel, without a signature
// in the text.
func requireRejected(t *testing.T, err, want error) {
	t.Helper()
	require.ErrorIs(t, err, want)
	for other := range receiveErrors {
		if other != want {
			require.NotErrorIs(t, err, other)
		}
	}
	require.NotRegexp(t, hexRun, err.Error())
	require.Equal(t, receiveErrors[want], diffhook.HTTPStatus(err))
}

func TestVectors(t *testing.T) {
	vectors := loadVectors(t)
	require.Len(t, vectors, 25, "cases of testdata/vectors/inputs.json")
	for _, c := range vectors {
		t.Run(c.name, func(t *testing.T) {
			secret := mustSecret(t, c.secret)
			v := newVerifier(t, diffhook.Secrets{Current: secret}, nil)
			for _, tool := range vectorTools {
				assert.Equal(t, c.signatures[tool], secret.Sign(c.body), tool)
				assert.NoError(t, v.Verify(t.Context(), c.body, c.signatures[tool]), tool)
			}
			signature := c.signatures["openssl"]

			for _, at := range []int{0, len(c.body) / 2, len(c.body) - 1} {
				changed := append(bytes.Clone(c.body), 0)
				if at >= 0 && at < len(c.body) {
					changed = changed[:len(c.body)]
					changed[at] ^= 1
				}
				requireRejected(t, v.Verify(t.Context(), changed, signature), diffhook.ErrSignatureMismatch)
			}
			for _, at := range []int{len("sha256="), len("sha256=") + 32, len(signature) - 1} {
				requireRejected(t, v.Verify(t.Context(), c.body, flipDigit(signature, at)), diffhook.ErrSignatureMismatch)
			}
			other := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, c.secret+"1")}, nil)
			requireRejected(t, other.Verify(t.Context(), c.body, signature), diffhook.ErrSignatureMismatch)
		})
	}
}

// flipDigit changes the lowest bit of a hex digit.
func flipDigit(signature string, at int) string {
	const digits = "0123456789abcdef"
	flipped := digits[strings.IndexByte(digits, signature[at])^1]
	return signature[:at] + string(flipped) + signature[at+1:]
}

// TestHeaderNames: the names in a header need not be canonical, except from net/http.
func TestHeaderNames(t *testing.T) {
	body := []byte(signedBody)
	right, wrong := referenceSignature(currentText, body), referenceSignature(otherText, body)
	v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
	for name, header := range map[string]http.Header{
		"canonical":                        {gen1Canonical: {right}},
		"as documented":                    {gen1Header: {right}},
		"lower case":                       {"x-diffhook-signature": {right}},
		"upper case":                       {"X-DIFFHOOK-SIGNATURE": {right}},
		"mixed case":                       {"x-DIFFhook-sIgNaTuRe": {right}},
		"generation 2":                     {gen2Header: {right}},
		"generation 2, lower case":         {"x-signature": {right}},
		"generation 2, upper case":         {"X-SIGNATURE": {right}},
		"generation 1 before 2":            {gen1Canonical: {right}, gen2Header: {wrong}},
		"generation 1 before 2, lower":     {"x-diffhook-signature": {right}, "x-signature": {wrong}},
		"generation 1 before 2, many of 2": {gen1Canonical: {right}, gen2Header: {wrong, wrong}},
		"generation 1 without values":      {gen1Canonical: {}, gen2Header: {right}},
		"spelling without values":          {"x-diffhook-signature": nil, gen1Canonical: {right}},
		"spaces and tabs around":           {gen1Canonical: {" \t" + right + "\t "}},
		"generation 2, space after":        {gen2Header: {right + " "}},
		"generation 1 empty":               {gen1Canonical: {""}, gen2Header: {right}},
		"generation 1 blank, lower case":   {"x-diffhook-signature": {" \t"}, "x-signature": {right}},
		"generation 1 blank, twice":        {gen1Canonical: {"", " "}, gen1Header: {""}, gen2Header: {right}},
		"generation 2 blank":               {gen1Canonical: {right}, gen2Header: {" "}},
		"blank and right value":            {gen1Canonical: {"", right}},
		"right and blank value":            {gen1Canonical: {right, "\t"}},
		"two spellings, one blank":         {"x-diffhook-signature": {right}, gen1Canonical: {" "}},
		"among others":                     {"Content-Type": {"application/json"}, "X-Hub-Signature": {wrong}, gen1Canonical: {right}},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, v.VerifyHeader(t.Context(), body, header))
			r := httptest.NewRequest(http.MethodPost, "/hooks", bytes.NewReader(body))
			r.Header = header
			delivery, err := v.VerifyRequest(r)
			require.NoError(t, err)
			require.Equal(t, body, delivery.Body)
		})
	}
	assert.Equal(t, gen1Header, diffhook.SignatureHeader)
	assert.Equal(t, gen2Header, diffhook.SignatureHeaderGen2)
}

// TestVerdictOfBothProtocols sends the same request over HTTP/1.1 and over HTTP/2.
// net/http trims the space around a value only in HTTP/1.1.
func TestVerdictOfBothProtocols(t *testing.T) {
	const body = "{}"
	right := referenceSignature(currentText, []byte(body))
	v := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, currentText)}, nil)
	one, two := serve(t, v.Handler(alive), nil), serve(t, v.Handler(alive), withHTTP2)
	for _, tc := range []struct {
		name   string
		lines  []string
		status int
	}{
		{"as it is", []string{gen1Header + ": " + right}, http.StatusOK},
		{"space around", []string{gen1Header + ":  \t" + right + " \t"}, http.StatusOK},
		{"generation 2, space around", []string{gen2Header + ":  " + right + " "}, http.StatusOK},
		{"blank, then generation 2", []string{gen1Header + ":   ", gen2Header + ": " + right}, http.StatusOK},
		{"blank among values", []string{gen1Header + ":  ", gen1Header + ": " + right}, http.StatusOK},
		{"blank", []string{gen1Header + ":  \t "}, http.StatusUnauthorized},
		{"empty", []string{gen1Header + ":"}, http.StatusUnauthorized},
		{"space inside", []string{gen1Header + ": sha256= " + strings.TrimPrefix(right, "sha256=")}, http.StatusUnauthorized},
		{"twice", []string{gen1Header + ": " + right, gen1Header + ": " + right}, http.StatusUnauthorized},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dial(t, one)
			c.send(post(append(tc.lines, contentLength(len(body)))...) + body)
			c.requireStatus(tc.status)

			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, two.URL, strings.NewReader(body))
			require.NoError(t, err)
			for _, line := range tc.lines {
				name, value, _ := strings.Cut(line, ":")
				r.Header.Add(name, value)
			}
			resp, err := two.Client().Do(r)
			require.NoError(t, err)
			resp.Body.Close()
			require.Equal(t, "HTTP/2.0", resp.Proto)
			require.Equal(t, tc.status, resp.StatusCode)
		})
	}
}

// TestZeroVerifierVerdicts: a zero verifier must never accept, and must not blame the
// sender.
func TestZeroVerifierVerdicts(t *testing.T) {
	var v diffhook.Verifier
	body := []byte(signedBody)
	for _, signature := range []string{"", "sha256=", referenceSignature(currentText, body), referenceSignature("", body)} {
		header := http.Header{gen1Canonical: {signature}}
		requireRejected(t, v.Verify(t.Context(), body, signature), diffhook.ErrSecretsUnavailable)
		requireRejected(t, v.VerifyHeader(t.Context(), body, header), diffhook.ErrSecretsUnavailable)
		r := httptest.NewRequest(http.MethodPost, "/hooks", bytes.NewReader(body))
		r.Header = header
		_, err := v.VerifyRequest(r)
		requireRejected(t, err, diffhook.ErrSecretsUnavailable)
	}
}

func TestHTTPStatus(t *testing.T) {
	require.Len(t, receiveErrors, 10)
	for err, status := range receiveErrors {
		assert.Equal(t, status, diffhook.HTTPStatus(err), err)
		assert.Equal(t, status, diffhook.HTTPStatus(fmt.Errorf("handle: %w", fmt.Errorf("verify: %w", err))), err)
		assert.Equal(t, status, diffhook.HTTPStatus(errors.Join(io.ErrUnexpectedEOF, err)), err)
	}
	assert.Equal(t, http.StatusOK, diffhook.HTTPStatus(nil))
	for _, err := range []error{io.EOF, context.Canceled, diffhook.ErrInvalidSecret, diffhook.ErrInvalidOptions, errors.New(diffhook.ErrStale.Error())} {
		assert.Equal(t, http.StatusInternalServerError, diffhook.HTTPStatus(err), err)
	}
}

// forgery is a delivery to reject. The body is signedBody.
type forgery struct {
	name      string
	signature string      // value of the header of generation 1,
	header    http.Header // or the complete header
	want      error
	secrets   diffhook.Secrets // secrets of the verifier; zero: currentText
	prepare   func(*diffhook.Verifier)
}

// signedBody is the body of the forgeries. It ends in a newline and is not compact, so
// that trimming or encoding changes it.
const signedBody = `{"event": "page.changed", "monitor_id": "mon_abc123", "label": "Q&A <b>"}` + "\n"

// malformedForgeries spell the signature unlike the documented form, mostly with the
// right digits. With a single spelling for a tag, a proxy, a cache and this library
// agree on every request.
func malformedForgeries(right string) []forgery {
	digits := strings.TrimPrefix(right, "sha256=")
	tag, _ := hex.DecodeString(digits)
	values := map[string]string{
		// Another spelling of the same tag.
		"upper-case digits":             "sha256=" + strings.ToUpper(digits),
		"a single upper-case digit":     "sha256=" + digits[:63] + "A",
		"mixed case":                    "sha256=" + strings.ToUpper(digits[:32]) + digits[32:],
		"0x before the digits":          "sha256=0x" + digits[:62],
		"percent-encoded":               "sha256%3D" + digits,
		"upper-case prefix":             "SHA256=" + digits,
		"capitalised prefix":            "Sha256=" + digits,
		"colon for the equals sign":     "sha256:" + digits,
		"no prefix":                     digits,
		"no prefix, filled to length":   digits + "0000000",
		"double quotes":                 `"` + right + `"`,
		"single quotes":                 "'" + right + "'",
		"base64 tag":                    "sha256=" + base64.StdEncoding.EncodeToString(tag),
		"base64 tag, as long as in hex": "sha256=" + base64.StdEncoding.EncodeToString(make([]byte, 48)),

		// A shorter tag can be guessed, and a longer tag can hide the compared part.
		"63 digits":            right[:len(right)-1],
		"65 digits":            right + "0",
		"128 digits":           right + digits,
		"tag cut to 128 bits":  right[:len("sha256=")+32],
		"a digit":              "sha256=0",
		"prefix alone":         "sha256=",
		"a megabyte of digits": "sha256=" + strings.Repeat("0", 1<<20),

		// The sender chooses the algorithm.
		"sha1":                   "sha1=" + digits[:40],
		"sha1, filled to length": "sha1=" + digits + "00",
		"md5":                    "md5=" + digits[:32],
		"none":                   "none=" + digits,
		"sha384, same length":    "sha384=" + digits,
		"sha512, same length":    "sha512=" + digits,
		"sha512, full length":    "sha512=" + digits + digits,
		"list of algorithms":     right + ";sha1=" + digits[:40],

		// Several signatures in a value, and the forms of other vendors.
		"comma-joined pair":          right + "," + right,
		"comma-joined, right first":  right + ", sha256=" + strings.Repeat("0", 64),
		"comma-joined, right second": "sha256=" + strings.Repeat("0", 64) + ", " + right,
		"time and version":           "t=1742134920,v1=" + digits,
		"version and base64":         "v1," + base64.StdEncoding.EncodeToString(tag),

		// White space within the value, or trimmed by a lenient parser.
		"no-break space before":      "\u00a0" + right,
		"vertical tab after":         right + "\v",
		"space for the first digit":  "sha256= " + digits[1:],
		"space in the middle":        right[:30] + " " + right[31:],
		"newline at the end":         right + "\n", // $ of a regexp matches before the newline
		"newline for the last digit": right[:len(right)-1] + "\n",
		"CRLF at the end":            right + "\r\n",
		"header injection":           right + "\r\nX-Other: 1",

		// Bytes that are no digits, and misplaced characters.
		"NUL for the first byte":         "\x00" + right[1:],
		"NUL for a digit":                right[:20] + "\x00" + right[21:],
		"NUL at the end":                 right + "\x00",
		"digit g":                        right[:20] + "g" + right[21:],
		"minus for a digit":              right[:20] + "-" + right[21:],
		"the neighbours of 0–9 and a–f":  "sha256=" + strings.Repeat("/:`g", 16),
		"byte 0xff for a digit":          right[:20] + "\xff" + right[21:],
		"full-width digits":              "sha256=" + strings.Repeat("０", 64),
		"full-width digits, same length": "sha256=" + strings.Repeat("０", 21) + "0",
		"Arabic digits, same length":     "sha256=" + strings.Repeat("٠", 32),
		"combining mark for two digits":  right[:20] + "\u0301" + right[22:],
	}
	var cases []forgery
	for name, value := range values {
		cases = append(cases, forgery{name: name, signature: value, want: diffhook.ErrMalformedSignature})
	}
	return cases
}

// mismatchForgeries are well formed, and made for another body or with another key.
func mismatchForgeries(t *testing.T, right string) []forgery {
	current := func(body string) string { return referenceSignature(currentText, []byte(body)) }
	by := func(key string) string { return referenceSignature(key, []byte(signedBody)) }
	previous := diffhook.Secrets{Current: mustSecret(t, currentText), Previous: mustSecret(t, previousText)}
	expired, none := previous, previous
	expired.PreviousExpires = time.Now().Add(-time.Second)
	none.NoPrevious = true
	hexLike := diffhook.Secrets{Current: mustSecret(t, strings.Repeat("00112233", 8))}

	return []forgery{
		// Guesses.
		{name: "all-zero tag", signature: "sha256=" + strings.Repeat("0", 64)},
		{name: "all-f tag", signature: "sha256=" + strings.Repeat("f", 64)},
		{name: "first digit wrong", signature: flipDigit(right, len("sha256="))},
		{name: "last digit wrong", signature: flipDigit(right, len(right)-1)},
		{name: "digits reversed", signature: "sha256=" + reversed(strings.TrimPrefix(right, "sha256="))},
		{name: "fingerprint, which logs show", signature: "sha256=" + strings.Repeat(mustSecret(t, currentText).Fingerprint(), 4)},

		// A signature of something else, replayed.
		{name: "of the empty body", signature: current("")},
		{name: "of the body and a newline", signature: current(signedBody + "\n")},
		{name: "of the body with CRLF", signature: current(strings.ReplaceAll(signedBody, "\n", "\r\n"))},
		{name: "of the trimmed body", signature: current(strings.TrimSpace(signedBody))},
		{name: "of the gzipped body", signature: current(gzipped(signedBody))},
		{name: "of the body encoded again", signature: current(encodedAgain(signedBody))},
		{name: "of the body with a byte order mark", signature: current(byteOrderMark + signedBody)},
		{name: "of the body in hex", signature: current(fmt.Sprintf("%x", signedBody))},
		{name: "of the first half of the body", signature: current(signedBody[:len(signedBody)/2])},
		{name: "of a time and the body", signature: current("1742134920." + signedBody)},

		// Another key.
		{name: "unrelated secret", signature: by(otherText)},
		{name: "empty key, as of a zero Secret", signature: by("")},
		{name: "the secret with a newline", signature: by(currentText + "\n")},
		{name: "the secret in capitals", signature: by(strings.ToUpper(currentText))},
		{name: "the secret without the last byte", signature: by(currentText[:len(currentText)-1])},
		{name: "the placeholder as a key", signature: by(hiddenSecret)},
		{name: "an API key as a key", signature: by("dh_live_" + strings.Repeat("x", 20))},
		{name: "the hex-decoded secret", signature: by(strings.Repeat("\x00\x11\x22\x33", 8)), secrets: hexLike},
		{name: "previous secret, not configured", signature: by(previousText)},
		{name: "previous secret, expired", signature: by(previousText), secrets: expired},
		{name: "previous secret, stated to be invalid", signature: by(previousText), secrets: none},
		{name: "previous secret, revoked", signature: by(previousText), secrets: previous,
			prepare: func(v *diffhook.Verifier) { _ = v.Reject(mustSecret(t, previousText).Fingerprint()) }},
		{name: "replaced secret, window 0", signature: right,
			prepare: func(v *diffhook.Verifier) { _ = v.Rotate(mustSecret(t, previousText), 0) }},
	}
}

// headerForgeries differ in their headers. With two headers for a signature, an
// attacker tries to get the first checked and the second read.
func headerForgeries(right string) []forgery {
	wrong := referenceSignature(otherText, []byte(signedBody))
	h := func(pairs ...string) http.Header {
		header := make(http.Header)
		for i := 0; i < len(pairs); i += 2 {
			header[pairs[i]] = append(header[pairs[i]], pairs[i+1])
		}
		return header
	}
	noSignature, malformed, mismatch := diffhook.ErrNoSignature, diffhook.ErrMalformedSignature, diffhook.ErrSignatureMismatch
	return []forgery{
		{name: "no header at all", header: http.Header{}, want: noSignature},
		{name: "other headers only", header: h("X-Hub-Signature-256", right, "Authorization", right), want: noSignature},
		{name: "header without values", header: http.Header{gen1Canonical: {}, gen2Header: nil}, want: noSignature},
		{name: "empty header", header: h(gen1Canonical, ""), want: noSignature},
		{name: "empty header of generation 2", header: h(gen2Header, ""), want: noSignature},
		{name: "both empty", header: h(gen1Canonical, "", gen2Header, ""), want: noSignature},
		{name: "both blank", header: h(gen1Canonical, " ", gen2Header, "\t"), want: noSignature},
		{name: "blank values only", header: h(gen1Canonical, "", gen1Canonical, " \t ", gen1Header, ""), want: noSignature},
		{name: "generation 1 blank, 2 wrong", header: h(gen1Canonical, "", gen2Header, wrong), want: mismatch},
		{name: "generation 1 blank, 2 twice", header: h(gen1Canonical, "", gen2Header, right, gen2Header, right), want: malformed},
		{name: "generation 1 wrong, 2 right", header: h(gen1Canonical, wrong, gen2Header, right), want: mismatch},
		{name: "generation 1 malformed, 2 right", header: h(gen1Canonical, "sha1=00", gen2Header, right), want: malformed},
		{name: "generation 1 a newline, 2 right", header: h(gen1Canonical, "\n", gen2Header, right), want: malformed},
		{name: "generation 1 twice, 2 right", header: h(gen1Canonical, right, gen1Canonical, right, gen2Header, right), want: malformed},
		{name: "the same value twice", header: h(gen1Canonical, right, gen1Canonical, right), want: malformed},
		{name: "wrong and right value", header: h(gen1Canonical, wrong, gen1Canonical, right), want: malformed},
		{name: "right and wrong value", header: h(gen1Canonical, right, gen1Canonical, wrong), want: malformed},
		{name: "blank, right and wrong value", header: h(gen1Canonical, "", gen1Canonical, right, gen1Canonical, wrong), want: malformed},
		{name: "blank and wrong value", header: h(gen1Canonical, "", gen1Canonical, wrong), want: mismatch},
		{name: "generation 2 twice", header: h(gen2Header, right, gen2Header, right), want: malformed},
		{name: "two spellings of the name", header: h(gen1Canonical, right, gen1Header, right), want: malformed},
		{name: "two spellings, one wrong", header: h(strings.ToLower(gen1Header), right, gen1Canonical, wrong), want: malformed},
		{name: "two spellings of generation 2", header: h("x-signature", right, "X-SIGNATURE", right), want: malformed},
		{name: "underscores in the name", header: h(strings.ReplaceAll(gen1Header, "-", "_"), right), want: noSignature},
		{name: "space in the name", header: h(gen1Header+" ", right), want: noSignature},
		{name: "letters that fold to ASCII", header: h(strings.NewReplacer("k", "\u212a", "S", "\u017f").Replace(gen1Header), right), want: noSignature},
		{name: "long s in the short name", header: h("X-\u017fignature", right), want: noSignature},
	}
}

// TestForgeries passes every forgery to every method that verifies.
func TestForgeries(t *testing.T) {
	right := referenceSignature(currentText, []byte(signedBody))
	cases := append(malformedForgeries(right), headerForgeries(right)...)
	for _, c := range mismatchForgeries(t, right) {
		c.want = diffhook.ErrSignatureMismatch
		cases = append(cases, c)
	}
	require.Greater(t, len(cases), 100)

	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.header == nil {
				c.header = http.Header{gen1Canonical: {c.signature}}
			}
			if c.secrets.Current.IsZero() {
				c.secrets.Current = mustSecret(t, currentText)
			}
			var observed []error
			v := newVerifier(t, c.secrets, &diffhook.VerifierOptions{
				Observe: func(_ context.Context, o diffhook.Observation) { observed = append(observed, o.Err) },
			})
			if c.prepare != nil {
				c.prepare(v)
			}
			request := func() *http.Request {
				r := httptest.NewRequest(http.MethodPost, "/hooks", strings.NewReader(signedBody))
				r.Header = c.header
				return r
			}

			requireRejected(t, v.VerifyHeader(t.Context(), []byte(signedBody), c.header), c.want)
			if c.signature != "" {
				requireRejected(t, v.Verify(t.Context(), []byte(signedBody), c.signature), c.want)
			}
			delivery, err := v.VerifyRequest(request())
			requireRejected(t, err, c.want)
			require.Nil(t, delivery)

			observed = nil
			answer := httptest.NewRecorder()
			v.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				assert.Fail(t, "the forgery was passed on")
			})).ServeHTTP(answer, request())
			require.Equal(t, http.StatusUnauthorized, answer.Code)
			require.Equal(t, "Unauthorized\n", answer.Body.String())
			require.Len(t, observed, 1)
			requireRejected(t, observed[0], c.want)
		})
	}
}

func reversed(s string) string {
	var b strings.Builder
	for i := len(s) - 1; i >= 0; i-- {
		b.WriteByte(s[i])
	}
	return b.String()
}

func gzipped(s string) string {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return out.String()
}

func encodedAgain(s string) string {
	var value any
	_ = json.Unmarshal([]byte(s), &value)
	out, _ := json.Marshal(value)
	return string(out)
}
