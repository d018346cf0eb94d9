// Package rotation replaces signing secrets and API keys of DiffHook without
// downtime. DiffHook documents one way: a person clicks in the app, at App →
// Settings → API Keys. [ByHand] asks that person; [API] uses endpoints that are
// assumed.
//
// A [Store] keeps one document for each credential: [NewSecret] or [NewKey] creates
// it, servers read it by [Source], and applications by [Watch]. The document is also
// the journal of a rotation: after any error or crash, run the same function again,
// and it continues. [State] shows how far it is.
//
//   - [Secret] replaces the signing secret, tells the [Receiver] of each server, waits
//     until the old secret is out of use, and revokes it.
//   - [RevokeSecret] ends a leaked secret at once.
//   - [Key] replaces an API key, and deletes the old key when it is out of use.
//
// If the document, DiffHook and the servers do not fit together, a rotation stops and
// says so. Two runs cannot rotate the same credential at a time: the second run
// returns [ErrBusy]. Only a wait of more than 10 minutes for an old credential to get
// out of use is passed on: a run that begins then takes the wait over, and the first
// run returns [ErrBusy]. Such a wait saves nothing, because stores keep a limited number
// of versions.
package rotation
