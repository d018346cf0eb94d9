package diffhook_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
)

// The texts that tests sign with. They are made up, as are the secrets of
// testdata/vectors.
const (
	currentText  = "test-signing-secret-current-0001"
	previousText = "test-signing-secret-previous-0001"
)

// hiddenSecret is the text that a Secret prints as.
const hiddenSecret = "[REDACTED SIGNING SECRET]"

// mustSecret returns the secret with the given text.
func mustSecret(tb testing.TB, text string) diffhook.Secret {
	tb.Helper()
	secret, err := diffhook.NewSecret(text)
	require.NoError(tb, err)
	return secret
}

// newVerifier returns a verifier of the secrets in src.
func newVerifier(tb testing.TB, src diffhook.SecretSource, opts *diffhook.VerifierOptions) *diffhook.Verifier {
	tb.Helper()
	v, err := diffhook.NewVerifier(tb.Context(), src, opts)
	require.NoError(tb, err)
	return v
}

// referenceSignature is what DiffHook's documentation says a signature is,
// without the library.
func referenceSignature(key string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// vector is a case of testdata/vectors; testdata/README.md describes it.
type vector struct {
	name, secret string
	body         []byte
	signatures   map[string]string // by the tool that computed it
}

// vectorTools are the programs that signed every case. None is written in Go.
var vectorTools = []string{"openssl", "python", "node"}

// loadVectors returns every case with the signature of every tool.
func loadVectors(tb testing.TB) []vector {
	tb.Helper()
	var cases []struct {
		Name       string  `json:"name"`
		SecretHex  string  `json:"secret_hex"`
		BodyFile   *string `json:"body_file"`
		BodyHex    *string `json:"body_hex"`
		BodyRepeat *struct {
			Hex   string `json:"hex"`
			Count int    `json:"count"`
		} `json:"body_repeat"`
	}
	readVectorFile(tb, "inputs.json", &cases)

	signed := make(map[string]map[string]string)
	for _, tool := range vectorTools {
		var file struct {
			Signatures map[string]string `json:"signatures"`
		}
		readVectorFile(tb, tool+".json", &file)
		require.Len(tb, file.Signatures, len(cases), "%s signed other cases than inputs.json has", tool)
		signed[tool] = file.Signatures
	}

	vectors := make([]vector, 0, len(cases))
	for _, c := range cases {
		v := vector{name: c.Name, secret: string(unhex(tb, c.SecretHex)), signatures: make(map[string]string)}
		switch {
		case c.BodyFile != nil:
			v.body = readVectorBody(tb, *c.BodyFile)
		case c.BodyHex != nil:
			v.body = unhex(tb, *c.BodyHex)
		case c.BodyRepeat != nil:
			v.body = bytes.Repeat(unhex(tb, c.BodyRepeat.Hex), c.BodyRepeat.Count)
		default:
			require.Fail(tb, "case without a body", c.Name)
		}
		for _, tool := range vectorTools {
			require.Contains(tb, signed[tool], c.Name, "%s did not sign it", tool)
			v.signatures[tool] = signed[tool][c.Name]
		}
		vectors = append(vectors, v)
	}
	return vectors
}

// readVectorBody returns a file of testdata/vectors as it lies on the disk.
func readVectorBody(tb testing.TB, name string) []byte {
	tb.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", "vectors", filepath.FromSlash(name)))
	require.NoError(tb, err)
	return body
}

func readVectorFile(tb testing.TB, name string, into any) {
	tb.Helper()
	require.NoError(tb, json.Unmarshal(readVectorBody(tb, name), into), name)
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(tb, err)
	return b
}
