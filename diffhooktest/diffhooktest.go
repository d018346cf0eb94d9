// Package diffhooktest helps to test code that uses DiffHook. It makes secrets,
// payloads and signed requests, delivers events as the platform does, with retries,
// and emulates the platform.
//
// # A signed request
//
// [NewRequest] returns a signed request for a handler, like
// [net/http/httptest.NewRequest]. Variants to reject:
//
//   - forged: sign with another [NewSecret];
//   - unsigned: pass the zero [diffhook.Secret];
//   - tampered: replace the body of a signed request by another body of the same
//     length.
//
// # A delivery with retries
//
// A [Sender] delivers events to a URL, or directly to an [net/http.Handler]. It
// signs them, follows the retry schedule of either generation, and can rotate the
// secret in between. With a handler under [testing/synctest], the 17 hours of
// generation 2's schedule pass in milliseconds.
//
// # The platform
//
// A [Server] is the platform in memory, for code that also calls the API.
// [NewServer] starts a server for a test, and [Start] starts a server elsewhere.
// [New] returns a server without sockets, for testing/synctest. Each server begins
// with a [Team]: an API key, an OAuth client and a signing secret. [Server.Client]
// returns a client of the server. An API key gets responses of generation 1, and an
// access token responses of generation 2.
//
//   - [Server.Advance] moves the clock, which governs tokens, rate limits and
//     retries. 17 hours of retries, or the day until a token expires, take
//     milliseconds.
//   - [Server.Change] simulates a change of a monitored page. The webhook goes to
//     the URL of the monitor or, with [Settings].Deliver, directly to a handler.
//     [Server.Deliveries] returns the results.
//   - [Team.Rotate] rotates the signing secret, also while deliveries are in
//     flight. Settings.SignOnce decides which secret signs their retries.
//   - [Server.Fail] injects faults: statuses, limits, delays, pages of HTML,
//     connections that break before or after the work.
//   - [Server.Requests] and [Server.Count] return the requests so far.
//
// The server is stricter than the platform, so that no mistake stays silent. The
// codes INVALID_REQUEST (400) and METHOD_NOT_ALLOWED (405) are the emulator's own.
// Unknown and repeated fields, null, a wrong Content-Type, and an unexpected body
// or query get status 400. The server checks the authorization first, then counts
// the request, and then checks the rest.
//
// Pages change only through Change and the trigger endpoint, which always finds a
// change. The server does not check that URLs are reachable, and sends no mail.
//
// # Assumptions
//
// The platform does not document the following points:
//
//   - the endpoints for keys and signing secrets, and the fields of all responses
//     but errors;
//   - the names of the rate limit headers;
//   - a limit counts over any 60 s, without rejected requests and requests of the
//     token endpoint;
//   - all tokens of an OAuth client share a limit;
//   - pausing or deleting a monitor ends the deliveries in flight;
//   - triggering a paused monitor succeeds and delivers nothing;
//   - the previous signing secret is valid until it is revoked or a rotation
//     replaces it;
//   - whether each retry gets a new signature: see Settings.SignOnce.
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

// PageChanged returns the payload of a page.changed event with every field that
// generation 1 documents. The event and the DedupKey are always the same. It dates
// from 16 March 2026, so a MaxAge rejects it. For another event, marshal a
// [diffhook.Event]: the JSON uses the documented names.
func PageChanged() []byte { return []byte(pageChanged) }

// PageChangedGen2 returns a payload with every field that generation 2 documents.
func PageChangedGen2() []byte { return []byte(pageChangedGen2) }

const pageChanged = `{"event":"page.changed","monitor_id":"mon_abc123","url":"https://example.com/pricing",` +
	`"label":"Pricing page","triggered_at":"2026-03-16T14:22:00Z","interval_minutes":15,` +
	`"diff":{"summary":"The price of the Team plan changed","added":["Team: $49"],"removed":["Team: $39"],` +
	`"full_text_before":"Free: $0\nTeam: $39","full_text_after":"Free: $0\nTeam: $49"},` +
	`"snapshot_url":"https://example.com/snapshots/mon_abc123/1"}`

const pageChangedGen2 = `{"event":"page.changed","monitor_id":"mon_abc123","url":"https://example.com/pricing",` +
	`"triggered_at":"2026-03-16T14:22:00Z","content":"Free: $0\nTeam: $49"}`

// NewRequest returns a server-side request for a handler under test: a POST of body
// to target, signed with secret in the header of generation 1. The zero Secret
// means no signature. For generation 2, set [diffhook.SignatureHeaderGen2] to
// secret.Sign(body) instead. Like [httptest.NewRequest], NewRequest panics if
// target is malformed.
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
