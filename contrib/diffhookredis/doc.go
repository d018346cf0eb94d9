// Package diffhookredis keeps the records of package once, and a rate limit for all
// processes of a fleet, in Redis. Redis 7, Valkey 8 and their clusters work.
//
// [New] returns a store for [once.Func]. Call [CheckEviction] at the start: a server with
// an evicting policy forgets events without an error.
//
// [NewLimiter] returns a limiter for diffhook.ClientOptions.
//
// Both need a client with ContextTimeoutEnabled. By default, go-redis ignores the deadline
// of a delivery, and retries for longer than the 10 s for which DiffHook waits.
package diffhookredis
