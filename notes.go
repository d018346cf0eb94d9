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
// slow, and may itself ask the verifier for its status.
func (v *verifierState) unlock() {
	notes := v.notes
	v.notes = nil
	v.mu.Unlock()
	for _, n := range notes {
		v.opts.Logger.LogAttrs(context.Background(), n.level, n.text, n.attrs...)
	}
}
