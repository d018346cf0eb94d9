package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Exit codes, documented by "diffhook help". After signal n, the code is 128 + n.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitMismatch = 3
	exitBusy     = 4
)

// errHelp asks for the help of a command.
var errHelp = errors.New("help")

// usageError is the error of an invalid command line. Nothing was read or changed.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// exitCode returns the exit code for err.
func exitCode(err error) int {
	var usage *usageError
	var interrupted signalError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &interrupted):
		return 128 + int(interrupted.signal)
	case errors.As(err, &usage):
		return exitUsage
	}
	return exitOfRotation(err)
}

// writeError writes err, line by line, and the advice of a rotationError, without
// control characters: parts of an error come from other servers.
func writeError(w io.Writer, err error) {
	for i, line := range strings.Split(err.Error(), "\n") {
		prefix := "diffhook: "
		if i > 0 {
			prefix = "  "
		}
		line = strings.ReplaceAll(strings.TrimPrefix(printable(line), "diffhook: "), ": diffhook: ", ": ")
		fmt.Fprintln(w, prefix+line)
	}
	var rotation *rotationError
	if errors.As(err, &rotation) {
		for _, line := range rotation.advice {
			fmt.Fprintln(w, "  "+printable(line))
		}
	}
}

// printable returns text on a single line, without control and format characters.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return -1
	}, text)
}
