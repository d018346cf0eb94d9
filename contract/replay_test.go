package contract

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReplay runs the tests of the library and checks every exchange that they
// recorded. It fails where an exchange is not as the contract says, and where
// an operation never succeeded.
func TestReplay(t *testing.T) {
	dir := t.TempDir()
	tests := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-run", ".", ".")
	tests.Dir = ".."
	tests.Env = append(os.Environ(), RecordVariable+"="+dir, "GOWORK=off")
	output, err := tests.CombinedOutput()
	require.NoError(t, err, "the tests of the library fail:\n%s", output)

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
