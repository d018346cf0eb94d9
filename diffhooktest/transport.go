package diffhooktest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
)

// Transport returns a transport that has every request, whatever its URL,
// answered by h, without a network: for [http.Client], within a
// [testing/synctest] bubble too. A [Server] is such a handler; the endpoint
// under test, as [Settings].Deliver, another.
//
// h is called on a goroutine of its own, which goes on after the request's
// context has ended if h does. Where h panics with [http.ErrAbortHandler], the
// connection seems to break: the answer, if h began one, is cut off there.
// Requests come from 127.0.0.1. It is safe for concurrent use if h is.
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
	aborted := errors.As(err, &panicked) && panicked.value == http.ErrAbortHandler
	if err != nil && !aborted {
		return nil, err
	}
	sent := w.Body.Bytes()
	if aborted && len(sent) == 0 {
		return nil, fmt.Errorf("diffhooktest: the connection broke: %w", io.ErrUnexpectedEOF)
	}
	answer := w.Result()
	answer.Request = r
	if aborted {
		answer.Body = io.NopCloser(io.MultiReader(bytes.NewReader(sent), broken{}))
	} else {
		answer.ContentLength = int64(len(sent))
	}
	return answer, nil
}

// trace tells the hooks of httptrace what a connection would.
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

// serverSide returns a client's request as a server sees it.
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

// broken is the rest of a body whose connection broke.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
