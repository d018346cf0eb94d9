package rotation

import (
	"context"
	"fmt"
	"time"
)

// DocumentState is how far a rotation is. It shows no secret and no key.
type DocumentState struct {
	Kind  string    `json:"kind"` // signing-secret or api-key
	Phase string    `json:"phase"`
	Since time.Time `json:"since"` // the begin of the phase

	// Current, Previous, Next and Replaced are fingerprints of secrets or ids of
	// keys.
	Current  string `json:"current"`
	Previous string `json:"previous,omitempty"`
	Next     string `json:"next,omitempty"`
	Replaced string `json:"replaced,omitempty"` // by the last rotation
	Label    string `json:"label,omitempty"`    // of the new key

	// Outstanding are labels of requests for a key that were interrupted, and that
	// may still arrive. The next rotation discards keys with these labels.
	Outstanding []string `json:"outstanding,omitempty"`

	// RunUntil is when the lease of a run ends; zero: there is no run.
	RunUntil time.Time `json:"runUntil,omitzero"`

	// Then is the next step, in words.
	Then string `json:"then"`
}

// State returns how far the rotation in the document of s is.
func State(ctx context.Context, s Store) (DocumentState, error) {
	j := newJournal(s, kindSecret)
	content, _, err := j.get(ctx)
	if err != nil {
		return DocumentState{}, err
	}
	secret, key := new(secretDocument), new(keyDocument)
	if err := decode(content, secret); err == nil {
		return secretState(secret), nil
	}
	if err := decode(content, key); err != nil {
		return DocumentState{}, err
	}
	return keyState(key), nil
}

func stateOf(h header) DocumentState {
	state := DocumentState{Kind: h.Kind, Phase: string(h.Phase), Since: h.Since, Replaced: h.Replaced}
	if h.Run != "" && time.Now().Before(h.RunUntil) {
		state.RunUntil = h.RunUntil
	}
	return state
}

func secretState(d *secretDocument) DocumentState {
	state := stateOf(d.header)
	state.Current, state.Previous = d.Current.Fingerprint(), d.Previous.Fingerprint()
	switch {
	case d.Leaked != "":
		state.Then = fmt.Sprintf("run RevokeSecret with %s: DiffHook gets a new secret", d.Leaked)
	case d.Phase == phaseIdle:
		state.Then = "nothing is under way"
	case d.Phase == phaseRequested:
		state.Then = fmt.Sprintf("run Secret with %s: it looks whether DiffHook has a new secret, and else asks for one", state.Current)
	case d.Phase == phaseRotated:
		state.Then = fmt.Sprintf("run Secret with %s: it waits for the servers, and then revokes the old secret", state.Previous)
	default:
		state.Then = fmt.Sprintf("run Secret with %s: it revokes the old secret", state.Replaced)
	}
	return state
}

func keyState(d *keyDocument) DocumentState {
	state := stateOf(d.header)
	state.Current, state.Label, state.Outstanding = shownID(d.ID), d.Label, d.Outstanding
	if d.Next != nil {
		state.Next = shownID(d.Next.ID)
	}
	if d.Previous != nil {
		state.Previous = shownID(d.Previous.ID)
	}
	switch d.Phase {
	case phaseIdle:
		state.Then = "nothing is under way"
	case phaseRequested:
		state.Then = fmt.Sprintf("run Key with %s: it discards keys with the label %s, and asks for a key with another label", state.Current, d.Label)
	case phaseCreated:
		state.Then = fmt.Sprintf("run Key with %s: it tries the new key, and gives it to applications", state.Current)
	default:
		state.Then = fmt.Sprintf("run Key with %s: it waits until the old key is out of use, and deletes it", state.Previous)
	}
	return state
}
