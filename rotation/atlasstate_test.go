package rotation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/diffhook/diffhook-go"
)

// Two states are the same if the same events can follow. Secrets are named by age, the
// two runs are not named, and a time counts as long as something waits for the time.

// docState is a document.
type docState struct {
	Phase    string    `json:"phase"`
	Since    time.Time `json:"since"`
	Run      string    `json:"run"`
	RunUntil time.Time `json:"run_until"`

	// credentials are the other fields, and shown the fields in a source.
	credentials, shown string
}

// parse returns the document of a text, always the same for the same text.
func (w *atlas) parse(content []byte) *docState {
	if d, ok := w.docs.Load(string(content)); ok {
		return d.(*docState)
	}
	d := new(docState)
	var fields map[string]any
	if err := errors.Join(json.Unmarshal(content, d), json.Unmarshal(content, &fields)); err != nil {
		panic(err)
	}
	for _, name := range strings.Fields("kind format phase since run run_until wait_until") {
		delete(fields, name)
	}
	d.credentials = fmt.Sprint(fields)
	d.shown = fmt.Sprint(fields["current"], fields["previous"])
	if label, ok := fields["label"].(string); ok {
		w.nameLabel(label)
	}
	w.docs.Store(string(content), d)
	return d
}

func (w *atlas) nameLabel(label string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.names[label] == "" {
		w.names[label] = fmt.Sprint("label-", len(w.names))
	}
}

// secretsOf returns the secrets in the newest of the versions.
func (w *atlas) secretsOf(history []saved) string {
	return w.rename(w.parse(history[len(history)-1].doc).shown)
}

// describe returns a document without the lease.
func (w *atlas) describe(d *docState) string {
	if d == nil {
		return "none"
	}
	text := d.Phase + " " + w.rename(d.credentials)
	if d.Phase == "rotated" {
		text += " since " + since(d.Since, drain)
	}
	return text
}

// since returns the time since t, and at most most: a longer time does not count.
func since(at time.Time, most time.Duration) string { return min(time.Since(at), most).String() }

// left returns the rest of a lease.
func left(until time.Time) string { return max(time.Until(until), 0).String() }

// state returns the state of a run.
func (a *actor) state() string {
	switch {
	case a.calls == nil:
		return "new"
	case !a.isAlive():
		return "over"
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	newest := a.parse(a.store.newest().doc)
	parts := []string{a.rename(a.step), a.rename(a.saw), strings.Join(a.done, ","), a.describe(a.last), a.describe(a.unseen), fmt.Sprint(a.run != "" && a.run == newest.Run, a.deprived)}
	for _, label := range slices.Sorted(maps.Keys(a.calls)) {
		c := a.calls[label]
		text := label + " " + a.rename(c.result)
		if c.doc != nil {
			text += " " + a.intent(c.doc)
		}
		if label == "save" {
			text += fmt.Sprint(" ", c.version == fmt.Sprint(a.store.newest().version), left(c.doc.RunUntil))
		} else if c.doc != nil {
			text += fmt.Sprint(" ", *c.doc == *newest, left(c.doc.RunUntil))
		}
		parts = append(parts, text)
	}
	for _, d := range a.tried {
		parts = append(parts, "tried "+a.intent(d))
	}
	if len(a.tried) > 0 {
		parts = append(parts, since(a.failedAt, 31*time.Second))
	}
	if a.last != nil {
		parts = append(parts, "lease "+left(a.last.RunUntil))
	}
	if a.run != "" {
		parts = append(parts, "beat "+since(a.beatAt, tick))
	}
	return strings.Join(parts, "; ")
}

// rotated returns the saved and possible documents of phase rotated of the run.
func (a *actor) rotated() (all []*docState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.calls {
		all = append(all, c.doc)
	}
	all = append(append(all, a.last), a.tried...)
	return slices.DeleteFunc(all, func(d *docState) bool { return d == nil || d.Phase != "rotated" })
}

// intent returns the purpose of a save.
func (a *actor) intent(d *docState) string {
	if d.Run == "" {
		return "release " + a.describe(d)
	}
	return a.describe(d)
}

func (w *atlas) rename(text string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for secret, name := range w.names {
		text = strings.ReplaceAll(text, secret, name)
	}
	return text
}

// state returns the state of everything.
func (w *atlas) state() string {
	newest := w.parse(w.store.newest().doc)
	v, _ := w.server.now()
	s := v.Status()
	refused := slices.ContainsFunc(w.sent, func(d *delivery) bool { return d.refused })
	w.mu.Lock()
	parts := []string{
		fmt.Sprint(len(w.signs), w.revoked, refused, w.lapsed, w.fault),
		w.names[s.Current.Fingerprint], fmt.Sprint(s.Current.Rejected), w.names[s.Previous.Fingerprint], w.names[s.Source], w.names[s.SourcePrevious],
		fmt.Sprint(s.Hold.Until.IsZero(), s.Hold.Held, s.Hold.Pending, s.Hold.Dropped),
	}
	w.mu.Unlock()
	parts = append(parts, w.describe(newest), w.secretsOf(w.known()), fmt.Sprint(w.here()))
	acquiring := false
	var runs []string
	var rotated []*docState
	for _, a := range w.roles() {
		acquiring = acquiring || a.calls == nil || a.isAlive() && a.run == ""
		if a.isAlive() {
			rotated = append(rotated, a.rotated()...)
		}
		runs = append(runs, a.state())
	}
	for _, d := range w.sent {
		if s.Hold.Held > 0 && !d.refused && !d.excused && w.server.count(d.id) == 0 {
			parts = append(parts, "held with "+w.name(d.signer))
		}
	}
	if acquiring {
		parts = append(parts, "lease "+left(newest.RunUntil))
	}
	if newest.Phase == "rotated" {
		rotated = append(rotated, newest)
	}
	if len(rotated) > 0 { // a drain counts from the save too
		first := slices.MinFunc(rotated, func(a, b *docState) int { return a.Since.Compare(b.Since) })
		parts = append(parts, "unused "+min(w.unused(s), time.Since(first.Since), drain).String())
	}
	return strings.Join(append(parts, runs...), "|")
}

// unused returns the seconds since the server used the first secret. A use at the start
// of the server counts a nanosecond late.
func (w *atlas) unused(s diffhook.VerifierStatus) time.Duration {
	last := s.Changed
	for _, role := range []diffhook.SecretStatus{s.Current, s.Previous} {
		if role.Fingerprint == w.first {
			last = role.LastUsed
		}
	}
	if last.Before(s.Since) {
		last = s.Since
	}
	return s.At.Sub(last).Round(time.Second)
}
