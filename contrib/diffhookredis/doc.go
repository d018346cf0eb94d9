// Package diffhookredis keeps the records of package once in Redis, and one rate
// limit for all processes of a fleet. Redis 7, Valkey 8 and their clusters work.
//
// [New] returns a store for [once.Func]. Call [CheckEviction] at the start: a server
// that evicts keys forgets events without an error.
//
// [NewLimiter] returns a limiter for diffhook.ClientOptions.
//
// Both need a client with ContextTimeoutEnabled. Without that option, go-redis
// ignores the deadline of a delivery, and its retries can take longer than the 10 s
// in which DiffHook waits for the response.
package diffhookredis
