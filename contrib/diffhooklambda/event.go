package diffhooklambda

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// event contains the fields of a request, in all shapes that AWS documents.
type event struct {
	Version           string              `json:"version"`
	HTTPMethod        string              `json:"httpMethod"` // not in payload format 2.0
	Path              string              `json:"path"`       // not in payload format 2.0
	RawPath           string              `json:"rawPath"`    // only in payload format 2.0
	Headers           map[string]string   `json:"headers"`
	MultiValueHeaders map[string][]string `json:"multiValueHeaders"`
	Body              string              `json:"body"`
	IsBase64Encoded   bool                `json:"isBase64Encoded"`
	RequestContext    struct {
		ELB  *struct{} `json:"elb"`
		HTTP struct {
			Method   string `json:"method"`
			SourceIP string `json:"sourceIp"`
		} `json:"http"` // only in payload format 2.0
		Identity struct {
			SourceIP string `json:"sourceIp"`
		} `json:"identity"` // only in payload format 1.0
	} `json:"requestContext"`
}

// source is the service that sent an event. The response must match the source.
type source int

const (
	unknown      source = iota
	format1             // API Gateway: a REST API, or an HTTP API with payload format 1.0
	format2             // a function URL, or an HTTP API with payload format 2.0
	loadBalancer        // an Application Load Balancer
	loadBalancerMultiValue
)

func (e *event) source() source {
	switch {
	case e.Version == "2.0" && e.RequestContext.HTTP.Method != "":
		return format2
	case e.HTTPMethod == "":
		return unknown
	case e.RequestContext.ELB == nil:
		return format1
	case e.MultiValueHeaders != nil:
		return loadBalancerMultiValue
	}
	return loadBalancer
}

// request returns the request of the event, without the query. The request is without a
// connection: ProtoMajor 2 stops the verifier from closing a connection.
func (e *event) request(ctx context.Context) *http.Request {
	r := &http.Request{
		Method:     e.HTTPMethod + e.RequestContext.HTTP.Method, // either is empty
		URL:        &url.URL{Path: e.Path + e.RawPath},          // either is empty
		Proto:      "HTTP/2.0",
		ProtoMajor: 2,
		Header:     e.header(),
		RemoteAddr: e.RequestContext.HTTP.SourceIP + e.RequestContext.Identity.SourceIP, // either is empty
	}
	r.Host = r.Header.Get("Host")
	r.Body, r.ContentLength = e.body()
	return r.WithContext(ctx)
}

// header returns the headers under canonical names. Spellings of a name in another case
// become values of the same header: the verifier rejects a doubled signature. Payload
// format 2.0 joins doubled headers with a comma: the verifier rejects this too.
func (e *event) header() http.Header {
	h := make(http.Header)
	for name, values := range e.MultiValueHeaders {
		for _, value := range values {
			h.Add(name, value)
		}
	}
	if len(h) > 0 {
		return h // Headers repeats the last value of each header
	}
	for name, value := range e.Headers {
		h.Add(name, value)
	}
	return h
}

// body returns the body and the length, or -1 for the unknown length of base64. The
// verifier decodes base64 up to MaxBodyBytes, and answers 400 if the base64 is invalid.
func (e *event) body() (io.ReadCloser, int64) {
	switch {
	case e.Body == "":
		return http.NoBody, 0
	case e.IsBase64Encoded:
		return io.NopCloser(base64.NewDecoder(base64.StdEncoding, strings.NewReader(e.Body))), -1
	}
	return io.NopCloser(strings.NewReader(e.Body)), int64(len(e.Body))
}
