package diffhooklambda_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/contrib/diffhooklambda"
	"github.com/diffhook/diffhook-go/contrib/diffhooklambda/internal/gateway"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// rig is a verifier with a secret, and the observations.
type rig struct {
	v        *diffhook.Verifier
	secret   diffhook.Secret
	observed []diffhook.Observation
}

// newRig returns a rig, and replaces Observe of opts.
func newRig(t *testing.T, opts diffhook.VerifierOptions) *rig {
	t.Helper()
	r := &rig{secret: diffhooktest.NewSecret()}
	opts.Observe = func(_ context.Context, o diffhook.Observation) { r.observed = append(r.observed, o) }
	var err error
	r.v, err = diffhook.NewVerifier(t.Context(), diffhook.Secrets{Current: r.secret}, &opts)
	require.NoError(t, err)
	return r
}

// last returns the last result.
func (r *rig) last(t *testing.T) diffhook.Result {
	t.Helper()
	require.NotEmpty(t, r.observed)
	return r.observed[len(r.observed)-1].Result
}

// each runs a test behind each gateway, with the body as text and in base64.
func each(t *testing.T, test func(t *testing.T, g gateway.Gateway, encode bool)) {
	for _, g := range gateway.All {
		t.Run(g.Name, func(t *testing.T) { test(t, g, false) })
		t.Run(g.Name+", base64", func(t *testing.T) { test(t, g, true) })
	}
}

// send invokes h with a request through g.
func send(t *testing.T, g gateway.Gateway, h lambda.Handler, r gateway.Request) gateway.Response {
	t.Helper()
	payload, err := h.Invoke(t.Context(), g.Event(r))
	require.NoError(t, err)
	response, err := g.Response(payload)
	require.NoError(t, err)
	return response
}

// signature returns a header, with the name in any case.
func signature(name, value string) [2]string { return [2]string{name, value} }

func accept(context.Context, *diffhook.Event) error { return nil }

func TestDeliveries(t *testing.T) {
	body := diffhooktest.PageChanged()
	forger := diffhooktest.NewSecret()
	failed := errors.New("the queue is full")
	noEvent := []byte("no event")
	each(t, func(t *testing.T, g gateway.Gateway, encode bool) {
		r := newRig(t, diffhook.VerifierOptions{MaxBodyBytes: 4 << 10})
		long := append(body, strings.Repeat(" ", 4<<10)...)
		gen1, gen2 := diffhook.SignatureHeader, diffhook.SignatureHeaderGen2
		for _, c := range []struct {
			name   string
			header [][2]string
			body   []byte
			answer error // the error of the function
			status int
			result diffhook.Result
		}{
			{"valid", [][2]string{signature(gen1, r.secret.Sign(body))}, body, nil, 204, diffhook.ResultAccepted},
			{"generation 2", [][2]string{signature(gen2, r.secret.Sign(body))}, body, nil, 204, diffhook.ResultAccepted},
			{"upper-case name", [][2]string{signature(strings.ToUpper(gen1), r.secret.Sign(body))}, body, nil, 204, diffhook.ResultAccepted},
			{"lower-case name", [][2]string{signature(strings.ToLower(gen1), r.secret.Sign(body))}, body, nil, 204, diffhook.ResultAccepted},
			{"the function fails", [][2]string{signature(gen1, r.secret.Sign(body))}, body, failed, 500, diffhook.ResultAccepted},
			{"the function is not available", [][2]string{signature(gen1, r.secret.Sign(body))}, body, diffhook.ErrUnavailable, 503, diffhook.ResultAccepted},
			{"forged", [][2]string{signature(gen1, forger.Sign(body))}, body, nil, 401, diffhook.ResultMismatch},
			{"unsigned", nil, body, nil, 401, diffhook.ResultNoSignature},
			{"malformed", [][2]string{signature(gen1, r.secret.Sign(body)[1:])}, body, nil, 401, diffhook.ResultMalformedSignature},
			{"another body", [][2]string{signature(gen1, r.secret.Sign(body))}, body[1:], nil, 401, diffhook.ResultMismatch},
			{"empty body", [][2]string{signature(gen1, r.secret.Sign(nil))}, nil, nil, 400, diffhook.ResultInvalidEvent},
			{"no event", [][2]string{signature(gen1, r.secret.Sign(noEvent))}, noEvent, nil, 400, diffhook.ResultInvalidEvent},
			{"over the limit", [][2]string{signature(gen1, r.secret.Sign(long))}, long, nil, 413, diffhook.ResultBodyTooLarge},
		} {
			t.Run(c.name, func(t *testing.T) {
				calls := 0
				h := diffhooklambda.Handler(r.v, func(_ context.Context, e *diffhook.Event) error {
					calls++
					assert.Equal(t, "mon_abc123", e.MonitorID)
					assert.Empty(t, cmp.Diff(string(body), string(e.Raw)))
					return c.answer
				})
				header := append([][2]string{{"Host", "hooks.example.org"}, {"Content-Type", "application/json"}}, c.header...)
				response := send(t, g, h, gateway.Request{Header: header, Body: c.body, Encode: encode})
				assert.Equal(t, c.status, response.Status)
				assert.Equal(t, c.result, r.last(t))
				assert.Equal(t, "no-store", response.Header.Get("Cache-Control"))
				assert.Empty(t, response.Header.Values("Connection"), "the function has no connection to close")
				assert.Equal(t, c.result == diffhook.ResultAccepted, calls == 1)
				assert.Equal(t, c.status == http.StatusNoContent, response.Body == "")
			})
		}
	})
}

// Two values of the signature header are malformed, as with net/http. A load balancer
// without multi-value headers shows only the last value.
func TestDoubledSignature(t *testing.T) {
	body := diffhooktest.PageChanged()
	each(t, func(t *testing.T, g gateway.Gateway, encode bool) {
		r := newRig(t, diffhook.VerifierOptions{})
		valid, forged := r.secret.Sign(body), diffhooktest.NewSecret().Sign(body)
		for name, values := range map[string][2]string{
			"forged, valid": {forged, valid}, "valid, forged": {valid, forged}, "valid twice": {valid, valid},
		} {
			expected := diffhook.ResultMalformedSignature
			if g.LastHeader {
				expected = diffhook.ResultAccepted
				if values[1] == forged {
					expected = diffhook.ResultMismatch
				}
			}
			for _, second := range []string{diffhook.SignatureHeader, strings.ToLower(diffhook.SignatureHeader)} {
				t.Run(name+" "+second, func(t *testing.T) {
					send(t, g, diffhooklambda.Handler(r.v, accept), gateway.Request{
						Header: [][2]string{{diffhook.SignatureHeader, values[0]}, {second, values[1]}}, Body: body, Encode: encode,
					})
					assert.Equal(t, expected, r.last(t))
				})
			}
		}
	})
}

func TestBodyThatIsNotBase64(t *testing.T) {
	for _, g := range gateway.All {
		t.Run(g.Name, func(t *testing.T) {
			r := newRig(t, diffhook.VerifierOptions{})
			var event map[string]any
			require.NoError(t, json.Unmarshal(g.Event(gateway.Request{
				Header: [][2]string{{diffhook.SignatureHeader, r.secret.Sign(nil)}}, Encode: true,
			}), &event))
			event["body"] = "{not base64}"
			payload, err := json.Marshal(event)
			require.NoError(t, err)
			payload, err = diffhooklambda.Handler(r.v, accept).Invoke(t.Context(), payload)
			require.NoError(t, err)
			response, err := g.Response(payload)
			require.NoError(t, err)
			assert.Equal(t, http.StatusBadRequest, response.Status)
			assert.Equal(t, diffhook.ResultBodyRead, r.last(t))
		})
	}
}

func TestUnknownEvents(t *testing.T) {
	r := newRig(t, diffhook.VerifierOptions{})
	h := diffhooklambda.Handler(r.v, accept)
	for name, payload := range map[string]string{
		"empty":                     "",
		"no JSON":                   "GET / HTTP/1.1",
		"null":                      "null",
		"list":                      "[]",
		"empty object":              "{}",
		"queue":                     `{"Records":[{"eventSource":"aws:sqs","body":"{}"}]}`,
		"schedule":                  `{"version":"0","detail-type":"Scheduled Event","source":"aws.events","detail":{}}`,
		"WebSocket":                 `{"requestContext":{"eventType":"MESSAGE","connectionId":"id"},"body":"{}"}`,
		"the body alone":            string(diffhooktest.PageChanged()),
		"format 2.0 without method": `{"version":"2.0","requestContext":{"http":{}}}`,
		"a header of another type":  `{"httpMethod":"POST","headers":{"x-signature":["secret"]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := h.Invoke(t.Context(), []byte(payload))
			assert.ErrorIs(t, err, diffhooklambda.ErrUnknownEvent)
			assert.Nil(t, answer)
			assert.NotContains(t, err.Error(), "secret")
			assert.Empty(t, r.observed)
		})
	}
}

func TestContext(t *testing.T) {
	body := diffhooktest.PageChanged()
	for _, c := range []struct {
		name              string
		timeout, expected time.Duration
	}{
		{"of the function", 3 * time.Second, 3 * time.Second},
		{"of DiffHook", time.Minute, diffhook.DeliveryTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, diffhook.VerifierOptions{})
				ctx, cancel := context.WithTimeout(lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "id"}), c.timeout)
				defer cancel()
				start := time.Now()
				h := diffhooklambda.Handler(r.v, func(ctx context.Context, _ *diffhook.Event) error {
					invocation, ok := lambdacontext.FromContext(ctx)
					assert.True(t, ok)
					assert.Equal(t, "id", invocation.AwsRequestID)
					<-ctx.Done()
					assert.Equal(t, c.expected, time.Since(start))
					return ctx.Err()
				})
				g := gateway.All[0]
				payload, err := h.Invoke(ctx, g.Event(gateway.Request{Header: [][2]string{{diffhook.SignatureHeader, r.secret.Sign(body)}}, Body: body}))
				require.NoError(t, err)
				response, err := g.Response(payload)
				require.NoError(t, err)
				assert.Equal(t, http.StatusInternalServerError, response.Status)
			})
		})
	}
}

// An invocation ends a hold. A held delivery would wait in a frozen process.
func TestHoldEnds(t *testing.T) {
	body := diffhooktest.PageChanged()
	each(t, func(t *testing.T, g gateway.Gateway, encode bool) {
		r := newRig(t, diffhook.VerifierOptions{HandleHeld: func(context.Context, *diffhook.Delivery) error { return nil }})
		h := diffhooklambda.Handler(r.v, accept)
		for range 2 {
			require.NoError(t, r.v.Hold(time.Hour))
			response := send(t, g, h, gateway.Request{
				Header: [][2]string{{diffhook.SignatureHeader, diffhooktest.NewSecret().Sign(body)}}, Body: body, Encode: encode,
			})
			assert.Equal(t, http.StatusUnauthorized, response.Status)
			assert.Equal(t, diffhook.ResultMismatch, r.last(t))
			assert.True(t, r.v.Status().Hold.Until.IsZero())
		}
	})
}

// Deny can send any answer of a ResponseWriter.
func TestDeny(t *testing.T) {
	binary := string([]byte{0xff, 0x00})
	each(t, func(t *testing.T, g gateway.Gateway, encode bool) {
		r := newRig(t, diffhook.VerifierOptions{Deny: func(w http.ResponseWriter, r *http.Request, err error) {
			assert.ErrorIs(t, err, diffhook.ErrNoSignature)
			assert.Equal(t, "hooks.example.org", r.Host)
			assert.Equal(t, "/hook", r.URL.Path)
			assert.Equal(t, http.MethodPost, r.Method)
			w.Header().Add("X-One", "1")
			w.Header().Add("X-One", "2")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusTeapot)
			w.WriteHeader(http.StatusOK)
			w.Header().Set("X-Late", "1")
			_, _ = w.Write([]byte(binary))
		}})
		response := send(t, g, diffhooklambda.Handler(r.v, accept), gateway.Request{
			Header: [][2]string{{"Host", "hooks.example.org"}}, Body: []byte("{}"), Encode: encode,
		})
		assert.Equal(t, http.StatusTeapot, response.Status)
		assert.Equal(t, binary, response.Body)
		assert.Equal(t, "1, 2", strings.Join(response.Header.Values("X-One"), ", "))
		assert.Empty(t, response.Header.Get("X-Late"))
		assert.Equal(t, "application/octet-stream", response.Header.Get("Content-Type"))
	})
}

// A load balancer without multi-value headers has a single cookie.
func TestCookies(t *testing.T) {
	for _, g := range gateway.All {
		t.Run(g.Name, func(t *testing.T) {
			cookies := []string{"a=1", "b=2"}
			if g.LastHeader {
				cookies = cookies[:1]
			}
			r := newRig(t, diffhook.VerifierOptions{Deny: func(w http.ResponseWriter, _ *http.Request, _ error) {
				for _, cookie := range cookies {
					w.Header().Add("Set-Cookie", cookie)
				}
			}})
			response := send(t, g, diffhooklambda.Handler(r.v, accept), gateway.Request{Body: []byte("{}")})
			assert.Equal(t, http.StatusOK, response.Status)
			assert.Empty(t, cmp.Diff(cookies, response.Header.Values("Set-Cookie")))
		})
	}
}

func TestLoadBalancersGetADescription(t *testing.T) {
	for _, g := range gateway.All {
		t.Run(g.Name, func(t *testing.T) {
			payload, err := diffhooklambda.Handler(newRig(t, diffhook.VerifierOptions{}).v, accept).Invoke(t.Context(), g.Event(gateway.Request{}))
			require.NoError(t, err)
			var response struct{ StatusDescription string }
			require.NoError(t, json.Unmarshal(payload, &response))
			expected := ""
			if strings.HasPrefix(g.Name, "load balancer") {
				expected = "401 Unauthorized"
			}
			assert.Equal(t, expected, response.StatusDescription)
		})
	}
}

func TestZeroVerifier(t *testing.T) {
	body, g := diffhooktest.PageChanged(), gateway.All[0]
	response := send(t, g, diffhooklambda.Handler(new(diffhook.Verifier), accept), gateway.Request{
		Header: [][2]string{{diffhook.SignatureHeader, diffhooktest.NewSecret().Sign(body)}}, Body: body,
	})
	assert.Equal(t, http.StatusServiceUnavailable, response.Status)
}

func TestNil(t *testing.T) {
	assert.Panics(t, func() { diffhooklambda.Handler(nil, accept) })
	assert.Panics(t, func() { diffhooklambda.Handler(new(diffhook.Verifier), nil) })
}
