package routers_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// ahead is a middleware in front of the verifier.
type ahead struct {
	name  string
	mount func(h http.Handler) http.Handler

	// stalled is the status for a stalled body, if the server uses no timeouts; 0 if the
	// connection stays open.
	stalled int
}

// limit is less than the 6 MiB of the tests.
const limit = 2 << 20

var (
	// transparent middleware passes on the body unchanged: loggers, recovery of panics,
	// compression of responses, contexts with a timeout.
	transparent = join(chiTransparent, ginTransparent, echo4Transparent, echo5Transparent)

	// limiting middleware refuses a body above the limit.
	limiting = join([]ahead{{name: "http.MaxBytesHandler", mount: func(h http.Handler) http.Handler {
		return http.MaxBytesHandler(h, limit)
	}}}, chiLimiting, echo4Limiting, echo5Limiting)

	// reading middleware reads the body, and leaves an empty body.
	reading = join([]ahead{{name: "net/http, io.ReadAll", mount: func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			h.ServeHTTP(w, r)
		})
	}}}, ginReading, echo4Reading, echo5Reading)

	// restoring middleware reads the body, and restores the body.
	restoring = join(ginRestoring, echo4Restoring, echo5Restoring)

	// decoding middleware replaces a body with a Content-Encoding.
	decoding = join(ginDecoding, echo4Decoding, echo5Decoding)
)

func join(lists ...[]ahead) (all []ahead) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

func TestTransparentMiddlewareAhead(t *testing.T) {
	for _, m := range transparent {
		t.Run(m.name, func(t *testing.T) {
			r := newRig(t)
			for _, body := range [][]byte{diffhooktest.PageChanged(), longEvent(6 << 20)} {
				assert.Equal(t, http.StatusNoContent, sendThrough(t, m, r, signed(r.secret.Sign(body)), body))
				assert.Equal(t, diffhook.ResultAccepted, <-r.results)
			}
			body := diffhooktest.PageChanged()
			assert.Equal(t, http.StatusUnauthorized, sendThrough(t, m, r, signed(diffhooktest.NewSecret().Sign(body)), body))
			assert.Equal(t, diffhook.ResultMismatch, <-r.results)
		})
		t.Run(m.name+", stalled", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				status, _ := stallInBubble(t, m.mount(r.eventHandler()), "HTTP/1.1", r.secret)
				assert.Equal(t, m.stalled, status)
			})
		})
	}
}

func TestLimitingMiddlewareAhead(t *testing.T) {
	short, long := diffhooktest.PageChanged(), longEvent(6<<20)
	for _, m := range limiting {
		t.Run(m.name, func(t *testing.T) {
			r := newRig(t)
			assert.Equal(t, http.StatusNoContent, sendThrough(t, m, r, signed(r.secret.Sign(short)), short))
			assert.Equal(t, diffhook.ResultAccepted, <-r.results)

			assert.Equal(t, http.StatusRequestEntityTooLarge, sendThrough(t, m, r, signed(r.secret.Sign(long)), long))
			if len(r.results) > 0 { // else the middleware rejected the Content-Length
				assert.Equal(t, diffhook.ResultBodyTooLarge, <-r.results)
			}
		})
	}
}

func TestReadingMiddlewareAhead(t *testing.T) {
	body := diffhooktest.PageChanged()
	for _, m := range reading {
		t.Run(m.name, func(t *testing.T) {
			r := newRig(t)
			assert.Equal(t, http.StatusInternalServerError, sendThrough(t, m, r, signed(r.secret.Sign(body)), body))
			assert.Equal(t, diffhook.ResultBodyConsumed, <-r.results)
		})
	}
}

func TestRestoringMiddlewareAhead(t *testing.T) {
	body := diffhooktest.PageChanged()
	for _, m := range restoring {
		t.Run(m.name, func(t *testing.T) {
			r := newRig(t)
			assert.Equal(t, http.StatusNoContent, sendThrough(t, m, r, signed(r.secret.Sign(body)), body))
			assert.Equal(t, diffhook.ResultAccepted, <-r.results)
		})
		t.Run(m.name+", stalled", func(t *testing.T) { // the middleware waits, before the verifier
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				status, _ := stallInBubble(t, m.mount(r.eventHandler()), "HTTP/1.1", r.secret)
				assert.Zero(t, status)
			})
		})
	}
}

// The signature covers an encoded body as sent. DiffHook sends no Content-Encoding.
func TestDecodingMiddlewareAhead(t *testing.T) {
	var body bytes.Buffer
	encoder := gzip.NewWriter(&body)
	_, err := encoder.Write(diffhooktest.PageChanged())
	require.NoError(t, err)
	require.NoError(t, encoder.Close())
	for _, m := range decoding {
		t.Run(m.name, func(t *testing.T) {
			r := newRig(t)
			header := signed(r.secret.Sign(body.Bytes()))
			header.Set("Content-Encoding", "gzip")
			assert.Equal(t, http.StatusUnauthorized, sendThrough(t, m, r, header, body.Bytes()))
			assert.Equal(t, diffhook.ResultMismatch, <-r.results)

			plain := diffhooktest.PageChanged()
			assert.Equal(t, http.StatusNoContent, sendThrough(t, m, r, signed(r.secret.Sign(plain)), plain))
		})
	}
}

// Behind two middlewares, which hide the deadlines of the connection, the ReadTimeout of
// the server ends a stalled body.
func TestReadTimeoutWithoutDeadlines(t *testing.T) {
	for _, m := range []ahead{
		ginGzip,
		// TimeoutHandler answers when the read of the body fails.
		{name: "http.TimeoutHandler", mount: func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Minute, "") }},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			status := stall(t, newTransport(t, "HTTP/1.1", nil), serve(t, m.mount(r.eventHandler()), time.Second/4), r.secret.Sign(nil))
			assert.Contains(t, []int{http.StatusRequestTimeout, http.StatusServiceUnavailable}, status)
			assert.Equal(t, diffhook.ResultBodyTimeout, <-r.results)
		})
	}
}

// sendThrough sends a delivery through m, and returns the status of the answer.
func sendThrough(t *testing.T, m ahead, r *rig, header http.Header, body []byte) int {
	t.Helper()
	url := serve(t, m.mount(r.eventHandler()), 0)
	return post(t, newTransport(t, "HTTP/1.1", nil), url, header, bytes.NewReader(body), int64(len(body)))
}
