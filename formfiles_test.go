package diffhook_test

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// TestFormFilesAreRemoved: net/http removes the temporary files of the request
// that it knows. What it does not see, since handlers get a copy, fills the disk.
func TestFormFilesAreRemoved(t *testing.T) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("page", "page.html")
	require.NoError(t, err)
	_, err = part.Write(bytes.Repeat([]byte("x"), 1<<20))
	require.NoError(t, err)
	require.NoError(t, form.Close())

	secret, forger := mustSecret(t, currentText), diffhooktest.NewSecret()
	parse := func(t *testing.T, r *http.Request) {
		if r.MultipartForm != nil {
			return // parsed before
		}
		assert.NoError(t, r.ParseMultipartForm(1<<10))
		assert.NotEmpty(t, files(t), "the test must have a file on the disk")
	}
	accept := func(t *testing.T) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { parse(t, r) })
	}
	for _, tc := range []struct {
		name   string
		signer diffhook.Secret
		next   func(t *testing.T) http.Handler
		deny   bool
		outer  func(t *testing.T, next http.Handler) http.Handler
	}{
		{name: "next", signer: secret, next: accept},
		{name: "next that panics", signer: secret, next: func(t *testing.T) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				parse(t, r)
				panic(http.ErrAbortHandler)
			})
		}},
		{name: "next that reads the parts itself", signer: secret, next: func(t *testing.T) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, err := r.MultipartReader()
				assert.NoError(t, err)
			})
		}},
		{name: "Deny of a forgery", signer: forger, next: accept, deny: true},
		{name: "Deny of an unread body", next: accept, deny: true},
		{name: "middleware that parsed the form before", signer: secret, next: accept, outer: func(t *testing.T, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				whole, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				r.Body = io.NopCloser(bytes.NewReader(whole))
				parse(t, r)
				r.Body = io.NopCloser(bytes.NewReader(whole))
				next.ServeHTTP(w, r)
				assert.NotEmpty(t, files(t), "the files are its own: net/http removes them")
			})
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			opts := &diffhook.VerifierOptions{}
			if tc.deny {
				opts.Deny = func(_ http.ResponseWriter, r *http.Request, _ error) { parse(t, r) }
			}
			h := newVerifier(t, diffhook.Secrets{Current: secret}, opts).Handler(tc.next(t))
			if tc.outer != nil {
				h = tc.outer(t, h)
			}
			srv := serve(t, h, nil)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, bytes.NewReader(body.Bytes()))
			require.NoError(t, err)
			r.Header.Set("Content-Type", form.FormDataContentType())
			if !tc.signer.IsZero() {
				r.Header.Set(diffhook.SignatureHeader, tc.signer.Sign(body.Bytes()))
			}
			resp, err := srv.Client().Do(r)
			if err == nil {
				resp.Body.Close()
			}
			srv.Close() // after the handler
			assert.Empty(t, files(t))
		})
	}
}

// files returns the names of the temporary files.
func files(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
