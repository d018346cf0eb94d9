package rotation

// Function names a function of this package that carries out a rotation.
type Function string

// The functions that carry out a rotation.
const (
	FunctionSecret       Function = "Secret"
	FunctionRevokeSecret Function = "RevokeSecret"
	FunctionKey          Function = "Key"
)

// Call is a call that continues a rotation, or begins one. ID is the fingerprint of a
// secret, or the id of a key as statuses show it: a client id is shortened.
type Call struct {
	Function Function `json:"function"`
	ID       string   `json:"id"`
}
