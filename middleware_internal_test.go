package diffhook

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// isServerBody and isServerWriter compare the names of private types of net/http. If
// net/http renames a type, each rejected request closes its connection: this test
// fails then, and the names must follow.
func TestServerTypesHaveTheirNames(t *testing.T) {
	for _, c := range []struct {
		name         string
		http2        bool
		header       string
		body, writer bool
	}{
		{"HTTP/1", false, "", true, true},
		{"HTTP/1 with Expect", false, "Expect", true, true},
		{"HTTP/2", true, "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			served := false
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				served = true
				assert.Equal(t, c.body, isServerBody(r.Body), "the body is a %T", r.Body)
				assert.Equal(t, c.writer, isServerWriter(w), "the writer is a %T", w)
				assert.Equal(t, c.writer, isServerWriter(wrapped{w}), "a wrapper of a %T", w)
				assert.False(t, isServerBody(http.MaxBytesReader(w, r.Body, 1)), "a wrapper of a body")
			}))
			server.EnableHTTP2 = c.http2
			server.StartTLS()
			defer server.Close()
			client := server.Client()
			client.Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader("body"))
			require.NoError(t, err)
			if c.header != "" {
				r.Header.Set(c.header, "100-continue")
			}
			resp, err := client.Do(r)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.True(t, served)
			require.Equal(t, c.http2, resp.ProtoMajor == 2, fmt.Sprint(resp.Proto))
		})
	}
}

// wrapped is a ResponseWriter under a middleware.
type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }
