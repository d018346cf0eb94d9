package diffhook

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// A refused request over HTTP/1 must not leave a part of its body on the
// connection: net/http would take it for the next request, and a proxy in front
// has not checked it as one. By itself net/http sees to that, but not after
// EnableFullDuplex if a read deadline has passed.
const (
	// discardTime is how long the body of a refused request is looked for.
	discardTime = 20 * time.Millisecond

	// maxDiscard is how much of it is read to keep the connection. It is the
	// limit of net/http.
	maxDiscard = 256 << 10
)

// refuse calls answer to refuse a request whose body is not read to its end.
// A body that has arrived, as that of an ordinary delivery has, is discarded
// and the connection is kept. Otherwise the connection is closed, and the
// answer does not wait for the body.
func refuse(w http.ResponseWriter, r *http.Request, in *incoming, answer func()) {
	switch left(r, in) {
	case nothingLeft:
		answer()
	case somethingLeft:
		if !isServerWriter(w) || passReadDeadline(w, discardTime) != nil {
			closeAfter(w, answer)
			return
		}
		defer discardRest(w, in) // also if Deny panics
		answer()
	case maybeLeft:
		closeAfter(w, answer)
	}
}

// discardRest reads the rest of a body, and closes the connection unless it
// has seen the end.
func discardRest(w http.ResponseWriter, in *incoming) {
	switch _, err := in.rest.Read(nil); {
	case in.closed: // by Deny, and perhaps before the end
		closeConnection(w)
		return
	case err == io.EOF, err == http.ErrBodyReadAfterClose: // net/http has, for an answer that was flushed
		return
	}
	_ = passReadDeadline(w, discardTime)
	if _, err := io.CopyN(io.Discard, in.rest, maxDiscard+1); err != io.EOF {
		closeConnection(w)
		return
	}
	// net/http now watches the connection by a read of its own.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
}

// closeAfter closes the connection after an answer, which then waits for
// nothing.
func closeAfter(w http.ResponseWriter, answer func()) {
	closeConnection(w)
	// Closing with something unread would reset the connection, and the sender
	// might lose the answer: net/http is to discard what has arrived.
	defer func() { _ = passReadDeadline(w, discardTime) }()
	answer()
}

// closeConnection makes net/http close an HTTP/1 connection after the answer.
// A header would not do if the answer has begun, or if Deny removes it, so
// net/http is also told that a limit for bodies has been passed.
func closeConnection(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	byteOverLimit := io.NopCloser(strings.NewReader("x"))
	_, _ = http.MaxBytesReader(innermost(w), byteOverLimit, 0).Read(make([]byte, 1))
}

// leftover is what is known of the rest of a request's body.
type leftover int

const (
	nothingLeft leftover = iota
	maybeLeft
	somethingLeft
)

// left returns what is known of the rest of the body of r, without taking any
// of it and without waiting. in is what has been read of it.
//
// It matters because net/http, if nothing is left, watches the connection by a
// read of its own until the handler has returned. If that failed by a deadline,
// it would cancel the contexts of the request and of all later ones on the
// connection.
func left(r *http.Request, in *incoming) leftover {
	switch {
	case r.ProtoMajor != 1: // HTTP/2 waits for nothing
		return nothingLeft
	case r.ContentLength == 0, in.rest == http.NoBody, in.whole:
		return nothingLeft
	case !isServerBody(in.rest): // something has replaced it, and may have read it
		return maybeLeft
	case r.ContentLength < 0: // reading nothing would wait for a chunk
		return maybeLeft
	case r.ContentLength-int64(len(in.Body)) > maxDiscard:
		return maybeLeft
	case len(in.Body) == 0 && r.Header.Get("Expect") != "": // it would ask for the body
		return maybeLeft
	}
	switch _, err := in.rest.Read(nil); err {
	case nil:
		return somethingLeft
	case io.EOF:
		return nothingLeft
	}
	return maybeLeft // also if something has closed it: the end may not have been seen
}

// isServerBody reports whether a body is still that of net/http's server. Its
// type is not exported; that of http.MaxBytesReader, which may be around
// anything, is not it.
func isServerBody(body io.Reader) bool {
	switch fmt.Sprintf("%T", body) {
	case "*http.body", "*http.expectContinueReader":
		return true
	}
	return false
}

// isServerWriter reports whether w is, under its wrappers, the ResponseWriter
// of net/http's server for HTTP/1.
func isServerWriter(w http.ResponseWriter) bool {
	return fmt.Sprintf("%T", innermost(w)) == "*http.response"
}

// innermost returns the ResponseWriter under the wrappers of w.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

// passReadDeadline makes the read deadline of the connection, or of the stream,
// pass after d.
func passReadDeadline(w http.ResponseWriter, d time.Duration) error {
	deadline := time.Unix(1, 0)
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	return http.NewResponseController(w).SetReadDeadline(deadline)
}
