// Package contract tests that the client, the emulator in diffhooktest and
// openapi.yaml say the same. It has no use outside of those tests, and is a
// module of its own so that the library does not require a validator.
//
//	go test -count=1 -v -run TestReplay .
//
// runs the tests of the library, which record what they exchange with the
// emulator, checks every exchange against openapi.yaml and prints which
// operations were exercised. The flag -count=1 is needed: go test would take
// an old result, not knowing of the files in the folder above.
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

// RecordVariable is the environment variable with the folder to record into.
// Where it is set, the tests of the library write every exchange between a
// client and the emulator, as the emulator saw it, to files in that folder:
// one [Exchange] a line, as encoding/json marshals it. Any number of files
// with any names ending in .jsonl will do, so that each server can have its
// own. Requests that a test makes without the client, in order to test the
// emulator, are left out.
const RecordVariable = "DIFFHOOK_RECORD"

// FaultHeader marks an answer that the emulator was told to give, and that
// says nothing of what the platform does.
const FaultHeader = "X-Diffhooktest-Fault"

// Exchange is one request and the answer to it. Bodies are complete, and in
// base64; a body that is empty may be "" or null.
type Exchange struct {
	Method        string      `json:"method"`
	URL           string      `json:"url"` // absolute, or the path and query
	RequestHeader http.Header `json:"requestHeader"`
	RequestBody   []byte      `json:"requestBody"`
	Status        int         `json:"status"` // 0 where no answer was sent
	Header        http.Header `json:"header"`
	Body          []byte      `json:"body"`

	// Generation is the one that the credential of the request speaks, for
	// writers that hide the credential. 0: that is seen from the bearer.
	Generation int `json:"generation"`

	// Fault is set where the answer is an injected one, or there is none. Its
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
		return "", fmt.Errorf("%d Authorization headers", len(values))
	}
	bearer, ok := strings.CutPrefix(values[0], "Bearer ")
	if !ok || bearer == "" || strings.ContainsAny(bearer, " \t") {
		return "", errors.New("the Authorization header holds no bearer")
	}
	return bearer, nil
}

// faulty reports whether the answer is none of the platform's.
func (e Exchange) faulty() bool { return e.Fault || e.Header.Get(FaultHeader) != "" }

// String names the exchange without what is secret in it.
func (e Exchange) String() string { return fmt.Sprintf("%s %s: %d", e.Method, e.URL, e.Status) }

// request returns the request of an exchange, as the validator wants it.
func (e Exchange) request() (*http.Request, error) {
	r, err := http.NewRequest(e.Method, e.URL, bytes.NewReader(e.RequestBody))
	if err == nil && e.RequestHeader != nil {
		r.Header = e.RequestHeader
	}
	return r, err
}

// ReadExchanges reads what was recorded in a folder.
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
				return nil, fmt.Errorf("%s: there is no generation %d", filepath.Base(file), e.Generation)
			}
			exchanges = append(exchanges, e)
		}
	}
	return exchanges, nil
}
