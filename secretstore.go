package diffhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// SecretStore is where the signing secret is kept for the receivers: a secrets
// manager, a file, a database. It is a [SecretSource] that can be written.
type SecretStore interface {
	SecretSource

	// Save makes secrets what Load returns, all in one write. It needs
	// [Secret.Reveal] for that. NoPrevious is to be kept too: without it, servers
	// that [SigningSecretService.Revoke] did not reach would go on accepting a
	// leaked secret, so that it fails then with [ErrStoreMismatch].
	Save(ctx context.Context, secrets Secrets) error
}

// load reads the store.
func (r *secretRotation) load(ctx context.Context) error {
	return r.loaded(r.callStore(ctx, r.loadStore))
}

func (r *secretRotation) loadStore(ctx context.Context) (Secrets, error) {
	if r.store == nil {
		return Secrets{}, nil
	}
	return r.store.Load(ctx)
}

// loaded takes what the store has given.
func (r *secretRotation) loaded(stored Secrets, err error) error {
	if err != nil {
		return r.storeError("load", err)
	}
	r.stored = stored.normalized()
	return nil
}

// leakedStoreTime is how long the emergency waits for a store, which may hang.
const leakedStoreTime = 10 * time.Second

// callStore calls the store, and in an emergency goes on without it. No error
// shows what it gave, from then on.
func (r *secretRotation) callStore(ctx context.Context, do func(context.Context) (Secrets, error)) (stored Secrets, err error) {
	defer func() { r.shown = append(r.shown, stored.Current, stored.Previous) }()
	if !r.leaked {
		return do(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, leakedStoreTime)
	defer cancel()
	type answer struct {
		stored Secrets
		err    error
	}
	answers := make(chan answer, 1)
	go callSource(ctx, do, func(stored Secrets, err error) { answers <- answer{stored, err} })
	select {
	case a := <-answers:
		return a.stored, a.err
	case <-ctx.Done():
		return Secrets{}, fmt.Errorf("it has not answered: %w", contextError(ctx))
	}
}

// storeError hides the secrets.
func (r *secretRotation) storeError(doing string, err error) error {
	return newForeignError("the store failed to "+doing+" the signing secret", err, r.texts()...)
}

// texts returns what no error may show: the secrets that have been seen.
func (r *secretRotation) texts() (texts []string) {
	for _, s := range append(r.known(), r.shown...) {
		texts = append(texts, s.Reveal())
	}
	return texts
}

// known returns the secrets that have been seen so far.
func (r *secretRotation) known() []Secret {
	return []Secret{r.platform.Current, r.platform.Previous, r.stored.Current, r.stored.Previous, r.oldSecret}
}

func (r *secretRotation) storeKnows() bool {
	return r.stored.Current.Fingerprint() == r.old || r.stored.Previous.Fingerprint() == r.old
}

// expiryMargin is for clocks that are wrong.
const expiryMargin = time.Hour

// save has the store hold both secrets, or, where the old one has been revoked
// already, the new one alone.
func (r *secretRotation) save(ctx context.Context) error {
	want := Secrets{Current: r.platform.Current, Previous: r.oldSecret}
	if expires := r.platform.PreviousExpires; !expires.IsZero() {
		// Deliveries in flight need it, whatever the platform says.
		want.PreviousExpires = expires
		if last := r.horizon().Add(expiryMargin).UTC().Truncate(time.Second); last.After(expires) {
			want.PreviousExpires = last
		}
	}
	if r.stage == stageRevoked {
		want = Secrets{Current: r.platform.Current, NoPrevious: true}
	}
	err := r.saveAs(ctx, "stored", want)
	if err != nil && r.stage == stageOpen {
		err = fmt.Errorf("%w; DiffHook signs with the new secret already, which receivers do not know: run it again soon", err)
	}
	return err
}

// saveAs saves and compares, unless the store has what is wanted.
func (r *secretRotation) saveAs(ctx context.Context, step string, want Secrets) error {
	if r.store == nil || r.holds(want) {
		return nil
	}
	if err := r.put(ctx, want); err != nil {
		return err
	}
	return r.confirmStored(ctx, step, want)
}

func (r *secretRotation) put(ctx context.Context, want Secrets) error {
	_, err := r.callStore(ctx, func(ctx context.Context) (Secrets, error) { return Secrets{}, r.store.Save(ctx, want) })
	if err != nil {
		return r.storeError("save", err)
	}
	return nil
}

// confirmStored compares what the store gives back with what was saved in it.
func (r *secretRotation) confirmStored(ctx context.Context, step string, want Secrets) error {
	err := confirm(ctx, r.load, func() bool { return r.holds(want) })
	switch {
	case errors.Is(err, ErrStoreMismatch) && r.leaked && r.stored.Current.Equal(want.Current) && r.stored.Previous.IsZero():
		return fmt.Errorf("%w: it does not keep NoPrevious, so servers that were not told may accept the leaked secret for their RotationWindow; correct it, and save current %q with NoPrevious in it", err, want.Current.Fingerprint())
	case errors.Is(err, ErrStoreMismatch):
		return fmt.Errorf("%w: it gives back current %q and previous %q where current %q and previous %q were saved; correct it and run it again", err,
			r.stored.Current.Fingerprint(), r.stored.Previous.Fingerprint(), want.Current.Fingerprint(), want.Previous.Fingerprint())
	case err != nil:
		return err
	}
	r.report(ctx, step, "the store has %s as current and %s as previous", want.Current.Fingerprint(), cmp.Or(want.Previous.Fingerprint(), "none"))
	return nil
}

func (r *secretRotation) holds(want Secrets) bool {
	return r.stored.Current.Equal(want.Current) && r.stored.Previous.Equal(want.Previous) &&
		(r.stored.NoPrevious == want.NoPrevious || !r.leaked)
}

// remove takes the old secret out of the store.
func (r *secretRotation) remove(ctx context.Context) error {
	return r.saveAs(ctx, "removed", Secrets{Current: r.platform.Current, NoPrevious: true})
}
