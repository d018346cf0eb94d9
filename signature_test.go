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
