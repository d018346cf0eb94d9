package diffhook_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// The names of the headers as the documentation spells them, and as net/http
// keys them.
const (
	gen1Header    = "X-DiffHook-Signature"
	gen1Canonical = "X-Diffhook-Signature"
	gen2Header    = "X-Signature"
)

// receiveErrors are the sentinels that a delivery can be refused with.
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

// requireRefused requires that err is want and no other sentinel, and that
// its text shows no signature.
func requireRefused(t *testing.T, err, want error) {
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
				requireRefused(t, v.Verify(t.Context(), changed, signature), diffhook.ErrSignatureMismatch)
			}
			for _, at := range []int{len("sha256="), len("sha256=") + 32, len(signature) - 1} {
				requireRefused(t, v.Verify(t.Context(), c.body, flipDigit(signature, at)), diffhook.ErrSignatureMismatch)
			}
			other := newVerifier(t, diffhook.Secrets{Current: mustSecret(t, c.secret+"1")}, nil)
			requireRefused(t, other.Verify(t.Context(), c.body, signature), diffhook.ErrSignatureMismatch)
		})
	}
}

// flipDigit changes the lowest bit of one hex digit.
func flipDigit(signature string, at int) string {
	const digits = "0123456789abcdef"
	flipped := digits[strings.IndexByte(digits, signature[at])^1]
	return signature[:at] + string(flipped) + signature[at+1:]
}

// TestHeaderNames: a map that net/http did not fill need not be canonical.
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

// TestVerdictOfBothProtocols sends one request over HTTP/1.1, where net/http
// takes the space around a value off, and over HTTP/2, where it does not.
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

// TestZeroVerifierVerdicts: a verifier that was never made must not accept, nor blame
// the sender, whatever it is given.
func TestZeroVerifierVerdicts(t *testing.T) {
	var v diffhook.Verifier
	body := []byte(signedBody)
	for _, signature := range []string{"", "sha256=", referenceSignature(currentText, body), referenceSignature("", body)} {
		header := http.Header{gen1Canonical: {signature}}
		requireRefused(t, v.Verify(t.Context(), body, signature), diffhook.ErrSecretsUnavailable)
		requireRefused(t, v.VerifyHeader(t.Context(), body, header), diffhook.ErrSecretsUnavailable)
		r := httptest.NewRequest(http.MethodPost, "/hooks", bytes.NewReader(body))
		r.Header = header
		_, err := v.VerifyRequest(r)
		requireRefused(t, err, diffhook.ErrSecretsUnavailable)
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
