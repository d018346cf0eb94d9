package diffhook

// Result names the verdict on a delivery, in an [Observation] and in logs.
type Result string

// The results. Each but the first and the last three stands for the error of a
// similar name.
const (
	ResultAccepted           Result = "accepted"
	ResultNoSignature        Result = "no_signature"
	ResultMalformedSignature Result = "malformed_signature"
	ResultMismatch           Result = "mismatch"
	ResultStale              Result = "stale"
	ResultBodyTooLarge       Result = "body_too_large"
	ResultBodyTimeout        Result = "body_timeout"
	ResultBodyRead           Result = "body_read"
	ResultBodyConsumed       Result = "body_consumed"
	ResultSecretsUnavailable Result = "secrets_unavailable"
	ResultInvalidEvent       Result = "invalid_event"
	ResultHeld               Result = "held"
	ResultDropped            Result = "dropped" // a held delivery that was not handled
	ResultError              Result = "error"   // any other error
)
