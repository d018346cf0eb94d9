package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// session is a run of the program in a new pseudo-terminal, which is the controlling
// terminal, like in a shell.
type session struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd

	mu     sync.Mutex
	more   *sync.Cond
	output bytes.Buffer
	read   int  // bytes of output before the next expect
	late   bool // patience is over
	ended  bool // the program ended, and output is complete
	done   chan struct{}
}

// start runs cmd in a pseudo-terminal. Streams already set in cmd stay.
func start(t *testing.T, cmd *exec.Cmd) *session {
	t.Helper()
	s := &session{t: t, cmd: cmd, done: make(chan struct{})}
	s.more = sync.NewCond(&s.mu)
	master, slave := openTerminal(t)
	defer slave.Close() // the output ends with the program
	s.master = master
	if cmd.Stdin == nil {
		cmd.Stdin = slave
	}
	if cmd.Stdout == nil {
		cmd.Stdout = slave
	}
	if cmd.Stderr == nil {
		cmd.Stderr = slave
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	require.NoError(t, cmd.Start())
	go s.copy()
	timer := time.AfterFunc(patience, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.late = true
		s.more.Broadcast()
		_ = cmd.Process.Kill()
	})
	t.Cleanup(func() {
		timer.Stop()
		_ = cmd.Process.Kill()
		s.master.Close()
		<-s.done
	})
	return s
}

func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	n := 0
	control(t, master, func(fd int) {
		require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
		n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		require.NoError(t, err)
	})
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}))
	return master, slave
}

// control calls do with the descriptor of f. After f.Fd, Close would wait for Read.
func control(t *testing.T, f *os.File, do func(fd int)) {
	t.Helper()
	conn, err := f.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, conn.Control(func(fd uintptr) { do(int(fd)) }))
}

func (s *session) copy() {
	defer close(s.done)
	chunk := make([]byte, 4096)
	for {
		n, err := s.master.Read(chunk)
		s.mu.Lock()
		s.output.Write(chunk[:n])
		s.more.Broadcast()
		s.mu.Unlock()
		if err != nil {
			s.mu.Lock()
			s.ended = true
			s.more.Broadcast()
			s.mu.Unlock()
			return
		}
	}
}

// expect waits until the program writes any of texts after the last match, and returns
// the found text.
func (s *session) expect(texts ...string) string {
	s.t.Helper()
	found := s.expectOrEnd(texts...)
	require.NotEmpty(s.t, found, "the program ended without any of %q; the output is:\n%s", texts, s.screen())
	return found
}

// expectOrEnd is expect, or returns "" if the program ends.
func (s *session) expectOrEnd(texts ...string) string {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		rest := s.output.Bytes()[s.read:]
		found, at := "", len(rest)
		for _, text := range texts {
			if i := bytes.Index(rest, []byte(text)); i >= 0 && i < at {
				found, at = text, i
			}
		}
		if found != "" {
			s.read += at + len(found)
			return found
		}
		if s.late {
			s.t.Fatalf("the program did not write any of %q; the output is:\n%s", texts, s.output.String())
		}
		if s.ended {
			return ""
		}
		s.more.Wait()
	}
}

// enter types text and the Enter key.
func (s *session) enter(text string) { s.press(text + "\r") }

// press types text alone, such as the byte of Ctrl-C.
func (s *session) press(text string) {
	s.t.Helper()
	_, err := io.WriteString(s.master, text)
	require.NoError(s.t, err)
}

const ctrlC = "\x03"

// wait waits for the end of the program and returns the exit code.
func (s *session) wait() int {
	s.t.Helper()
	return waitFor(s.t, s.cmd)
}

// position is for since.
func (s *session) position() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read
}

// since returns the output from a position to the last match of expect.
func (s *session) since(position int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.String()[position:s.read]
}

// screen returns all output so far.
func (s *session) screen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ReplaceAll(s.output.String(), "\r\n", "\n")
}

// echoes reports whether the terminal shows typed text.
func (s *session) echoes() bool {
	s.t.Helper()
	echoes := false
	control(s.t, s.master, func(fd int) {
		termios, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		require.NoError(s.t, err)
		echoes = termios.Lflag&unix.ECHO != 0
	})
	return echoes
}
