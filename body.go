package diffhook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/diffhook/diffhook-go/internal/scrub"
)

// incoming is a delivery whose body was read. From then on, incoming is the body of the
// request.
type incoming struct {
	Delivery
	err    error
	whole  bool         // the end was seen: nothing is left on the connection
	closed bool         // by a caller of Close
	reader bytes.Reader // over Delivery.Body
	rest   io.ReadCloser
	cutoff cutoff
}

// unread returns the body of a request that is rejected with err before any read.
func unread(r *http.Request, err error) *incoming {
	if r.Body == nil {
		return &incoming{err: err, rest: http.NoBody}
	}
	return &incoming{err: err, rest: r.Body}
}

// Read reads the bytes read before again, and then the rest.
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

// readBody reads the body of r, and returns a body that reads the same bytes again.
// It stops with ErrBodyTooLarge after limit bytes and, if w supports deadlines, with
// ErrBodyTimeout after DeliveryTimeout.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) *incoming {
	in := &incoming{rest: r.Body}
	if r.Body == nil || r.Body == http.NoBody {
		in.rest, in.whole = http.NoBody, true
	} else {
		in.read(w, r, limit)
	}
	if in.err == nil && int64(len(in.Body)) < r.ContentLength {
		// net/http reports a broken body. If a body ends early without an error, other
		// code read or replaced it.
		in.err = ErrBodyConsumed
	}
	in.reader.Reset(in.Body)
	return in
}

// read reads the body. The cutoff is armed meanwhile.
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

// firstRead bounds the memory allocated before a byte arrives.
const firstRead = 8 << 10

// maxEmptyReads bounds the reads without a byte and without an error: a broken reader
// can return nothing for ever.
const maxEmptyReads = 100

// readAll reads body to the end, and reports whether the end was seen. length is the
// length promised by the sender, or not positive. A promise by itself takes no memory:
// a full buffer grows to four times its size.
func readAll(body io.Reader, length, limit int64) (_ []byte, whole bool, _ error) {
	most := limit + 1 // the last byte shows a body over the limit
	size := min(firstRead, most)
	if length > 0 {
		size = min(size, length+1)
	}
	buf := make([]byte, 0, size)
	for empty := 0; ; {
		n, err := body.Read(buf[len(buf):cap(buf)])
		if n < 0 || n > cap(buf)-len(buf) {
			return buf, false, ErrBodyRead // no reader may return such a number
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

// cutoff ends the read of a body after DeliveryTimeout: it makes the read deadline pass
// then. A deadline in advance would be simpler, and wrong twice. It would replace a
// shorter deadline of the server. And if the deadline passed with nothing left to read,
// net/http would report a lost connection and cancel the request's context while the
// handler runs.
type cutoff struct {
	mu    sync.Mutex
	w     http.ResponseWriter // nil: disarmed
	fired bool
	timer *time.Timer
}

// arm starts the clock, unless w is nil.
func (c *cutoff) arm(w http.ResponseWriter) {
	if w != nil {
		c.w = w
		c.timer = time.AfterFunc(DeliveryTimeout, c.fire)
	}
}

func (c *cutoff) fire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	// After the handler returns, w must not be touched.
	if c.w != nil {
		c.fired = passReadDeadline(c.w, 0) == nil
	}
}

// disarm reports whether the body was cut off. Afterwards, the cutoff does not touch
// w.
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

// bodyError returns the sentinel for an error of reading a body, with the error as the
// hidden cause: the text may quote the body. A cause that matches a verdict of this
// package is dropped: an error matches a single verdict.
func bodyError(cause error) (err error) {
	defer func() {
		if recover() != nil { // a method of the cause panics, such as on a nil pointer
			err = ErrBodyRead
		}
	}()
	kind := bodyErrorKind(cause)
	if row, _ := classify(cause); row < len(verdicts) {
		return kind
	}
	return scrub.NewError(kind.Error(), kind, cause)
}

// bodyErrorKind returns the sentinel for an error of reading a body.
func bodyErrorKind(cause error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(cause, &tooLarge): // a limit set before the verifier
		return ErrBodyTooLarge
	case errors.Is(cause, os.ErrDeadlineExceeded), errors.Is(cause, context.DeadlineExceeded):
		return ErrBodyTimeout
	case errors.Is(cause, http.ErrBodyReadAfterClose):
		return ErrBodyConsumed
	}
	budget := 100
	switch statusIn(cause, &budget) {
	case http.StatusRequestEntityTooLarge:
		return ErrBodyTooLarge
	case http.StatusRequestTimeout:
		return ErrBodyTimeout
	}
	return ErrBodyRead
}

// statusIn returns the first HTTP status 408 or 413 of err and the errors under
// it, or 0. The limits of web frameworks return errors with such a status. It
// reads at most budget errors.
func statusIn(err error, budget *int) int {
	if err == nil || *budget <= 0 {
		return 0
	}
	*budget--
	if status := statusOf(err); status != 0 {
		return status
	}
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		return statusIn(err.Unwrap(), budget)
	case interface{ Unwrap() []error }:
		for _, err := range err.Unwrap() {
			if status := statusIn(err, budget); status != 0 {
				return status
			}
		}
	}
	return 0
}

// statusOf returns the status 408 or 413 in a method or an exported field of
// err, or 0.
func statusOf(err error) int {
	found := []int{statusByMethod(err)}
	for _, name := range [...]string{"Code", "StatusCode", "Status", "HTTPStatus", "HTTPStatusCode"} {
		found = append(found, intField(err, name))
	}
	for _, status := range found {
		if status == http.StatusRequestTimeout || status == http.StatusRequestEntityTooLarge {
			return status
		}
	}
	return 0
}

// statusByMethod returns the status in a method of err, or 0. Programs use different
// names for the method.
func statusByMethod(err error) int {
	switch err := err.(type) {
	case interface{ StatusCode() int }:
		return err.StatusCode()
	case interface{ Status() int }:
		return err.Status()
	case interface{ GetStatus() int }:
		return err.GetStatus()
	case interface{ HTTPStatus() int }:
		return err.HTTPStatus()
	case interface{ HTTPStatusCode() int }:
		return err.HTTPStatusCode()
	case interface{ Code() int }:
		return err.Code()
	case interface{ Code() int32 }:
		return int(err.Code())
	}
	return 0
}

// intField returns the exported integer field of a struct or of a pointer to a
// struct, or 0 if there is no such field.
func intField(err error, name string) int {
	v := reflect.Indirect(reflect.ValueOf(err))
	if v.Kind() != reflect.Struct {
		return 0
	}
	field, ok := v.Type().FieldByName(name)
	if !ok || !field.IsExported() {
		return 0
	}
	v, missing := v.FieldByIndexErr(field.Index)
	switch {
	case missing != nil: // behind a nil pointer
		return 0
	case v.CanInt():
		return int(v.Int())
	case v.CanUint():
		return int(v.Uint())
	}
	return 0
}
