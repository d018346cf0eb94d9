package childprocess

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

// Job decodes the job of this process, and reports whether there is a job: this process is
// a child. A child ends when the parent ends, even by SIGKILL.
func Job(job any) bool {
	text := os.Getenv(variable)
	if text == "" {
		return false
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent ends
		os.Exit(1)
	}()
	ExitOn(json.Unmarshal([]byte(text), job))
	return true
}

// Serve prints the URL of a server with h on a free port, and serves until this process
// ends.
func Serve(h http.Handler) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ExitOn(err)
	fmt.Println("http://" + l.Addr().String())
	ExitOn(http.Serve(l, h))
}

// ExitOn ends this process if err is not nil.
func ExitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
