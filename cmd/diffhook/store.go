package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

// openStore returns the store of the document at path.
func openStore(path, variable string) (rotation.Store, error) {
	if path == "" {
		return nil, usagef("no document; pass --store FILE or set %s", variable)
	}
	return rotation.FileStore(path), nil
}

// openNew returns the store at path. A document there is an error.
func openNew(ctx context.Context, path, variable string) (rotation.Store, error) {
	store, err := openStore(path, variable)
	if err != nil {
		return nil, err
	}
	content, _, err := store.Get(ctx)
	if err == nil && content != nil {
		err = usagef("the file of --store or %s exists; --init writes the first document only", variable)
	}
	return store, err
}

// openDocument returns the store at path. A missing document is an error.
func openDocument(ctx context.Context, path, variable, command string) (rotation.Store, error) {
	store, err := openStore(path, variable)
	if err != nil {
		return nil, err
	}
	content, _, err := store.Get(ctx)
	if err == nil && content == nil {
		err = usagef("the file of --store or %s does not exist; run diffhook %s --init to write the first document", variable, command)
	}
	return store, err
}

// keyDocument is the part of the document of a key for this tool.
type keyDocument struct {
	keyName
	Secret   string  `json:"secret"` // of generation 2
	Replaced string  `json:"replaced"`
	Next     keyName `json:"next"`
	Previous keyName `json:"previous"`
}

type keyName struct {
	ID string `json:"id"`
}

// readKeyDocument reads the document. It returns the zero keyDocument if the content is
// invalid: package rotation reports that.
func readKeyDocument(ctx context.Context, store rotation.Store) (d keyDocument) {
	if content, _, err := store.Get(ctx); err != nil || json.Unmarshal(content, &d) != nil {
		return keyDocument{}
	}
	return d
}

// id returns the id for arg. An arg with an API key must be a client id in the document,
// in full or as shown. Otherwise, id returns "".
func (d keyDocument) id(arg string) string {
	for _, id := range []string{d.ID, d.Replaced, d.Next.ID, d.Previous.ID} {
		if id != "" && (arg == id || arg == shownID(id)) {
			return id
		}
	}
	if containsKey(arg) {
		return ""
	}
	return arg
}

// shownID returns an id as --state shows ids: a client id looks like an API key, and is
// shortened.
func shownID(id string) string {
	if key, err := diffhook.NewAPIKey(id); err == nil {
		return key.String()
	}
	return printable(id)
}

// exitOfRotation returns the exit code for the error of a rotation.
func exitOfRotation(err error) int {
	for _, mismatch := range []error{rotation.ErrMismatch, rotation.ErrNotInForce, rotation.ErrInvalidDocument} {
		if errors.Is(err, mismatch) {
			return exitMismatch
		}
	}
	switch {
	case errors.Is(err, rotation.ErrBusy):
		return exitBusy
	case errors.Is(err, diffhook.ErrInvalidOptions): // checked before anything else
		return exitUsage
	}
	return exitFailed
}
