package main

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// rotationByHand is a command with a person, in a new world.
type rotationByHand struct {
	w       *world
	p       *person
	command func() *exec.Cmd
	state   []string // the command line of --state
	done    func()   // checks the end
	line    string   // the command line that continues
	begins  int      // the number of the first question after the begin of the rotation
}

var rotationsByHand = map[string]func(t *testing.T) rotationByHand{
	"rotate-secret": func(t *testing.T) rotationByHand {
		w := newWorld(t)
		return rotationByHand{w, w.secretPerson(), func() *exec.Cmd { return w.rotateSecret() }, []string{"rotate-secret", "--state"}, func() {
			w.rotatedOnce()
			w.delivered(2)
		}, "diffhook rotate-secret " + w.first.Fingerprint(), 2}
	},
	"revoke-secret": func(t *testing.T) rotationByHand {
		w := newWorld(t)
		return rotationByHand{w, w.secretPerson(), func() *exec.Cmd {
			return w.program("revoke-secret", "--poll", "50ms", w.first.Fingerprint())
		}, []string{"rotate-secret", "--state"}, w.leakRevoked, "diffhook revoke-secret " + w.first.Fingerprint(), 1}
	},
	"rotate-key": func(t *testing.T) rotationByHand {
		w, old := keyWorld(t)
		return rotationByHand{w, w.keyPerson(), func() *exec.Cmd { return w.rotateKey(oldLabel) }, []string{"rotate-key", "--state"}, func() {
			w.keyReplaced(old)
		}, "diffhook rotate-key " + oldLabel, 1}
	},
}

// TestInterruptedAtEachQuestion presses Ctrl-C at each question, before or after the
// click. Then it looks at the state, runs the same command again, and once more after
// the end.
func TestInterruptedAtEachQuestion(t *testing.T) {
	for name, begin := range rotationsByHand {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := begin(t)
			s := start(t, r.command())
			require.Equal(t, exitDone, r.p.answerAll(s, interruption{}), s.screen())
			r.done()
			require.Positive(t, r.p.asked)
			for question := range r.p.asked {
				for _, clicked := range []bool{false, true} {
					t.Run(fmt.Sprintf("question %d, done in the app: %v", question+1, clicked), func(t *testing.T) {
						t.Parallel()
						interruptedOnce(t, begin(t), interruption{question + 1, clicked})
					})
				}
			}
		})
	}
}

func interruptedOnce(t *testing.T, r rotationByHand, at interruption) {
	s := start(t, r.command())
	require.Equal(t, 128+2, r.p.answerAll(s, at), s.screen())
	require.Contains(t, s.screen(), "diffhook: interrupted while the tool ")
	require.NotContains(t, s.screen(), "context canceled")
	if at.question < r.begins {
		require.Contains(t, s.screen(), "Nothing has begun")
	} else {
		require.Contains(t, s.screen(), r.line)
		require.NotContains(t, s.screen(), "Nothing has begun")
	}

	state, err := r.w.program(r.state...).Output()
	require.NoError(t, err)
	r.w.showsNoSecret(string(state))
	begins := "to begin: "
	if at.question >= r.begins {
		begins = "to continue: "
	}
	require.Contains(t, strings.Join(strings.Fields(string(state)), " "), begins+r.line, "the state names the same command")

	s = start(t, r.command())
	require.Equal(t, exitDone, r.p.answerAll(s, interruption{}), s.screen())
	r.done()
	s = start(t, r.command())
	require.Equal(t, exitDone, r.p.answerAll(s, interruption{}), "run again when all is done: %s", s.screen())
}

// Under nohup, a hangup does not interrupt a run.
func TestIgnoredSignalStaysIgnored(t *testing.T) {
	w := newWorld(t)
	w.env = append(w.env, "DIFFHOOK_API_KEY="+w.platform.APIKey().Reveal())
	cmd := w.rotateSecret("--api", "--retry-horizon", "1h")
	cmd.Args = append([]string{"sh", "-c", `trap "" HUP; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	s := start(t, cmd)
	s.expect("left)", "may still be in use")
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, 128+15, s.wait(), s.screen())
}
