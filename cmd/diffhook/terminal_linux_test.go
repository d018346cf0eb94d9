package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/diffhook/diffhook-go/diffhooktest"
)

// TestNoEchoDuringAWait pastes a secret without a question, and then interrupts the
// wait.
func TestNoEchoDuringAWait(t *testing.T) {
	w := newWorld(t)
	p := w.secretPerson()
	s := start(t, w.rotateSecret("--retry-horizon", "1h"))
	p.answerUntil(s, "left)")
	require.False(t, s.echoes())
	early := diffhooktest.NewSecret().Reveal()
	s.enter(early)
	s.expect("left)") // on the line after a redraw
	s.press(ctrlC)
	require.Equal(t, 128+2, s.wait())
	require.True(t, s.echoes())
	require.NotContains(t, s.screen(), early)

	s = start(t, w.rotateSecret())
	require.Equal(t, exitDone, p.answerAll(s, interruption{}), s.screen())
	w.rotatedOnce()
	w.delivered(2)
}

// TestNoEchoAfterAStop stops the tool at a question, as Ctrl-Z does. A shell switches the
// echo on before the tool continues.
func TestNoEchoAfterAStop(t *testing.T) {
	w := newWorld(t)
	s := start(t, w.program("fingerprint"))
	s.expect("secret: ")
	require.NoError(t, s.cmd.Process.Signal(unix.SIGSTOP))
	control(t, s.master, func(fd int) {
		termios, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		require.NoError(t, err)
		termios.Lflag |= unix.ECHO
		require.NoError(t, unix.IoctlSetTermios(fd, unix.TCSETS, termios))
	})
	require.NoError(t, s.cmd.Process.Signal(unix.SIGCONT))
	require.Eventually(t, func() bool { return !s.echoes() }, patience, 10*time.Millisecond)
	s.enter(w.first.Reveal())
	s.expect(w.first.Fingerprint())
	require.Equal(t, exitDone, s.wait())
	require.True(t, s.echoes())
	w.showsNoSecret(s.screen())
}

// TestQuitIsAnInterruption presses Ctrl-\ at a question. The exit code is not 2, which means
// that nothing was changed.
func TestQuitIsAnInterruption(t *testing.T) {
	w := newWorld(t)
	s := start(t, w.rotateSecret())
	s.expect("does not show: ")
	s.press("\x1c")
	require.Equal(t, 128+3, s.wait(), s.screen())
	require.True(t, s.echoes())
	require.NotContains(t, s.screen(), "goroutine")
	s = start(t, w.rotateSecret())
	require.Equal(t, exitDone, w.secretPerson().answerAll(s, interruption{}), "no lease is left")
}

// TestProgressInAFile sends the standard error elsewhere: progress is lines there, and
// the questions are on the terminal.
func TestProgressInAFile(t *testing.T) {
	w := newWorld(t)
	log := new(bytes.Buffer)
	cmd := w.rotateSecret()
	cmd.Stderr = log
	s := start(t, cmd)
	require.Equal(t, exitDone, w.secretPerson().answerAll(s, interruption{}), s.screen())
	w.rotatedOnce()
	w.showsNoSecret(log.String())
	require.Contains(t, log.String(), "Z ")
	require.NotContains(t, log.String(), "\r")
	require.NotContains(t, log.String(), "App → Settings")
	require.NotContains(t, s.screen(), "left)")
}

func TestStateOfReceiversThatFail(t *testing.T) {
	w := newWorld(t)
	w.env = append(w.env, variableReceiverToken+"=wrong-token-of-the-test")
	out, err := w.program("rotate-secret", "--state").Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "401")
	require.NotContains(t, string(out), "wrong-token")
	require.Contains(t, string(out), "idle")
}

func TestReceiversByFlagReplaceThoseOfTheEnvironment(t *testing.T) {
	f := newRotateSecretFlags(func(name string) string {
		return map[string]string{variableReceivers: "a=https://a.example/s  b=https://b.example/s"}[name]
	})
	require.NoError(t, f.parse(nil, 0))
	require.Len(t, f.receivers.urls, 2)

	f = newRotateSecretFlags(func(string) string { return "a=https://a.example/s" })
	require.NoError(t, f.parse([]string{"--receiver", "c=http://127.0.0.1:8080/s", "--receiver", "d=https://d.example/s"}, 0))
	require.Equal(t, map[string]string{"c": "http://127.0.0.1:8080/s", "d": "https://d.example/s"}, f.receivers.urls)
}

func TestReceiversThatAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "a", "a=", "=https://a.example/", "a=a.example/s", "a=http://a.example/s", "a=http://127.evil.example/",
		"a=http://localhost.evil.example/", "a=ftp://a.example/", "a b=https://a.example/", "a\x1b=https://a.example/",
	} {
		f := newRotateSecretFlags(func(string) string { return "" })
		require.Equal(t, exitUsage, exitCode(f.parse([]string{"--receiver", text}, 0)), "%q", text)
	}
}
