package rotation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/diffhook/diffhook-go"
	"github.com/diffhook/diffhook-go/internal/scrub"
)

// phase is the progress of a rotation. Each phase is saved before the next request.
type phase string

const (
	phaseIdle      phase = "idle"
	phaseRequested phase = "requested" // DiffHook may have created the new credential
	phaseRotated   phase = "rotated"   // secret: both are in the document; servers learn
	phaseRevoked   phase = "revoked"   // secret: servers no longer get the old secret
	phaseCreated   phase = "created"   // key: both are in the document; the old key is in force
	phasePromoted  phase = "promoted"  // key: applications get the new key
)

const (
	kindSecret = "signing-secret"
	kindKey    = "api-key"
	format     = 1 // the newest known format

	maxDocumentBytes = 64 << 10
)

// document is a *secretDocument or a *keyDocument.
type document interface {
	head() *header
	valid() error
	inForce() error        // valid for a reader, which needs the credential in force
	credentials() []string // texts that no error may show
}

// newDocument returns an empty document of a kind.
func newDocument(kind string) document {
	if kind == kindKey {
		return new(keyDocument)
	}
	return new(secretDocument)
}

// header begins both kinds of document.
type header struct {
	Kind   string    `json:"kind"`
	Format int       `json:"format"`
	Phase  phase     `json:"phase"`
	Since  time.Time `json:"since"` // the begin of the phase

	// Replaced is the fingerprint or the id of the last replaced credential.
	Replaced string `json:"replaced,omitempty"`

	// Run and RunUntil are the lease.
	Run      string    `json:"run,omitempty"`
	RunUntil time.Time `json:"run_until,omitzero"`

	// WaitUntil is the end of a long wait of the run, for people.
	WaitUntil time.Time `json:"wait_until,omitzero"`
}

func (h *header) head() *header { return h }

func (h *header) enter(p phase) { h.Phase, h.Since = p, now() }

// secretDocument is the document of a signing secret.
type secretDocument struct {
	header
	Current  secretText `json:"current"`
	Previous secretText `json:"previous,omitzero"`

	// Leaked is the fingerprint of a current secret that RevokeSecret replaces.
	Leaked string `json:"leaked,omitempty"`

	// Revoke is the fingerprint with which RevokeSecret continues. It is set if a
	// revocation is under way, or DiffHook signs with another secret.
	Revoke string `json:"revoke,omitempty"`
}

func (d *secretDocument) secrets() diffhook.Secrets {
	return diffhook.Secrets{Current: d.Current.Secret, Previous: d.Previous.Secret, NoPrevious: d.Previous.IsZero()}
}

func (d *secretDocument) credentials() []string {
	return []string{d.Current.Reveal(), d.Previous.Reveal()}
}

// replacing returns the fingerprint of the secret that a rotation replaces.
func (d *secretDocument) replacing() string {
	switch d.Phase {
	case phaseRotated:
		return d.Previous.Fingerprint()
	case phaseRevoked:
		return d.Replaced
	}
	return d.Current.Fingerprint()
}

func (d *secretDocument) inForce() error {
	if d.Current.IsZero() {
		return invalid("the field current is missing")
	}
	return nil
}

func (d *secretDocument) valid() error {
	if err := d.inForce(); err != nil {
		return err
	}
	switch {
	case d.Phase == phaseRotated && d.Previous.IsZero():
		return invalid("the field previous is missing in phase rotated")
	case d.Phase == phaseRevoked && d.Replaced == "":
		return invalid("the field replaced is missing in phase revoked")
	case d.Phase == phaseIdle || d.Phase == phaseRequested || d.Phase == phaseRotated || d.Phase == phaseRevoked:
		return nil
	}
	return invalid("the phase is unknown")
}

// secretText is a secret as the document contains it.
type secretText struct{ diffhook.Secret }

func (s secretText) MarshalJSON() ([]byte, error) { return json.Marshal(s.Reveal()) }

func (s *secretText) UnmarshalJSON(b []byte) (err error) {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	s.Secret, err = diffhook.NewSecret(text)
	return err
}

// keyDocument is the document of an API key.
type keyDocument struct {
	header
	pairText           // in force
	Label    string    `json:"label,omitempty"`    // of the new key, from phase requested on
	Next     *pairText `json:"next,omitempty"`     // in phase created
	Previous *pairText `json:"previous,omitempty"` // in phase promoted

	// Outstanding are the labels of interrupted requests for a key. Such a request
	// may still arrive: the next rotation looks for the labels once more.
	Outstanding []string `json:"outstanding,omitempty"`
}

// pairText is a Pair as the document contains it.
type pairText struct {
	ID     string `json:"id"`
	Key    string `json:"key,omitempty"`
	Secret string `json:"secret,omitempty"`
}

// pairs returns the keys in the document.
func (d *keyDocument) pairs() (pairs []Pair) {
	for _, pair := range []*pairText{&d.pairText, d.Next, d.Previous} {
		if pair != nil {
			pairs = append(pairs, Pair(*pair))
		}
	}
	return pairs
}

func (d *keyDocument) credentials() (texts []string) {
	for _, pair := range d.pairs() {
		texts = append(texts, pair.Key, pair.Secret)
	}
	return texts
}

func (d *keyDocument) inForce() error {
	if Pair(d.pairText).check() != nil {
		return invalid("a field id, key or secret is missing or is no credential")
	}
	return nil
}

func (d *keyDocument) valid() error {
	for _, pair := range d.pairs() {
		if pair.check() != nil {
			return invalid("a field id, key or secret is missing or is no credential")
		}
	}
	switch {
	case d.Phase != phaseIdle && d.Label == "":
		return invalid("the field label is missing")
	case (d.Phase == phaseCreated) != (d.Next != nil), (d.Phase == phasePromoted) != (d.Previous != nil):
		return invalid("the fields next and previous do not fit the phase")
	case d.Phase == phaseIdle || d.Phase == phaseRequested || d.Phase == phaseCreated || d.Phase == phasePromoted:
		return nil
	}
	return invalid("the phase is unknown")
}

func invalid(problem string) error { return fmt.Errorf("%w: %s", ErrInvalidDocument, problem) }

// decode reads a document into doc. No error repeats the content.
func decode(content []byte, doc document) error {
	switch {
	case content == nil:
		return invalid("there is no document in the store; create the first document")
	case len(content) > maxDocumentBytes:
		return invalid("the content is longer than 64 KiB")
	}
	var kind struct {
		Kind string `json:"kind"`
	}
	if json.Unmarshal(content, &kind) != nil || kind.Kind != kindSecret && kind.Kind != kindKey {
		return invalid("the content is not a JSON object with a known kind")
	}
	if want := kindOf(doc); kind.Kind != want {
		return invalid("the document is of kind " + kind.Kind + " and not " + want + "; pass the store of the other credential")
	}
	if json.Unmarshal(content, doc) != nil {
		return invalid("a field is missing or has another type")
	}
	if doc.head().Format > format {
		return doc.inForce() // with any phase
	}
	return doc.valid()
}

func kindOf(doc document) string {
	if _, ok := doc.(*keyDocument); ok {
		return kindKey
	}
	return kindSecret
}

var errNotUTF8 = errors.New("diffhook: save the document: a secret or a key is not UTF-8; copy it again as plain text")

// encode returns doc as JSON. Fields of before that are unknown to this package stay.
func encode(before []byte, doc document) ([]byte, error) {
	for _, text := range doc.credentials() {
		if !utf8.ValidString(text) { // json.Marshal would replace a part
			return nil, errNotUTF8
		}
	}
	known, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	var foreign, fields map[string]json.RawMessage
	if before != nil && json.Unmarshal(before, &foreign) == nil {
		for _, name := range strings.Fields("kind format phase since replaced run run_until wait_until current previous leaked revoke id key secret label next outstanding") {
			delete(foreign, name)
		}
	}
	if len(foreign) == 0 {
		return known, nil
	}
	if err := json.Unmarshal(known, &fields); err != nil {
		return nil, err
	}
	for name, value := range foreign {
		fields[name] = value
	}
	return json.Marshal(fields)
}

// sameDocument reports whether content is doc, perhaps reformatted by a store.
func sameDocument(content []byte, doc document) bool {
	seen := newDocument(kindOf(doc))
	if content == nil || decode(content, seen) != nil {
		return false
	}
	a, errA := json.Marshal(seen)
	b, errB := json.Marshal(doc)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// now returns the time with the precision of documents.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// shownID returns id for errors and steps. A client id, which looks like an API key, is
// shortened.
func shownID(id string) string {
	if key, err := diffhook.NewAPIKey(id); err == nil {
		return key.String()
	}
	return scrub.Bounded(id, 80)
}

// isWhole reports whether an id can be shown whole, or is a client id.
func isWhole(id string) bool {
	_, err := diffhook.NewAPIKey(id)
	return err == nil || shownID(id) == id
}
