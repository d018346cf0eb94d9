package diffhooklambda

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// recorder is the ResponseWriter of an invocation.
type recorder struct {
	header http.Header
	status int         // 0 before the first WriteHeader
	sent   http.Header // a copy of header at the first WriteHeader
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status != 0 || status < 200 { // Lambda sends no informational answers
		return
	}
	w.status, w.sent = status, w.header.Clone()
}

func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// response contains the fields of all shapes. Each source reads some.
type response struct {
	StatusCode        int                 `json:"statusCode"`
	StatusDescription string              `json:"statusDescription,omitempty"` // only for load balancers
	Headers           map[string]string   `json:"headers,omitempty"`
	MultiValueHeaders map[string][]string `json:"multiValueHeaders,omitempty"`
	Cookies           []string            `json:"cookies,omitempty"` // only in payload format 2.0
	Body              string              `json:"body"`
	IsBase64Encoded   bool                `json:"isBase64Encoded"`
}

// response returns the recorded response in the shape for to.
func (w *recorder) response(to source) response {
	w.WriteHeader(http.StatusOK)
	if w.body.Len() > 0 && w.sent.Get("Content-Type") == "" {
		w.sent.Set("Content-Type", http.DetectContentType(w.body.Bytes())) // as net/http does
	}
	out := response{StatusCode: w.status, Body: w.body.String()}
	if !utf8.ValidString(out.Body) {
		out.Body, out.IsBase64Encoded = base64.StdEncoding.EncodeToString(w.body.Bytes()), true
	}
	if to == loadBalancer || to == loadBalancerMultiValue {
		out.StatusDescription = strconv.Itoa(w.status) + " " + http.StatusText(w.status)
	}
	if to == format1 || to == loadBalancerMultiValue {
		out.MultiValueHeaders = w.sent
		return out
	}
	if to == format2 {
		out.Cookies = w.sent.Values("Set-Cookie")
		w.sent.Del("Set-Cookie")
	}
	out.Headers = make(map[string]string)
	for name, values := range w.sent {
		out.Headers[name] = strings.Join(values, ", ")
	}
	return out
}
