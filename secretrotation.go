package diffhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// SecretRotationOptions configures [SigningSecretService.Replace] and
// [SigningSecretService.Revoke]. The zero value, and a nil pointer, mean every
// default.
type SecretRotationOptions struct {
	// Receivers are the verifiers of all servers, each under a name for reports.
	// Replace waits until all of them have the new secret and none uses the old
	// one. By default, there are none, and RevokeNow is required.
	Receivers map[string]Receiver

	// RetryHorizon is how long DiffHook may go on retrying a delivery that it
	// signed before the rotation. By default, 2 minutes (generation 1: 35 s, and
	// 10 s for each answer) or 18 h (generation 2: 1,023 minutes and some), by the
	// client's generation. A team with monitors of both needs 18 h.
	RetryHorizon time.Duration

	// Quiet is how long the old secret must have been unused at every receiver.
	// One that restarts begins anew. By default, RetryHorizon.
	Quiet time.Duration

	// PollInterval is the time from one look at the receivers to the next. By
	// default, 5 s.
	PollInterval time.Duration

	// Force is your word for two things that are errors by default. It rotates
	// although the secret that an earlier rotation replaced is still valid,
	// which the platform drops then. And it goes on where DiffHook does not know
	// the secret that the store or the receivers have: that they and the API key
	// are of one team.
	Force bool

	// RevokeNow is called at each look while Replace waits for receivers. Once it
	// returns true, it is not called again and the old secret is revoked without
	// waiting: deliveries that still carry it are lost. Receivers are then still
	// asked to refuse it, for a minute. By default, Replace waits.
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
	refreshEvery        = time.Minute // a receiver that is behind; its source may be the API
	platformPoll        = time.Minute
	refuseTimeout       = time.Minute // for receivers to confirm, when all else is done
)

// Replace replaces the team's signing secret without losing a delivery. old
// names the rotation: it is the [Secret.Fingerprint] of the secret to be
// replaced, which is the current one when it begins. The steps:
//
//  1. see that every receiver can be asked, and has the old secret;
//  2. rotate at the platform, unless it has been done;
//  3. save the new secret, with the old one as previous, and load both again;
//  4. wait until every receiver has the new one;
//  5. wait until the old one is drained: every receiver has counted for Quiet
//     and not used it, and the retry horizon since the rotation is past;
//  6. revoke the old one at the platform, and remove it from the store;
//  7. have every receiver refuse it.
//
// store is what the receivers' sources read, and holds the current secret from
// the start; it is nil where they read the API itself.
//
// Read old once, before the first run, and pass the same after an error or a
// crash, since the current secret is another by then: Replace finds from the
// platform, the store and the receivers where it stands, and goes on. It does not
// rotate a second time. A run that goes on waits again: for two minutes, or for
// the whole RetryHorizon where the platform does not say when it rotated.
//
// Replace blocks until all is done, which takes as long as the receivers do; end
// ctx to interrupt it. Where ctx ends in step 2, the answer is waited for, for
// [ClientOptions].AttemptTimeout at most. After an error that matches
// [ErrOutcomeUnknown], wait a minute before you run it again: until then the
// request may still arrive. Run one at a time: the platform has no lock.
//
// Errors wrap:
//
//   - [ErrNotInForce] where there is nothing to do: the secret has been replaced
//     already, or its name is wrong;
//   - [ErrRotationOpen] where a rotation of another secret is not finished, or
//     somebody else has begun one meanwhile;
//   - [ErrStoreMismatch] where the store holds another secret or not what was
//     saved, or where it and the API key may be of two teams;
//   - [ErrUnexpectedResponse] or [ErrInvalidOptions] where a receiver can never
//     answer, before anything has changed;
//   - [ErrInvalidOptions] also for options and names that cannot be right;
//   - or what the client, the store or ctx gave. [ErrNotFound] means that the API
//     does not have the endpoints, which are assumed.
func (s *SigningSecretService) Replace(ctx context.Context, old string, store SecretStore, opts *SecretRotationOptions) error {
	r, err := s.newRotation(old, store, opts)
	if err != nil {
		return err
	}
	if len(r.opts.Receivers) == 0 && r.opts.RevokeNow == nil {
		return fmt.Errorf("%w: name the Receivers, or give RevokeNow: else nothing tells when the old secret is drained", ErrInvalidOptions)
	}
	for _, step := range []func(context.Context) error{
		r.locate, r.reach, r.rotate, r.save, r.teach, r.drain, r.revoke, r.remove, r.refuse,
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
	began   time.Time

	receivers *receiverGroup
	names     []string // of all of them

	stage     stage
	platform  signingSecrets // as it was located, or has answered the rotation
	looked    time.Time      // at the platform, while receivers are waited for
	stored    Secrets        // as last seen
	shown     []Secret       // what else has been seen
	oldSecret Secret         // zero where nobody shows it
	rotated   time.Time      // by this run; zero: by an earlier one
	told      bool           // by RevokeNow
	leaked    bool           // it is Revoke: nothing may accept the old secret
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
	r := &secretRotation{old: old, store: store, began: time.Now()}
	r.service = &SigningSecretService{client: s.client, unbroken: true, hidden: func() []string { return r.texts() }}
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
	var err error
	if r.receivers, err = newReceiverGroup(o.Receivers); err != nil {
		return nil, err
	}
	r.names = r.receivers.names()
	return r, nil
}

// rotate has the platform sign with a new secret, if the old one is current.
func (r *secretRotation) rotate(ctx context.Context) error {
	if r.stage != stageCurrent {
		return nil
	}
	answer, err := r.service.rotate(ctx)
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
	r.report(ctx, "rotated", "DiffHook signs with %s instead of %s", answer.Current.Fingerprint(), cmp.Or(answer.Previous.Fingerprint(), r.old))
	if replaced := answer.Previous; !r.leaked && !replaced.IsZero() && replaced.Fingerprint() != r.old {
		// What it was located by was a rotation behind: not lost, all the same.
		err := r.saveAs(ctx, "stored", Secrets{Current: answer.Current, Previous: replaced})
		return joinOnLine(r.anotherOpen(replaced), err)
	}
	return nil
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
	if r.told && r.store == nil && r.rotated.IsZero() && now.hides() {
		// Else the store, or every receiver, has what it signs with.
		if err := r.checkTeam(ctx); err != nil {
			return err
		}
	}
	if now.NoPrevious {
		r.stage = stageRevoked
		return nil
	}
	return r.revoked(ctx, r.service.RevokePrevious(ctx), now.hasPrevious || !r.rotated.IsZero())
}

// revoked takes the platform's answer to the revocation. known says that there is
// a previous secret; else that it is not found is no failure.
func (r *secretRotation) revoked(ctx context.Context, err error, known bool) error {
	if err != nil && (known || !errors.Is(err, ErrNotFound)) {
		return err
	}
	r.stage = stageRevoked
	r.report(ctx, "revoked", "DiffHook has revoked %s", r.old)
	return nil
}
