package main

import (
	"fmt"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// rotationByHand is a command that asks a person, in a world of its own.
type rotationByHand struct {
	w       *world
	p       *person
	command func() *exec.Cmd
	state   []string // shows where it stands
	done    func()   // checks that it is complete
}

var rotationsByHand = map[string]func(t *testing.T) rotationByHand{
	"rotate-secret": func(t *testing.T) rotationByHand {
		w := newWorld(t)
		return rotationByHand{w, w.secretPerson(), func() *exec.Cmd { return w.rotateSecret() }, []string{"rotate-secret", "--state"}, func() {
			w.rotatedOnce()
			w.delivered(2)
		}}
	},
	"revoke-secret": func(t *testing.T) rotationByHand {
		w := newWorld(t)
		return rotationByHand{w, w.secretPerson(), func() *exec.Cmd {
			return w.program("revoke-secret", "--poll", "50ms", w.first.Fingerprint())
		}, []string{"rotate-secret", "--state"}, w.leakRevoked}
	},
	"rotate-key": func(t *testing.T) rotationByHand {
		w, old := keyWorld(t)
		return rotationByHand{w, w.keyPerson(), func() *exec.Cmd { return w.rotateKey(oldLabel) }, []string{"rotate-key", "--state"}, func() {
			w.keyReplaced(old)
		}}
	},
}

// TestInterruptedAtEachQuestion presses Ctrl-C at each question, before or after the
// person has clicked. It then looks at the state, runs the same command again, and once
// more after its end.
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
	require.Contains(t, s.screen(), "Run the same command again")

	state, err := r.w.program(r.state...).Output()
	require.NoError(t, err)
	r.w.showsNoSecret(string(state))
	require.NotRegexp(t, `run (Secret|RevokeSecret|Key)\b`, string(state), "the state names commands, not functions")

	s = start(t, r.command())
	require.Equal(t, exitDone, r.p.answerAll(s, interruption{}), s.screen())
	r.done()
	s = start(t, r.command())
	require.Equal(t, exitDone, r.p.answerAll(s, interruption{}), "run again when all is done: %s", s.screen())
}
