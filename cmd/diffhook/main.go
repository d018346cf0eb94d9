// Command diffhook replaces signing secrets and API keys of DiffHook.
//
// Diffhook asks a person to click in the app, or calls the assumed endpoints with
// --api. "diffhook help" lists the commands, the environment and the exit codes.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	a := &app{env: os.Getenv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(a.main(os.Args[1:]))
}

// app is a run of the program.
type app struct {
	env    func(string) string
	stdin  *os.File
	stdout *os.File // results
	stderr *os.File // progress, questions and errors
}

// main runs the command in args and returns the exit code.
func (a *app) main(args []string) int {
	ctx, stop := untilSignal(context.Background())
	defer stop()
	err := a.run(ctx, args)
	if err == nil {
		return exitDone
	}
	// The error of an interrupted rotation is an interruption already.
	if interrupted := (signalError{}); ctx.Err() != nil && !errors.As(err, &interrupted) {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	writeError(a.stderr, err)
	return exitCode(err)
}

func (a *app) run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return usagef("no command; see diffhook help")
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "-help" || args[0] == "--help" {
		return a.help(args[1:])
	}
	c := commandNamed(args[0])
	if c == nil {
		for _, arg := range args {
			if err := refuseSecret(arg); err != nil {
				return err
			}
		}
		// The argument is not shown: a secret may have been pasted here.
		return usagef("the first argument is not a command; see diffhook help")
	}
	err := c.run(ctx, a, args[1:])
	if err == errHelp {
		return a.help(args[:1])
	}
	return err
}

// untilSignal returns a context that ends at the first signal. A second signal kills
// the process.
func untilSignal(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	// SIGPIPE too: if a reader of the output ends, such as head, the signal interrupts
	// the rotation and does not kill the process.
	// SIGQUIT too: the exit code 2 of the Go runtime means here that nothing was changed.
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE} {
		if !signal.Ignored(s) { // such as SIGHUP under nohup
			signal.Notify(signals, s)
		}
	}
	done := make(chan struct{})
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(signalError{s.(syscall.Signal)})
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}
