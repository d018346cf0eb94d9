package rotation_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// Programs in other languages can read the document: the fields are part of the
// interface.
func TestDocumentFields(t *testing.T) {
	secret, m := diffhooktest.NewSecret(), &memory{}
	require.NoError(t, rotation.NewSecret(t.Context(), m, secret))
	require.ErrorIs(t, rotation.NewSecret(t.Context(), m, secret), rotation.ErrConflict)
	require.Equal(t, map[string]any{"kind": "signing-secret", "format": 1.0, "phase": "idle", "current": secret.Reveal()}, fieldsOf(t, m.doc))
	require.ErrorIs(t, rotation.NewSecret(t.Context(), &memory{}, diffhook.Secret{}), diffhook.ErrInvalidSecret)

	for _, pair := range []rotation.Pair{{ID: "key_1", Key: "dh_live_" + strings.Repeat("k", 20)}, {ID: "dh_live_id", Secret: "a-client-secret-that-is-random-8391"}} {
		m := &memory{}
		require.NoError(t, rotation.NewKey(t.Context(), m, pair))
		require.ErrorIs(t, rotation.NewKey(t.Context(), m, pair), rotation.ErrConflict)
		want := map[string]any{"kind": "api-key", "format": 1.0, "phase": "idle", "id": pair.ID}
		if pair.Key != "" {
			want["key"] = pair.Key
		} else {
			want["secret"] = pair.Secret
		}
		require.Equal(t, want, fieldsOf(t, m.doc))
	}
}

func fieldsOf(t *testing.T, doc []byte) (fields map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(doc, &fields))
	require.Contains(t, fields, "since")
	delete(fields, "since")
	return fields
}

// Readers ignore unknown fields, also of a newer format. Writers keep the fields, and
// refuse a newer format.
func TestSourceReadsNewerDocuments(t *testing.T) {
	secret, m := diffhooktest.NewSecret(), &memory{}
	m.doc = fmt.Appendf(nil, `{"kind":"signing-secret","format":9,"phase":"turning","current":%q,"colour":{"red":1}}`, secret.Reveal())
	m.history = []saved{{doc: m.doc}}
	got, err := rotation.Source(m).Load(t.Context())
	require.NoError(t, err)
	require.True(t, got.Current.Equal(secret))
	err = rotation.Secret(t.Context(), secret.Fingerprint(), rotation.ByHand(nil), m, &rotation.SecretOptions{RevokeNow: true})
	require.ErrorIs(t, err, rotation.ErrInvalidDocument)
	require.Zero(t, m.swaps)
}

func TestDocumentsThatCannotBeRead(t *testing.T) {
	secret := diffhooktest.NewSecret().Reveal()
	for name, doc := range map[string]string{
		"the secret itself": secret,
		"a list":            "[]",
		"no kind":           `{"current":"` + secret + `"}`,
		"no secret":         `{"kind":"signing-secret","format":1,"phase":"idle"}`,
		"a short secret":    `{"kind":"signing-secret","format":1,"phase":"idle","current":"short"}`,
		"another type":      `{"kind":"signing-secret","format":1,"phase":"idle","current":["` + secret + `"]}`,
		"no previous":       `{"kind":"signing-secret","format":1,"phase":"rotated","current":"` + secret + `"}`,
		"an unknown phase":  `{"kind":"signing-secret","format":1,"phase":"begun","current":"` + secret + `"}`,
		"an invalid time":   `{"kind":"signing-secret","format":1,"phase":"idle","since":"` + secret + `","current":"` + secret + `"}`,
		"a key":             `{"kind":"api-key","format":1,"phase":"idle","id":"a","key":"dh_live_abc"}`,
		"too long":          `{"kind":"signing-secret","format":1,"phase":"idle","current":"` + secret + `"}` + strings.Repeat(" ", 64<<10),
	} {
		m := &memory{history: []saved{{doc: []byte(doc)}}}
		_, err := rotation.Source(m).Load(t.Context())
		require.ErrorIs(t, err, rotation.ErrInvalidDocument, name)
		require.ErrorIs(t, err, diffhook.ErrSecretsUnavailable, name)
		require.NotContains(t, err.Error(), secret, name)
	}
}

// Unknown fields survive a rotation.
func TestSecretKeepsForeignFields(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret.json")
	secret := diffhooktest.NewSecret()
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, `{"kind":"signing-secret","format":1,"phase":"idle","current":%q,"owner":"payments"}`, secret.Reveal()), 0o600))
	next := diffhooktest.NewSecret()
	answers := []string{secret.Reveal(), next.Reveal(), next.Reveal(), ""}
	hand := rotation.ByHand(func(context.Context, rotation.Question) (answer string, err error) {
		answer, answers = answers[0], answers[1:]
		return answer, nil
	})
	require.NoError(t, rotation.Secret(t.Context(), secret.Fingerprint(), hand, rotation.FileStore(path), &rotation.SecretOptions{RevokeNow: true}))
	doc, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(doc), `"owner":"payments"`)
	require.Contains(t, string(doc), next.Reveal())
	require.NotContains(t, string(doc), secret.Reveal())
}

func TestFileStore(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "doc.json")
	s := rotation.FileStore(path)
	doc, none, err := s.Get(t.Context())
	require.NoError(t, err)
	require.Nil(t, doc)
	require.NoError(t, s.Swap(t.Context(), none, []byte("1")))
	require.ErrorIs(t, s.Swap(t.Context(), none, []byte("2")), rotation.ErrConflict)
	_, v1, err := s.Get(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Swap(t.Context(), v1, []byte("2")))
	require.ErrorIs(t, s.Swap(t.Context(), v1, []byte("3")), rotation.ErrConflict)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "neither a lock file nor a temporary file stays")

	var won sync.WaitGroup
	_, v2, err := s.Get(t.Context())
	require.NoError(t, err)
	errs := make([]error, 8)
	for i := range errs {
		won.Go(func() { errs[i] = s.Swap(t.Context(), v2, fmt.Append(nil, "by ", i)) })
	}
	won.Wait()
	conflicts := 0
	for _, err := range errs {
		if errors.Is(err, rotation.ErrConflict) {
			conflicts++
		}
	}
	require.Equal(t, len(errs)-1, conflicts)
	missing := rotation.FileStore(filepath.Join(dir, "none", "doc.json"))
	require.Error(t, missing.Swap(t.Context(), none, []byte("1")))
}

// A Pair shows no key in a print, log or encoding.
func TestPairIsOpaque(t *testing.T) {
	for _, pair := range []rotation.Pair{{ID: "key_1", Key: "dh_live_supersecretkey0001"}, {ID: "dh_live_clientid00000001", Secret: "client-secret-supersecret-77"}} {
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("pair", "p", pair, "q", &pair)
		encoded, err := json.Marshal(map[string]any{"p": pair, "q": &pair})
		require.NoError(t, err)
		for _, shown := range []string{fmt.Sprint(pair), fmt.Sprintf("%+v %#v %q %x", pair, &pair, pair, pair), fmt.Sprint([]rotation.Pair{pair}), log.String(), string(encoded)} {
			assert.NotContains(t, shown, "supersecret")
			assert.NotContains(t, shown, "clientid")
		}
	}
	for name, bad := range map[string]rotation.Pair{
		"nothing": {}, "no key": {ID: "a"}, "both": {ID: "a", Key: "dh_live_a", Secret: "0123456789abcdef"},
		"the key as the id": {ID: "dh_live_abc", Key: "dh_live_abc"}, "no id": {Key: "dh_live_abc"}, "no client id": {ID: "a", Secret: "a-client-secret-8391"},
	} {
		_, err := bad.Credentials()
		require.ErrorIs(t, err, diffhook.ErrInvalidCredentials, name)
	}
}
