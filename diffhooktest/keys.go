package diffhooktest

import (
	"crypto/rand"
	"net/http"
	"slices"
	"time"

	"github.com/diffhook/diffhook-go"
)

// Key is an API key of a team, as a test sees it.
type Key struct {
	ID, Label string
	Key       diffhook.APIKey // the platform shows the text once, at creation

	CreatedAt  time.Time
	LastUsedAt time.Time // of the last authenticated request; zero if there was none
	Revoked    bool
}

type apiKey struct {
	id, label, text string
	team            *Team
	created, used   time.Time
	revoked         bool
	requests        rateLog
}

const (
	keyPrefix    = "dh_live_"
	prefixLength = len(keyPrefix) + 4 // of the part that lists show
)

// newCredential returns a random API key or client id, which contains the word
// emulator.
func newCredential() string {
	random := rand.Text()
	return keyPrefix + random[:4] + "emulator" + random[4:]
}

func (t *Team) addKey(label string) *apiKey {
	k := &apiKey{id: newID("key"), label: label, text: newCredential(), team: t, created: t.server.clock.now()}
	t.keys = append(t.keys, k)
	t.server.keys[k.text] = k
	return k
}

// APIKey returns the first key of the team, revoked or not.
func (t *Team) APIKey() diffhook.APIKey {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	return t.keys[0].shown().Key
}

// NewKey adds an API key, like POST /api/keys but without a request.
func (t *Team) NewKey(label string) Key {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	return t.addKey(label).shown()
}

// Keys returns all keys of the team, oldest first, with the revoked keys.
func (t *Team) Keys() []Key {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	keys := make([]Key, len(t.keys))
	for i, k := range t.keys {
		keys[i] = k.shown()
	}
	return keys
}

// RevokeKey revokes the key with the given id, like a person in the app: from now
// on, requests with the key get 401. RevokeKey panics if the id is unknown.
func (t *Team) RevokeKey(id string) { t.changeKey(id, func(k *apiKey) { k.revoked = true }) }

// AgeKey sets the creation of the key with the given id to age before now, for
// tests with old keys. AgeKey panics if the id is unknown.
func (t *Team) AgeKey(id string, age time.Duration) {
	t.changeKey(id, func(k *apiKey) { k.created = t.server.clock.now().Add(-age) })
}

// SetKeyUsed sets the time of the last use of the key with the given id; the zero
// time means never. The next request with the key changes the time again.
// SetKeyUsed panics if the id is unknown.
func (t *Team) SetKeyUsed(id string, at time.Time) { t.changeKey(id, func(k *apiKey) { k.used = at }) }

func (t *Team) changeKey(id string, change func(*apiKey)) {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	i := slices.IndexFunc(t.keys, func(k *apiKey) bool { return k.id == id })
	if i < 0 {
		panic("diffhooktest: the key " + id + " is not in the team; take an id from Team.Keys")
	}
	change(t.keys[i])
}

func (k *apiKey) shown() Key {
	key, err := diffhook.NewAPIKey(k.text)
	if err != nil {
		panic("diffhooktest: " + err.Error())
	}
	return Key{ID: k.id, Label: k.label, Key: key, CreatedAt: k.created, LastUsedAt: k.used, Revoked: k.revoked}
}

// keyFields returns the key as lists show it, without the text.
func (c *call) keyFields(k *apiKey) fields {
	used := k.used
	if c.server.settings.Terse {
		used = time.Time{}
	}
	return fields{
		"id":           k.id,
		"label":        k.label,
		"prefix":       k.text[:prefixLength],
		"created_at":   timestamp(k.created),
		"last_used_at": timestampOrNull(used),
	}
}

func (c *call) listKeys() (*response, *failure) {
	return list(c, c.team.keys, func(k *apiKey) fields {
		if k.revoked {
			return nil
		}
		return c.keyFields(k)
	})
}

func (c *call) createKey() (*response, *failure) {
	var label string
	known := []field[string]{stringField("label", func(s *string) *string { return s })}
	if _, failed := decode(c.body, &label, known, "label"); failed != nil {
		return nil, failed
	}
	k := c.team.addKey(label)
	f := c.keyFields(k)
	f["key"] = k.text
	return data(http.StatusCreated, c.generation, f), nil
}

func (c *call) deleteKey() (*response, *failure) {
	for _, k := range c.server.keys {
		if k.id != c.id || k.revoked {
			continue
		}
		if k.team != c.team {
			return nil, &failure{status: http.StatusForbidden, code: codeForbidden, message: "You do not have access to this API key"}
		}
		k.revoked = true
		return newResponse(http.StatusNoContent), nil
	}
	return nil, &failure{status: http.StatusNotFound, code: codeNotFound, message: "API key not found"}
}
