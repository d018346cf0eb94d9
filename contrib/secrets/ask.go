package secrets

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/diffhook/diffhook-go/rotation"
)

// Ask returns a function for [rotation.ByHand], which asks at the terminal in, such as
// os.Stdin. Questions go to out. A pasted secret does not show: paste only after the
// question. When ctx ends, the function restores the echo, so let ctx end at Ctrl-C by
// [signal.NotifyContext]. If in is not a terminal, each question fails.
func Ask(in *os.File, out io.Writer) rotation.Asker {
	return func(ctx context.Context, q rotation.Question) (string, error) {
		fd := int(in.Fd())
		state, err := term.GetState(fd)
		if err != nil {
			return "", fmt.Errorf("ask: the input is not a terminal: %w", err)
		}
		fmt.Fprintln(out, q.Text)
		answers := make(chan answer, 1)
		go func() { // ends with an answer, or with the process
			text, err := read(in, q.Secret)
			answers <- answer{text, err}
		}()
		select {
		case a := <-answers:
			return a.text, a.err
		case <-ctx.Done():
			return "", errors.Join(context.Cause(ctx), term.Restore(fd, state))
		}
	}
}

type answer struct {
	text string
	err  error
}

// read returns a line of the terminal, without echo if hidden is set.
func read(in *os.File, hidden bool) (string, error) {
	if hidden {
		text, err := term.ReadPassword(int(in.Fd()))
		return string(text), err
	}
	text, err := bufio.NewReader(in).ReadString('\n')
	return strings.TrimSpace(text), err
}
