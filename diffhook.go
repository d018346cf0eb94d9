// Package diffhook receives the webhooks of DiffHook, a service that watches
// web pages and sends a signed webhook when one changes.
//
// This page sorts by name; what follows is the order in which to learn.
//
// # Receiving deliveries
//
// A [Verifier] decides whether a delivery comes from DiffHook: whether its
// signature is the HMAC-SHA256 of its body under the team's signing secret.
// [NewVerifier] makes one. [Verifier.EventHandler] is a whole endpoint, to
// which you give a function for the [Event]; [Verifier.Handler] is middleware
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
// once when a delivery comes that no known secret signed; such a flood cannot
// make it ask more often than [VerifierOptions].MinRefreshInterval allows.
// [Verifier.Rotate] and [Verifier.RevokePrevious] do the same by hand.
// [Verifier.Status] shows whether the old secret is still in use.
//
// Where the source knows the previous secret too (a directory with the files
// current and previous, say), a restart inside the window loses nothing.
// Otherwise the replaced secret is remembered by the running process only.
//
// # Errors
//
// Test for these with [errors.Is]. [HTTPStatus] gives the answer, and
// Observation and log lines give the result, for each.
//
//	error                   status  what to do
//	ErrNoSignature          401     refuse it
//	ErrMalformedSignature   401     refuse it
//	ErrSignatureMismatch    401     refuse it; if all are, compare fingerprints, and see the log's hint
//	ErrStale                401     refuse it; is MaxAge shorter than the retries last?
//	ErrBodyTooLarge         413     raise MaxBodyBytes if deliveries can be that long
//	ErrBodyTimeout          408     nothing: the sender was slow
//	ErrBodyRead             400     nothing: the connection broke off
//	ErrBodyConsumed         500     mount the verifier before what reads the body
//	ErrSecretsUnavailable   503     look at the secret source; DiffHook will retry
//	ErrInvalidEvent         400     signed, but no event: compare with the documentation
//	ErrInvalidSecret        –       correct the secret; the text says how
//	ErrInvalidOptions       –       correct the option that the text names
//
// # Testing
//
// Package [github.com/diffhook/diffhook-go/diffhooktest] makes signed requests
// and delivers events as the platform does, with its retries.
//
// # Facts and assumptions
//
// The comments of this package say where a fact of the platform is from, if it
// is not from DiffHook's public documentation, and mark what is assumed. Of
// receiving, one thing is: whether a retry keeps its first signature or is
// signed anew is not documented, and both work.
//
// # Compatibility
//
// The package follows semantic versioning. It needs one of the two newest
// releases of Go.
package diffhook
