// Package rie runs a function with package diffhooklambda under the runtime interface
// emulator of AWS, a pinned tool of this module.
//
// Nothing depends on this module, so nobody gets the dependencies.
package rie
