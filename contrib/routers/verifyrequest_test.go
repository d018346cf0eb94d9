package routers_test

import (
	"bufio"
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

// receive is the handler of a router without support for http.Handler.
func receive(v *diffhook.Verifier, w http.ResponseWriter, r *http.Request, handleBody func([]byte)) {
	d, err := v.VerifyRequest(r)
	if err != nil {
		w.Header().Set("Connection", "close")
		w.WriteHeader(diffhook.HTTPStatus(err))
		return
	}
	handleBody(d.Body) // or diffhook.ParseEvent(d.Body)
}

func ownRouter(v *diffhook.Verifier, handleBody func([]byte)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { receive(v, w, r, handleBody) })
}

func TestVerifyRequest(t *testing.T) {
	r, body := newRig(t), diffhooktest.PageChanged()
	var handled []byte
	url := serve(t, ownRouter(r.v, func(body []byte) { handled = body }), 0)
	transport := newTransport(t, "HTTP/1.1", nil)
	assert.Equal(t, http.StatusUnauthorized, postBytes(t, transport, url, diffhooktest.NewSecret().Sign(body), body), "forged")
	assert.Nil(t, handled)
	assert.Equal(t, http.StatusOK, postBytes(t, transport, url, r.secret.Sign(body), body), "valid")
	assert.Equal(t, body, handled)
}

// Over HTTP/1, net/http reads up to 256 KiB of an unread body before the answer of a
// handler, unless the connection closes.
func TestAnswerBeforeTheBody(t *testing.T) {
	const readTimeout = 10 * time.Second
	secrets := diffhook.Secrets{Current: diffhooktest.NewSecret()}
	without := func(v *diffhook.Verifier) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := v.VerifyRequest(r)
			w.WriteHeader(diffhook.HTTPStatus(err))
		})
	}
	for _, c := range []struct {
		name, length string
		handler      func(v *diffhook.Verifier) http.Handler
		held         bool
	}{
		{"as the page shows", "1000", func(v *diffhook.Verifier) http.Handler { return ownRouter(v, nil) }, false},
		{"without Connection: close", "1000", without, true},
		{"without Connection: close, a longer body", "300000", without, false},
		{"Handler", "1000", func(v *diffhook.Verifier) http.Handler { return v.Handler(http.NotFoundHandler()) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, err := diffhook.NewVerifier(t.Context(), secrets, nil)
				require.NoError(t, err)
				listener, start := make(pipes), time.Now()
				server := &http.Server{Handler: c.handler(v), ReadTimeout: readTimeout}
				go func() { _ = server.Serve(listener) }()
				defer server.Close()
				conn, err := listener.dial(t.Context(), "", "")
				require.NoError(t, err)
				defer conn.Close()
				_, err = io.WriteString(conn, "POST /hook HTTP/1.1\r\nHost: pipe\r\nContent-Length: "+c.length+"\r\n\r\n")
				require.NoError(t, err)
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				require.NoError(t, err)
				assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
				assert.Equal(t, c.held, time.Since(start) >= readTimeout, "held back")
				time.Sleep(time.Second) // net/http closes the connection half a second after the answer
			})
		})
	}
}
