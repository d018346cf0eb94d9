package main

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

const oldLabel = "production-server"

// keyWorld is a world with the document of a key of generation 1, known by the label.
func keyWorld(t *testing.T) (w *world, old diffhooktest.Key) {
	w = newWorld(t)
	old = w.platform.DefaultTeam().NewKey(oldLabel)
	w.know(old.Key.Reveal())
	w.newKey(rotation.Pair{ID: oldLabel, Key: old.Key.Reveal()})
	return w, old
}

func (w *world) newKey(pair rotation.Pair) {
	w.t.Helper()
	require.NoError(w.t, rotation.NewKey(w.t.Context(), rotation.FileStore(w.keys), pair))
}

// rotateKey returns the command line of a quick rotation.
func (w *world) rotateKey(id string, more ...string) *exec.Cmd {
	return w.program(append([]string{"rotate-key", "--quiet", "100ms", id}, more...)...)
}

var labelInQuestion = regexp.MustCompile(`with the label ([^ ]+?)\.? `)

func labelIn(question string) string {
	return labelInQuestion.FindStringSubmatch(question + " ")[1]
}

// keyPerson creates and deletes keys of generation 1 in the app when asked, and
// remembers them.
func (w *world) keyPerson() *person {
	team := w.platform.DefaultTeam()
	created := map[string]string{}
	return &person{w: w, answers: []answer{
		{"look for a key with the label", func(question string) string {
			w.revokeKeys(labelIn(question))
			delete(created, labelIn(question))
			return ""
		}},
		{"click New API key, once", func(question string) string {
			label := labelIn(question)
			if created[label] == "" {
				created[label] = team.NewKey(label).Key.Reveal()
			}
			return created[label]
		}},
		{"Was it used after", func(string) string { return "no" }},
		{"delete the old key", func(string) string {
			w.revokeKeys(oldLabel)
			return ""
		}},
	}}
}

func (w *world) revokeKeys(label string) {
	for _, key := range w.platform.DefaultTeam().Keys() {
		if key.Label == label && !key.Revoked {
			w.platform.DefaultTeam().RevokeKey(key.ID)
		}
	}
}

// keyReplaced checks that old is revoked, and no later key is alive but the key in the
// document.
func (w *world) keyReplaced(old diffhooktest.Key) {
	w.t.Helper()
	var alive []string
	for _, key := range w.platform.DefaultTeam().Keys() {
		if !key.Revoked && !key.Key.Equal(w.platform.APIKey()) {
			alive = append(alive, key.Key.Reveal())
		}
	}
	require.Len(w.t, alive, 1)
	require.NotEqual(w.t, old.Key.Reveal(), alive[0])
	content, _, err := rotation.FileStore(w.keys).Get(w.t.Context())
	require.NoError(w.t, err)
	require.Contains(w.t, string(content), alive[0])
	require.NotContains(w.t, string(content), old.Key.Reveal())
}

func TestRotateKeyByHand(t *testing.T) {
	w, old := keyWorld(t)
	s := start(t, w.rotateKey(oldLabel, "--label", "server"))
	require.Equal(t, exitDone, w.keyPerson().answerAll(s, interruption{}), s.screen())
	w.keyReplaced(old)
	require.True(t, slices.ContainsFunc(w.platform.DefaultTeam().Keys(), func(k diffhooktest.Key) bool {
		return strings.HasPrefix(k.Label, "server")
	}))
}

// TestRotateClientCredentialsByHand rotates a key of generation 2. The client id looks
// like an API key, and is a valid argument because the document contains the id.
func TestRotateClientCredentialsByHand(t *testing.T) {
	w := newWorld(t)
	team := w.platform.DefaultTeam()
	id, secret := team.NewClientCredentials()
	w.newKey(rotation.Pair{ID: id, Secret: secret})
	w.know(secret)
	var next string
	p := &person{w: w, answers: []answer{
		{"paste it here. The client secret is asked for next", func(string) string {
			id, next = team.NewClientCredentials()
			return id
		}},
		{"Copy the client secret of the new key", func(string) string { return next }},
		{"Was it used after", func(string) string { return "no" }},
	}}
	old := id
	p.answers = append(p.answers, answer{"delete the old key", func(string) string {
		team.RevokeClientCredentials(old)
		return ""
	}})
	s := start(t, w.rotateKey(old))
	require.Equal(t, exitDone, p.answerAll(s, interruption{}), s.screen())
	state, err := rotation.State(t.Context(), rotation.FileStore(w.keys))
	require.NoError(t, err)
	require.Equal(t, shownID(id), state.Current)
}

// An invalid URL of the API ends a run that continues before the wait, not after it.
func TestRotateKeyRefusesAnInvalidURLFirst(t *testing.T) {
	w, _ := keyWorld(t)
	p := w.keyPerson()
	s := start(t, w.program("rotate-key", "--quiet", "26h", oldLabel))
	p.answerUntil(s, "left)")
	s.press(ctrlC)
	require.Equal(t, 128+2, s.wait())
	s = start(t, w.rotateKey(oldLabel, "--base-url", "ftp://example.com/"))
	require.Equal(t, exitUsage, p.answerAll(s, interruption{}), s.screen())
	require.NotContains(t, s.screen(), "may still be in use")
}

// A secret in place of the id is not recognized, and is not repeated either.
func TestRotateKeyDoesNotRepeatAnUnknownID(t *testing.T) {
	w, _ := keyWorld(t)
	_, secret := w.platform.ClientCredentials()
	w.know(secret)
	for _, id := range []string{secret, w.first.Reveal()} {
		out, err := w.rotateKey(id, "--api").CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), oldLabel)
		w.showsNoSecret(string(out))
	}
}

func TestRotateKeyWithAPI(t *testing.T) {
	t.Parallel() // the limiter of the free plan slows the test
	w := newWorld(t)
	old := w.platform.DefaultTeam().NewKey(oldLabel)
	w.newKey(rotation.Pair{ID: old.ID, Key: old.Key.Reveal()})
	w.know(old.Key.Reveal())
	out, err := w.rotateKey(old.ID, "--api", "--delete-now").CombinedOutput()
	require.NoError(t, err, "%s", out)
	w.showsNoSecret(string(out))
	w.keyReplaced(old)
}

func TestInitAsksForTheKey(t *testing.T) {
	w := newWorld(t)
	key := w.platform.APIKey()
	s := start(t, w.program("rotate-key", "--init"))
	s.expect("API key: ")
	s.enter(w.first.Reveal())
	s.expect("API key: ")
	s.enter(key.Reveal())
	s.expect("label: ")
	require.NotContains(t, s.screen(), "--api")
	s.enter(" " + oldLabel + " ") // as copied from a page
	s.expect(oldLabel + ".")
	require.Equal(t, exitDone, s.wait())
	w.showsNoSecret(s.screen())
	out, err := w.program("rotate-key", "--state").Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "diffhook rotate-key "+oldLabel+"\n")
}

func TestInitWithAPIAsksForTheID(t *testing.T) {
	w := newWorld(t)
	s := start(t, w.program("rotate-key", "--init", "--api"))
	s.expect("API key: ")
	s.enter(w.platform.APIKey().Reveal())
	s.expect("id: ")
	require.NotContains(t, s.screen(), "label")
	s.enter("key_1")
	s.expect("key_1.")
	require.Equal(t, exitDone, s.wait())
}

func TestInitAsksForClientCredentials(t *testing.T) {
	w := newWorld(t)
	id, secret := w.platform.ClientCredentials()
	w.know(id, secret)
	s := start(t, w.program("rotate-key", "--init", "--pair"))
	s.expect("client id: ")
	s.enter("not an id")
	s.expect("client id: ")
	s.enter(id)
	s.expect("client secret: ")
	s.enter(secret)
	s.expect("The document has")
	require.Equal(t, exitDone, s.wait())
	w.showsNoSecret(s.screen())
	content, _, err := rotation.FileStore(w.keys).Get(t.Context())
	require.NoError(t, err)
	require.Contains(t, string(content), secret)
}

func TestKeyIDIsOneThatTheDocumentHas(t *testing.T) {
	w := newWorld(t)
	id, secret := w.platform.ClientCredentials()
	w.newKey(rotation.Pair{ID: id, Secret: secret})
	document := readKeyDocument(t.Context(), rotation.FileStore(w.keys))
	shown, err := diffhook.NewAPIKey(id)
	require.NoError(t, err)
	for arg, want := range map[string]string{
		id:                                  id,
		shown.String():                      id,
		"a-label":                           "a-label",
		w.platform.APIKey().Reveal():        "",
		"x " + w.platform.APIKey().Reveal(): "",
	} {
		require.Equal(t, want, document.id(arg))
	}
}
