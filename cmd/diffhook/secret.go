package main

import (
	"context"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

const variableSecretStore = "DIFFHOOK_SECRET_STORE"

// secretFlags are the flags that the commands for signing secrets share.
type secretFlags struct {
	*flags
	store     *string
	receivers *receiverList
	platform  *platformFlags
	poll      *time.Duration
}

func newSecretFlags(command string, env func(string) string) *secretFlags {
	f := newFlags(command, env)
	return &secretFlags{
		flags:     f,
		store:     f.text("store", variableSecretStore),
		receivers: f.receivers(),
		platform:  f.platform(),
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

// fingerprint returns the one argument beside flags. If none is allowed, it returns ""
// without one.
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
		return a.showState(ctx, "rotate-secret", store, a.receivers(f.receivers))
	}
	if *f.noHold {
		*f.hold = -1
	}
	return a.converse(ctx, f.platform, func(c *conversation) error {
		platform, err := c.secretPlatform()
		if err != nil {
			return err
		}
		return rotation.Secret(ctx, old, platform, store, &rotation.SecretOptions{
			Receivers:    a.receivers(f.receivers),
			RetryHorizon: *f.retryHorizon,
			Quiet:        *f.quiet,
			Hold:         *f.hold,
			Poll:         *f.poll,
			RevokeNow:    *f.revokeNow,
			Observe:      c.observe,
		})
	})
}

// runRevokeSecret ends a signing secret that has leaked.
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
	if err != nil {
		return err
	}
	return a.converse(ctx, f.platform, func(c *conversation) error {
		platform, err := c.secretPlatform()
		if err != nil {
			return err
		}
		return rotation.RevokeSecret(ctx, leaked, platform, store, &rotation.RevokeOptions{
			Receivers: a.receivers(f.receivers),
			Poll:      *f.poll,
			Observe:   c.observe,
		})
	})
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

// askSecret reads a signing secret, at a terminal until one is valid.
func (a *app) askSecret(ctx context.Context) (secret diffhook.Secret, err error) {
	text, err := "", error(nil)
	if !a.atTerminal() {
		if text, err = readLine(a.stdin); err == nil {
			secret, err = diffhook.NewSecret(text)
		}
		return secret, err
	}
	err = a.converse(ctx, nil, func(c *conversation) error {
		return c.prompt.askUntil(ctx, "Paste the signing secret (App → Settings → API Keys → Signing secret). It does not show.", "secret: ", func(text string) (err error) {
			secret, err = diffhook.NewSecret(text)
			return err
		})
	})
	return secret, err
}
