package diffhook

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// incoming is a delivery whose body has been read, and the body of its
// request from then on.
type incoming struct {
	Delivery
	err    error
	whole  bool         // read to its end: nothing is left on the connection
	reader bytes.Reader // over Delivery.Body
	rest   io.ReadCloser
	cutoff cutoff
}

// Read reads what has been read before, and then what has not.
func (in *incoming) Read(p []byte) (int, error) {
	if in.reader.Len() > 0 || in.err == nil {
		return in.reader.Read(p)
	}
	return in.rest.Read(p)
}

func (in *incoming) Close() error { return in.rest.Close() }

// readBody reads the body of r. What it returns reads the same whole body
// again. It stops with ErrBodyTooLarge after limit bytes and, where w can do
// it, with ErrBodyTimeout after DeliveryTimeout.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) *incoming {
	in := &incoming{rest: r.Body}
	if r.Body == nil || r.Body == http.NoBody {
		in.rest, in.whole = http.NoBody, true
	} else {
		in.read(w, r, limit)
	}
	if in.err == nil && int64(len(in.Body)) < r.ContentLength {
		// net/http reports a body that broke off. One that just ends early
		// has been read or replaced by somebody else.
		in.err = ErrBodyConsumed
	}
	in.reader.Reset(in.Body)
	return in
}

// read reads the body, with the cutoff armed for as long as that takes.
func (in *incoming) read(w http.ResponseWriter, r *http.Request, limit int64) {
	in.cutoff.arm(w)
	defer func() {
		if in.cutoff.disarm() {
			in.err = ErrBodyTimeout
		}
	}()
	in.Body, in.whole, in.err = readAll(r.Body, r.ContentLength, limit)
}

// firstRead is the most that is allocated before a byte has arrived.
const firstRead = 8 << 10

// maxEmptyReads bounds reads that give neither a byte nor an error, which some
// broken reader could answer for ever.
const maxEmptyReads = 100

// readAll reads body to its end. length is what its sender promised, or not
// positive. It is believed only as far as bytes have come: the buffer grows to
// four times its size when it is full, so a promise by itself takes no memory.
// It also reports whether it has come to the end.
func readAll(body io.Reader, length, limit int64) (_ []byte, whole bool, _ error) {
	most := limit + 1 // one byte over tells a body of limit bytes from a longer one
	size := min(firstRead, most)
	if length > 0 {
		size = min(size, length+1)
	}
	buf := make([]byte, 0, size)
	for empty := 0; ; {
		n, err := body.Read(buf[len(buf):cap(buf)])
		if n < 0 || n > cap(buf)-len(buf) {
			return buf, false, ErrBodyRead // not a reader's answer
		}
		buf = buf[:len(buf)+n]
		if empty++; n > 0 {
			empty = 0
		}
		switch {
		case int64(len(buf)) > limit:
			return buf, err == io.EOF, ErrBodyTooLarge
		case err == io.EOF:
			return buf, true, nil
		case err != nil:
			return buf, false, bodyError(err)
		case empty == maxEmptyReads:
			return buf, false, ErrBodyRead
		}
		if len(buf) < cap(buf) {
			continue
		}
		size = min(4*int64(cap(buf)), most)
		if int64(len(buf)) <= length {
			size = min(size, length+1)
		}
		grown := make([]byte, len(buf), size)
		copy(grown, buf)
		buf = grown
	}
}

// bodyError gives an error of reading a body its sentinel.
func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge): // a limit set before the verifier
		return ErrBodyTooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrBodyTimeout
	case errors.Is(err, http.ErrBodyReadAfterClose):
		return ErrBodyConsumed
	}
	return ErrBodyRead
}

// cutoff ends the reading of a body after DeliveryTimeout by making the read
// deadline pass at that moment. A deadline set in advance would be simpler and
// wrong twice: it would replace a shorter one of the server's, and if it were
// still armed with nothing left to read, net/http would take its passing for a
// lost connection and cancel the request's context in mid-handler.
type cutoff struct {
	mu    sync.Mutex
	w     http.ResponseWriter // nil: disarmed
	fired bool
	timer *time.Timer
}

// arm starts the clock, where there is a w to set a deadline with.
func (c *cutoff) arm(w http.ResponseWriter) {
	if w != nil {
		c.w = w
		c.timer = time.AfterFunc(DeliveryTimeout, c.fire)
	}
}

func (c *cutoff) fire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Once the handler has returned, w must not be touched.
	if c.w != nil {
		c.fired = passReadDeadline(c.w, 0) == nil
	}
}

// disarm reports whether the body was cut off. After it, w is left alone.
func (c *cutoff) disarm() bool {
	if c.timer == nil {
		return false
	}
	c.timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.w = nil
	return c.fired
}

// discardTime is how long net/http may look for the body of a refused request.
const discardTime = 20 * time.Millisecond

// withoutBody calls answer to refuse a request whose body is not read to its
// end. By itself net/http would wait for up to 256 KiB more of it, so as to
// keep the connection, and hold back the answer meanwhile. With the read
// deadline about to pass, it discards what has arrived, which is the whole body
// of an ordinary delivery, and otherwise answers and closes the connection.
func withoutBody(w http.ResponseWriter, r *http.Request, in *incoming, answer func()) {
	switch left(r, in) {
	case nothingLeft:
		answer()
	case somethingLeft:
		passReadDeadline(w, discardTime)
		answer()
		if left(r, in) == somethingLeft { // not if answer has flushed
			passReadDeadline(w, discardTime)
		}
	case maybeLeft:
		closeAfter(w, answer)
	}
}

// closeAfter closes the connection after an answer, which then waits for
// nothing.
func closeAfter(w http.ResponseWriter, answer func()) {
	w.Header().Set("Connection", "close")
	// Closing with something unread would reset the connection, and the sender
	// might lose the answer: net/http is to discard what has arrived.
	defer passReadDeadline(w, discardTime)
	answer()
}

// leftover is what is known of the rest of a request's body.
type leftover int

const (
	nothingLeft leftover = iota
	maybeLeft
	somethingLeft
)

// left returns what is known of the rest of the body of r, without taking any
// of it and without waiting. in is what has been read of it, if anything.
//
// It matters because net/http, where it knows that nothing is left, watches the
// connection by a read of its own until the handler has returned. If that
// failed by a deadline, it would cancel the contexts of the request and of all
// later ones on the connection.
func left(r *http.Request, in *incoming) leftover {
	body := r.Body
	if in != nil {
		body = in.rest
	}
	switch {
	case r.ProtoMajor != 1: // HTTP/2 waits for nothing
		return nothingLeft
	case r.ContentLength == 0, body == nil, body == http.NoBody, in != nil && in.whole:
		return nothingLeft
	case !isServerBody(body): // something has replaced it, and may have read it
		return maybeLeft
	case r.ContentLength < 0: // reading nothing would wait for a chunk
		return maybeLeft
	case in == nil && r.Header.Get("Expect") != "": // it would ask for the body
		return maybeLeft
	}
	switch _, err := body.Read(nil); {
	case err == nil:
		return somethingLeft
	case err == io.EOF, errors.Is(err, http.ErrBodyReadAfterClose):
		return nothingLeft
	}
	return maybeLeft
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

// passReadDeadline makes the read deadline of the connection, or of the stream,
// pass after d.
func passReadDeadline(w http.ResponseWriter, d time.Duration) error {
	deadline := time.Unix(1, 0)
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	return http.NewResponseController(w).SetReadDeadline(deadline)
}
