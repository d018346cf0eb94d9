package diffhook

import (
	"context"
	"log/slog"
)

// note is a log line about the state that v.mu guards.
type note struct {
	level slog.Level
	text  string
	attrs []slog.Attr
}

// note keeps a line for unlock to write. v.mu is held.
func (v *verifierState) note(level slog.Level, text string, attrs ...slog.Attr) {
	v.notes = append(v.notes, note{level, text, attrs})
}

// unlock releases v.mu and then writes the notes: a handler of logs may be
// slow, and may itself ask the verifier for its status. It is for the goroutine
// of a caller, who sees a handler's panic.
func (v *verifierState) unlock() {
	for _, n := range v.release() {
		v.write(n)
	}
}

// unlockAlone is unlock for a goroutine of the verifier's own, where a handler's
// panic would end the process. The line is lost.
func (v *verifierState) unlockAlone() {
	for _, n := range v.release() {
		func() {
			defer func() { _ = recover() }()
			v.write(n)
		}()
	}
}

// release releases v.mu and returns the notes that were made under it.
func (v *verifierState) release() []note {
	notes := v.notes
	v.notes = nil
	v.mu.Unlock()
	return notes
}

func (v *verifierState) write(n note) {
	v.opts.Logger.LogAttrs(context.Background(), n.level, n.text, n.attrs...)
}
