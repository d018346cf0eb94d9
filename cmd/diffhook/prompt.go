package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"

	"golang.org/x/term"
)

// longestAnswer bounds an answer, in bytes.
const longestAnswer = 64 << 10

var errNoAnswer = errors.New("diffhook: the input ended before the answer")

// prompt asks a person at a terminal. From newPrompt to close, the terminal echoes
// nothing: an early paste of a secret does not show.
type prompt struct {
	in       *os.File
	out      io.Writer
	fd       int
	original *term.State
	console  *console
	resumed  chan os.Signal // after Ctrl-Z and fg

	mu     sync.Mutex
	echo   bool
	closed bool
}

// newPrompt returns a prompt between in and out. If in is no terminal, the error is a
// usageError.
func newPrompt(in *os.File, out io.Writer, c *console) (*prompt, error) {
	fd := int(in.Fd())
	if !term.IsTerminal(fd) {
		return nil, usagef("the input is not a terminal, so nobody can be asked; run the command at a terminal, or with --api")
	}
	original, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("diffhook: the terminal: %w", err)
	}
	p := &prompt{in: in, out: out, fd: fd, original: original, console: c, resumed: make(chan os.Signal, 1)}
	notifyResumed(p.resumed)
	go p.hideAfterStops()
	return p, p.setEcho(false)
}

// hideAfterStops switches the echo anew after each stop of the process: shells switch
// the echo on.
func (p *prompt) hideAfterStops() {
	for range p.resumed {
		p.mu.Lock()
		if !p.closed && inForeground(p.fd) {
			_ = p.switchEcho()
		}
		p.mu.Unlock()
	}
}

// close restores the terminal, for good. A second call does nothing.
func (p *prompt) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	signal.Stop(p.resumed)
	close(p.resumed)
	_ = hideInput(p.fd) // discards the input, which the shell must not run
	_ = term.Restore(p.fd, p.original)
}

// setEcho discards unread input, and switches the echo.
func (p *prompt) setEcho(on bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.echo = on
	return p.switchEcho()
}

// switchEcho is setEcho for p.echo. The caller holds p.mu.
func (p *prompt) switchEcho() error {
	err := hideInput(p.fd)
	if err == nil && p.echo {
		err = term.Restore(p.fd, p.original)
	}
	if err != nil {
		return fmt.Errorf("diffhook: the terminal: %w", err)
	}
	return nil
}

// ask shows the question and returns the answer, without echo if hidden is set. Input
// from before the question is discarded. When ctx ends, ask restores the terminal and
// returns.
func (p *prompt) ask(ctx context.Context, question, label string, hidden bool) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	p.console.pause()
	defer p.console.resume()
	if err := p.setEcho(!hidden); err != nil {
		return "", err
	}
	for line := range strings.SplitSeq(question, "\n") {
		fmt.Fprintln(p.out, printable(line))
	}
	fmt.Fprint(p.out, label)

	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() { // the read of a terminal ends with an answer or the process
		text, err := readLine(p.in)
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		if hidden {
			fmt.Fprintln(p.out)
		} else {
			_ = p.setEcho(false)
		}
		return a.text, a.err
	case <-ctx.Done():
		fmt.Fprintln(p.out)
		p.close()
		return "", ctx.Err()
	}
}

// askUntil asks without echo until check returns nil. White space around an answer is
// ignored. The error of check is the next question.
func (p *prompt) askUntil(ctx context.Context, question, label string, check func(string) error) error {
	for {
		answer, err := p.ask(ctx, question, label, true)
		if err != nil {
			return err
		}
		if err = check(strings.TrimSpace(answer)); err == nil {
			return nil
		}
		question = strings.TrimPrefix(err.Error(), "diffhook: ")
	}
}

// readLine returns the next line of r, without the line break. Bytes after the line stay
// unread: they may belong to the next question.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) <= longestAnswer; {
		n, err := r.Read(b)
		if n == 0 && err != nil {
			if len(line) > 0 && err == io.EOF {
				break
			}
			return "", errNoAnswer
		}
		if n == 1 && b[0] == '\n' {
			break
		}
		line = append(line, b[:n]...)
	}
	return strings.TrimSuffix(string(line), "\r"), nil
}
