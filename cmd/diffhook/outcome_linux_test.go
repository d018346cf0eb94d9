package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/diffhooktest"
	"github.com/diffhook/diffhook-go/rotation"
)

// stateOf returns the output of --state, with single spaces.
func (w *world) stateOf(command string, more ...string) string {
	w.t.Helper()
	out, err := w.program(append([]string{command, "--state"}, more...)...).Output()
	require.NoError(w.t, err)
	w.showsNoSecret(string(out))
	return strings.Join(strings.Fields(string(out)), " ")
}

// After a wrong paste, the error and --state name the same command, and no text blames
// the app.
func TestMismatchAndStateNameTheSameCommand(t *testing.T) {
	w := newWorld(t)
	p := w.secretPerson()
	wrong := diffhooktest.NewSecret()
	w.know(wrong.Reveal())
	click := p.answers[1].give
	p.answers[1].give = func(question string) string {
		click(question)
		return wrong.Reveal()
	}
	s := start(t, w.rotateSecret())
	require.Equal(t, exitMismatch, p.answerAll(s, interruption{}), s.screen())
	revoke := "diffhook revoke-secret " + wrong.Fingerprint()
	require.Contains(t, s.screen(), "If the app shows another secret than "+wrong.Fingerprint()+", or a server rejects it: "+revoke)
	require.Contains(t, s.screen(), "If only the last answer was wrong: diffhook rotate-secret "+w.first.Fingerprint())
	require.Contains(t, s.screen(), "Servers hold deliveries until ")
	require.Contains(t, w.stateOf("rotate-secret"), "to continue: "+revoke)

	s = start(t, w.program("revoke-secret", "--poll", "50ms", wrong.Fingerprint()))
	require.Equal(t, exitDone, p.answerAll(s, interruption{}), s.screen())
	for line := range strings.Lines(s.screen()) {
		if strings.Contains(line, wrong.Fingerprint()) {
			require.Regexp(t, `receivers reject|out of force`, line)
		}
	}
	w.rotatedOnce()
	require.Contains(t, w.stateOf("rotate-secret"), "to begin: diffhook rotate-secret "+w.platform.Secrets().Current.Fingerprint())
}

// After a wrong paste in a revocation, the error and --state name the same command, which
// ends the leaked secret.
func TestMismatchInARevocation(t *testing.T) {
	w := newWorld(t)
	p := w.secretPerson()
	wrong := diffhooktest.NewSecret()
	shown := p.answers[0].give
	p.answers[0].give = func(string) string {
		p.answers[0].give = shown
		return wrong.Reveal()
	}
	s := start(t, w.program("revoke-secret", "--poll", "50ms", w.first.Fingerprint()))
	require.Equal(t, exitMismatch, p.answerAll(s, interruption{}), s.screen())
	revoke := "diffhook revoke-secret " + wrong.Fingerprint()
	require.Contains(t, s.screen(), "If the app shows another secret than "+wrong.Fingerprint()+", or a server rejects it: "+revoke)
	require.Contains(t, s.screen(), "If only the last answer was wrong: diffhook revoke-secret "+w.first.Fingerprint())
	require.Contains(t, w.stateOf("rotate-secret"), "to continue: "+revoke)
	s = start(t, w.program("revoke-secret", "--poll", "50ms", wrong.Fingerprint()))
	require.Equal(t, exitDone, p.answerAll(s, interruption{}), s.screen())
	w.leakRevoked()
}

// The receivers reject a leaked secret, also if the document cannot be read. The error
// says that the revocation is not finished.
func TestRevocationWithoutTheDocument(t *testing.T) {
	w := newWorld(t)
	s := start(t, w.program("revoke-secret", "--store", t.TempDir(), w.first.Fingerprint()))
	require.Equal(t, exitFailed, w.secretPerson().answerAll(s, interruption{}))
	require.Contains(t, s.screen(), "run the same command again")
	for _, v := range w.servers {
		require.True(t, v.Status().Current.Rejected)
	}
}

// The message after Ctrl-C shows the end of the hold at the servers.
func TestInterruptionShowsTheEndOfTheHold(t *testing.T) {
	w := newWorld(t)
	p := w.secretPerson()
	s := start(t, w.rotateSecret("--hold", "30m"))
	require.Equal(t, 128+2, p.answerAll(s, interruption{question: 2, clicked: true}))
	require.Contains(t, s.screen(), "interrupted while the tool asked for the new secret")
	end := w.servers[0].Status().Hold.Until
	require.WithinDuration(t, time.Now().Add(30*time.Minute), end, patience)
	require.Contains(t, s.screen(), "Servers hold deliveries until "+clock(end, time.Now()))
	require.Contains(t, s.screen(), "continue before then")
}

// If a run fails before the begin of a rotation, the message says so.
func TestNothingHasBegun(t *testing.T) {
	w := newWorld(t)
	p := w.secretPerson()
	p.answers[0].give = func(string) string { return diffhooktest.NewSecret().Reveal() } // a secret of another team
	s := start(t, w.rotateSecret())
	require.Equal(t, exitMismatch, p.answerAll(s, interruption{}))
	require.Contains(t, s.screen(), "Nothing has begun")
	require.NotContains(t, s.screen(), "continue")

	w.env = append(w.env, variableReceiverToken+"=wrong-token-of-the-test")
	s = start(t, w.rotateSecret())
	require.Equal(t, exitFailed, p.answerAll(s, interruption{}))
	require.Contains(t, s.screen(), "Nothing has begun")
	require.NotContains(t, s.screen(), "continue")
}

func TestKeyThatDoesNotWork(t *testing.T) {
	w, old := keyWorld(t)
	w.platform.DefaultTeam().RevokeKey(old.ID)
	s := start(t, w.rotateKey(oldLabel))
	require.Equal(t, exitMismatch, w.keyPerson().answerAll(s, interruption{}))
	require.Contains(t, s.screen(), "diffhook rotate-key --init")
}

func TestBusyAfterAKillSaysUntilWhen(t *testing.T) {
	w := newWorld(t)
	p := w.secretPerson()
	s := start(t, w.rotateSecret())
	s.expect("does not show: ")
	require.NoError(t, s.cmd.Process.Signal(os.Kill))
	require.Equal(t, -1, s.wait())
	s = start(t, w.rotateSecret())
	require.Equal(t, exitBusy, p.answerAll(s, interruption{}), "the lease of a killed run ends by itself")
	state, err := rotation.State(t.Context(), rotation.FileStore(w.secrets))
	require.NoError(t, err)
	require.Contains(t, s.screen(), "lasts until "+state.RunUntil.UTC().Format(time.RFC3339)+", also if the run was killed")
	require.NotContains(t, s.screen(), "Nothing has begun")
}

// A rotation during a revocation fails, and names the revocation.
func TestBusyNamesTheUnfinishedRevocation(t *testing.T) {
	w := newWorld(t)
	p := w.secretPerson()
	s := start(t, w.program("revoke-secret", "--poll", "50ms", w.first.Fingerprint()))
	require.Equal(t, 128+2, p.answerAll(s, interruption{question: 1}))
	s = start(t, w.rotateSecret())
	require.Equal(t, exitBusy, p.answerAll(s, interruption{}))
	require.Contains(t, s.screen(), "To continue, with the same flags: diffhook revoke-secret "+w.first.Fingerprint())
}

// The state shows the wait for an old key. After an interruption, the message says that
// the next run waits anew.
func TestStateShowsTheWaitForTheOldKey(t *testing.T) {
	w, _ := keyWorld(t)
	p := w.keyPerson()
	s := start(t, w.program("rotate-key", "--quiet", "26h", oldLabel))
	p.answerUntil(s, "left)")
	require.Contains(t, s.screen(), "each run of this command waits for --quiet anew")
	require.Regexp(t, `until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(2[56]h`, s.screen(), "with the date, since the wait ends on another day")
	require.Regexp(t, `wait for the old key: until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, w.stateOf("rotate-key"))
	s.press(ctrlC)
	s.expect("interrupted while the tool waited")
	s.expect("Each run waits for --quiet anew")
	require.Equal(t, 128+2, s.wait())
	require.NotContains(t, w.stateOf("rotate-key"), "wait for the old key:")
}

// The state shows the earliest revocation of the old secret, by the clock and the uses.
func TestStateShowsTheWaitForTheOldSecret(t *testing.T) {
	w := newWorld(t)
	p := w.secretPerson()
	s := start(t, w.rotateSecret("--retry-horizon", "1h", "--quiet", "2h"))
	p.answerUntil(s, "left)")
	require.Contains(t, s.screen(), "another run of this command does not restart the wait")
	s.press(ctrlC)
	s.expect("interrupted while the tool waited")
	require.Equal(t, 128+2, s.wait())
	state := w.stateOf("rotate-secret", "--retry-horizon", "1h", "--quiet", "2h")
	require.Regexp(t, `The old secret is revoked after .* UTC at the earliest, with --retry-horizon 1h0m0s --quiet 2h0m0s\.`, state)
	require.NotContains(t, w.stateOf("rotate-secret"), "1h0m0s")
}

func TestClock(t *testing.T) {
	now := time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC)
	east := time.FixedZone("east", 10*60*60)
	require.Equal(t, "14:23:00 UTC", clock(now.Add(time.Minute).In(east), now))
	require.Equal(t, "2026-03-17 08:22:00 UTC", clock(now.Add(18*time.Hour), now.In(east)))
}

// After an error of the store, the document may be unreadable. An error of the command
// line has no advice.
func TestOutcomeWithoutADocument(t *testing.T) {
	o := &outcome{command: "rotate-secret", id: "0123456789abcdef", store: rotation.FileStore(t.TempDir())}
	failed := errors.New("diffhook: read the document: a directory")
	var explained *rotationError
	require.ErrorAs(t, o.explain(failed), &explained)
	require.ErrorIs(t, explained, failed)
	require.Contains(t, strings.Join(explained.advice, " "), "run the same command again")
	usage := usagef("no fingerprint")
	require.Equal(t, usage, o.explain(usage))
	require.NoError(t, o.explain(nil))
}

// A run loses the document to another run, which ends the rotation.
func TestOutcomeOfARotationThatAnotherRunEnded(t *testing.T) {
	path, old := filepath.Join(t.TempDir(), "secret.json"), diffhooktest.NewSecret().Fingerprint()
	document := fmt.Sprintf(`{"kind":"signing-secret","format":1,"phase":"idle","current":%q,"replaced":%q}`, diffhooktest.NewSecret().Reveal(), old)
	require.NoError(t, os.WriteFile(path, []byte(document), 0o600))
	o := &outcome{command: "rotate-secret", id: old, store: rotation.FileStore(path)}
	var explained *rotationError
	require.ErrorAs(t, o.explain(rotation.ErrBusy), &explained)
	require.Equal(t, []string{"The rotation is over: " + old + " is replaced."}, explained.advice)
}

// The id of a key is a label that a person chose, or comes from the API. A command that
// is copied into a shell passes the id as an argument, whatever characters it has.
func TestCommandLineIsSafeInAShell(t *testing.T) {
	for _, id := range []string{
		"production-server", "Production server", "it's", `"quoted"`, "$(touch hacked)", "`touch hacked`", "a;b", "a&&b", "*", "~", "#1", "!1", "Prüfstand", "dh_live_…wxyz", "--api",
	} {
		line := commandLine(rotation.Call{Function: rotation.FunctionKey, ID: id})
		shell := exec.Command("sh", "-c", `diffhook() { printf '%s\n' "$@"; }; `+line)
		shell.Dir = t.TempDir()
		out, err := shell.CombinedOutput()
		require.NoError(t, err, line)
		args := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
		f := newRotateKeyFlags(func(string) string { return "" })
		require.Equal(t, "rotate-key", args[0], line)
		require.NoError(t, f.parse(args[1:], 1), line)
		require.Equal(t, []string{id}, f.args, line)
	}
	require.Equal(t, "diffhook rotate-key production-server", commandLine(rotation.Call{Function: rotation.FunctionKey, ID: "production-server"}))
}
