package diffhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// APIKeys is what a [KeyStore] holds: the key in use and, while it is being
// replaced, another.
type APIKeys struct {
	// Current is the key that applications use.
	Current APIKey

	// Next has been created to replace Current and is not proven yet. It is
	// zero outside that part of a rotation, and for no application to use.
	Next APIKey

	// Previous has been replaced by Current and is not deleted yet. It is zero
	// outside that part of a rotation.
	Previous APIKey
}

// KeyStore is where an API key is kept for the applications that use it: a
// secrets manager, a file, a database. It holds three keys, so that none is lost
// when a rotation is interrupted: a key is shown once, at its creation.
type KeyStore interface {
	// Load returns what the last Save was given.
	Load(ctx context.Context) (APIKeys, error)

	// Save stores keys, all in one write. It needs [APIKey.Reveal] for that.
	Save(ctx context.Context, keys APIKeys) error
}

// KeyRotationOptions configures [KeyService.Replace]. The zero value, and a nil
// pointer, mean every default.
type KeyRotationOptions struct {
	// Label is the new key's. By default, the old one's.
	Label string

	// Prove is a check of your own, with a client that uses the new key, before
	// any application does. An error undoes the rotation. By default, listing
	// one monitor must succeed, which comes first in any case.
	Prove func(ctx context.Context, client *Client) error

	// Quiet is for how long the old key must not have been used, by what the
	// platform tells of it. By default, 24 h, so that a nightly job is seen.
	Quiet time.Duration

	// PollInterval is the time from one look at the keys to the next, each of
	// which is a request. By default, 1 minute.
	PollInterval time.Duration

	// DeleteNow is asked whenever the old key's use is waited for. Where it says
	// true, the key is deleted. It is the only way where the platform does not
	// tell when keys were used. By default, it is false.
	DeleteNow func() bool

	// Observe is called for every step, and when what is waited for changes, on
	// the goroutine of the caller. By default, nothing is called.
	Observe func(ctx context.Context, step RotationStep)
}

const (
	defaultKeyQuiet = 24 * time.Hour
	defaultKeyPoll  = time.Minute
	undoTimeout     = 45 * time.Second // for each thing that must be done although ctx has ended
)

// OrphanError is returned by [KeyService.Replace] where a live key may be left
// that nobody holds: creating it ended in [ErrOutcomeUnknown], which the error
// then matches, or it could not be deleted again. Look whether you know each of
// Keys, and delete those that you do not.
type OrphanError struct {
	Keys  []Key // each may be one; empty where none is listed, or not yet
	cause error
}

// Error says what happened, and names the keys by id and label.
func (e *OrphanError) Error() string {
	if len(e.Keys) == 0 {
		return e.cause.Error() + "; if a key was created, it is not listed yet"
	}
	return e.cause.Error() + "; live keys that perhaps nobody holds: " + describeKeys(e.Keys)
}

// Unwrap returns what happened.
func (e *OrphanError) Unwrap() error { return e.cause }

func describeKeys(keys []Key) string {
	texts := make([]string, len(keys))
	for i, k := range keys {
		texts[i] = fmt.Sprintf("%s (%s, created %s)", scrub(k.ID, 40), scrub(k.Label, 40), k.CreatedAt.Format(time.RFC3339))
	}
	return strings.Join(texts, ", ")
}

// Replace replaces an API key without downtime, as DiffHook's page "API Keys"
// prescribes: create, migrate, delete. old is the id of the key to be replaced,
// which store has as Current when it begins, and names the rotation. The steps:
//
//  1. create the new key and save it as Next;
//  2. prove it, by a call with it and by Prove;
//  3. save it as Current, and the old one as Previous; applications take it
//     from the store, and this client is switched over if it used the old one;
//  4. wait until the old one has not been used for Quiet;
//  5. delete the old one, and remove it from the store.
//
// Run it again with the same old after any error, or a crash: it finds from the
// platform and the store where it stands. A failure before step 3, the end of
// ctx too, is undone: the store is put back and the new key deleted, or the error
// says that it could not be. Do not run it twice at a time.
//
// It returns, also with a nil error, the keys that an interrupted run may have
// created without learning of them: those with the new key's label that were
// never used and that the store does not have. Delete those you do not know.
//
// The old key is deleted only when the store gives back the new one, a call with
// the new one has just succeeded, and this client does not use the old one.
//
// Errors wrap [ErrNotFound] where there is no key old (it has been replaced
// already, or the id is wrong), [*OrphanError], [ErrStoreMismatch] where the
// store holds another key or not what was saved, [ErrRotationOpen] where it
// holds keys of another rotation, [ErrInvalidOptions], or what the client, the
// store, Prove or ctx gave.
func (s *KeyService) Replace(ctx context.Context, old string, store KeyStore, opts *KeyRotationOptions) (orphans []Key, err error) {
	r, err := s.newRotation(old, store, opts)
	if err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{r.locate, r.create, r.prove, r.promote, r.switchOver, r.drain, r.delete} {
		if err := step(ctx); err != nil {
			return r.orphans, err
		}
	}
	return r.orphans, nil
}

// keyRotation is one run of Replace.
type keyRotation struct {
	observer
	client *Client
	old    string // id
	store  KeyStore
	opts   KeyRotationOptions // defaults filled in

	keys     []Key   // as last listed
	orphans  []Key   // perhaps
	original APIKey  // the store's current one, before the switch
	stored   APIKeys // as last seen
	newKey   Key     // zero where it cannot be told which one it is
	created  bool    // by this run, so that newKey is certain
	alive    bool    // a call with it has succeeded in this run
	dead     bool    // or was answered 401
}

func (s *KeyService) newRotation(old string, store KeyStore, opts *KeyRotationOptions) (*keyRotation, error) {
	r := &keyRotation{client: s.client, old: old, store: store}
	if opts != nil {
		r.opts = *opts
	}
	o := &r.opts
	switch {
	case old == "":
		return nil, fmt.Errorf("%w: name the key to be replaced by its id, as Keys.List has it", ErrInvalidOptions)
	case store == nil:
		return nil, fmt.Errorf("%w: the KeyStore is nil; the new key is shown once and must be stored", ErrInvalidOptions)
	case o.Quiet < 0 || o.PollInterval < 0:
		return nil, fmt.Errorf("%w: Quiet and PollInterval must not be negative; leave them 0 for the defaults", ErrInvalidOptions)
	}
	if o.Quiet == 0 {
		o.Quiet = defaultKeyQuiet
	}
	if o.PollInterval == 0 {
		o.PollInterval = defaultKeyPoll
	}
	r.observe = o.Observe
	return r, nil
}

// locate finds where the rotation stands: the store has Next until the new key
// is proven, then Previous until the old one is deleted.
func (r *keyRotation) locate(ctx context.Context) error {
	if err := r.load(ctx); err != nil {
		return err
	}
	if r.stored.Current.IsZero() {
		return fmt.Errorf("%w: it has no current key; save the key to be replaced in it", ErrStoreMismatch)
	}
	client := r.client
	if !r.stored.Previous.IsZero() {
		client = r.successor() // to use the old one would keep it in use
	}
	err := r.list(ctx, client)
	if errors.Is(err, ErrUnauthorized) && client != r.client {
		err = r.list(ctx, r.client)
	}
	if err != nil {
		return err
	}
	old, there := r.find(r.old)
	r.original = r.stored.Current
	r.findOrphans(ctx, old)
	switch {
	case !there && r.stored.Next.IsZero() && r.stored.Previous.IsZero():
		return fmt.Errorf("%w: the team has no key with the id %s: it has been replaced already, or the id is wrong", ErrNotFound, r.name())
	case !there && !r.stored.Next.IsZero():
		return fmt.Errorf("%w: the store has a key in Next that replaces another than %s, or the one it replaces has been deleted; put the store right by hand", ErrRotationOpen, r.name())
	case there && !r.stored.Previous.IsZero() && !old.MayBe(r.stored.Previous):
		return fmt.Errorf("%w: the store has a key in Previous that is not %s; finish that rotation first", ErrRotationOpen, r.name())
	case there && r.stored.Previous.IsZero() && !old.MayBe(r.stored.Current):
		return fmt.Errorf("%w: its current key is not %s: is it the right store, and the right id?", ErrStoreMismatch, r.name())
	}
	if there || r.stored.Previous.IsZero() {
		return nil
	}
	works, err := r.previousWorks(ctx)
	if works {
		return fmt.Errorf("%w: the store has a key in Previous that is not %s, and works; finish that rotation first", ErrRotationOpen, r.name())
	}
	return err
}

// findOrphans looks for keys that an interrupted run may have created, and for
// the one that the store has of it. old is zero where it has been deleted.
func (r *keyRotation) findOrphans(ctx context.Context, old Key) {
	held := r.stored.Next
	if !r.stored.Previous.IsZero() || old.ID == "" {
		held = r.stored.Current
	}
	if may := r.others(func(k Key) bool { return k.MayBe(held) }); len(may) == 1 {
		r.newKey = may[0] // it must be one of the keys
	}
	if r.opts.Label == "" {
		r.opts.Label = cmp.Or(old.Label, r.newKey.Label)
	}
	r.orphans = r.others(func(k Key) bool {
		return k.Label == r.opts.Label && k.Label != "" && k.LastUsedAt.IsZero() && k.ID != r.newKey.ID
	})
	if len(r.orphans) > 0 {
		r.report(ctx, "orphans", "an interrupted rotation may have left keys that nobody holds: %s", describeKeys(r.orphans))
	}
}

// others returns the listed keys, but for the old one, that match.
func (r *keyRotation) others(match func(Key) bool) (others []Key) {
	for _, k := range r.keys {
		if k.ID != r.old && match(k) {
			others = append(others, k)
		}
	}
	return others
}

func (r *keyRotation) load(ctx context.Context) error {
	stored, err := r.store.Load(ctx)
	if err != nil {
		return r.foreignError("the store failed to load the API keys", err, stored)
	}
	r.stored = stored
	return nil
}

func (r *keyRotation) foreignError(doing string, err error, keys APIKeys) error {
	return newForeignError(doing, err, keys.Current.Reveal(), keys.Next.Reveal(), keys.Previous.Reveal())
}

// name is the old key's id, fit to show, whatever was given as one.
func (r *keyRotation) name() string { return scrub(r.old, 40) }

// list lists the team's keys. A list that may not be whole is an error: a key
// that is not in it would pass for deleted.
func (r *keyRotation) list(ctx context.Context, client *Client) error {
	var all *ListOptions
	keys, err := client.Keys.List(ctx, all)
	if err != nil {
		return err
	}
	if all.Full(len(keys)) {
		return errManyKeys
	}
	r.keys = keys
	return nil
}

var errManyKeys = fmt.Errorf("%w: the team has, or would have, more API keys than the API lists; delete those that nobody needs", ErrUnexpectedResponse)

func (r *keyRotation) find(id string) (Key, bool) {
	for _, k := range r.keys {
		if k.ID == id {
			return k, true
		}
	}
	return Key{}, false
}

// create creates the new key and stores it, unless an earlier run has.
func (r *keyRotation) create(ctx context.Context) error {
	if !r.stored.Previous.IsZero() {
		return nil
	}
	if next := r.stored.Next; !next.IsZero() && len(r.others(func(k Key) bool { return k.MayBe(next) })) > 0 {
		return nil // else it has been deleted
	}
	var all *ListOptions
	if all.Full(len(r.keys) + 1) {
		return errManyKeys
	}
	key, text, err := r.client.Keys.create(ctx, r.opts.Label, true)
	if errors.Is(err, ErrOutcomeUnknown) {
		return r.orphaned(ctx, err)
	}
	if err != nil {
		return err
	}
	r.newKey, r.created = key, true
	r.report(ctx, "created", "%s (%v) replaces %s", scrub(key.ID, 40), text, r.name())
	if err := r.saveAs(ctx, "stored", APIKeys{Current: r.original, Next: text}); err != nil {
		return r.undo(ctx, err)
	}
	return nil
}

// orphaned finds the keys that a call of unknown outcome may have created.
func (r *keyRotation) orphaned(ctx context.Context, cause error) error {
	before := r.keys
	if err := lately(ctx, func(ctx context.Context) error { return r.list(ctx, r.client) }); err != nil {
		return &OrphanError{cause: errors.Join(cause, err)}
	}
	created := r.others(func(k Key) bool {
		return k.Label == r.opts.Label && !slices.ContainsFunc(before, func(b Key) bool { return b.ID == k.ID })
	})
	return &OrphanError{Keys: created, cause: cause}
}

// prove sees that the new key works.
func (r *keyRotation) prove(ctx context.Context) error {
	if !r.stored.Previous.IsZero() {
		return nil
	}
	client := r.client.WithCredentials(r.stored.Next)
	_, err := client.Monitors.List(ctx, &ListOptions{Limit: 1})
	r.alive, r.dead = err == nil, errors.Is(err, ErrUnauthorized)
	if err == nil && r.opts.Prove != nil {
		err = r.opts.Prove(ctx, client)
	}
	if err != nil {
		return r.undo(ctx, r.foreignError("the new API key is not proven", err, r.stored))
	}
	r.report(ctx, "proven", "%v works", r.stored.Next)
	return nil
}

// promote makes the new key the one that applications use.
func (r *keyRotation) promote(ctx context.Context) error {
	if !r.stored.Previous.IsZero() {
		return nil
	}
	before := r.stored
	err := r.saveAs(ctx, "promoted", APIKeys{Current: before.Next, Previous: before.Current})
	if err != nil {
		// Applications may use the new key already: nothing is undone.
		return fmt.Errorf("%w; the store may have the new key as current, so it is kept: run it again", err)
	}
	return nil
}

// undo deletes the new key, which no application uses, and puts the store back:
// in this order, so that a key is never live without being in the store.
func (r *keyRotation) undo(ctx context.Context, cause error) error {
	// Which of the API's keys one of an earlier run is can be told by its prefix
	// only if it is one of them. A key that is dead needs no deletion.
	certain := r.created || r.alive && r.newKey.ID != ""
	if !certain && !r.dead {
		return fmt.Errorf("%w; the new key is kept in the store, since it cannot be told which one of the API's it is: run it again", cause)
	}
	if certain {
		err := lately(ctx, func(ctx context.Context) error { return r.client.Keys.Delete(ctx, r.newKey.ID) })
		if err != nil && !errors.Is(err, ErrNotFound) {
			return &OrphanError{Keys: []Key{r.newKey}, cause: errors.Join(cause, err)}
		}
		r.report(ctx, "undone", "%s is deleted again", scrub(r.newKey.ID, 40))
	}
	r.stored = APIKeys{} // it may be anything
	errStore := lately(ctx, func(ctx context.Context) error { return r.saveAs(ctx, "undone", APIKeys{Current: r.original}) })
	return errors.Join(cause, errStore)
}

// saveAs saves and compares, unless the store has what is wanted.
func (r *keyRotation) saveAs(ctx context.Context, step string, want APIKeys) error {
	if r.holds(want) {
		return nil
	}
	r.stored = APIKeys{} // not known until it is loaded
	if err := r.store.Save(ctx, want); err != nil {
		return r.foreignError("the store failed to save the API keys", err, want)
	}
	err := confirm(ctx, r.load, func() bool { return r.holds(want) })
	if errors.Is(err, ErrStoreMismatch) {
		return fmt.Errorf("%w: it does not give back the keys that were saved (current %v%s%s)", err, want.Current, role("next", want.Next), role("previous", want.Previous))
	}
	if err != nil {
		return err
	}
	r.report(ctx, step, "the store has %v as current%s%s", want.Current, role("next", want.Next), role("previous", want.Previous))
	return nil
}

// lately does what is still to be done where ctx may have ended.
func lately(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return do(ctx)
}

func role(name string, key APIKey) string {
	if key.IsZero() {
		return ""
	}
	return fmt.Sprintf(", %v as %s", key, name)
}

func (r *keyRotation) holds(want APIKeys) bool {
	return r.stored.Current.Equal(want.Current) && r.stored.Next.Equal(want.Next) && r.stored.Previous.Equal(want.Previous)
}
