package main

import (
	"context"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

const variableKeyStore = "DIFFHOOK_KEY_STORE"

// rotateKeyFlags are the flags of rotate-key.
type rotateKeyFlags struct {
	*flags
	store, label                 *string
	platform                     *platformFlags
	init, pair, state, deleteNow *bool
	quiet                        *time.Duration
}

func newRotateKeyFlags(env func(string) string) *rotateKeyFlags {
	f := newFlags("rotate-key", env)
	f.takesID = true
	return &rotateKeyFlags{
		flags:     f,
		store:     f.text("store", variableKeyStore),
		label:     f.text("label", ""),
		platform:  f.platform(),
		init:      f.bool("init"),
		pair:      f.bool("pair"),
		state:     f.bool("state"),
		deleteNow: f.bool("delete-now"),
		quiet:     f.duration("quiet"),
	}
}

// runRotateKey replaces an API key.
func runRotateKey(ctx context.Context, a *app, args []string) error {
	f := newRotateKeyFlags(a.env)
	if err := f.parse(args, 1); err != nil {
		return err
	}
	switch {
	case (*f.init || *f.state) && len(f.args) > 0:
		return usagef("--init and --state take no id")
	case *f.init:
		return a.initKey(ctx, f)
	}
	store, err := openDocument(ctx, *f.store, variableKeyStore, "rotate-key")
	switch {
	case err != nil:
		return err
	case *f.state:
		_, err := a.showState(ctx, "rotate-key", store)
		return err
	}
	id, err := f.id(readKeyDocument(ctx, store))
	if err != nil {
		return err
	}
	o := &outcome{command: "rotate-key", id: shownID(id), store: store}
	return o.explain(a.converse(ctx, f.platform, func(c *conversation) error {
		platform, err := c.keyPlatform()
		if err != nil {
			return err
		}
		c.notes = map[rotation.StepName]string{rotation.StepDrain: drainNoteKey}
		return rotation.Key(ctx, id, platform, store, &rotation.KeyOptions{
			Label:     *f.label,
			Quiet:     *f.quiet,
			DeleteNow: *f.deleteNow,
			Observe:   c.observe,
		})
	}))
}

// drainNoteKey is shown when the wait for the old key begins.
const drainNoteKey = "Applications get the new key now. When the wait is over, the tool looks for the last use of the old key. " +
	"Ctrl-C ends the wait: each run of this command waits for --quiet anew."

// id returns the id for the argument beside flags.
func (f *rotateKeyFlags) id(document keyDocument) (string, error) {
	if len(f.args) == 0 {
		return "", usagef("no id; pass the id of the key, which diffhook rotate-key --state shows")
	}
	id := document.id(f.args[0])
	switch {
	case id == "":
		return "", usagef("the argument is not a client id in the document. If it is an API key: %sPass the id of the key, which diffhook rotate-key --state shows", whyRefused)
	case *f.platform.api && document.Secret != "":
		return "", usagef("the document contains client credentials, and the API creates keys of generation 1 only; run the command without --api")
	}
	return id, nil
}

// initKey asks for the API key and saves the first document.
func (a *app) initKey(ctx context.Context, f *rotateKeyFlags) error {
	store, err := openNew(ctx, *f.store, variableKeyStore)
	if err != nil {
		return err
	}
	var key rotation.Pair
	err = a.converse(ctx, nil, func(c *conversation) (err error) {
		key, err = c.askKey(ctx, *f.pair, *f.platform.api)
		return err
	})
	if err != nil {
		return err
	}
	if err := rotation.NewKey(ctx, store, key); err != nil {
		return err
	}
	return a.print("The document has the API key %s.\n", shownID(key.ID))
}

// askKey asks for an API key or, in generation 2, for client credentials.
func (c *conversation) askKey(ctx context.Context, generation2, api bool) (key rotation.Pair, err error) {
	if generation2 {
		err = c.prompt.askUntil(ctx, "Paste the client id (App → Settings → API Keys). Your paste does not show.", "client id: ", func(text string) error {
			key.ID = text
			_, err := diffhook.NewAPIKey(text) // a client id is of the form of a key
			return err
		})
		if err != nil {
			return key, err
		}
		return key, c.prompt.askUntil(ctx, "Paste the client secret. Your paste does not show.", "client secret: ", func(text string) error {
			key.Secret = text
			_, err := key.Credentials()
			return err
		})
	}
	err = c.prompt.askUntil(ctx, "Paste the API key. Your paste does not show.", "API key: ", func(text string) error {
		key.Key = text
		_, err := diffhook.NewAPIKey(text)
		return err
	})
	if err != nil {
		return key, err
	}
	question, label := "Type the label of the key, as the app shows the label.", "label: "
	if api {
		question, label = "Type the id of the key in the API.", "id: "
	}
	id, err := c.prompt.ask(ctx, question, label, false)
	key.ID = strings.TrimSpace(id)
	return key, err
}
