// Package rie runs a function with package diffhooklambda under the runtime
// interface emulator of AWS, which is pinned as a tool of this module.
//
// Nothing depends on this module, so that nobody gets the dependencies.
package rie
