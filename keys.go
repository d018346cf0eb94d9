package diffhook

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go/internal/redact"
)

// KeyService manages API keys, as [Client.Keys].
//
// Its endpoints are assumed: DiffHook documents keys, but lets them be managed
// at App → Settings → API Keys only. All keys have full access to their team.
type KeyService struct{ client *Client }

// Key is what the API tells of an API key. It never shows the key itself
// again: the platform keeps only a hash.
type Key struct {
	ID     string
	Label  string
	Prefix string // the key's first characters, not what an APIKey prints as: see MatchesPrefix

	// CreatedAt is in UTC. See [Key.Stale].
	CreatedAt time.Time

	// LastUsedAt is in UTC, and the zero time if the key was never used.
	LastUsedAt time.Time
}

// MatchesPrefix reports whether k may be key, judging by its first characters: false
// is certain, true is not.
func (k Key) MatchesPrefix(key APIKey) bool {
	return !key.IsZero() && strings.HasPrefix(key.Reveal(), k.shown())
}

// shown returns the prefix without what stands for characters left out.
func (k Key) shown() string {
	if end := strings.IndexFunc(k.Prefix, func(r rune) bool { return !redact.IsKeyRune(r) }); end >= 0 {
		return k.Prefix[:end]
	}
	return k.Prefix
}

// staleKeyAge is from DiffHook's page "API Keys".
const staleKeyAge = 90 * 24 * time.Hour

// Stale reports whether k is older than age, where 0 means 90 days: DiffHook's
// page "API Keys" has any older key treated as a candidate for rotation. A key of
// unknown age is.
func (k Key) Stale(age time.Duration) bool {
	if age == 0 {
		age = staleKeyAge
	}
	return time.Since(k.CreatedAt) > age
}

// UnmarshalJSON reads a key with field names of either generation. A field that
// cannot be read is left zero; without an id, it returns an error.
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
		field{"prefix", (*exactText)(&k.Prefix)}, // MatchesPrefix is certain of a wrong prefix, and not of none
		field{"created_at", &k.CreatedAt}, field{"last_used_at", &k.LastUsedAt},
	)
}

// List returns the team's keys. See [ListOptions] for how many, and for keys that
// cannot be read.
func (s *KeyService) List(ctx context.Context, opts *ListOptions) ([]Key, error) {
	return list(ctx, s.client, pathKeys, opts, (*Key).read)
}

// Create makes a key. The [APIKey] is shown this once: store it before
// anything else. label says what the key is for, such as production-server.
// Fields of the [Key] that cannot be read are zero, even the id.
//
// It is not safe to repeat. An error that matches [ErrOutcomeUnknown] may have
// left a live key that nobody holds: list the keys and look for the label.
func (s *KeyService) Create(ctx context.Context, label string) (Key, APIKey, error) {
	if strings.TrimSpace(label) == "" {
		return Key{}, APIKey{}, fmt.Errorf("%w: a key needs a label, such as production-server", ErrInvalidRequest)
	}
	var answer createdKey
	c := &call{method: http.MethodPost, route: pathKeys, in: map[string]string{"label": label}, out: &answer}
	if err := s.client.callPath(ctx, c, pathKeys); err != nil {
		return Key{}, APIKey{}, err
	}
	return answer.Key, answer.APIKey, nil
}

// createdKey is the only response with a key. The API shows the key this once, so
// nothing beside a valid key makes the response unreadable.
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

// Delete revokes a key by its id, at once: from then on requests with it are
// answered 401. It is safe to repeat: a second call returns [ErrNotFound].
func (s *KeyService) Delete(ctx context.Context, id string) error {
	return s.client.callPath(ctx, &call{method: http.MethodDelete, route: pathKeys + "/{id}", repeatable: true}, pathKeys, id)
}
