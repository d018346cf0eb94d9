package main

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"

	diffhook "github.com/diffhook/diffhook-go"
)

// process is a process of the server.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	url   string

	mu      sync.Mutex
	begun   int // number of events
	dieIn   int // number of the event in which the process dies; 0: the process lives
	hasDied bool
}

// startProcess starts this program as a process of the server.
func startProcess(secret diffhook.Secret, file string, dieIn int) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(program), dieIn: dieIn}
	p.cmd.Env = append(os.Environ(), workerVariable+"=1", sqliteVariable+"="+file, "DIFFHOOK_SIGNING_SECRET="+secret.Reveal())
	p.cmd.Stderr = os.Stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		return nil, errors.Join(errors.New("a process of the server did not start"), p.cmd.Wait())
	}
	p.url = "http://" + strings.TrimPrefix(lines.Text(), "listening ")
	go p.watch(lines)
	return p, nil
}

// watch counts the events, and kills the process in the middle of an event.
func (p *process) watch(lines *bufio.Scanner) {
	for lines.Scan() {
		p.mu.Lock()
		p.begun++
		if p.begun == p.dieIn {
			p.hasDied = true
			_ = p.cmd.Process.Kill() // SIGKILL
		}
		p.mu.Unlock()
	}
	_ = p.cmd.Wait()
}

func (p *process) died() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hasDied
}

// balancer passes the attempts on to the live processes in turn, as a load balancer does.
// Every fifth answer is lost.
type balancer struct {
	processes []*process
	attempts  int
	lost      int
}

// RoundTrip implements [http.RoundTripper] for the emulator, which delivers in sequence.
func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	p := b.processes[b.attempts%len(b.processes)]
	for _, other := range b.processes {
		if p.died() {
			p = other
		}
	}
	b.attempts++
	out := r.Clone(r.Context())
	target, err := out.URL.Parse(p.url)
	if err != nil {
		return nil, err
	}
	out.URL, out.Host = target, ""
	response, err := http.DefaultTransport.RoundTrip(out)
	if err == nil && b.attempts%5 == 0 {
		b.lost++
		_ = response.Body.Close()
		return nil, errors.New("the answer is lost")
	}
	return response, err
}
