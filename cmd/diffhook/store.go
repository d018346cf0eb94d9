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

// openDocument returns the store at path, which must have a document.
func openDocument(ctx context.Context, path, variable, command string) (rotation.Store, error) {
	store, err := openStore(path, variable)
	if err != nil {
		return nil, err
	}
	content, _, err := store.Get(ctx)
	if err == nil && content == nil {
		err = usagef("%s: there is no document; run diffhook %s --init to write the first one", printable(path), command)
	}
	return store, err
}

// keyID returns the id that arg means. An arg of the form of an API key must be a
// client id that the document has, or have its shown form: else keyID returns "".
func keyID(ctx context.Context, store rotation.Store, arg string) string {
	known := keyIDs(ctx, store)
	for _, id := range known {
		if arg == id || arg == shownID(id) {
			return id
		}
	}
	if holdsKey(arg) {
		return ""
	}
	return arg
}

// keyIDs returns the ids in the document of a key. Without a document of that form,
// there are none.
func keyIDs(ctx context.Context, store rotation.Store) (ids []string) {
	content, _, err := store.Get(ctx)
	if err != nil {
		return nil
	}
	type named struct {
		ID string `json:"id"`
	}
	var document struct {
		named
		Replaced string `json:"replaced"`
		Next     named  `json:"next"`
		Previous named  `json:"previous"`
	}
	if json.Unmarshal(content, &document) != nil {
		return nil
	}
	for _, id := range []string{document.ID, document.Replaced, document.Next.ID, document.Previous.ID} {
		if id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// shownID returns an id as statuses show it: a client id has the form of an API key.
func shownID(id string) string {
	if key, err := diffhook.NewAPIKey(id); err == nil {
		return key.String()
	}
	return printable(id)
}

// exitOfRotation returns the exit code of a rotation's error.
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
