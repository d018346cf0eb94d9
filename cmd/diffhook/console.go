package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// progress is a report of a rotation.
type progress struct {
	name  string    // the name of the step; a new name begins a new line
	text  string    // for a person
	until time.Time // the end of a wait, or zero
	keep  bool      // whole, on separate lines
}

// mostBehind bounds the reports that wait while a person is asked.
const mostBehind = 20

// console shows progress, and waits while a person is asked. On a terminal, the reports
// of a step share a line. Elsewhere, each different report is a line.
// All methods are safe for concurrent use.
type console struct {
	out   io.Writer
	width func() int // the width of the terminal; nil: no terminal
	now   func() time.Time

	mu     sync.Mutex
	last   progress
	drawn  int        // runes on the redrawn line
	asking bool       // a person is asked
	behind []progress // the reports since a person was asked
	stop   chan struct{}
}

func newConsole(out *os.File) *console {
	c := &console{out: out, now: time.Now, stop: make(chan struct{})}
	if fd := int(out.Fd()); term.IsTerminal(fd) {
		c.width = func() int {
			if width, _, err := term.GetSize(fd); err == nil && width > 0 {
				return width
			}
			return 80
		}
		go c.tick()
	}
	return c
}

// tick redraws the line once a second, with the time left.
func (c *console) tick() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-ticker.C:
			c.mu.Lock()
			if !c.asking && c.drawn > 0 && !c.last.until.IsZero() {
				c.draw()
			}
			c.mu.Unlock()
		}
	}
}

// close ends the line and the redrawing.
func (c *console) close() {
	close(c.stop)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLine()
}

// show shows p; while a person is asked, only after the answer.
func (c *console) show(p progress) {
	p.text = printable(p.text)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.width == nil {
		if p.text != c.last.text {
			c.writeLine(p)
		}
		c.last = p
		return
	}
	if !c.asking {
		c.report(p)
		return
	}
	if n := len(c.behind); n > 0 && !c.behind[n-1].keep || n == mostBehind {
		c.behind = c.behind[:n-1]
	}
	c.behind = append(c.behind, p)
}

// report shows p on a terminal. The caller holds c.mu.
func (c *console) report(p progress) {
	if p.keep {
		c.endLine()
		fmt.Fprintln(c.out, sentences(p.text))
		return
	}
	if p.name != c.last.name {
		c.endLine()
	}
	c.last = p
	c.draw()
}

// writeLine writes p for a log. The caller holds c.mu.
func (c *console) writeLine(p progress) {
	line := c.now().UTC().Format(time.RFC3339) + " " + p.text
	if !p.until.IsZero() {
		line += " (until " + p.until.UTC().Format(time.RFC3339) + ")"
	}
	fmt.Fprintln(c.out, line)
}

// sentences returns text with a line for each sentence.
func sentences(text string) string { return strings.ReplaceAll(text, ". ", ".\n") }

// draw writes the last report over the drawn line. The caller holds c.mu.
func (c *console) draw() {
	line := []rune(fit(c.last.text, timeLeft(c.last.until, c.now()), c.width()-1))
	fmt.Fprint(c.out, "\r", string(line), strings.Repeat(" ", max(0, c.drawn-len(line))))
	c.drawn = len(line)
}

// endLine begins a new line, if a line is drawn. The caller holds c.mu.
func (c *console) endLine() {
	if c.drawn > 0 {
		fmt.Fprintln(c.out)
	}
	c.drawn = 0
}

// pause ends the line and keeps reports back until resume, while a person is asked.
func (c *console) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLine()
	c.asking = true
}

func (c *console) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asking = false
	for _, p := range c.behind {
		c.report(p)
	}
	c.behind = nil
}

// timeLeft returns until in UTC and the time left, or "" for the zero time.
func timeLeft(until, now time.Time) string {
	left := until.Sub(now).Round(time.Second)
	switch {
	case until.IsZero():
		return ""
	case left <= 0:
		return fmt.Sprintf(" until %s (over: the tool looks again)", clock(until, now))
	}
	return fmt.Sprintf(" until %s (%v left)", clock(until, now), left)
}

// fit returns text and suffix in at most width runes. The text is shortened first.
func fit(text, suffix string, width int) string {
	width = max(0, width)
	runes, end := []rune(text), []rune(suffix)
	if room := max(0, width-len(end)); len(runes) > room {
		runes = append(runes[:max(0, room-1)], '…')
	}
	line := append(runes, end...)
	return string(line[:min(len(line), width)])
}
