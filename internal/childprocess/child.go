// Package childprocess runs the program of a test again, as a process to kill.
package childprocess

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// variable contains the job of a child, as JSON.
const variable = "DIFFHOOK_TEST_CHILD"

// A Child is another process of the program of the test.
type Child struct {
	// URL is the URL of a child from StartServer, else empty.
	URL string

	// Lines are the lines of the standard output. The channel is closed at the end.
	Lines <-chan string

	cmd    *exec.Cmd
	exited chan struct{} // closed at the end
}

// Start starts a child with a job for [Job], and with arguments of the command line. The
// child ends with the test.
func Start(t testing.TB, job any, args ...string) *Child {
	t.Helper()
	text, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), variable+"="+string(text))
	cmd.Stdout, cmd.Stderr = childOut, os.Stderr
	_, err = cmd.StdinPipe() // open until this process ends: see Job
	if err == nil {
		err = cmd.Start()
	}
	_ = childOut.Close()
	if err != nil {
		_ = out.Close()
		t.Fatal(err)
	}
	lines := make(chan string, 100)
	c := &Child{Lines: lines, cmd: cmd, exited: make(chan struct{})}
	go func() {
		defer close(lines)
		defer out.Close()
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	go func() {
		_ = cmd.Wait()
		close(c.exited)
	}()
	t.Cleanup(c.Kill)
	return c
}

// StartServer is Start for a child that calls [Serve]. It returns when the child listens.
func StartServer(t testing.TB, job any, args ...string) *Child {
	t.Helper()
	c := Start(t, job, args...)
	c.URL = <-c.Lines
	if !strings.HasPrefix(c.URL, "http://") {
		c.Kill()
		output := c.URL
		for line := range c.Lines {
			output += "\n" + line
		}
		t.Fatalf("the child does not listen: %s", output)
	}
	return c
}

// Kill ends the child by SIGKILL, and returns when the child is gone.
func (c *Child) Kill() {
	_ = c.cmd.Process.Kill()
	<-c.exited
}

// Exits reports whether the child ends within 5 s, without Kill.
func (c *Child) Exits() bool {
	select {
	case <-c.exited:
		return true
	case <-time.After(5 * time.Second):
		return false
	}
}
