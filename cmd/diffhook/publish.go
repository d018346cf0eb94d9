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
	publishTimeout = 5 * time.Minute // of one run of the command
	longestReason  = 64 << 10        // bytes of the command's error output that are kept
)

// publisher returns a function that runs command with secrets on the standard input,
// or nil without a command. The function returns an error unless the command exits
// with 0.
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
		cmd.WaitDelay = 5 * time.Second // for a process that the command has left behind
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("the command of --publish: %w: %s", err, printable(reason.String()))
		}
		return nil
	}
}

// publishedSecrets returns the JSON that the help of --publish documents.
func publishedSecrets(s diffhook.Secrets) ([]byte, error) {
	return json.Marshal(struct {
		Current  string `json:"current"`
		Previous string `json:"previous,omitempty"`
	}{s.Current.Reveal(), s.Previous.Reveal()})
}

// withoutCredentials returns env without the credentials that the tool reads.
func withoutCredentials(env []string) []string {
	return slices.DeleteFunc(env, func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains([]string{variableReceiverToken, "DIFFHOOK_API_KEY", "DIFFHOOK_CLIENT_ID", "DIFFHOOK_CLIENT_SECRET"}, name)
	})
}

// head keeps the first bytes that are written to it.
type head struct{ bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	h.Buffer.Write(p[:min(len(p), max(0, longestReason-h.Len()))])
	return len(p), nil
}
