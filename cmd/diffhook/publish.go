package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go"
)

const (
	publishTimeout = 5 * time.Minute // bounds a run of the command
	longestReason  = 64 << 10        // bytes of error output
)

// publisher returns a function that runs command with the secrets as standard input.
// Without a command, it returns nil. If the exit code is not 0, the function returns an
// error, out of which the rotation keeps the secrets.
func publisher(command string) func(context.Context, diffhook.Secrets) error {
	if command == "" {
		return nil
	}
	return func(ctx context.Context, s diffhook.Secrets) error {
		input, err := publishedSecrets(s)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		reason := new(head)
		cmd := exec.CommandContext(ctx, command)
		cmd.Stdin, cmd.Stderr = bytes.NewReader(input), reason
		cmd.Env = withoutCredentials(os.Environ())
		cmd.WaitDelay = 5 * time.Second // for a child process of the command
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("the command of --publish: %w: %s", err, printable(reason.String()))
		}
		return nil
	}
}

// publishedSecrets returns JSON as documented in the help of --publish.
func publishedSecrets(s diffhook.Secrets) ([]byte, error) {
	return json.Marshal(struct {
		Current  string `json:"current"`
		Previous string `json:"previous,omitempty"`
	}{s.Current.Reveal(), s.Previous.Reveal()})
}

// withoutCredentials returns env without the credentials of the tool.
func withoutCredentials(env []string) []string {
	return slices.DeleteFunc(env, func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains([]string{variableReceiverToken, "DIFFHOOK_API_KEY", "DIFFHOOK_CLIENT_ID", "DIFFHOOK_CLIENT_SECRET"}, name)
	})
}

// head is a buffer for the first longestReason bytes.
type head struct{ bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	h.Buffer.Write(p[:min(len(p), max(0, longestReason-h.Len()))])
	return len(p), nil
}
