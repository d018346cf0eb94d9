package diffhook

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go/internal/scrub"
)

// KeyService manages API keys, as [Client.Keys].
//
// The endpoints are assumed: DiffHook documents keys as a page of the app only, at App
// → Settings → API Keys. All keys have full access to their team.
type KeyService struct{ client *Client }

// Key is an API key without the text: the platform keeps only a hash, and shows the
// text once, at the creation.
type Key struct {
	ID     string
	Label  string
	Prefix string // the first characters of the key, not the text that an APIKey prints as: see MatchesPrefix

	// CreatedAt is in UTC. See [Key.Stale].
	CreatedAt time.Time

	// LastUsedAt is in UTC. It is the zero time if the key was never used.
	LastUsedAt time.Time
}

// MatchesPrefix reports whether the first characters of k and key match: false means
// another key for certain, true does not mean the same key.
func (k Key) MatchesPrefix(key APIKey) bool {
	return !key.IsZero() && strings.HasPrefix(key.Reveal(), k.shown())
}

// shown returns the prefix without the marks of omitted characters.
func (k Key) shown() string {
	if end := strings.IndexFunc(k.Prefix, func(r rune) bool { return !scrub.IsKeyRune(r) }); end >= 0 {
		return k.Prefix[:end]
	}
	return k.Prefix
}

// staleKeyAge is from DiffHook's page "API Keys".
const staleKeyAge = 90 * 24 * time.Hour

// Stale reports whether k is older than age. Zero means 90 days: DiffHook's page "API
// Keys" calls any older key a candidate for rotation. A key of unknown age is stale.
func (k Key) Stale(age time.Duration) bool {
	if age == 0 {
		age = staleKeyAge
	}
	return time.Since(k.CreatedAt) > age
}

// UnmarshalJSON reads a key with field names of either generation. An unreadable
// field is zero. Without an id, UnmarshalJSON returns an error.
func (k *Key) UnmarshalJSON(b []byte) error { return unmarshal(b, k) }

func (k *Key) readData(data value) error {
	if err := data.checkObject(); err != nil {
		return err
	}
	var read Key
	if read.read(data); read.ID == "" {
		return errNoIDInResponse
	}
	*k = read
	return nil
}

func (k *Key) read(v value) {
	v.fill(
		field{"id", &k.ID}, field{"label", &k.Label},
		field{"prefix", (*exactText)(&k.Prefix)}, // without a prefix, MatchesPrefix excludes no key
		field{"created_at", &k.CreatedAt}, field{"last_used_at", &k.LastUsedAt},
	)
}

// List returns the team's keys. See [ListOptions] for the number of keys, and for
// unreadable keys.
func (s *KeyService) List(ctx context.Context, opts *ListOptions) ([]Key, error) {
	return list(ctx, s.client, pathKeys, opts, (*Key).read)
}

// Create makes a key. The [APIKey] is shown this once: save it before anything else.
// label names the use of the key, such as production-server. Unreadable fields of the
// [Key] are zero, even the id.
//
// Create is not safe to repeat. An error may leave a live key without a holder if it
// matches [ErrOutcomeUnknown]: list the keys and look for the label.
func (s *KeyService) Create(ctx context.Context, label string) (Key, APIKey, error) {
	if strings.TrimSpace(label) == "" {
		return Key{}, APIKey{}, fmt.Errorf("%w: the label of the key is empty; pass a label such as production-server", ErrInvalidRequest)
	}
	var answer createdKey
	c := &call{method: http.MethodPost, route: pathKeys, in: map[string]string{"label": label}, out: &answer}
	if err := s.client.callPath(ctx, c, pathKeys); err != nil {
		return Key{}, APIKey{}, err
	}
	return answer.Key, answer.APIKey, nil
}

// createdKey is the only response with a key. The API shows the key this once, so
// only an invalid key makes the response unreadable.
type createdKey struct {
	Key
	APIKey
}

func (k *createdKey) readData(data value) (err error) {
	if err := data.checkObject(); err != nil {
		return err
	}
	var text exactText
	data.fill(field{"key", &text})
	if k.APIKey, err = NewAPIKey(string(text)); err != nil {
		return errNoKeyInResponse
	}
	k.Key.read(data)
	return nil
}

// Delete revokes a key by id, at once: requests with the key are answered 401 from then
// on. Delete is safe to repeat: a second call returns [ErrNotFound].
func (s *KeyService) Delete(ctx context.Context, id string) error {
	return s.client.callPath(ctx, &call{method: http.MethodDelete, route: pathKeys + "/{id}", repeatable: true}, pathKeys, id)
}
