package rotation

import (
	"sync"
	"time"
)

// StepName names a kind of [Step].
type StepName string

// The steps of rotations.
const (
	StepCheck   StepName = "check"   // compares the document, DiffHook and the receivers
	StepRotate  StepName = "rotate"  // asks for the new secret
	StepLearn   StepName = "learn"   // waits for receivers to get the new secret
	StepConfirm StepName = "confirm" // asks whether DiffHook still shows the new secret
	StepDrain   StepName = "drain"   // waits until the old credential is out of use
	StepReject  StepName = "reject"  // makes receivers reject the old secret
	StepRevoke  StepName = "revoke"  // asks for the end of the old secret
	StepCreate  StepName = "create"  // asks for a new key
	StepTry     StepName = "try"     // waits until the new key works
	StepDelete  StepName = "delete"  // asks for the end of the old key
	StepDone    StepName = "done"    // the rotation is complete
	StepWarning StepName = "warning" // a fact that does not stop the rotation
)

// Step is the progress of a rotation. It shows no secret and no key.
type Step struct {
	Name  StepName
	Text  string    // for people, on a single line
	Until time.Time // the earliest end of a wait; zero: unknown, or no wait
}

// reporter calls Observe once for each step, however often a wait repeats the step.
type reporter struct {
	observe func(Step)
	mu      sync.Mutex
	last    Step
	warned  map[string]bool
}

func newReporter(observe func(Step)) *reporter {
	return &reporter{observe: observe, warned: make(map[string]bool)}
}

func (r *reporter) report(name StepName, text string, until time.Time) {
	if r.observe == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	step := Step{Name: name, Text: text, Until: until.Round(0)}
	if name == StepWarning {
		if !r.warned[text] {
			r.warned[text] = true
			r.observe(step)
		}
		return
	}
	const jitter = 2 * time.Second // of the end of a wait: each look computes the end anew
	if r.last.Name != name || r.last.Text != text || r.last.Until.Sub(until).Abs() > jitter {
		r.last = step
		r.observe(step)
	}
}
