// Package diffhooktest helps to test code that uses DiffHook: it makes secrets,
// payloads and signed requests, delivers events the way the platform does,
// retries included, and emulates the platform itself.
//
// # One request
//
// [NewRequest] makes a signed request to hand to a handler, as
// [net/http/httptest.NewRequest] makes a plain one. Sign with another
// [NewSecret] for a forgery, with the zero [diffhook.Secret] for a request
// without a signature, and put another body of the same length into a signed
// one for a tampered request.
//
// # A delivery with its retries
//
// A [Sender] delivers events to a URL, or straight to an [net/http.Handler]:
// signed, with the retry schedule of either generation of the platform, over a
// rotation of the secret if you like. Under [testing/synctest], and against a
// handler, the 17 hours of a generation 2 schedule pass in milliseconds.
//
// # The platform
//
// A [Server] is the platform in memory, for code that calls the API as well.
// [NewServer] starts one for a test, [Start] outside a test, and [New] makes one
// without sockets for testing/synctest. It has a [Team] with an API key, an
// OAuth client and a signing secret; [Server.Client] returns a client of it.
// It speaks both generations: an API key gets the answers of generation 1, an
// access token those of generation 2.
//
//   - [Server.Advance] turns its clock, by which tokens expire, limits are
//     counted and webhooks are retried: 17 hours of retries, or a day until a
//     token expires, take milliseconds.
//   - [Server.Change] plays that a monitored page changed. The webhook goes to
//     the monitor's URL or, with [Settings].Deliver, straight to a handler.
//     [Server.Deliveries] tells what became of it.
//   - [Team.Rotate] replaces the signing secret, with deliveries in flight if
//     you like; Settings.SignOnce decides what those are signed with.
//   - [Server.Fail] makes requests go wrong: statuses, limits, delays, pages of
//     HTML, connections that break before or after the work was done.
//   - [Server.Requests] and [Server.Count] tell what was asked for.
//
// It is stricter than the platform where silence would hide a mistake: unknown,
// repeated and null fields, a wrong Content-Type, a body or query where none
// belongs are answered with 400 and the code INVALID_REQUEST, a wrong method
// with 405 and METHOD_NOT_ALLOWED, which are not the platform's. It asks for
// authorization first, then counts the request, and then looks at the rest.
// Pages change only through Change and the trigger endpoint, which always finds
// a change; URLs are not checked for being reachable; mail is not sent.
//
// Not documented by the platform, and so assumed, are: the endpoints for keys
// and signing secrets, and the fields of all answers but errors; the names of
// the rate limit headers; that a limit counts over any 60 s, that refused
// requests and those of the token endpoint do not count, and that an OAuth
// client has one limit for all its tokens; that pausing or deleting a monitor
// ends its deliveries in flight; that triggering a paused monitor succeeds and
// delivers nothing; that the replaced signing secret is valid until it is
// revoked or replaced in its turn. Whether retries are signed anew is not known.
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
// that generation 1 documents. It is always the same event, of 16 March 2026:
// too old for a MaxAge, and one DedupKey. For another event, marshal a
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
// body to target, signed with secret in generation 1's header; for generation
// 2, set [diffhook.SignatureHeaderGen2] to secret.Sign(body) instead. With the
// zero Secret it has no signature. Like [httptest.NewRequest] it panics on a target
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
