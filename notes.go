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
// slow, and may itself call the verifier. A panic of the handler reaches the
// caller of the verifier's method.
func (v *verifierState) unlock() {
	for _, n := range v.release() {
		v.write(n)
	}
}

// unlockAlone is unlock for the verifier's own goroutines. A panic of the handler
// would end the process: it is recovered, and the line is lost.
func (v *verifierState) unlockAlone() {
	for _, n := range v.release() {
		func() {
			defer func() { _ = recover() }()
			v.write(n)
		}()
	}
}

// release releases v.mu and returns the notes.
func (v *verifierState) release() []note {
	notes := v.notes
	v.notes = nil
	v.mu.Unlock()
	return notes
}

func (v *verifierState) write(n note) {
	v.opts.Logger.LogAttrs(context.Background(), n.level, n.text, n.attrs...)
}
