package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/diffhook/diffhook-go/diffhooktest"
)

func TestFingerprintAsksWithoutEcho(t *testing.T) {
	secret := diffhooktest.NewSecret()
	s := start(t, program(nil, "fingerprint"))
	s.expect("secret: ")
	require.False(t, s.echoes())
	s.enter(secret.Reveal())
	s.expect(secret.Fingerprint())
	require.Equal(t, exitDone, s.wait())
	require.NotContains(t, s.screen(), secret.Reveal())
	require.True(t, s.echoes(), "the terminal is as it was")
}

func TestFingerprintReadsALineWithoutATerminal(t *testing.T) {
	secret := diffhooktest.NewSecret()
	for name, input := range map[string]string{
		"no newline": secret.Reveal(),
		"newline":    secret.Reveal() + "\n",
		"CRLF":       secret.Reveal() + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			cmd := program(nil, "fingerprint")
			cmd.Stdin = strings.NewReader(input)
			out, err := cmd.Output()
			require.NoError(t, err)
			require.Equal(t, secret.Fingerprint()+"\n", string(out))
		})
	}
}

func TestFingerprintRefusesAnythingElse(t *testing.T) {
	for name, input := range map[string]string{
		"nothing":    "",
		"an API key": diffhooktest.New().APIKey().Reveal() + "\n",
		"quoted":     `"` + diffhooktest.NewSecret().Reveal() + "\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			cmd := program(nil, "fingerprint")
			cmd.Stdin = strings.NewReader(input)
			out, err := cmd.CombinedOutput()
			require.Error(t, err)
			require.Equal(t, exitFailed, cmd.ProcessState.ExitCode())
			if text := strings.TrimSpace(input); text != "" {
				require.NotContains(t, string(out), text)
			}
		})
	}
}

func TestInterruptedPromptGivesTheTerminalBack(t *testing.T) {
	s := start(t, program(nil, "fingerprint"))
	s.expect("secret: ")
	s.press("half of a secret" + ctrlC)
	require.Equal(t, 128+2, s.wait())
	require.True(t, s.echoes())
	require.NotContains(t, s.screen(), "half of a secret")
}

func TestEndOfInputIsNoAnswer(t *testing.T) {
	s := start(t, program(nil, "fingerprint"))
	s.expect("secret: ")
	s.press("\x04")
	require.Equal(t, exitFailed, s.wait())
	require.True(t, s.echoes())
}

// TestInputBeforeTheQuestionIsDiscarded types an answer before the question: after a
// wrong paste of two lines, the second line must not answer the next question.
func TestInputBeforeTheQuestionIsDiscarded(t *testing.T) {
	secret := diffhooktest.NewSecret()
	s := start(t, program(nil, "fingerprint"))
	s.expect("secret: ")
	s.enter("too short\rand the second line of the paste")
	s.expect("secret: ")
	s.enter(secret.Reveal())
	s.expect(secret.Fingerprint())
	require.Equal(t, exitDone, s.wait())
	require.NotContains(t, s.screen(), "second line")
}
