// Package diffhooktest helps to test code that receives DiffHook's webhooks:
// it makes secrets, payloads and signed requests, and delivers events the way
// the platform does, retries included.
//
// # One request
//
// [NewRequest] makes a signed request to hand to a handler, as
// [net/http/httptest.NewRequest] makes a plain one. Sign with another
// [NewSecret] for a forgery, with the zero [diffhook.Secret] for a request
// without a signature, and change the body afterwards for a tampered one.
//
// # A delivery with its retries
//
// A [Sender] delivers events to a URL, or straight to an [net/http.Handler]:
// signed, with the retry schedule of either generation of the platform, over a
// rotation of the secret if you like. Under [testing/synctest], and against a
// handler, the 17 hours of a generation 2 schedule pass in milliseconds.
package diffhooktest

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"net/http/httptest"

	"github.com/diffhook/diffhook-go"
)

// NewSecret returns a new random signing secret.
func NewSecret() diffhook.Secret {
	s, err := diffhook.NewSecret("test-signing-secret-" + rand.Text())
	if err != nil {
		panic("diffhooktest: " + err.Error())
	}
	return s
}

// PageChanged returns the payload of a page.changed event with every field
// that generation 1 documents. To start from another event, marshal a
// [diffhook.Event], whose JSON has the documented names.
func PageChanged() []byte { return []byte(pageChanged) }

// PageChangedGen2 returns the payload that generation 2 documents.
func PageChangedGen2() []byte { return []byte(pageChangedGen2) }

const pageChanged = `{"event":"page.changed","monitor_id":"mon_abc123","url":"https://example.com/pricing",` +
	`"label":"Pricing page","triggered_at":"2026-03-16T14:22:00Z","interval_minutes":15,` +
	`"diff":{"summary":"The price of the Team plan changed","added":["Team: $49"],"removed":["Team: $39"],` +
	`"full_text_before":"Free: $0\nTeam: $39","full_text_after":"Free: $0\nTeam: $49"},` +
	`"snapshot_url":"https://example.com/snapshots/mon_abc123/1"}`

const pageChangedGen2 = `{"event":"page.changed","monitor_id":"mon_abc123","url":"https://example.com/pricing",` +
	`"triggered_at":"2026-03-16T14:22:00Z","content":"Free: $0\nTeam: $49"}`

// NewRequest returns a server-side request for a handler under test: a POST of
// body to target, signed with secret in generation 1's header. With the zero
// Secret it has no signature. Like [httptest.NewRequest] it panics on a target
// that cannot be parsed.
func NewRequest(target string, secret diffhook.Secret, body []byte) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, bytes.NewReader(body))
	setHeaders(r.Header, diffhook.SignatureHeader, secret.Sign(body))
	return r
}

func setHeaders(h http.Header, name, signature string) {
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", "diffhooktest")
	if signature != "" {
		h.Set(name, signature)
	}
}
