package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func newTestConsole(width int) (*console, *bytes.Buffer) {
	out := new(bytes.Buffer)
	at := time.Date(2026, 3, 16, 14, 22, 0, 0, time.UTC)
	c := &console{out: out, now: func() time.Time { return at }, stop: make(chan struct{})}
	if width > 0 {
		c.width = func() int { return width }
	}
	return c, out
}

func TestProgressOfOneStepSharesALine(t *testing.T) {
	c, out := newTestConsole(60)
	c.show(progress{name: "wait", text: "2 receivers are missing"})
	c.show(progress{name: "wait", text: "1 receiver is missing"})
	c.show(progress{name: "done", text: "all receivers are ready"})
	c.close()
	require.Equal(t, 2, strings.Count(out.String(), "\n"))
	lines := strings.Split(out.String(), "\n")
	drawn := strings.Split(lines[0], "\r")
	require.Len(t, drawn, 3)
	require.GreaterOrEqual(t, len(drawn[2]), len(drawn[1]), "the longer text before it is overwritten")
	require.Contains(t, lines[1], "all receivers are ready")
}

func TestProgressFitsTheLine(t *testing.T) {
	for _, width := range []int{1, 2, 10, 40, 80, 200} {
		c, out := newTestConsole(width)
		c.show(progress{name: "wait", text: strings.Repeat("ä", 300), until: c.now().Add(90 * time.Second)})
		line := []rune(strings.TrimPrefix(out.String(), "\r"))
		require.LessOrEqual(t, len(line), width-1)
	}
	c, out := newTestConsole(80)
	c.show(progress{name: "wait", text: "waiting for web1", until: c.now().Add(90 * time.Second)})
	require.Contains(t, out.String(), "waiting for web1 until 14:23:30 UTC (1m30s left)")
}

func TestProgressSaysThatTheTimeIsOver(t *testing.T) {
	c, out := newTestConsole(80)
	c.show(progress{name: "wait", text: "waiting for web1", until: c.now().Add(-time.Second)})
	require.Contains(t, out.String(), "waiting for web1 until 14:21:59 UTC (over: the tool looks again)")
	require.NotContains(t, out.String(), "left")
}

func TestANoteIsWhole(t *testing.T) {
	c, out := newTestConsole(40)
	note := strings.Repeat("a long note ", 10) + "."
	c.show(progress{name: "wait", text: "waiting for web1"})
	c.show(progress{name: "wait", text: note + " And more.", keep: true})
	c.show(progress{name: "wait", text: "waiting for web1"})
	c.close()
	require.Equal(t, "\rwaiting for web1\n"+note+"\nAnd more.\n\rwaiting for web1\n", out.String())
}

func TestProgressCannotMoveTheCursor(t *testing.T) {
	hostile := "web1: \x1b[2J\x1b]0;title\x07\rrejected\u202e\nnext"
	for name, width := range map[string]int{"terminal": 80, "no terminal": 0} {
		t.Run(name, func(t *testing.T) {
			c, out := newTestConsole(width)
			c.show(progress{name: "wait", text: hostile})
			c.close()
			text := strings.TrimSuffix(strings.TrimPrefix(out.String(), "\r"), "\n")
			require.NotContains(t, text, "\x1b")
			require.NotContains(t, text, "\x07")
			require.NotContains(t, text, "\r")
			require.NotContains(t, text, "\u202e")
			require.NotContains(t, text, "\n")
		})
	}
}

func TestProgressWithoutATerminalIsALineForEachText(t *testing.T) {
	c, out := newTestConsole(0)
	for range 3 {
		c.show(progress{name: "wait", text: "waiting for web1", until: c.now().Add(time.Minute)})
	}
	c.show(progress{name: "wait", text: "waiting for web2"})
	c.close()
	require.Equal(t, "2026-03-16T14:22:00Z waiting for web1 (until 2026-03-16T14:23:00Z)\n2026-03-16T14:22:00Z waiting for web2\n", out.String())
}

func TestProgressStandsBackForAQuestion(t *testing.T) {
	c, out := newTestConsole(80)
	c.show(progress{name: "wait", text: "waiting"})
	c.pause()
	before := out.String()
	c.show(progress{name: "full", text: "web1 is full"})
	require.Equal(t, before, out.String())
	c.resume()
	require.Contains(t, out.String(), "web1 is full")
}
