package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Exit codes, as "diffhook help" documents them. A signal adds its number to 128.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitMismatch = 3
	exitBusy     = 4
)

// errHelp asks for the help of a command.
var errHelp = errors.New("help")

// usageError is the error of a command line that cannot be run. Nothing has been
// read or changed.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// exitCode returns the exit code of a run that returned err.
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

// writeError writes err, line by line, and says if another run continues a
// rotation. It leaves out characters that could move the cursor: parts of an error come
// from other servers.
func writeError(w io.Writer, err error) {
	for i, line := range strings.Split(err.Error(), "\n") {
		prefix := "diffhook: "
		if i > 0 {
			prefix = "  "
		}
		line = strings.ReplaceAll(strings.TrimPrefix(inCommands(printable(line)), "diffhook: "), ": diffhook: ", ": ")
		fmt.Fprintln(w, prefix+line)
	}
	code, rotation := exitCode(err), (*rotationError)(nil)
	if errors.As(err, &rotation) && (code == exitFailed || code > 128) {
		fmt.Fprintln(w, "  Run the same command again; the rotation continues.")
	}
}

// inCommands names the commands and flags of this program instead of the functions and
// options of package rotation.
func inCommands(text string) string {
	return strings.NewReplacer(
		"run RevokeSecret with it", "run diffhook revoke-secret with it",
		"run Secret with it", "run diffhook rotate-secret with it",
		"run Key with it", "run diffhook rotate-key with it",
		"run RevokeSecret with ", "run diffhook revoke-secret ",
		"run Secret with ", "run diffhook rotate-secret ",
		"run Key with ", "run diffhook rotate-key ",
		"there are no Receivers to look at; name all servers, or set RevokeNow", "there are no receivers; name all servers with --receiver, or pass --revoke-now",
		"set DeleteNow", "pass --delete-now",
		"create the document anew with NewKey", "move the document away and run diffhook rotate-key --init",
	).Replace(text)
}

// printable returns text on one line, without control and format characters.
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
