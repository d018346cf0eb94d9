// Package diffhook is the SDK of DiffHook, a service that watches web pages and
// sends a signed webhook when one changes: it verifies the webhooks and calls
// the API.
//
// This page sorts by name; what follows is the order in which to learn.
//
// # Receiving deliveries
//
// A [Verifier] decides whether a delivery comes from DiffHook: whether its
// signature is the HMAC-SHA256 of its body under the team's signing secret.
// [NewVerifier] makes one. [Verifier.EventHandler] is a whole endpoint, to
// which you give an [EventFunc] for the [Event]; [Verifier.Handler] is middleware
// around a handler of your own; [Verifier.VerifyRequest] and [HTTPStatus] are
// for routers of another kind, and [Verifier.VerifyHeader] and
// [Verifier.Verify] for what has no [net/http.Request], such as a Lambda
// function.
//
// DiffHook counts a delivery as failed that is not answered with 2xx within
// [DeliveryTimeout], and retries it: after 5 s and 30 s (generation 1 of the
// platform), or ten times within about 17 h (generation 2). So the same event
// can come twice; [Event.DedupKey] tells. Both generations' headers and bodies are
// understood without being told which to expect.
//
// Nothing but the body is signed, so whoever has seen a delivery can send it
// again. [VerifierOptions].MaxAge and Event.DedupKey limit what that is good
// for; see SECURITY.md in the repository.
//
// # Where secrets come from
//
// A [SecretSource] supplies the [Secrets]: [EnvSecrets], [FileSecrets], a fixed
// Secrets value, or a [SecretSourceFunc] of a few lines for Vault, AWS Secrets
// Manager or Doppler, for which there are examples. A [Secret] is opaque: no
// way of printing or encoding it, or what contains it, shows its text.
//
// # Rotating the signing secret
//
// DiffHook signs with a new secret from the moment of its rotation, while
// deliveries in flight can carry the old signature. A verifier therefore
// accepts two secrets for a time, the rotation window. It learns of a new
// secret from its source, by [Verifier.Watch] and [Verifier.Refresh], and at
// once when a delivery comes that no known secret signed; a flood of such
// deliveries starts one read per [VerifierOptions].MinRefreshInterval on average.
// [Verifier.Rotate] and [Verifier.Reject] do the same by hand.
// [Verifier.Status] shows whether the old secret is still in use. [Verifier.Hold]
// keeps deliveries of generation 1 while the new secret is on its way to a server,
// and [Verifier.AcceptSuccessor] takes it before the source has it.
//
// If the source names the previous secret too (a directory with the files
// current and previous, say), a restart inside the window loses nothing.
// Otherwise only the running process remembers the replaced secret.
//
// DiffHook documents one way to rotate: a person, in the app. Generation 1 gives a
// delivery up after 35 s, so a server that gets the new secret later loses
// deliveries. Package [github.com/diffhook/diffhook-go/rotation] makes servers hold
// them, brings the new secret to every server, and continues after a crash.
// docs/rotation.md in the repository has the steps.
//
// # Calling the API
//
// [NewClient] makes a [Client] of [Credentials]: an [APIKey] (generation 1),
// [ClientCredentials] (generation 2), or [EnvCredentials]. Its methods are
// grouped by resource: [Client.Monitors], [Client.Logs], [Client.Keys] and
// [Client.SigningSecret]; [Client.Do] is for endpoints that have none.
//
// The credential goes to the host of the base URL, over https, and nowhere
// else. Requests stay within the plan's rate limit: the default [PlanLimiter]
// is that of the free plan, and a client of a paid plan says so in
// [ClientOptions].Limiter. GET, PUT and DELETE, pause and resume are repeated
// after network errors, 429 and 5xx, with exponential backoff; other POSTs only
// after a 429, or where the request cannot have left. Where such a POST may
// have been carried out, its error matches [ErrOutcomeUnknown].
//
// Lists hold at most 200 items, and the API documents no way to get more:
// a list of [MaxListLimit] items may not be all there is.
//
// # Rotating API keys
//
// Nothing replaces a key in place, says DiffHook's page "API Keys": create the
// new one, migrate, delete the old one. Package
// [github.com/diffhook/diffhook-go/rotation] takes a person, or the assumed
// endpoints, through these steps. [Key.Stale] reports which keys are older than 90
// days. [Client.SetCredentials] moves a client to another key.
//
// Revoke a key at once ([KeyService.Delete]) if it appears in a log or a repository.
// Package [github.com/diffhook/diffhook-go/redact] finds keys in text, and keeps keys
// and secrets out of logs.
//
// # Errors
//
// Test for these with [errors.Is]. [HTTPStatus] gives the answer to a delivery,
// and Observation and log lines give the result, for each.
//
//	receiving               status  what to do
//	ErrNoSignature          401     refuse it
//	ErrMalformedSignature   401     refuse it
//	ErrSignatureMismatch    401     refuse it; if all are, compare fingerprints, and see the log's hint
//	ErrStale                401     refuse it; is MaxAge shorter than the retries last, or the clock wrong?
//	ErrBodyTooLarge         413     raise MaxBodyBytes if deliveries can be that long
//	ErrBodyTimeout          408     nothing: the sender was slow
//	ErrBodyRead             400     nothing: the connection broke off, or a reader before the verifier failed
//	ErrBodyConsumed         500     mount the verifier before what reads the body
//	ErrSecretsUnavailable   503     look at the secret source; DiffHook will retry
//	ErrUnavailable          503     nothing: a function of yours returned it; DiffHook will retry
//	ErrHeld                 202     nothing: Verifier.Hold keeps it
//	ErrInvalidEvent         400     signed, but no JSON object: see what the sender sends
//	ErrInvalidSecret        –       correct the secret; the text says how
//	ErrInvalidOptions       –       correct the option that the text names
//
// An answer of the API that is no success is an [*APIError], with the details.
//
//	calling                 status  what to do
//	ErrUnauthorized         401     the key is missing, malformed or revoked: check the credentials
//	ErrForbidden            403     the key is valid and has no access: another team's monitor?
//	ErrMonitorLimit         403     delete a monitor or change the plan; also ErrForbidden
//	ErrNotFound             404     check the id
//	ErrInvalidRequest       4xx     correct the request; also what the client refuses to send
//	ErrRateLimited          429     wait for RetryAfter; share a limiter among what shares a key
//	ErrServer               5xx     try again later
//	ErrUnexpectedResponse   any     not what the API documents: check BaseURL
//	ErrOutcomeUnknown       any     it may have been carried out: look before repeating it
//	ErrInvalidCredentials   –       correct the credentials; the text says how
//
// A request without an answer matches the error that the connection or the
// context gave, such as [*net.OpError] or [context.DeadlineExceeded], and
// ErrOutcomeUnknown where that applies.
//
// # Testing
//
// Package [github.com/diffhook/diffhook-go/diffhooktest] makes signed requests,
// delivers events as the platform does, with its retries, and emulates the
// platform: API, rate limits, webhooks and faults, on a clock that tests turn.
//
// # Facts and assumptions
//
// The comments of this package say where a fact of the platform is from, if it
// is not from DiffHook's public documentation, and mark what is assumed. That
// is, of receiving: whether a retry keeps its first signature or is signed anew
// is not documented, and both work. Of the API: the endpoints of keys and of
// the signing secret (documented as pages of the app only), the fields of logs,
// the times of monitors, and the name of the X-Request-Id header. openapi.yaml
// in the repository has the whole, with what is assumed marked.
//
// # Compatibility
//
// The package follows semantic versioning. It needs Go 1.26 or newer.
package diffhook
