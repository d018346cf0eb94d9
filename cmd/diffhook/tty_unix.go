//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package main

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// hideInput stops the echo of the terminal fd, and discards unread
// input.
func hideInput(fd int) error {
	termios, err := unix.IoctlGetTermios(fd, ioctlGetTermios)
	if err != nil {
		return err
	}
	termios.Lflag &^= unix.ECHO
	termios.Lflag |= unix.ICANON | unix.ISIG
	termios.Iflag |= unix.ICRNL
	return unix.IoctlSetTermios(fd, ioctlSetTermiosFlush, termios)
}

// notifyResumed sends to c when the process continues after a stop, such as Ctrl-Z.
func notifyResumed(c chan<- os.Signal) { signal.Notify(c, unix.SIGCONT) }

// inForeground reports whether the process may change the terminal fd. In the background,
// a change stops the process.
func inForeground(fd int) bool {
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp() // err: not the terminal of the process, which no change stops
}
