package diffhooktest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
)

// Transport returns a transport that passes every request to h, whatever the URL,
// without a network. Use it in [http.Client] or [Settings].Deliver, with a [Server]
// or the endpoint under test as h. It also works in a [testing/synctest] bubble.
//
// h runs on a new goroutine, and may run on after the context of the request
// ended. If h panics with [http.ErrAbortHandler], the connection seems to break:
// the client reads the body so far and then an error. Requests come from 127.0.0.1.
// The transport is safe for concurrent use if h is.
func Transport(h http.Handler) http.RoundTripper { return handlerTransport{h} }

type handlerTransport struct{ handler http.Handler }

func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	trace(r)
	w, err := serve(r.Context(), t.handler, serverSide(r))
	var panicked *panicError
	aborted := errors.Is(err, errShort) || errors.As(err, &panicked) && panicked.value == http.ErrAbortHandler
	if err != nil && !aborted {
		return nil, err
	}
	sent := w.Body.Bytes()
	if aborted && len(sent) == 0 {
		return nil, fmt.Errorf("diffhooktest: the connection broke: %w", io.ErrUnexpectedEOF)
	}
	resp := w.Result()
	resp.Request = r
	if aborted {
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(sent), broken{}))
	} else {
		resp.ContentLength = int64(len(sent))
	}
	return resp, nil
}

// trace calls the hooks of httptrace as a connection would.
func trace(r *http.Request) {
	hooks := httptrace.ContextClientTrace(r.Context())
	if hooks == nil {
		return
	}
	if hooks.GotConn != nil {
		hooks.GotConn(httptrace.GotConnInfo{})
	}
	if hooks.WroteHeaders != nil {
		hooks.WroteHeaders()
	}
	if hooks.WroteRequest != nil {
		hooks.WroteRequest(httptrace.WroteRequestInfo{})
	}
}

// serverSide returns a client's request in the form that a server receives.
func serverSide(r *http.Request) *http.Request {
	s := r.Clone(r.Context())
	s.RequestURI = r.URL.RequestURI()
	s.RemoteAddr = "127.0.0.1:1"
	s.Proto, s.ProtoMajor, s.ProtoMinor = "HTTP/1.1", 1, 1
	if s.Host == "" {
		s.Host = r.URL.Host
	}
	if s.Body == nil {
		s.Body = http.NoBody
	}
	return s
}

// broken is the rest of a body after the connection broke.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
