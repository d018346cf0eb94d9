package rotation

import (
	"cmp"
	"context"
	"time"
)

// DocumentState is the progress of a rotation. It shows no secret and no key.
type DocumentState struct {
	Kind  string    `json:"kind"` // signing-secret or api-key
	Phase string    `json:"phase"`
	Since time.Time `json:"since"` // the begin of the phase

	// Current, Previous, Next and Replaced are fingerprints of secrets, or ids of
	// keys as statuses show them: a client id is shortened.
	Current  string `json:"current"`
	Previous string `json:"previous,omitempty"`
	Next     string `json:"next,omitempty"`
	Replaced string `json:"replaced,omitempty"` // by the last rotation
	Label    string `json:"label,omitempty"`    // of the new key

	// Outstanding are the labels of interrupted requests for a key. Such a request may
	// still arrive: the next rotation discards keys with these labels.
	Outstanding []string `json:"outstanding,omitempty"`

	// RunUntil is the end of the lease of a run; zero: no run holds a lease.
	RunUntil time.Time `json:"runUntil,omitzero"`

	// WaitUntil is the end of the wait for an old key, unless the waiting run was
	// killed; zero: no run waits.
	WaitUntil time.Time `json:"waitUntil,omitzero"`

	// Continue is the call to continue the rotation, or in phase idle to begin the next
	// rotation.
	Continue Call `json:"continue"`

	// Then is the next step of this call, in words.
	Then string `json:"then"`
}

// State returns the progress of the rotation in the document of s.
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

// unknownPhase is the next step in a document of a newer format.
const unknownPhase = "unknown to this version: update the program"

func stateOf(h header) DocumentState {
	state := DocumentState{Kind: h.Kind, Phase: string(h.Phase), Since: h.Since, Replaced: shownID(h.Replaced)}
	if h.Run != "" && time.Now().Before(h.RunUntil) {
		state.RunUntil = h.RunUntil
	}
	if time.Now().Before(h.WaitUntil) {
		state.WaitUntil = h.WaitUntil
	}
	return state
}

func secretState(d *secretDocument) DocumentState {
	state := stateOf(d.header)
	state.Current, state.Previous = d.Current.Fingerprint(), d.Previous.Fingerprint()
	state.Continue = Call{FunctionSecret, d.replacing()}
	state.Then = cmp.Or(map[phase]string{
		phaseIdle:      "nothing is under way",
		phaseRequested: "look for a new secret at DiffHook, and otherwise ask for a new secret",
		phaseRotated:   "wait for the servers, and then revoke the old secret",
		phaseRevoked:   "revoke the old secret",
	}[d.Phase], unknownPhase)
	if d.Revoke == "" {
		return state
	}
	state.Continue = Call{FunctionRevokeSecret, d.Revoke}
	if d.Leaked == "" && d.Replaced != d.Revoke {
		state.Then = "compare with the app: DiffHook signs with another secret than " + d.Revoke + ", or a server rejects it, and the revocation replaces it"
	}
	return state
}

func keyState(d *keyDocument) DocumentState {
	state := stateOf(d.header)
	state.Current, state.Label, state.Outstanding = shownID(d.ID), d.Label, d.Outstanding
	state.Continue = Call{FunctionKey, state.Current}
	if d.Next != nil {
		state.Next = shownID(d.Next.ID)
	}
	if d.Previous != nil {
		state.Previous = shownID(d.Previous.ID)
		state.Continue.ID = state.Previous
	}
	state.Then = cmp.Or(map[phase]string{
		phaseIdle:      "nothing is under way",
		phaseRequested: "discard keys with the label " + d.Label + ", and ask for a key with another label",
		phaseCreated:   "try the new key, and pass the key to applications",
		phasePromoted:  "wait until the old key is out of use, and delete the key",
	}[d.Phase], unknownPhase)
	return state
}
