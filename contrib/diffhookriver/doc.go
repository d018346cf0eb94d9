// Package diffhookriver handles events with River, a queue in PostgreSQL or SQLite: the
// receiver answers at once, and a worker does the work later, with retries.
//
// [Enqueue] returns the function for the receiver. A duplicate of an event is not enqueued
// while River keeps the job. [AddWorker] registers the function for the work. The work is
// done at least once: a worker can die after the work. With [CompleteTx], the work and
// the end of the job share a transaction, and the work is done exactly once.
//
// Call [Check] with the config of every River client, in every process: each client can
// become the leader, whose settings count for all jobs.
package diffhookriver
