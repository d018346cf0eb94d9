// Package secrets contains stores of package rotation for real secrets managers, to copy:
// each file stands alone. The README helps to choose.
//
// Nothing depends on this module, so nobody gets the dependencies.
package secrets
