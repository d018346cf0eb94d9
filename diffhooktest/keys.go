package diffhooktest

import (
	"crypto/rand"
	"net/http"
	"slices"
	"time"

	"github.com/diffhook/diffhook-go"
)

// Key is an API key of a team, as a test may look at it.
type Key struct {
	ID, Label string
	Key       diffhook.APIKey // which the platform shows once, at creation

	CreatedAt  time.Time
	LastUsedAt time.Time // of the last request that it authenticated; zero: never
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
	prefixLength = len(keyPrefix) + 4 // what a list shows of a key
)

// newCredential returns a random text that begins like an API key, as client
// ids do too, and says what it is of.
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

// APIKey returns the key that the team had from the start, revoked or not.
func (t *Team) APIKey() diffhook.APIKey {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	return t.keys[0].shown().Key
}

// NewKey adds an API key, like POST /api/keys but not as a request.
func (t *Team) NewKey(label string) Key {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	return t.addKey(label).shown()
}

// Keys returns all keys that the team ever had, the oldest first.
func (t *Team) Keys() []Key {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	keys := make([]Key, len(t.keys))
	for i, k := range t.keys {
		keys[i] = k.shown()
	}
	return keys
}

// RevokeKey revokes the key with the given id, as someone in the app might:
// requests with it get 401 from now on. It panics where the team has no such
// key.
func (t *Team) RevokeKey(id string) { t.changeKey(id, func(k *apiKey) { k.revoked = true }) }

// AgeKey makes the key with the given id as old as age, for tests of what is
// done about old keys. It panics where the team has no such key.
func (t *Team) AgeKey(id string, age time.Duration) {
	t.changeKey(id, func(k *apiKey) { k.created = t.server.clock.now().Add(-age) })
}

// SetKeyUsed sets when the key with the given id was last used; the zero time
// means never. The next request with the key changes it again. It panics where
// the team has no such key.
func (t *Team) SetKeyUsed(id string, at time.Time) { t.changeKey(id, func(k *apiKey) { k.used = at }) }

func (t *Team) changeKey(id string, change func(*apiKey)) {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	i := slices.IndexFunc(t.keys, func(k *apiKey) bool { return k.id == id })
	if i < 0 {
		panic("diffhooktest: the team has no key with the id " + id)
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

// keyFields is the key as lists show it: without its text.
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

func (c *call) listKeys() (*answer, *failure) {
	n, failed := limitOf(c.query)
	if failed != nil {
		return nil, failed
	}
	var items []fields
	for _, k := range slices.Backward(c.team.keys) {
		if !k.revoked && len(items) < n {
			items = append(items, c.keyFields(k))
		}
	}
	return list(c.generation, items), nil
}

func (c *call) createKey() (*answer, *failure) {
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

func (c *call) deleteKey() (*answer, *failure) {
	for _, k := range c.server.keys {
		if k.id != c.id || k.revoked {
			continue
		}
		if k.team != c.team {
			return nil, &failure{status: http.StatusForbidden, code: codeForbidden, message: "You do not have access to this API key"}
		}
		k.revoked = true
		return newAnswer(http.StatusNoContent), nil
	}
	return nil, &failure{status: http.StatusNotFound, code: codeNotFound, message: "API key not found"}
}
