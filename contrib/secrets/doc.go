// Package secrets has stores of package rotation for real secrets managers, to
// copy: each file stands alone. The README says which one to take.
//
// Nothing depends on this module, so that nobody gets its dependencies.
package secrets
