package main

import "context"

// runFingerprint reads a signing secret and prints its fingerprint.
func runFingerprint(ctx context.Context, a *app, args []string) error {
	f := newFlags("fingerprint", a.env)
	if err := f.parse(args, 0); err != nil {
		return err
	}
	secret, err := a.askSecret(ctx)
	if err != nil {
		return err
	}
	return a.print("%s\n", secret.Fingerprint())
}
