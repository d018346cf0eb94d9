package contract

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReplay checks every exchange that the tests of the library record: in the
// folder of [RecordVariable] if set, or else in a run of the tests. The test fails
// if an exchange breaks the contract or if an operation never succeeds.
func TestReplay(t *testing.T) {
	dir := os.Getenv(RecordVariable)
	if dir == "" {
		dir = t.TempDir()
		record(t, dir)
	}

	exchanges, err := ReadExchanges(dir)
	require.NoError(t, err)
	require.NotEmpty(t, exchanges, "the tests of the library recorded nothing")

	coverage := load(t).Replay(exchanges)
	coverage.Print(t.Output())
	for _, wrong := range coverage.Wrong {
		t.Error(wrong)
	}
	require.Empty(t, coverage.Uncovered(), "operations that never succeeded")
}

// record runs the tests of the library.
func record(t *testing.T, dir string) {
	t.Helper()
	tests := exec.CommandContext(t.Context(), "go", "test", "-count=1", ".")
	tests.Dir = ".."
	tests.Env = append(os.Environ(), RecordVariable+"="+dir, "GOWORK=off")
	output, err := tests.CombinedOutput()
	require.NoError(t, err, "the tests of the library fail:\n%s", output)
}
