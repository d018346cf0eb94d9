package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
)

// publishScript writes a program that saves the standard input, the arguments and the
// environment of each run. The program fails in the first run, and prints all secrets.
const publishScript = `#!/bin/sh
cat > "$0.input.new"
env > "$0.env"
echo "$#" > "$0.args"
if [ ! -e "$0.ran" ]; then
	touch "$0.ran"
	cat "$0.input.new" >&2
	cat "$0.input.new"
	exit 7
fi
mv "$0.input.new" "$0.input"
`

// In TestPublish, servers read files of another form than the document. The program of
// --publish writes these files.
func TestPublish(t *testing.T) {
	w := newWorld(t)
	script := filepath.Join(t.TempDir(), "publish")
	require.NoError(t, os.WriteFile(script, []byte(publishScript), 0o700))
	published := func() (s struct{ Current, Previous string }) {
		content, err := os.ReadFile(script + ".input")
		if os.IsNotExist(err) {
			s.Current = w.first.Reveal()
			return s
		}
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(content, &s))
		return s
	}
	var learned atomic.Bool // both secrets were there together
	w.receivers = append(w.receivers, w.serve("web3", diffhook.SecretSourceFunc(func(context.Context) (s diffhook.Secrets, err error) {
		texts := published()
		s.Current, err = diffhook.NewSecret(texts.Current)
		if err == nil && texts.Previous != "" {
			learned.Store(true)
			s.Previous, err = diffhook.NewSecret(texts.Previous)
		}
		return s, err
	})))
	w.env = append(w.env, "DIFFHOOK_API_KEY="+w.platform.APIKey().Reveal(), "DIFFHOOK_CLIENT_SECRET="+diffhooktest.NewSecret().Reveal(), "OTHER=stays", "PATH="+os.Getenv("PATH"))
	s := start(t, w.rotateSecret("--publish", script))
	require.Equal(t, exitDone, w.secretPerson().answerAll(s, interruption{}), s.screen())
	w.rotatedOnce()
	require.True(t, learned.Load())
	require.Equal(t, w.platform.Secrets().Current.Reveal(), published().Current)
	require.Empty(t, published().Previous)
	require.Contains(t, s.screen(), "the command of --publish: exit status 7")

	env, err := os.ReadFile(script + ".env")
	require.NoError(t, err)
	w.showsNoSecret(string(env))
	require.NotContains(t, string(env), "DIFFHOOK_CLIENT_SECRET")
	require.NotContains(t, string(env), variableReceiverToken)
	require.Contains(t, string(env), "OTHER=stays")
	args, err := os.ReadFile(script + ".args")
	require.NoError(t, err)
	require.Equal(t, "0", strings.TrimSpace(string(args)))
}

func TestPublishedSecrets(t *testing.T) {
	now, old := diffhooktest.NewSecret(), diffhooktest.NewSecret()
	both, err := publishedSecrets(diffhook.Secrets{Current: now, Previous: old})
	require.NoError(t, err)
	require.JSONEq(t, `{"current": "`+now.Reveal()+`", "previous": "`+old.Reveal()+`"}`, string(both))
	one, err := publishedSecrets(diffhook.Secrets{Current: now, NoPrevious: true})
	require.NoError(t, err)
	require.JSONEq(t, `{"current": "`+now.Reveal()+`"}`, string(one))
}

// A missing command does not stop the rotation, which runs the command again.
func TestPublishWithoutTheCommand(t *testing.T) {
	require.Nil(t, publisher(""))
	publish := publisher(filepath.Join(t.TempDir(), "missing"))
	require.ErrorIs(t, publish(t.Context(), diffhook.Secrets{Current: diffhooktest.NewSecret()}), os.ErrNotExist)
}
