// Package contract tests that the client, the emulator in diffhooktest and
// openapi.yaml agree. The package serves only these tests, and is a separate module because
// the library must not require a validator.
//
//	go test -count=1 -v -run TestReplay .
//
// runs the tests of the library and records their exchanges with the emulator. Then
// it checks every exchange against openapi.yaml and prints the coverage of the
// operations. Without -count=1, go test may print an old result, blind to
// changes in the folder above.
package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// RecordVariable is the environment variable with the folder for recordings. If it
// is set, the tests of the library record every exchange between a client and the
// emulator. Each line is an [Exchange] in the JSON of encoding/json. Each server may
// write a file of its own, with any name that ends in .jsonl. Requests from tests
// without the client are left out.
const RecordVariable = "DIFFHOOK_RECORD"

// FaultHeader marks an injected response, which says nothing about the platform.
const FaultHeader = "X-Diffhooktest-Fault"

// Exchange is a request and the response. Bodies are complete and in base64; an
// empty body may be "" or null.
type Exchange struct {
	Method        string      `json:"method"`
	URL           string      `json:"url"` // absolute, or the path and query
	RequestHeader http.Header `json:"requestHeader"`
	RequestBody   []byte      `json:"requestBody"`
	Status        int         `json:"status"` // 0 if no response was sent
	Header        http.Header `json:"header"`
	Body          []byte      `json:"body"`

	// Generation is the generation of the credential, for writers that hide
	// credentials. 0 means: the bearer decides.
	Generation int `json:"generation"`

	// Fault marks an exchange with an injected response or without a response. The
	// request is checked all the same.
	Fault bool `json:"fault"`
}

// generation returns 1 or 2.
func (e Exchange) generation() int {
	bearer, err := bearerOf(e.RequestHeader)
	switch {
	case e.Generation != 0:
		return e.Generation
	case strings.HasSuffix(e.URL, "/api/oauth/token"), err == nil && !strings.HasPrefix(bearer, "dh_live_"):
		return 2
	}
	return 1
}

func bearerOf(h http.Header) (string, error) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", fmt.Errorf("the request has %d Authorization headers; want 1", len(values))
	}
	bearer, ok := strings.CutPrefix(values[0], "Bearer ")
	if !ok || bearer == "" || strings.ContainsAny(bearer, " \t") {
		return "", errors.New("the Authorization header is malformed; want Bearer and a token")
	}
	return bearer, nil
}

// faulty reports whether the response is not the platform's.
func (e Exchange) faulty() bool { return e.Fault || e.Header.Get(FaultHeader) != "" }

// String names the exchange without any secret.
func (e Exchange) String() string { return fmt.Sprintf("%s %s: %d", e.Method, e.URL, e.Status) }

// request returns the request of an exchange for the validator.
func (e Exchange) request() (*http.Request, error) {
	r, err := http.NewRequest(e.Method, e.URL, bytes.NewReader(e.RequestBody))
	if err == nil && e.RequestHeader != nil {
		r.Header = e.RequestHeader
	}
	return r, err
}

// ReadExchanges reads the recordings in a folder.
func ReadExchanges(dir string) ([]Exchange, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return nil, err
	}
	var exchanges []Exchange
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		lines := json.NewDecoder(bytes.NewReader(text))
		lines.DisallowUnknownFields()
		for {
			var e Exchange
			if err := lines.Decode(&e); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("%s: exchange %d: %w", filepath.Base(file), len(exchanges)+1, err)
			}
			if e.Generation < 0 || e.Generation > 2 {
				return nil, fmt.Errorf("%s: exchange %d: generation %d is unknown; want 0 to 2", filepath.Base(file), len(exchanges)+1, e.Generation)
			}
			exchanges = append(exchanges, e)
		}
	}
	return exchanges, nil
}
