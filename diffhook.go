// Package diffhook is the SDK of DiffHook, a service that watches web pages and
// sends a signed webhook when a page changes: it verifies the webhooks and calls the
// API.
//
// This page sorts by name. The sections below are the order in which to learn.
//
// # Receiving deliveries
//
// A [Verifier] decides whether a delivery comes from DiffHook: whether the signature
// is the HMAC-SHA256 of the body under the team's signing secret. [NewVerifier] makes
// a Verifier, and these methods verify deliveries:
//   - [Verifier.EventHandler] is a whole endpoint, with an [EventFunc] for the [Event].
//   - [Verifier.Handler] is middleware around a handler of your own.
//   - [Verifier.VerifyRequest] and [HTTPStatus] are for other routers.
//   - [Verifier.VerifyHeader] and [Verifier.Verify] need no [net/http.Request], as in a
//     Lambda function.
//
// Answer a delivery with 2xx within [DeliveryTimeout]. Otherwise DiffHook counts a
// failure and retries: after 5 s and 30 s (generation 1 of the platform), or ten times
// within about 17 h (generation 2). So the same event can come twice:
// [Event.DedupKey] is then the same. A Verifier reads the headers and bodies of both
// generations without an option.
//
// Nothing but the body is signed, so anybody who has seen a delivery can send it
// again. [VerifierOptions].MaxAge and Event.DedupKey limit the harm: see SECURITY.md in
// the repository.
//
// # Where secrets come from
//
// A [SecretSource] supplies the [Secrets]: [EnvSecrets], [FileSecrets], a fixed
// Secrets value, or a [SecretSourceFunc] of a few lines for Vault, AWS Secrets Manager
// or Doppler, as in the examples. A [Secret] is opaque: printing or encoding a Secret,
// or a value that holds it, shows no text.
//
// # Rotating the signing secret
//
// DiffHook signs with a new secret from the moment of its rotation, while deliveries in
// flight can carry the old signature. A verifier therefore accepts two secrets for a
// time, the rotation window. It reads a new secret from the source, by [Verifier.Watch]
// and [Verifier.Refresh], and at once after a delivery that no known secret signed. A
// flood of such deliveries starts a read per [VerifierOptions].MinRefreshInterval on
// average. [Verifier.Rotate] and [Verifier.Reject] change the secrets by hand, and
// [Verifier.Status] shows whether the old secret is still in use. [Verifier.Hold] keeps
// deliveries of generation 1 while the new secret is on the way to a server.
// [Verifier.AcceptSuccessor] accepts the new secret before the source names it.
//
// If the source names the previous secret too, such as a directory with the files
// current and previous, a restart inside the window loses nothing. Otherwise only the
// running process remembers the replaced secret.
//
// DiffHook documents one way to rotate: by a person, in the app. Generation 1 gives a
// delivery up after 35 s, so a server that gets the new secret later loses deliveries.
// Package [github.com/diffhook/diffhook-go/rotation] makes servers hold the deliveries,
// brings the new secret to every server, and continues after a crash. The steps are in
// docs/rotation.md in the repository.
//
// # Calling the API
//
// [NewClient] makes a [Client] of [Credentials]: an [APIKey] (generation 1),
// [ClientCredentials] (generation 2), or [EnvCredentials]. The methods are grouped by
// resource: [Client.Monitors], [Client.Logs], [Client.Keys] and [Client.SigningSecret].
// [Client.Do] is for other endpoints.
//
// The credential goes to the host of the base URL, over https, and nowhere else.
// Requests stay within the rate limit of the free plan: for a paid plan, set
// [ClientOptions].Limiter to another [PlanLimiter].
//
// GET, PUT and DELETE, pause and resume are repeated after network errors, 429 and 5xx,
// with exponential backoff. Other POSTs are repeated only after a 429, or if the request
// cannot have left. If such a POST may have been carried out, the error matches
// [ErrOutcomeUnknown].
//
// Lists hold at most 200 items, and the API documents no way to get more: a list of
// [MaxListLimit] items may not be complete.
//
// # Rotating API keys
//
// Nothing replaces a key in place, says DiffHook's page "API Keys": create a new key,
// migrate, delete the old key. Package [github.com/diffhook/diffhook-go/rotation] takes
// a person, or the assumed endpoints, through these steps. [Key.Stale] reports which
// keys are older than 90 days. [Client.SetCredentials] moves a client to another key.
//
// Revoke a key at once ([KeyService.Delete]) if it appears in a log or a repository.
// Package [github.com/diffhook/diffhook-go/redact] finds keys in text, and keeps keys
// and secrets out of logs.
//
// # Errors
//
// Test for these with [errors.Is]. For an error of receiving, [HTTPStatus] returns the
// status to answer with, and observations and log lines show the [Result].
//
//	receiving               status  remedy
//	ErrNoSignature          401     nothing: it is rejected
//	ErrMalformedSignature   401     nothing: it is rejected
//	ErrSignatureMismatch    401     if all deliveries fail, compare fingerprints, and read the log's hint
//	ErrStale                401     if retries fail, raise MaxAge or check the clock
//	ErrBodyTooLarge         413     raise MaxBodyBytes if deliveries can be that long
//	ErrBodyTimeout          408     nothing: the sender was slow
//	ErrBodyRead             400     nothing: the connection broke off, or a reader before the verifier failed
//	ErrBodyConsumed         500     mount the verifier before other readers of the body
//	ErrSecretsUnavailable   503     check the secret source; DiffHook will retry
//	ErrUnavailable          503     nothing: a function of yours returned it; DiffHook will retry
//	ErrHeld                 202     nothing: Verifier.Hold keeps the delivery
//	ErrInvalidEvent         400     signed, but no JSON object: check the sender
//	ErrInvalidSecret        –       correct the secret as the text says
//	ErrInvalidOptions       –       correct the option that the text names
//
// A response of the API other than success is an [*APIError], with the details.
//
//	calling                 status  remedy
//	ErrUnauthorized         401     the key is missing, malformed or revoked: check the credentials
//	ErrForbidden            403     the key is valid and has no access: another team's monitor?
//	ErrMonitorLimit         403     delete a monitor or change the plan; also ErrForbidden
//	ErrNotFound             404     check the id
//	ErrInvalidRequest       4xx     correct the request, which the client may not have sent
//	ErrRateLimited          429     wait for RetryAfter; clients with the same key should share a limiter
//	ErrServer               5xx     try again later
//	ErrUnexpectedResponse   any     the API documents no such response: check BaseURL
//	ErrOutcomeUnknown       any     it may have been carried out: look before you repeat it
//	ErrInvalidCredentials   –       correct the credentials as the text says
//
// The error of a request without a response matches the error of the connection or the
// context, such as [*net.OpError] or [context.DeadlineExceeded], and maybe
// ErrOutcomeUnknown.
//
// # Testing
//
// Package [github.com/diffhook/diffhook-go/diffhooktest] makes signed requests,
// delivers events as the platform does, with its retries, and emulates the
// platform: API, rate limits, webhooks and faults, on a clock that tests turn.
//
// # Facts and assumptions
//
// Facts of the platform are from DiffHook's public documentation, unless a comment says
// otherwise. These are assumed: the endpoints of keys and of the signing secret
// (documented as pages of the app only), the fields of logs, the times of monitors, and
// the name of the X-Request-Id header. openapi.yaml in the repository marks each. It is
// not documented whether a retry keeps the first signature or is signed again: both
// work.
//
// # Compatibility
//
// The package follows semantic versioning. It needs Go 1.26 or newer.
package diffhook
