// Package rotation replaces signing secrets and API keys of DiffHook without
// downtime. DiffHook documents a single way: a person clicks in the app, at App →
// Settings → API Keys. [ByHand] asks this person. [API] uses assumed endpoints.
//
// A [Store] keeps a document for each credential. [NewSecret] or [NewKey] creates the
// document, servers read the document by [Source], and applications by [Watch]. The
// document is also the journal of a rotation: after any error or crash, call the same
// function again, and the rotation continues. [State] shows the progress.
//
//   - [Secret] replaces the signing secret: it sends the new secret to the [Receiver]
//     of each server, waits until the old secret is out of use, and revokes the old
//     secret.
//   - [RevokeSecret] ends a leaked secret at once.
//   - [Key] replaces an API key, and deletes the old key when nobody uses the old key.
//
// If the document, DiffHook and the servers do not fit together, a rotation stops and
// returns [ErrMismatch]. Two runs cannot rotate the same credential at a time: the
// second run returns [ErrBusy].
//
// A wait of more than 10 minutes, for servers or for an old credential, renews no lease,
// because stores keep a limited number of versions. A run that begins then takes the wait
// over, and the first run returns [ErrBusy].
package rotation
