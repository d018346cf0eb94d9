package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// hideInput stops the echo of the console fd, and discards unread
// input.
func hideInput(fd int) error {
	console := windows.Handle(fd)
	var mode uint32
	if err := windows.GetConsoleMode(console, &mode); err != nil {
		return err
	}
	mode &^= windows.ENABLE_ECHO_INPUT
	mode |= windows.ENABLE_PROCESSED_INPUT | windows.ENABLE_LINE_INPUT
	if err := windows.SetConsoleMode(console, mode); err != nil {
		return err
	}
	return windows.FlushConsoleInputBuffer(console)
}

// notifyResumed does nothing: Windows stops no process.
func notifyResumed(chan<- os.Signal) {}

func inForeground(int) bool { return true }
