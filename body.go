package diffhook

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"time"
)

// incoming is a delivery whose body has been read, and the body of its
// request from then on.
type incoming struct {
	Delivery
	err    error
	whole  bool         // read to its end: nothing is left on the connection
	closed bool         // by a caller of Close
	reader bytes.Reader // over Delivery.Body
	rest   io.ReadCloser
	cutoff cutoff
}

// unread returns the body of a request that is refused with err before any of
// the body has been read.
func unread(r *http.Request, err error) *incoming {
	if r.Body == nil {
		return &incoming{err: err, rest: http.NoBody}
	}
	return &incoming{err: err, rest: r.Body}
}

// Read reads what has been read before, and then what has not.
func (in *incoming) Read(p []byte) (int, error) {
	if in.reader.Len() > 0 || in.err == nil {
		return in.reader.Read(p)
	}
	return in.rest.Read(p)
}

func (in *incoming) Close() error {
	in.closed = true
	return in.rest.Close()
}

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
		if !in.cutoff.disarm() {
			return
		}
		in.err = ErrBodyTimeout
		if r.ProtoMajor == 1 { // also if a panic of the reader is on its way
			closeConnection(w)
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
