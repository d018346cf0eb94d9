package diffhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// SecretStore is where the signing secret is kept for the receivers: a secrets
// manager, a file, a database. It is a [SecretSource] that can be written.
type SecretStore interface {
	SecretSource

	// Save makes secrets what Load returns, Current and Previous in one write.
	// A store that does not keep NoPrevious leaves a leaked secret accepted,
	// after [SigningSecretService.Revoke], by servers that this did not reach.
	Save(ctx context.Context, secrets Secrets) error
}

// SecretRotationOptions configures [SigningSecretService.Replace] and
// [SigningSecretService.Revoke]. The zero value, and a nil pointer, mean every
// default.
type SecretRotationOptions struct {
	// Receivers are all servers that verify deliveries, by names for reports.
	// Replace goes on when each of them has learned the new secret, and revokes
	// when none uses the old one. By default, there are none, and RevokeNow
	// must say when.
	Receivers map[string]Receiver

	// RetryHorizon is for how long after a rotation DiffHook may retry a
	// delivery that it signed before. By default, by the client's generation:
	// 2 minutes (generation 1: 35 s, and 10 s for each answer) or 18 h
	// (generation 2: 1,023 minutes and some). A team with monitors of both
	// needs the longer.
	RetryHorizon time.Duration

	// Quiet is for how long every receiver must have counted, and the old
	// secret verified nothing, before it is revoked. By default, RetryHorizon.
	Quiet time.Duration

	// PollInterval is the time from one look at the receivers to the next. By
	// default, 5 s.
	PollInterval time.Duration

	// Force rotates although the secret that an earlier rotation replaced is
	// still valid. The platform drops that one then.
	Force bool

	// RevokeNow is asked whenever receivers are waited for. Where it says true
	// they no longer are: the old secret is revoked, though it may still verify
	// deliveries. By default, it is false.
	RevokeNow func() bool

	// Observe is called for every step, and when what is waited for changes, on
	// the goroutine of the caller. By default, nothing is called.
	Observe func(ctx context.Context, step RotationStep)
}

const (
	// horizonGen1 and horizonGen2 are longer than a delivery's attempts take.
	horizonGen1 = 2 * time.Minute
	horizonGen2 = 18 * time.Hour

	defaultReceiverPoll = 5 * time.Second
	receiverTimeout     = 10 * time.Second // of one request to a receiver
	refreshEvery        = time.Minute      // a receiver that is behind; its source may be the API
	platformPoll        = time.Minute
	refuseTimeout       = time.Minute // for receivers to confirm, when all else is done
)

// Replace replaces the team's signing secret without losing a delivery. old
// names the rotation: it is the [Secret.Fingerprint] of the secret to be
// replaced, which is the current one when it begins. The steps:
//
//  1. rotate at the platform, unless it has been done;
//  2. save the new secret, with the old one as previous, and load both again;
//  3. wait until every receiver has the new one;
//  4. wait until the old one is drained: every receiver has counted for Quiet
//     and not used it, and the retry horizon since the rotation is past;
//  5. revoke the old one at the platform, and remove it from the store;
//  6. have every receiver refuse it.
//
// Read old once, before the first run, and keep it: after the rotation the
// current secret is another, and naming that would replace it. Run it again with
// the same old after any error, or a crash: it finds from the platform and the
// store where it stands, and never rotates a second time. It
// takes as long as the receivers do; end ctx to interrupt it. Do not run it
// twice at a time: the platform offers nothing to prevent it.
//
// store is what the receivers' sources read, and holds the current secret from
// the start; it is nil where they read the API itself. Errors wrap [ErrNotFound] where old is neither in force nor waiting
// for one of the steps (it has been replaced already, or the name is wrong),
// [ErrRotationOpen] where a rotation of another secret is not finished,
// [ErrStoreMismatch] where the store holds another secret or not what was
// saved, [ErrInvalidOptions], or what the client, the store or ctx gave.
func (s *SigningSecretService) Replace(ctx context.Context, old string, store SecretStore, opts *SecretRotationOptions) error {
	r, err := s.newRotation(old, store, opts)
	if err != nil {
		return err
	}
	if len(r.opts.Receivers) == 0 && r.opts.RevokeNow == nil {
		return fmt.Errorf("%w: name the Receivers, or give RevokeNow: else nothing tells when the old secret is drained", ErrInvalidOptions)
	}
	for _, step := range []func(context.Context) error{
		r.locate, r.rotate, r.save, r.teach, r.drain, r.revoke, r.remove, r.refuse,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// secretRotation is one run of Replace or Revoke.
type secretRotation struct {
	observer
	service *SigningSecretService
	old     string // fingerprint
	store   SecretStore
	opts    SecretRotationOptions // defaults filled in
	names   []string              // of the receivers
	began   time.Time

	stage     stage
	platform  signingSecrets // as last seen
	stored    Secrets        // as last seen
	oldSecret Secret         // zero where nobody shows it
	rotated   time.Time      // by this run; zero: by an earlier one
	told      bool           // by RevokeNow
}

// stage is where the platform stands in the rotation.
type stage int

const (
	stageUnknown stage = iota
	stageCurrent       // the old secret is current
	stageOpen          // it has been replaced and is valid
	stageRevoked       // it is not valid any more, which others have to learn
)

func (s *SigningSecretService) newRotation(old string, store SecretStore, opts *SecretRotationOptions) (*secretRotation, error) {
	if err := checkFingerprint(old); err != nil {
		return nil, err
	}
	r := &secretRotation{service: s, old: old, store: store, began: time.Now()}
	if opts != nil {
		r.opts = *opts
	}
	o := &r.opts
	if o.RetryHorizon < 0 || o.Quiet < 0 || o.PollInterval < 0 {
		return nil, fmt.Errorf("%w: RetryHorizon, Quiet and PollInterval must not be negative; leave them 0 for the defaults", ErrInvalidOptions)
	}
	if o.RetryHorizon == 0 {
		o.RetryHorizon = horizonGen1
		if s.client.auth.Load().generation == 2 {
			o.RetryHorizon = horizonGen2
		}
	}
	if o.Quiet == 0 {
		o.Quiet = o.RetryHorizon
	}
	if o.PollInterval == 0 {
		o.PollInterval = defaultReceiverPoll
	}
	r.observe = o.Observe
	for name, receiver := range o.Receivers {
		if receiver == nil {
			return nil, fmt.Errorf("%w: the Receiver %q is nil", ErrInvalidOptions, name)
		}
		r.names = append(r.names, name)
	}
	slices.Sort(r.names)
	return r, nil
}

// load reads the store.
func (r *secretRotation) load(ctx context.Context) error {
	if r.store == nil {
		return nil
	}
	stored, err := r.store.Load(ctx)
	if err != nil {
		return r.storeError("load", err, stored.Current, stored.Previous)
	}
	r.stored = stored.normalized()
	return nil
}

// storeError hides all secrets that a store may know.
func (r *secretRotation) storeError(doing string, err error, secrets ...Secret) error {
	var texts []string
	for _, s := range append(secrets, r.known()...) {
		texts = append(texts, s.Reveal())
	}
	return newForeignError("the store failed to "+doing+" the signing secret", err, texts...)
}

// known returns the secrets that have been seen so far.
func (r *secretRotation) known() []Secret {
	return []Secret{r.platform.Current, r.platform.Previous, r.stored.Current, r.stored.Previous, r.oldSecret}
}

func (r *secretRotation) storeKnows() bool {
	return r.stored.Current.Fingerprint() == r.old || r.stored.Previous.Fingerprint() == r.old
}

// hiddenPrevious returns the fingerprint of the platform's previous secret where
// the platform does not show it, by the store or, where that does not know, by a
// receiver; "" where nobody knows.
func (r *secretRotation) hiddenPrevious(ctx context.Context) string {
	now := r.platform.Current.Fingerprint()
	replaced := func(current, previous string) string {
		if current != now {
			return current // which has not heard of the rotation yet
		}
		return previous
	}
	if name := replaced(r.stored.Current.Fingerprint(), r.stored.Previous.Fingerprint()); name != "" && r.store != nil {
		return name
	}
	statuses, _ := r.statuses(ctx)
	name := ""
	for _, status := range statuses {
		if known := replaced(status.Current.Fingerprint, status.Previous.Fingerprint); known == r.old || name == "" {
			name = known
		}
	}
	return name
}

// locate finds where the rotation stands.
func (r *secretRotation) locate(ctx context.Context) (err error) {
	// A store that cannot be read is found before anything has changed.
	if err := r.load(ctx); err != nil {
		return err
	}
	if r.platform, err = r.service.load(ctx); err != nil {
		return err
	}
	switch p := &r.platform; {
	case p.Current.Fingerprint() == r.old:
		r.stage = stageCurrent
		if open := p.hasPrevious && (p.PreviousExpires.IsZero() || time.Now().Before(p.PreviousExpires)); open && !r.opts.Force {
			return r.anotherOpen(p.Previous)
		}
		if r.store != nil && r.stored.Current.Fingerprint() != r.old {
			return r.mismatch("DiffHook signs with another secret than it has as current; is it this team's store?")
		}
	case p.hasAsPrevious(r.old, p.hides() && r.hiddenPrevious(ctx) == r.old):
		r.stage = stageOpen
		if r.store != nil && !r.storeKnows() && !r.stored.Current.Equal(p.Current) {
			return r.notThisTeams()
		}
	case p.hasPrevious:
		return r.anotherOpen(p.Previous)
	case r.storeKnows():
		r.stage = stageRevoked
	case r.store != nil && !r.stored.Current.Equal(p.Current):
		return r.notThisTeams()
	default:
		return r.locateAtReceivers(ctx)
	}
	r.findOld()
	return nil
}

// locateAtReceivers is for when the platform and the store have done with the
// old secret, if there ever was one of that name.
func (r *secretRotation) locateAtReceivers(ctx context.Context) error {
	statuses, errs := r.statuses(ctx)
	if merged := mergeSecret(r.old, statuses); len(merged.CurrentAt)+len(merged.PreviousAt) > 0 {
		r.stage = stageRevoked
		return nil
	}
	if left := r.accepting(statuses, errs); len(left) > 0 {
		return fmt.Errorf("%w; of the receivers, %s", r.notFound(), left)
	}
	return r.notFound()
}

// findOld takes the old secret from whoever shows it, to be saved as previous.
func (r *secretRotation) findOld() {
	for _, s := range r.known() {
		if s.Fingerprint() == r.old {
			r.oldSecret = s
		}
	}
}

func (r *secretRotation) notFound() error {
	return fmt.Errorf("%w: no signing secret with the fingerprint %s is in force: it has been replaced already, or the name is wrong", ErrNotFound, r.old)
}

func (r *secretRotation) anotherOpen(previous Secret) error {
	name := "a secret that the API does not show"
	if !previous.IsZero() {
		name = previous.Fingerprint()
	}
	return fmt.Errorf("%w: the one that replaces %s; run that to its end first", ErrRotationOpen, name)
}

func (r *secretRotation) mismatch(text string) error {
	return fmt.Errorf("%w: current %q, previous %q: %s", ErrStoreMismatch, r.stored.Current.Fingerprint(), r.stored.Previous.Fingerprint(), text)
}

func (r *secretRotation) notThisTeams() error {
	return r.mismatch("it has neither the secret to be replaced nor the one that DiffHook signs with; is it this team's store?")
}

// rotate has the platform sign with a new secret, if the old one is current.
func (r *secretRotation) rotate(ctx context.Context) error {
	if r.stage != stageCurrent {
		return nil
	}
	answer, err := r.service.rotate(ctx, true)
	if errors.Is(err, ErrOutcomeUnknown) {
		// Look, and never send it again: it would replace the new secret.
		if now, loadErr := r.service.load(ctx); loadErr == nil && now.hasAsPrevious(r.old, true) && now.Current.Fingerprint() != r.old {
			answer, err = now, nil
		}
	}
	if err != nil {
		return err
	}
	if answer.Current.Fingerprint() == r.old {
		return fmt.Errorf("%w: the API rotated to the same signing secret", ErrUnexpectedResponse)
	}
	r.stage, r.platform, r.rotated = stageOpen, answer, time.Now()
	r.report(ctx, "rotated", "DiffHook signs with %s instead of %s", answer.Current.Fingerprint(), r.old)
	return nil
}

// save has the store hold both secrets, or, where the old one has been revoked
// already, the new one alone.
func (r *secretRotation) save(ctx context.Context) error {
	want := Secrets{Current: r.platform.Current, Previous: r.oldSecret, PreviousExpires: r.platform.PreviousExpires}
	if r.stage == stageRevoked {
		want = Secrets{Current: r.platform.Current, NoPrevious: true}
	}
	return r.saveAs(ctx, "stored", want)
}

// saveAs saves and compares, unless the store has what is wanted.
func (r *secretRotation) saveAs(ctx context.Context, step string, want Secrets) error {
	if r.store == nil || r.holds(want) {
		return nil
	}
	if err := r.store.Save(ctx, want); err != nil {
		return r.storeError("save", err, want.Current, want.Previous)
	}
	err := confirm(ctx, r.load, func() bool { return r.holds(want) })
	if errors.Is(err, ErrStoreMismatch) {
		return fmt.Errorf("%w: it gives back current %q and previous %q where current %q and previous %q were saved; correct it and run it again", err,
			r.stored.Current.Fingerprint(), r.stored.Previous.Fingerprint(), want.Current.Fingerprint(), want.Previous.Fingerprint())
	}
	if err != nil {
		return err
	}
	r.report(ctx, step, "the store has %s as current and %s as previous", want.Current.Fingerprint(), cmp.Or(want.Previous.Fingerprint(), "none"))
	return nil
}

func (r *secretRotation) holds(want Secrets) bool {
	return r.stored.Current.Equal(want.Current) && r.stored.Previous.Equal(want.Previous)
}

// revoke ends the old secret at the platform, once nothing has changed since it
// was located.
func (r *secretRotation) revoke(ctx context.Context) error {
	if r.stage == stageRevoked {
		return nil
	}
	now, err := r.service.load(ctx)
	if err != nil {
		return err
	}
	switch {
	case !now.Current.Equal(r.platform.Current):
		return r.anotherOpen(r.platform.Current)
	case now.hasPrevious && !now.hasAsPrevious(r.old, true):
		return r.anotherOpen(now.Previous)
	}
	if err := r.load(ctx); err != nil {
		return err
	}
	if r.store != nil && !r.stored.Current.Equal(now.Current) {
		return r.mismatch("it no longer has the new secret, " + now.Current.Fingerprint() + ", as current")
	}
	if !now.NoPrevious {
		if err := r.service.RevokePrevious(ctx); err != nil && (now.hasPrevious || !errors.Is(err, ErrNotFound)) {
			return err
		}
	}
	r.stage = stageRevoked
	r.report(ctx, "revoked", "DiffHook has forgotten %s", r.old)
	return nil
}

// remove takes the old secret out of the store.
func (r *secretRotation) remove(ctx context.Context) error {
	return r.saveAs(ctx, "removed", Secrets{Current: r.platform.Current, NoPrevious: true})
}
