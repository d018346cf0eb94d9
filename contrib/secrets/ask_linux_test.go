package secrets_test

import (
	"context"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/diffhook/diffhook-go/contrib/secrets"
	"github.com/diffhook/diffhook-go/rotation"
)

// A secret does not show on the terminal, and other answers do.
func TestAsk(t *testing.T) {
	for name, tt := range map[string]struct {
		question rotation.Question
		typed    string
	}{
		"a secret":       {rotation.Question{Text: "paste", Secret: true}, "made-up-secret-of-a-test"},
		"a word":         {rotation.Question{Text: "yes or no"}, "yes"},
		"a confirmation": {rotation.Question{Text: "press Enter", Confirm: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			master, slave := openTerminal(t)
			out := new(strings.Builder)
			answer := make(chan string, 1)
			go func() {
				text, err := secrets.Ask(slave, out)(t.Context(), tt.question)
				assert.NoError(t, err)
				answer <- text
			}()
			if tt.question.Secret {
				waitForEcho(t, slave, false)
			}
			_, err := io.WriteString(master, tt.typed+"\n")
			require.NoError(t, err)
			assert.Equal(t, tt.typed, <-answer)
			assert.Equal(t, tt.question.Text+"\n", out.String())
			waitForEcho(t, slave, true)

			require.NoError(t, slave.Close())
			screen, _ := io.ReadAll(master) // an error: the terminal is closed
			assert.Equal(t, !tt.question.Secret, strings.Contains(string(screen), tt.typed))
		})
	}
}

// After Ctrl-C, the shell echoes again.
func TestAskRestoresTheEcho(t *testing.T) {
	_, slave := openTerminal(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := secrets.Ask(slave, io.Discard)(ctx, rotation.Question{Text: "paste", Secret: true})
		failed <- err
	}()
	waitForEcho(t, slave, false)
	cancel(errStopped)
	require.ErrorIs(t, <-failed, errStopped)
	waitForEcho(t, slave, true)
}

func TestAskNeedsATerminal(t *testing.T) {
	in, _, err := os.Pipe()
	require.NoError(t, err)
	defer in.Close()
	_, err = secrets.Ask(in, io.Discard)(t.Context(), rotation.Question{Text: "paste", Secret: true})
	require.ErrorIs(t, err, unix.ENOTTY)
}

func openTerminal(t *testing.T) (master, slave *os.File) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { master.Close() })
	conn, err := master.SyscallConn()
	require.NoError(t, err)
	number := 0
	require.NoError(t, conn.Control(func(fd uintptr) {
		require.NoError(t, unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0))
		number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		require.NoError(t, err)
	}))
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	return master, slave
}

// waitForEcho waits until the terminal echoes, or does not.
func waitForEcho(t *testing.T, terminal *os.File, on bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
		return err == nil && (state.Lflag&unix.ECHO != 0) == on
	}, time.Minute, time.Millisecond)
}
