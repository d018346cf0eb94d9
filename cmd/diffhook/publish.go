package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go"
)

const (
	publishTimeout = 5 * time.Minute // bounds a run of the command
	leftoverTime   = time.Second     // in which a child process of the command can still write errors
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
		cmd.WaitDelay = leftoverTime
		err = cmd.Run()
		if err == nil || errors.Is(err, exec.ErrWaitDelay) { // which means exit code 0
			return nil
		}
		return fmt.Errorf("the command of --publish: %w: %s", withoutCommand(err), reason)
	}
}

// withoutCommand returns err without the text of the command, which may hold a
// credential: a person may pass arguments with it.
func withoutCommand(err error) error {
	var notFound *exec.Error
	var notStarted *fs.PathError
	switch {
	case errors.As(err, &notFound):
		return notFound.Err
	case errors.As(err, &notStarted):
		return notStarted.Err
	}
	return err
}

// publishedSecrets returns JSON as documented in the help of --publish.
func publishedSecrets(s diffhook.Secrets) ([]byte, error) {
	return json.Marshal(struct {
		Current  string `json:"current"`
		Previous string `json:"previous,omitempty"`
	}{s.Current.Reveal(), s.Previous.Reveal()})
}

// credentialVariables are the variables of the tool that may hold a credential. The
// URL of a receiver may have a password.
var credentialVariables = []string{
	variableReceivers, variableReceiverToken, "DIFFHOOK_API_KEY", "DIFFHOOK_CLIENT_ID", "DIFFHOOK_CLIENT_SECRET",
}

// withoutCredentials returns env without the credentials of the tool. Windows reads
// the names in any case.
func withoutCredentials(env []string) []string {
	return slices.DeleteFunc(env, func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(credentialVariables, strings.ToUpper(name))
	})
}

// head is a buffer for the first longestReason bytes.
type head struct{ bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	h.Buffer.Write(p[:min(len(p), max(0, longestReason-h.Len()))])
	return len(p), nil
}
