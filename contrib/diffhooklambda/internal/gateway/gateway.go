// Package gateway acts in tests as the AWS services that invoke a function with an HTTP
// request. It makes events in the documented shapes of AWS, and reads responses with the
// types of aws-lambda-go.
package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/aws/aws-lambda-go/events"
)

// Request is a request to AWS, before the translation to an event.
type Request struct {
	Header [][2]string // names and values in the order of the request
	Body   []byte
	Encode bool // sends Body in base64
}

// Response is a response of AWS, translated from the result of the function.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// Gateway is a service, or a variant of a service.
type Gateway struct {
	Name string

	// LastHeader reports whether the service passes on only the last value of a doubled
	// header.
	LastHeader bool

	// Event returns the event for a request.
	Event func(Request) []byte

	// Response reads the payload that a function returns. Unknown fields are errors.
	Response func(payload []byte) (Response, error)
}

// All lists the gateways.
var All = []Gateway{
	{Name: "function URL", Event: format2("abcdefghij.lambda-url.eu-central-1.on.aws"), Response: functionURLResponse},
	{Name: "HTTP API", Event: format2("abcdefghij.execute-api.eu-central-1.amazonaws.com"), Response: httpAPIResponse},
	{Name: "REST API", Event: restEvent, Response: restResponse},
	{Name: "load balancer", Event: balancerEvent, Response: balancerResponse, LastHeader: true},
	{Name: "load balancer with multi-value headers", Event: multiValueEvent, Response: multiValueResponse},
}

const (
	path   = "/hook"
	sender = "203.0.113.7"
)

// object is an object of JSON.
type object map[string]any

func (o object) encode() []byte {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // impossible: an object contains strings, numbers and objects
	}
	return text
}

// body sets the fields of the body.
func (r Request) body(o object) object {
	o["body"], o["isBase64Encoded"] = string(r.Body), r.Encode
	if r.Encode {
		o["body"] = base64.StdEncoding.EncodeToString(r.Body)
	}
	return o
}

// headers returns the values of each header. A nil rename keeps the names.
func (r Request) headers(rename func(string) string) (all map[string][]string, last map[string]string) {
	all, last = make(map[string][]string), make(map[string]string)
	for _, header := range r.Header {
		name := header[0]
		if rename != nil {
			name = rename(name)
		}
		all[name] = append(all[name], header[1])
		last[name] = header[1]
	}
	return all, last
}

func format2(domain string) func(Request) []byte {
	return func(r Request) []byte {
		joined := make(map[string]string)
		all, _ := r.headers(strings.ToLower)
		for name, values := range all {
			joined[name] = strings.Join(values, ",")
		}
		return r.body(object{
			"version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": joined,
			"requestContext": object{
				"accountId": "123456789012", "apiId": "abcdefghij", "domainName": domain, "domainPrefix": "abcdefghij",
				"requestId": "id", "routeKey": "$default", "stage": "$default", "timeEpoch": 1773670920000,
				"http": object{"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": sender, "userAgent": "DiffHook"},
			},
		}).encode()
	}
}

func restEvent(r Request) []byte {
	all, last := r.headers(nil)
	return r.body(object{
		"resource": path, "path": path, "httpMethod": "POST", "headers": last, "multiValueHeaders": all,
		"queryStringParameters": nil, "multiValueQueryStringParameters": nil, "pathParameters": nil, "stageVariables": nil,
		"requestContext": object{
			"accountId": "123456789012", "apiId": "abcdefghij", "httpMethod": "POST", "path": "/prod" + path, "stage": "prod",
			"protocol": "HTTP/1.1", "requestId": "id", "requestTimeEpoch": 1773670920000,
			"identity": object{"sourceIp": sender, "userAgent": "DiffHook", "user": nil},
		},
	}).encode()
}

func balancer(r Request) object {
	return r.body(object{
		"requestContext": object{"elb": object{
			"targetGroupArn": "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/hook/0123456789abcdef",
		}},
		"httpMethod": "POST", "path": path,
	})
}

func balancerEvent(r Request) []byte {
	event := balancer(r)
	_, event["headers"] = r.headers(strings.ToLower)
	event["queryStringParameters"] = object{}
	return event.encode()
}

func multiValueEvent(r Request) []byte {
	event := balancer(r)
	event["multiValueHeaders"], _ = r.headers(strings.ToLower)
	event["multiValueQueryStringParameters"] = object{}
	return event.encode()
}

func functionURLResponse(payload []byte) (Response, error) {
	var r events.LambdaFunctionURLResponse
	err := decode(payload, &r)
	return join(r.StatusCode, single(r.Headers, r.Cookies), r.Body, r.IsBase64Encoded, err)
}

func httpAPIResponse(payload []byte) (Response, error) {
	var r events.APIGatewayV2HTTPResponse
	err := decode(payload, &r)
	return join(r.StatusCode, single(r.Headers, r.Cookies), r.Body, r.IsBase64Encoded, err)
}

func restResponse(payload []byte) (Response, error) {
	var r events.APIGatewayProxyResponse
	err := decode(payload, &r)
	return join(r.StatusCode, r.MultiValueHeaders, r.Body, r.IsBase64Encoded, err)
}

func balancerResponse(payload []byte) (Response, error) {
	var r events.ALBTargetGroupResponse
	err := decode(payload, &r)
	return join(r.StatusCode, single(r.Headers, nil), r.Body, r.IsBase64Encoded, err)
}

func multiValueResponse(payload []byte) (Response, error) {
	var r events.ALBTargetGroupResponse
	err := decode(payload, &r)
	return join(r.StatusCode, r.MultiValueHeaders, r.Body, r.IsBase64Encoded, err)
}

func decode(payload []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

func single(values map[string]string, cookies []string) http.Header {
	h := make(http.Header)
	for name, value := range values {
		h.Set(name, value)
	}
	for _, cookie := range cookies {
		h.Add("Set-Cookie", cookie)
	}
	return h
}

func join(status int, header http.Header, body string, encoded bool, err error) (Response, error) {
	if err == nil && encoded {
		var decoded []byte
		decoded, err = base64.StdEncoding.DecodeString(body)
		body = string(decoded)
	}
	return Response{Status: status, Header: header, Body: body}, err
}
