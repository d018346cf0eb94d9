package main

import (
	"cmp"
	"context"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

const variableSecretStore = "DIFFHOOK_SECRET_STORE"

// secretFlags are shared by the commands for signing secrets.
type secretFlags struct {
	*flags
	store     *string
	receivers *receiverList
	platform  *platformFlags
	publish   *string
	poll      *time.Duration
}

func newSecretFlags(command string, env func(string) string) *secretFlags {
	f := newFlags(command, env)
	return &secretFlags{
		flags:     f,
		store:     f.text("store", variableSecretStore),
		receivers: f.receivers(),
		platform:  f.platform(),
		publish:   f.text("publish", ""),
		poll:      f.duration("poll"),
	}
}

// rotateSecretFlags are the flags of rotate-secret.
type rotateSecretFlags struct {
	*secretFlags
	init, state, revokeNow, noHold *bool
	retryHorizon, quiet, hold      *time.Duration
}

func newRotateSecretFlags(env func(string) string) *rotateSecretFlags {
	f := newSecretFlags("rotate-secret", env)
	return &rotateSecretFlags{
		secretFlags:  f,
		init:         f.bool("init"),
		state:        f.bool("state"),
		revokeNow:    f.bool("revoke-now"),
		noHold:       f.bool("no-hold"),
		retryHorizon: f.duration("retry-horizon"),
		quiet:        f.duration("quiet"),
		hold:         f.duration("hold"),
	}
}

// fingerprint returns the argument beside flags. If none is set, an argument is an error.
func (f *secretFlags) fingerprint(none bool) (string, error) {
	switch {
	case len(f.args) == 0 && none:
		return "", nil
	case len(f.args) == 0:
		return "", usagef("no fingerprint; pass the fingerprint of the secret, which diffhook rotate-secret --state shows")
	case !isFingerprint(f.args[0]):
		return "", usagef("the argument is not a fingerprint (16 digits 0-9a-f). If it is a secret: %sdiffhook fingerprint reads a secret without echo and prints its fingerprint", whyRefused)
	}
	if none {
		return "", usagef("--init and --state take no fingerprint")
	}
	return f.args[0], nil
}

// runRotateSecret replaces a signing secret.
func runRotateSecret(ctx context.Context, a *app, args []string) error {
	f := newRotateSecretFlags(a.env)
	if err := f.parse(args, 1); err != nil {
		return err
	}
	old, err := f.fingerprint(*f.init || *f.state)
	if err != nil {
		return err
	}
	if *f.init {
		return a.initSecret(ctx, *f.store)
	}
	store, err := openDocument(ctx, *f.store, variableSecretStore, "rotate-secret")
	switch {
	case err != nil:
		return err
	case *f.state:
		return a.showSecretState(ctx, f, store)
	}
	if err := f.complete(); err != nil {
		return err
	}
	receivers := a.receivers(f.receivers)
	o := &outcome{"rotate-secret", old, store, receivers}
	return o.explain(a.converse(ctx, f.platform, func(c *conversation) error {
		platform, err := c.secretPlatform()
		if err != nil {
			return err
		}
		c.notes = map[rotation.StepName]string{rotation.StepDrain: drainNoteSecret}
		return rotation.Secret(ctx, old, platform, store, &rotation.SecretOptions{
			Receivers:    receivers,
			Publish:      publisher(*f.publish),
			RetryHorizon: *f.retryHorizon,
			Quiet:        *f.quiet,
			Hold:         *f.hold,
			Poll:         *f.poll,
			RevokeNow:    *f.revokeNow,
			Observe:      c.observe,
		})
	}))
}

// drainNoteSecret is shown when the wait for the old secret begins.
const drainNoteSecret = "Servers accept both secrets now. When the wait is over, the new secret is compared with DiffHook once more, and the old secret is revoked. " +
	"Ctrl-C is safe: another run of this command does not restart the wait."

// defaultHorizon is the default of --retry-horizon.
const defaultHorizon = 18 * time.Hour

// complete checks the flags of a rotation.
func (f *rotateSecretFlags) complete() error {
	if *f.hold > time.Hour {
		return usagef("--hold is longer than 1h, the longest hold")
	}
	if 0 < *f.hold && *f.hold < time.Minute {
		return usagef("--hold is shorter than 1m, the shortest hold")
	}
	if len(f.receivers.urls) == 0 && !*f.revokeNow {
		return usagef("there are no receivers; name all servers with --receiver or %s, or pass --revoke-now", variableReceivers)
	}
	if *f.noHold {
		*f.hold = -1
	}
	*f.retryHorizon = cmp.Or(*f.retryHorizon, defaultHorizon)
	*f.quiet = cmp.Or(*f.quiet, *f.retryHorizon)
	return nil
}

// showSecretState prints the document, the receivers, and the earliest end of the wait
// for the old secret.
func (a *app) showSecretState(ctx context.Context, f *rotateSecretFlags, store rotation.Store) error {
	state, err := a.showState(ctx, "rotate-secret", store)
	if err != nil {
		return err
	}
	statuses, err := a.showReceivers(ctx, a.receivers(f.receivers))
	if err != nil || state.Phase != "rotated" || len(statuses) == 0 {
		return err
	}
	horizon := cmp.Or(*f.retryHorizon, defaultHorizon)
	quiet := cmp.Or(*f.quiet, horizon)
	end := state.Since.Add(horizon)
	for _, s := range rotation.Merge(statuses) {
		if unused := time.Now().Add(quiet - s.Unused); s.Fingerprint == state.Previous && unused.After(end) {
			end = unused
		}
	}
	return a.print("\nThe old secret is revoked after %s at the earliest, with --retry-horizon %v --quiet %v.\n", clock(end, time.Now()), horizon, quiet)
}

// runRevokeSecret ends a leaked signing secret.
func runRevokeSecret(ctx context.Context, a *app, args []string) error {
	f := newSecretFlags("revoke-secret", a.env)
	if err := f.parse(args, 1); err != nil {
		return err
	}
	leaked, err := f.fingerprint(false)
	if err != nil {
		return err
	}
	store, err := openDocument(ctx, *f.store, variableSecretStore, "rotate-secret")
	if exitCode(err) == exitUsage {
		return err // else the receivers reject the secret first, and the revocation returns the error
	}
	receivers := a.receivers(f.receivers)
	o := &outcome{"revoke-secret", leaked, store, receivers}
	return o.explain(a.converse(ctx, f.platform, func(c *conversation) error {
		platform, err := c.secretPlatform()
		if err != nil {
			return err
		}
		return rotation.RevokeSecret(ctx, leaked, platform, store, &rotation.RevokeOptions{
			Receivers: receivers,
			Publish:   publisher(*f.publish),
			Poll:      *f.poll,
			Observe:   c.observe,
		})
	}))
}

// initSecret asks for the signing secret and saves the first document.
func (a *app) initSecret(ctx context.Context, path string) error {
	store, err := openNew(ctx, path, variableSecretStore)
	if err != nil {
		return err
	}
	secret, err := a.askSecret(ctx)
	if err != nil {
		return err
	}
	if err := rotation.NewSecret(ctx, store, secret); err != nil {
		return err
	}
	return a.print("The document has the signing secret %s.\n", secret.Fingerprint())
}

// askSecret reads a signing secret. At a terminal, it asks until the secret is valid.
func (a *app) askSecret(ctx context.Context) (secret diffhook.Secret, err error) {
	text, err := "", error(nil)
	if !a.atTerminal() {
		if text, err = readLine(a.stdin); err == nil {
			secret, err = diffhook.NewSecret(text)
		}
		return secret, err
	}
	err = a.converse(ctx, nil, func(c *conversation) error {
		return c.prompt.askUntil(ctx, "Paste the signing secret (App → Settings → API Keys → Signing secret). Your paste does not show.", "secret: ", func(text string) (err error) {
			secret, err = diffhook.NewSecret(text)
			return err
		})
	})
	return secret, err
}
