package diffhook

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// KeyRotationOptions configures [KeyService.Replace]. The zero value, and a nil
// pointer, mean every default.
type KeyRotationOptions struct {
	// Prove is a check of your own, with a client that uses the new key, before
	// any application does. An error undoes what this run has done. By default,
	// listing one monitor must succeed, which comes first in any case.
	Prove func(ctx context.Context, client *Client) error

	// Quiet is how long the old key must have been unused, by the LastUsedAt
	// that the API tells, which is assumed to be exact to the second. By default,
	// 26 h, so that a nightly job is seen, also where clocks are set back.
	Quiet time.Duration

	// PollInterval is the time from one look at the keys to the next, each of
	// which is a request. By default, 1 minute.
	PollInterval time.Duration

	// DeleteNow is called at each look while the old key's use is waited for.
	// Once it returns true, the key is deleted, whoever still uses it. It is the
	// only way where the platform does not tell when keys were used. By default,
	// Replace waits.
	DeleteNow func() bool

	// Observe is called for every step, and when what is waited for changes, on
	// the goroutine of the caller. By default, nothing is called.
	Observe func(ctx context.Context, step RotationStep)
}

const (
	defaultKeyQuiet = 26 * time.Hour
	defaultKeyPoll  = time.Minute
	undoTimeout     = 45 * time.Second // for each thing that must be done although ctx has ended
)

// Replace replaces an API key without downtime, as DiffHook's page "API Keys"
// prescribes: create, migrate, delete. old is the id of the key to be replaced,
// which store has as Current when it begins, and names the rotation. The steps:
//
//  1. create the new key, with the old one's label, and save it as Next;
//  2. prove it, by a call with it and by Prove;
//  3. save it as Current, and the old one as Previous; applications take it
//     from the store, and this client is switched over if it used the old one;
//  4. wait until the old one has not been used for Quiet;
//  5. delete the old one, and remove it from the store.
//
// Run it again with the same old after any error, or a crash: it finds from the
// platform and the store where it stands. Do not run it twice at a time.
//
// Where a run fails before step 3, or ctx ends, it deletes the key that it has
// created and puts the store back, or the error says that it could not. A key
// that an earlier run has stored stays in the store as Next.
//
// Replace returns, also with an error, live keys that perhaps nobody holds: it
// could not delete what it has created; the answer to the creation was lost (the
// error matches [ErrOutcomeUnknown] then); or an interrupted run may have created
// them, which are those with the old key's label that were never used and that
// the store does not have. Look whether you know each, and delete those that you
// do not.
//
// The old key is deleted only when the store gives back the new one, a call with
// the new one has just succeeded, and this client does not use the old one.
//
// Errors wrap [ErrNotInForce] where there is no key old (it has been replaced
// already, or the id is wrong), [ErrStoreMismatch] where the store holds another
// key or not what was saved, [ErrRotationOpen] where it holds keys of another
// rotation, [ErrInvalidOptions], or what the client, the store, Prove or ctx
// gave.
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
	label    string  // of the old key, and so of the new one
	orphans  []Key   // perhaps
	original APIKey  // the store's current one when it was located
	stored   APIKeys // as last seen
	created  Key     // by this run; zero: by an earlier one, or not yet
	used     lastUse // of the old key
	told     bool    // by DeleteNow
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

// name is the old key's id, fit to show, whatever was given as one.
func (r *keyRotation) name() string { return scrub(r.old, 40) }

// promoted reports whether applications have been given the new key already.
func (r *keyRotation) promoted() bool { return !r.stored.Previous.IsZero() }

// create creates the new key and stores it, unless an earlier run has.
func (r *keyRotation) create(ctx context.Context) error {
	if r.promoted() {
		return nil
	}
	if alive, err := r.nextIsAlive(ctx); alive || err != nil {
		return err
	}
	var all *ListOptions
	if all.Full(len(r.keys) + 1) {
		return errManyKeys
	}
	key, text, err := r.client.Keys.create(ctx, r.label, true)
	if _, known := r.find(key.ID); err == nil && (known || text.Equal(r.original)) {
		err = fmt.Errorf("%w: %w: the API answered the creation of a key with one that was there before", ErrUnexpectedResponse, ErrOutcomeUnknown)
	}
	if errors.Is(err, ErrOutcomeUnknown) {
		return r.lostAnswer(ctx, err)
	}
	if err != nil {
		return err
	}
	r.created = key
	r.report(ctx, "created", "%s (%v) replaces %s", scrub(key.ID, 40), text, r.name())
	if err := r.saveAs(ctx, "stored", APIKeys{Current: r.original, Next: text}); err != nil {
		return r.undo(ctx, text, err)
	}
	return nil
}

// nextIsAlive reports whether the store has a new key of an earlier run, and it
// works. One refusal may be by mistake, and so costs no key.
func (r *keyRotation) nextIsAlive(ctx context.Context) (bool, error) {
	next := r.stored.Next
	if next.IsZero() {
		return false, nil
	}
	alive, err := r.works(ctx, next)
	if alive || err != nil {
		return alive, err
	}
	if err := sleep(ctx, lastUseUnit); err != nil {
		return false, err
	}
	if alive, err = r.works(ctx, next); alive || err != nil {
		return alive, err
	}
	r.addOrphans(ctx, r.others(func(k Key) bool { return k.MayBe(next) && sameLabel(k.Label, r.label) }))
	return false, nil
}

// works reports whether a key is alive.
func (r *keyRotation) works(ctx context.Context, key APIKey) (bool, error) {
	_, err := r.client.WithCredentials(key).Monitors.List(ctx, &ListOptions{Limit: 1})
	if errors.Is(err, ErrUnauthorized) {
		return false, nil
	}
	return err == nil, err
}

// prove sees that the new key works.
func (r *keyRotation) prove(ctx context.Context) error {
	if r.promoted() {
		return nil
	}
	next := r.stored.Next
	client := r.client.WithCredentials(next)
	_, err := client.Monitors.List(ctx, &ListOptions{Limit: 1})
	if err == nil && r.opts.Prove != nil {
		err = r.opts.Prove(ctx, client)
	}
	if err != nil {
		return r.undo(ctx, next, r.foreignError("the new API key is not proven", err, r.stored))
	}
	r.report(ctx, "proven", "%v works", next)
	return nil
}

// promote makes the new key the one that applications use.
func (r *keyRotation) promote(ctx context.Context) error {
	if r.promoted() {
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
