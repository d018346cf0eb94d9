package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/rotation"
)

// app answers the questions of a rotation with the commands of the rehearsal.
func app(r *rehearsal) rotation.Asker {
	return func(_ context.Context, q rotation.Question) (string, error) {
		command := "secret"
		switch {
		case strings.Contains(q.Text, ", click Rotate signing secret"):
			command = "rotate"
		case strings.Contains(q.Text, ", click New API key"):
			_, label, _ := strings.Cut(q.Text, "with the label ")
			label, _, _ = strings.Cut(label, ".")
			command = "new " + label
		case strings.Contains(q.Text, ", delete the old key"):
			command = "delete production-server"
		case q.Confirm:
			command = "revoke"
		}
		_, answer, _ := strings.Cut(r.do(command), ": ")
		return answer, nil
	}
}

func TestRehearsal(t *testing.T) {
	r, err := start(t.Context(), t.TempDir())
	require.NoError(t, err)
	for _, id := range r.monitors {
		_, err := r.platform.Change(id, nil)
		require.NoError(t, err)
		r.sent.Add(1)
	}
	require.Equal(t, "Events: 2 sent, 2 handled, 0 held\n", r.events())

	old := r.platform.Secrets().Current
	var receivers = map[string]rotation.Receiver{}
	for i, v := range r.verifiers {
		name, _, _ := strings.Cut(r.receivers[i], "=")
		receivers[name] = rotation.Local(v)
	}
	err = rotation.Secret(t.Context(), old.Fingerprint(), rotation.ByHand(app(r)), rotation.FileStore(r.secrets), &rotation.SecretOptions{
		Receivers: receivers, RevokeNow: true, Poll: time.Millisecond,
	})
	require.NoError(t, err)
	require.False(t, r.platform.Secrets().Current.Equal(old))
	require.True(t, r.platform.Secrets().Previous.IsZero())

	hand := rotation.ByHand(app(r))
	hand.Client = &diffhook.ClientOptions{BaseURL: r.platform.URL}
	err = rotation.Key(t.Context(), "production-server", hand, rotation.FileStore(r.keys), &rotation.KeyOptions{DeleteNow: true})
	require.NoError(t, err)
	require.Equal(t, "Deleted keys: 0\n", r.do("delete production-server"))
}

// The variables are those that the tool reads, and each command of the help exists.
func TestEnvironmentAndCommands(t *testing.T) {
	r, err := start(t.Context(), t.TempDir())
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, r.converse(strings.NewReader("events\nhello\n"), &out))
	for _, variable := range []string{"SECRET_STORE", "KEY_STORE", "RECEIVERS", "RECEIVER_TOKEN", "BASE_URL", "API_KEY"} {
		require.Contains(t, out.String(), "DIFFHOOK_"+variable+"=")
	}
	for line := range strings.Lines(help) {
		command, _, _ := strings.Cut(line, "  ")
		require.NotEqual(t, help, r.do(command), command)
	}
}
