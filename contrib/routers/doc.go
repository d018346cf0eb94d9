// Package routers runs the lines of docs/frameworks.md: each mounts a verifier
// in a web framework, receives deliveries over a socket, and meets the
// middleware of the framework.
//
// Nothing depends on this module, so that nobody gets the dependencies.
package routers
