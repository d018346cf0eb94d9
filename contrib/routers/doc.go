// Package routers runs the lines of docs/frameworks.md. Each line mounts a verifier in a
// web framework, receives deliveries over a socket, and meets the middleware of the
// framework.
//
// Nothing depends on this module, so nobody gets the dependencies.
package routers
