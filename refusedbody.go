package diffhook

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// A refused HTTP/1 request must not leave a part of its body on the connection:
// net/http would parse the part as the next request, which no proxy in front has
// checked. net/http prevents this by itself, but not after EnableFullDuplex if a
// read deadline has passed.
const (
	// discardTime bounds the wait for the body of a refused request.
	discardTime = 20 * time.Millisecond

	// maxDiscard bounds the bytes that are read to keep a connection, as the
	// limit of net/http does.
	maxDiscard = 256 << 10
)

// refuse calls answer to refuse a request whose body is not read to the end. If
// the whole body has arrived, refuse discards the body and keeps the connection.
// Otherwise the connection is closed, and the answer does not wait.
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

// discardRest reads the rest of a body, and closes the connection unless the end
// was seen.
func discardRest(w http.ResponseWriter, in *incoming) {
	switch _, err := in.rest.Read(nil); {
	case in.closed: // Deny has closed the body, perhaps before the end
		closeConnection(w)
		return
	case err == io.EOF, err == http.ErrBodyReadAfterClose: // net/http has seen the end, when Deny flushed
		return
	}
	_ = passReadDeadline(w, discardTime)
	if _, err := io.CopyN(io.Discard, in.rest, maxDiscard+1); err != io.EOF {
		closeConnection(w)
		return
	}
	// net/http now reads ahead: the deadline would count as a lost connection.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
}

// closeAfter closes the connection after an answer. The answer waits for nothing.
func closeAfter(w http.ResponseWriter, answer func()) {
	closeConnection(w)
	// A connection with unread bytes is reset, and the sender may lose the
	// answer: until the deadline, net/http discards bytes that have arrived.
	defer func() { _ = passReadDeadline(w, discardTime) }()
	answer()
}

// closeConnection makes net/http close an HTTP/1 connection after the answer.
// The header alone does nothing if the answer has begun or if Deny removes it.
// So net/http is also told of a body over a limit: it then closes in any case,
// half a second after the answer, so that the sender gets the answer.
func closeConnection(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	byteOverLimit := io.NopCloser(strings.NewReader("x"))
	_, _ = http.MaxBytesReader(innermost(w), byteOverLimit, 0).Read(make([]byte, 1))
}

// leftover tells whether a part of a request's body is still to be read.
type leftover int

const (
	nothingLeft leftover = iota
	maybeLeft
	somethingLeft
)

// left reports whether a part of the body of r is unread, without reading and
// without waiting. in is the body so far.
//
// If nothing is left, net/http reads ahead until the handler returns. If a
// deadline ended that read, net/http would cancel the contexts of this request
// and of all later requests on the connection.
func left(r *http.Request, in *incoming) leftover {
	switch {
	case r.ProtoMajor != 1: // HTTP/2 waits for nothing
		return nothingLeft
	case r.ContentLength == 0:
		return nothingLeft
	case in.whole && (isServerBody(in.rest) || int64(len(in.Body)) == r.ContentLength):
		return nothingLeft
	case !isServerBody(in.rest): // a wrapper, which may have read the body, or stand in for it
		return maybeLeft
	case r.ContentLength < 0: // reading nothing would wait for a chunk
		return maybeLeft
	case r.ContentLength-int64(len(in.Body)) > maxDiscard:
		return maybeLeft
	case len(in.Body) == 0 && r.Header.Get("Expect") != "": // a read would ask for the body
		return maybeLeft
	}
	switch _, err := in.rest.Read(nil); err {
	case nil:
		return somethingLeft
	case io.EOF:
		return nothingLeft
	}
	return maybeLeft // such as a body that was closed, perhaps before the end
}

// isServerBody reports whether body is the body of net/http's server itself,
// whose types are not exported. A wrapper, such as http.MaxBytesReader, is not.
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
