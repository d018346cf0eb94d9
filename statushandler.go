package diffhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// StatusHandler serves the verifier to a rotation. GET returns [Verifier.Status] as
// JSON. POST applies the optional values of a form in this order, reads the source
// and returns the status:
//
//   - reject: a fingerprint for [Verifier.Reject]
//   - successor: a text for [Verifier.AcceptSuccessor]
//   - hold: a duration for [Verifier.Hold], such as 10m or 0s
//
// The status is 400 for an invalid value, and nothing has been done. The status is
// 409 with the text of the error if a method fails, and the later values are not
// applied. Requests of a browser from another site are refused.
//
// Mount the handler behind your own authentication, and not on the internet. A GET
// shows no secret, but a POST can make the verifier refuse deliveries, or answer them
// with 202 and drop them.
func (v *Verifier) StatusHandler() http.Handler {
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(v.serveStatus))
}

// maxStatusBytes bounds a form.
const maxStatusBytes = 64 << 10

func (v *Verifier) serveStatus(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxStatusBytes)
		order, err := readOrder(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := v.carryOut(order); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		_ = v.Refresh(r.Context()) // the status shows where it failed
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v.Status())
}

// statusOrder is the form of a POST. Zero values are absent.
type statusOrder struct {
	reject, successor string
	hold              *time.Duration
}

func (v *Verifier) carryOut(o statusOrder) error {
	if o.reject != "" {
		if err := v.Reject(o.reject); err != nil {
			return err
		}
	}
	if o.successor != "" {
		if err := v.AcceptSuccessor(o.successor); err != nil {
			return err
		}
	}
	if o.hold != nil {
		return v.Hold(*o.hold)
	}
	return nil
}

// readOrder reads the form of a POST. An unreadable form is an error, not an empty
// order. Errors do not repeat a value: the value may be a secret.
func readOrder(r *http.Request) (o statusOrder, err error) {
	if err := r.ParseForm(); err != nil || len(r.PostForm) == 0 && r.ContentLength != 0 {
		return o, errors.New("want a form, application/x-www-form-urlencoded, of at most 64 KiB")
	}
	query := r.URL.Query()
	if query.Has("reject") || query.Has("successor") || query.Has("hold") {
		return o, errOrderFields
	}
	for name, values := range r.PostForm {
		if len(values) != 1 {
			return o, errOrderFields
		}
		if err := o.set(name, values[0]); err != nil {
			return o, err
		}
	}
	return o, nil
}

var errOrderFields = errors.New("want each of the form values reject, successor and hold once or not at all, in the body, and no other")

func (o *statusOrder) set(name, value string) error {
	switch name {
	case "reject":
		o.reject = value
		if checkFingerprint(value) != nil {
			return errors.New("reject: not a fingerprint")
		}
	case "successor":
		o.successor = value
		if _, err := parseSealed(value); err != nil {
			return errors.New("successor: not a text of SealSuccessor")
		}
	case "hold":
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 || d > longestHold {
			return fmt.Errorf("hold: not a duration from 0s to %v", longestHold)
		}
		o.hold = &d
	default:
		return errOrderFields
	}
	return nil
}
