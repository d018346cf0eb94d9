package main

import "context"

// runFingerprint prints the fingerprint of a signing secret.
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
