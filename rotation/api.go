package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/diffhook/diffhook-go"
)

// API returns the platform that calls DiffHook's API with c. The endpoints for secrets
// and keys are assumed: DiffHook documents [ByHand] only. For keys, the credentials in
// the document replace the credentials of c, and only keys of generation 1 can be
// created.
func API(c *diffhook.Client) *APIPlatform { return &APIPlatform{client: c} }

// APIPlatform is a [SecretPlatform] and a [KeyPlatform].
type APIPlatform struct{ client *diffhook.Client }

// Signing returns the secrets that the API shows.
func (a *APIPlatform) Signing(ctx context.Context, _ diffhook.Secret) (diffhook.Secrets, error) {
	return a.client.SigningSecret.Load(ctx)
}

// Rotate rotates the secret.
func (a *APIPlatform) Rotate(ctx context.Context, _ diffhook.Secret) (diffhook.Secrets, error) {
	return a.client.SigningSecret.Rotate(ctx)
}

// Revoke revokes the previous secret.
func (a *APIPlatform) Revoke(ctx context.Context) error {
	return a.client.SigningSecret.RevokePrevious(ctx)
}

// Check returns an error if old is not of generation 1, or not in the list of keys.
func (a *APIPlatform) Check(ctx context.Context, old Pair) error {
	if old.Key == "" {
		return fmt.Errorf("%w: the API creates keys of generation 1 only; replace client credentials by hand", diffhook.ErrInvalidOptions)
	}
	_, err := a.find(ctx, old, old)
	return err
}

// Monitors lists monitors with pair.
func (a *APIPlatform) Monitors(ctx context.Context, pair Pair) ([]string, error) {
	return monitorsOf(ctx, a.as(pair))
}

// Discard deletes the keys with any of the labels.
func (a *APIPlatform) Discard(ctx context.Context, as Pair, labels []string) error {
	keys, err := a.list(ctx, as)
	for _, key := range keys {
		if slices.Contains(labels, key.Label) && err == nil {
			err = a.delete(ctx, as, key.ID)
		}
	}
	return err
}

// Create creates a key of generation 1.
func (a *APIPlatform) Create(ctx context.Context, old Pair, label string) (Pair, error) {
	key, text, err := a.as(old).Keys.Create(ctx, label)
	switch {
	case err != nil:
		return Pair{}, err
	case key.ID == "":
		return Pair{}, fmt.Errorf("%w: the response has no id", diffhook.ErrUnexpectedResponse)
	}
	return Pair{ID: key.ID, Key: text.Reveal()}, nil
}

// Unused reports whether the last use of old is before since, by DiffHook's clock. If
// the API does not show the last use, the error matches
// [diffhook.ErrUnexpectedResponse].
func (a *APIPlatform) Unused(ctx context.Context, as, old Pair, since time.Time) (bool, error) {
	key, err := a.find(ctx, as, old)
	switch {
	case errors.Is(err, diffhook.ErrNotFound):
		return true, nil
	case err != nil:
		return false, err
	case key.LastUsedAt.IsZero(): // hidden: the rotation itself used the key
		return false, fmt.Errorf("%w: the API does not show the last use of the old key; look in the app, and run the rotation again without the wait", diffhook.ErrUnexpectedResponse)
	}
	return key.LastUsedAt.Before(since), nil
}

// Delete deletes old by the id.
func (a *APIPlatform) Delete(ctx context.Context, as, old Pair) error {
	_, err := a.find(ctx, as, old)
	switch {
	case errors.Is(err, diffhook.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return a.delete(ctx, as, old.ID)
}

func (a *APIPlatform) delete(ctx context.Context, as Pair, id string) error {
	if err := a.as(as).Keys.Delete(ctx, id); !errors.Is(err, diffhook.ErrNotFound) {
		return err
	}
	return nil
}

// find returns the key of pair in the list of keys. The error matches
// diffhook.ErrNotFound if there is no such key, and ErrMismatch if the id belongs to
// another key, or is a label.
func (a *APIPlatform) find(ctx context.Context, as, pair Pair) (diffhook.Key, error) {
	keys, err := a.list(ctx, as)
	if err != nil {
		return diffhook.Key{}, err
	}
	text, _ := diffhook.NewAPIKey(pair.Key)
	for _, key := range keys {
		switch {
		case key.ID == pair.ID && !key.MatchesPrefix(text):
			return diffhook.Key{}, fmt.Errorf("%w: the API lists another key with the id %s; compare the id in the document with the app", ErrMismatch, shownID(pair.ID))
		case key.ID == pair.ID:
			return key, nil
		}
	}
	if slices.ContainsFunc(keys, func(key diffhook.Key) bool { return key.Label == pair.ID && key.MatchesPrefix(text) }) {
		return diffhook.Key{}, fmt.Errorf("%w: %s is the label of the key and not the id, as after a rotation by hand; rotate this key by hand", ErrMismatch, shownID(pair.ID))
	}
	return diffhook.Key{}, fmt.Errorf("%w: the API lists no key with the id %s; compare the id in the document with the app", diffhook.ErrNotFound, shownID(pair.ID))
}

// list returns all keys, or an error if the list may be cut off.
func (a *APIPlatform) list(ctx context.Context, as Pair) ([]diffhook.Key, error) {
	keys, err := a.as(as).Keys.List(ctx, nil)
	if err == nil && len(keys) >= diffhook.MaxListLimit {
		return nil, fmt.Errorf("%w: the team has more keys than the API lists; delete unused keys, or rotate by hand", diffhook.ErrUnexpectedResponse)
	}
	return keys, err
}

// as returns a client with the credentials of pair.
func (a *APIPlatform) as(pair Pair) *diffhook.Client {
	return a.client.WithCredentials(pair.credentials())
}

func monitorsOf(ctx context.Context, c *diffhook.Client) (ids []string, err error) {
	monitors, err := c.Monitors.List(ctx, nil)
	for _, m := range monitors {
		ids = append(ids, m.ID)
	}
	return ids, err
}
