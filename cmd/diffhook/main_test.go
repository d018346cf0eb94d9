package main

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// asProgram makes the test binary be the program: see TestMain.
const asProgram = "DIFFHOOK_TEST_AS_PROGRAM"

// patience bounds how long a test waits for the program. No test takes as long.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// program returns the program with args. Its environment is env and nothing else.
func program(env []string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append([]string{asProgram + "=1", "TZ=UTC"}, env...)
	return cmd
}

// waitFor waits for the end of cmd and returns its exit code, which for a process
// that a signal killed is -1.
func waitFor(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	err := cmd.Wait()
	if _, ok := err.(*exec.ExitError); !ok {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode()
}
