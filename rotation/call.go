package rotation

// Function names a function of this package for rotations.
type Function string

// The functions for rotations.
const (
	FunctionSecret       Function = "Secret"
	FunctionRevokeSecret Function = "RevokeSecret"
	FunctionKey          Function = "Key"
)

// Call is a call to begin or to continue a rotation. ID is the fingerprint of a secret
// or the id of a key. A client id is shortened.
type Call struct {
	Function Function `json:"function"`
	ID       string   `json:"id"`
}
