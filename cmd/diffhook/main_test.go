package main

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// asProgram makes the test binary the program: see TestMain.
const asProgram = "DIFFHOOK_TEST_AS_PROGRAM"

// patience bounds the wait of a test for the program. No test takes as long.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// program returns the program with args, and with env as the whole environment, except for
// the options of the race detector.
func program(env []string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append([]string{asProgram + "=1", "TZ=UTC", "GORACE=" + os.Getenv("GORACE")}, env...)
	return cmd
}

// waitFor waits for the end of cmd and returns the exit code, or -1 after a kill by a
// signal.
func waitFor(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	err := cmd.Wait()
	if _, ok := err.(*exec.ExitError); !ok {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode()
}
