package main

import (
	"context"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// rotatedOnce checks for a single successor of the first secret at the platform, in the
// document and at the servers, and for no lost event.
func (w *world) rotatedOnce() {
	w.t.Helper()
	now := w.platform.Secrets()
	require.False(w.t, now.Current.Equal(w.first), "the secret was rotated")
	require.True(w.t, now.Previous.IsZero(), "the old secret was revoked")
	state, err := rotation.State(w.t.Context(), rotation.FileStore(w.secrets))
	require.NoError(w.t, err)
	require.Equal(w.t, now.Current.Fingerprint(), state.Current)
	require.Empty(w.t, state.Previous)
}

func TestRotateSecretByHand(t *testing.T) {
	w := newWorld(t)
	w.change()
	p := w.secretPerson()
	s := start(t, w.rotateSecret("--retry-horizon", "2s"))
	require.Equal(t, exitDone, p.answerAll(s, interruption{}), s.screen())
	w.rotatedOnce()
	w.change()
	w.delivered(6)
	require.Regexp(t, `until \d\d:\d\d:\d\d UTC \(\ds left\)`, s.screen(), "progress shows the end of a wait")
	require.Contains(t, s.screen(), "When the wait is over, ", "the text of the wait")
}

func TestWrongPasteIsAskedAgain(t *testing.T) {
	w := newWorld(t)
	p := w.secretPerson()
	wrong := []string{w.first.Reveal(), w.platform.APIKey().Reveal(), `"` + diffhooktest.NewSecret().Reveal() + `"`, "too short"}
	w.know(wrong...)
	inner := p.answers[1].give
	p.answers[1].give = func(question string) string {
		secret := inner(question)
		if len(wrong) == 0 {
			return secret
		}
		text := wrong[0]
		wrong = wrong[1:]
		return text
	}
	s := start(t, w.rotateSecret())
	require.Equal(t, exitDone, p.answerAll(s, interruption{}), s.screen())
	require.Empty(t, wrong)
	w.rotatedOnce()
}

func TestRotateSecretWithAPI(t *testing.T) {
	key := func(w *world) []string { return []string{"DIFFHOOK_API_KEY=" + w.platform.APIKey().Reveal()} }
	pair := func(w *world) []string {
		id, secret := w.platform.ClientCredentials()
		w.know(id, secret)
		return []string{"DIFFHOOK_CLIENT_ID=" + id, "DIFFHOOK_CLIENT_SECRET=" + secret}
	}
	for name, credentials := range map[string]func(*world) []string{"generation 1": key, "generation 2": pair} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.env = append(w.env, credentials(w)...)
			cmd := w.rotateSecret("--api")
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			w.showsNoSecret(string(out))
			w.rotatedOnce()
			for line := range strings.Lines(string(out)) {
				require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ .+\n$`, line)
				require.NotContains(t, line, "\r")
			}
		})
	}
}

func TestByHandWithoutATerminal(t *testing.T) {
	w := newWorld(t)
	out, err := w.rotateSecret().CombinedOutput()
	require.ErrorAs(t, err, new(*exec.ExitError))
	require.Equal(t, exitUsage, err.(*exec.ExitError).ExitCode())
	require.Contains(t, string(out), "terminal")
}

func TestExitCodes(t *testing.T) {
	w := newWorld(t)
	unknown := diffhooktest.NewSecret().Fingerprint()
	for name, test := range map[string]struct {
		args []string
		code int
	}{
		"no command":               {nil, exitUsage},
		"unknown command":          {[]string{"rotate"}, exitUsage},
		"unknown flag":             {[]string{"rotate-secret", "--force"}, exitUsage},
		"flag without a value":     {[]string{"rotate-secret", "--store"}, exitUsage},
		"no fingerprint":           {[]string{"rotate-secret"}, exitUsage},
		"two fingerprints":         {[]string{"rotate-secret", unknown, unknown}, exitUsage},
		"no key for the API":       {[]string{"rotate-secret", "--api", unknown}, exitUsage},
		"receiver without https":   {[]string{"rotate-secret", "--receiver", "a=http://example.com/", unknown}, exitUsage},
		"receiver twice":           {[]string{"rotate-secret", "--receiver", "a=https://example.com/", "--receiver", "a=https://example.com/", unknown}, exitUsage},
		"state":                    {[]string{"rotate-secret", "--state"}, exitDone},
		"state and a fingerprint":  {[]string{"rotate-secret", "--state", unknown}, exitUsage},
		"state without a document": {[]string{"rotate-secret", "--state", "--store", w.secrets + ".none"}, exitUsage},
		"document of another kind": {[]string{"rotate-key", "--state", "--store", w.secrets}, exitUsage},
		"file without a document":  {[]string{"rotate-secret", "--state", "--store", "/dev/null"}, exitMismatch},
		"first document again":     {[]string{"rotate-secret", "--init"}, exitUsage},
		"help":                     {[]string{"help"}, exitDone},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := w.program(test.args...)
			cmd.Stdin = strings.NewReader(w.first.Reveal() + "\n")
			out, _ := cmd.CombinedOutput()
			require.Equal(t, test.code, cmd.ProcessState.ExitCode(), "%s", out)
			w.showsNoSecret(string(out))
		})
	}
	t.Run("secret of no document", func(t *testing.T) {
		w.env = append(w.env, "DIFFHOOK_API_KEY="+w.platform.APIKey().Reveal())
		cmd := w.program("rotate-secret", "--api", unknown)
		out, _ := cmd.CombinedOutput()
		require.Equal(t, exitMismatch, cmd.ProcessState.ExitCode(), "%s", out)
	})
}

func TestErrorsNameFlags(t *testing.T) {
	w := newWorld(t)
	id, secret := w.platform.ClientCredentials()
	w.newKey(rotation.Pair{ID: id, Secret: secret})
	w.know(secret)
	w.env = append(w.env, variableReceivers+"=", "DIFFHOOK_API_KEY="+w.platform.APIKey().Reveal())
	for name, test := range map[string]struct {
		cmd  *exec.Cmd
		flag string
	}{
		"no receivers":                    {w.rotateSecret("--api"), "--revoke-now"},
		"too long a hold":                 {w.rotateSecret("--api", "--hold", "2h"), "--hold"},
		"too short a hold":                {w.rotateSecret("--api", "--hold", "30s"), "--hold"},
		"client credentials with the API": {w.rotateKey(id, "--api"), "without --api"},
	} {
		t.Run(name, func(t *testing.T) {
			out, _ := test.cmd.CombinedOutput()
			require.Equal(t, exitUsage, test.cmd.ProcessState.ExitCode(), "%s", out)
			require.Contains(t, string(out), test.flag)
			require.NotRegexp(t, `RevokeNow|Receivers|ByHand`, string(out))
			w.showsNoSecret(string(out))
		})
	}
}

func TestSecondRunIsBusy(t *testing.T) {
	w := newWorld(t)
	p := w.secretPerson()
	first := start(t, w.rotateSecret())
	first.expect("does not show: ")
	second := start(t, w.rotateSecret())
	require.Equal(t, exitBusy, p.answerAll(second, interruption{}), second.screen())
	first.press(ctrlC)
	require.Equal(t, 128+2, first.wait())
	third := start(t, w.rotateSecret())
	require.Equal(t, exitDone, p.answerAll(third, interruption{}), third.screen())
	w.rotatedOnce()
}

func TestInitAsksForTheSecret(t *testing.T) {
	w := newWorld(t)
	store := w.secrets + ".new"
	s := start(t, w.program("rotate-secret", "--init", "--store", store))
	s.expect("secret: ")
	s.enter("too short")
	s.expect("secret: ")
	s.enter(" " + w.first.Reveal() + " ")
	s.expect(w.first.Fingerprint())
	require.Equal(t, exitDone, s.wait())
	w.showsNoSecret(s.screen())
	secrets, err := rotation.Source(rotation.FileStore(store)).Load(t.Context())
	require.NoError(t, err)
	require.True(t, secrets.Current.Equal(w.first))
}

func TestStateShowsWhatComesNext(t *testing.T) {
	w := newWorld(t)
	state := func() string {
		out, err := w.program("rotate-secret", "--state").Output()
		require.NoError(t, err)
		w.showsNoSecret(string(out))
		return string(out)
	}
	require.Contains(t, state(), "idle")
	require.Contains(t, state(), w.first.Fingerprint())
	require.Contains(t, state(), "web2")

	p := w.secretPerson()
	s := start(t, w.rotateSecret())
	p.answerAll(s, interruption{question: 2, clicked: true})
	require.Contains(t, state(), "to continue:  diffhook rotate-secret "+w.first.Fingerprint())
}

// In TestServerThatReadsItsSecretElsewhere, a server does not read the document. The
// server accepts the new secret at once, and the rotation waits until the source of the
// server contains the new secret.
func TestServerThatReadsItsSecretElsewhere(t *testing.T) {
	w := newWorld(t)
	var elsewhere atomic.Pointer[diffhook.Secret]
	elsewhere.Store(&w.first)
	w.receivers = append(w.receivers, w.serve("web3", diffhook.SecretSourceFunc(func(context.Context) (diffhook.Secrets, error) {
		return diffhook.Secrets{Current: *elsewhere.Load()}, nil
	})))
	s := start(t, w.rotateSecret())
	p := w.secretPerson()
	p.answerUntil(s, "web3")
	w.change()
	w.delivered(6)
	next := w.platform.Secrets().Current
	elsewhere.Store(&next)
	require.Equal(t, exitDone, p.answerAll(s, interruption{}), s.screen())
	w.rotatedOnce()
}

// leakRevoked checks that the leaked secret is out of force everywhere.
func (w *world) leakRevoked() {
	w.t.Helper()
	w.rotatedOnce()
	for _, status := range w.statuses() {
		require.NotEqual(w.t, w.first.Fingerprint(), status.Current.Fingerprint)
		require.NotEqual(w.t, w.first.Fingerprint(), status.Previous.Fingerprint)
	}
}

// TestHangupLeavesNoLease closes the terminal during a question, like a broken
// connection.
func TestHangupLeavesNoLease(t *testing.T) {
	w := newWorld(t)
	s := start(t, w.rotateSecret())
	s.expect("does not show: ")
	require.NoError(t, s.master.Close())
	require.NotZero(t, s.wait())
	s = start(t, w.rotateSecret())
	require.Equal(t, exitDone, w.secretPerson().answerAll(s, interruption{}), s.screen())
	w.rotatedOnce()
}
