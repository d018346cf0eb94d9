package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/redact"
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

// saveScript saves a program for --publish and returns the path.
func saveScript(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "publish")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700))
	return path
}

// A program that exits with 0 has published the secrets, also if it leaves a process
// behind that has the error output open, such as a server that it restarts.
func TestPublishLeavesAProcessBehind(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	publish := publisher(saveScript(t, "cat >/dev/null; sleep 60 & echo $! >"+pid))
	require.NoError(t, publish(t.Context(), diffhook.Secrets{Current: diffhooktest.NewSecret()}))
	text, err := os.ReadFile(pid)
	require.NoError(t, err)
	child, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(child, syscall.SIGKILL), "the process is still there")
}

// The URLs of receivers may have passwords, which only the tool needs.
func TestPublishGetsNoCredentials(t *testing.T) {
	password := diffhooktest.NewSecret().Reveal()
	for _, name := range credentialVariables {
		t.Setenv(name, "web1=https://user:"+password+"@web1.example/status")
	}
	script := saveScript(t, `cat >/dev/null; env >"$0.env"`)
	require.NoError(t, publisher(script)(t.Context(), diffhook.Secrets{Current: diffhooktest.NewSecret()}))
	env, err := os.ReadFile(script + ".env")
	require.NoError(t, err)
	require.NotEmpty(t, env)
	require.False(t, strings.Contains(string(env), password))
}

// The rotation redacts the secrets of the error, so that the error must not change them.
func TestPublishErrorsCanBeRedacted(t *testing.T) {
	text := "\ue000 private use " + diffhooktest.NewSecret().Reveal()
	secret, err := diffhook.NewSecret(text)
	require.NoError(t, err)
	err = publisher(saveScript(t, "cat >&2; exit 1"))(t.Context(), diffhook.Secrets{Current: secret})
	require.ErrorContains(t, err, "private use")
	var shown bytes.Buffer
	w := redact.NewWriter(&shown, secret)
	_, _ = io.WriteString(w, err.Error())
	require.NoError(t, w.Flush())
	require.NotContains(t, shown.String(), "private use")
}

// A person may pass arguments, which the command has not. No error repeats them.
func TestPublishErrorsHaveNoCommand(t *testing.T) {
	secret := diffhooktest.NewSecret()
	for name, command := range map[string]string{"in the path": "vault " + secret.Reveal(), "a file": "./vault " + secret.Reveal()} {
		err := publisher(command)(t.Context(), diffhook.Secrets{Current: diffhooktest.NewSecret()})
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), secret.Reveal(), name)
	}
}
