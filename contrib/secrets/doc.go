// Package secrets contains stores of package rotation for real secrets managers, and a
// function that asks at a terminal. Copy a file: each stands alone. The README helps to choose.
//
// No program depends on this module, and so none gets all these SDKs.
package secrets
