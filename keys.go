package diffhook

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
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
	Prefix string // the key's first characters, not what an APIKey prints as: see MayBe

	// CreatedAt is in UTC. See [Key.Stale].
	CreatedAt time.Time

	// LastUsedAt is in UTC, and the zero time if the key was never used.
	LastUsedAt time.Time
}

// MayBe reports whether k may be key, judging by its first characters: false
// is certain, true is not.
func (k Key) MayBe(key APIKey) bool {
	return !key.IsZero() && strings.HasPrefix(key.Reveal(), k.shown())
}

// shown returns the prefix without what stands for characters left out.
func (k Key) shown() string {
	if end := strings.IndexFunc(k.Prefix, func(r rune) bool { return !isKeyRune(r) }); end >= 0 {
		return k.Prefix[:end]
	}
	return k.Prefix
}

// tells reports whether the prefix has some of the key's own characters, and not
// only those that all keys begin with.
func (k Key) tells() bool { return len(k.shown()) >= len(apiKeyPrefix)+4 }

// staleKeyAge is from DiffHook's page "API Keys".
const staleKeyAge = 90 * 24 * time.Hour

// Stale reports whether k is older than age, where 0 means 90 days: DiffHook's
// page "API Keys" has any older key treated as a candidate for rotation. A key of
// unknown age is. Replace it with [KeyService.Replace].
func (k Key) Stale(age time.Duration) bool {
	if age == 0 {
		age = staleKeyAge
	}
	return time.Since(k.CreatedAt) > age
}

// UnmarshalJSON reads a key with field names of either generation.
func (k *Key) UnmarshalJSON(b []byte) error {
	var w struct {
		ID         string
		Label      string
		Prefix     string
		CreatedAt  time.Time `json:"createdAt"`
		CreatedAt2 time.Time `json:"created_at"`
		LastUsed   time.Time `json:"lastUsedAt"`
		LastUsed2  time.Time `json:"last_used_at"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	if w.ID == "" {
		return errNoIDInAnswer
	}
	*k = Key{ID: w.ID, Label: w.Label, Prefix: w.Prefix, CreatedAt: firstTime(w.CreatedAt, w.CreatedAt2), LastUsedAt: firstTime(w.LastUsed, w.LastUsed2)}
	return nil
}

// firstTime returns the first time that is set, in UTC.
func firstTime(a, b time.Time) time.Time {
	if a.IsZero() {
		a = b
	}
	return a.UTC()
}

// List returns the team's keys. See [ListOptions] for how many.
func (s *KeyService) List(ctx context.Context, opts *ListOptions) ([]Key, error) {
	return list[Key](ctx, s.client, pathKeys, opts)
}

// Create makes a key. The [APIKey] is shown this once: store it before
// anything else. label says what the key is for, such as production-server.
//
// It is not safe to repeat. An error that matches [ErrOutcomeUnknown] may have
// left a live key that nobody holds: list the keys and look for the label.
func (s *KeyService) Create(ctx context.Context, label string) (Key, APIKey, error) {
	return s.create(ctx, label, false)
}

func (s *KeyService) create(ctx context.Context, label string, unbroken bool) (Key, APIKey, error) {
	if strings.TrimSpace(label) == "" {
		return Key{}, APIKey{}, fmt.Errorf("%w: a key needs a label, such as production-server", ErrInvalidRequest)
	}
	var answer createdKey
	c := &call{method: http.MethodPost, route: pathKeys, in: map[string]string{"label": label}, out: &answer, unbroken: unbroken}
	if err := s.client.callPath(ctx, c, pathKeys); err != nil {
		return Key{}, APIKey{}, err
	}
	return answer.Key, answer.APIKey, nil
}

// createdKey is the one answer that has a key in it. That it is one is checked
// in decoding, so that an answer without is an answer that cannot be read.
type createdKey struct {
	Key
	APIKey
}

func (k *createdKey) UnmarshalJSON(b []byte) (err error) {
	var secret struct{ Key string }
	if err := json.Unmarshal(b, &secret); err != nil {
		return err
	}
	if k.APIKey, err = NewAPIKey(secret.Key); err != nil {
		return errNoKeyInAnswer
	}
	return k.Key.UnmarshalJSON(b)
}

// Delete revokes a key by its id, at once: from then on requests with it are
// answered 401. It is safe to repeat: a second call returns [ErrNotFound].
func (s *KeyService) Delete(ctx context.Context, id string) error {
	return s.client.callPath(ctx, &call{method: http.MethodDelete, route: pathKeys + "/{id}", repeatable: true}, pathKeys, id)
}
