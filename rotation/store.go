package rotation

import (
	"context"
	"fmt"
	"time"

	"github.com/diffhook/diffhook-go"
)

// Store keeps the document of a credential: the credential itself, for servers or
// applications, and the progress of a rotation. The document contains credentials:
// protect the store as you protect them. A Store must be safe for concurrent use.
//
// A rotation reads the document again after each Swap, also after an error. A store
// may reformat the JSON. If Get lags behind Swap, the rotation waits for up to 30 s.
type Store interface {
	// Get returns the document and a version. If there is no document, doc is nil, and
	// the version is for the Swap that creates the document.
	Get(ctx context.Context) (doc []byte, version string, err error)

	// Swap replaces the document if version is still the newest. Otherwise the
	// document stays, and the error matches [ErrConflict].
	Swap(ctx context.Context, version string, doc []byte) error
}

// NewSecret saves the first document. DiffHook signs with current now. The error
// matches [ErrConflict] if there is a document, and [diffhook.ErrInvalidSecret] if
// current is the zero Secret.
func NewSecret(ctx context.Context, s Store, current diffhook.Secret) error {
	if current.IsZero() {
		return fmt.Errorf("%w: create the document: the secret is the zero Secret; pass a secret of diffhook.NewSecret", diffhook.ErrInvalidSecret)
	}
	doc := &secretDocument{Current: secretText{current}}
	doc.header = newHeader(kindSecret)
	return create(ctx, s, doc)
}

// NewKey saves the first document of an API key. The error matches [ErrConflict] if
// there is a document, and [diffhook.ErrInvalidCredentials] if key is no credential.
func NewKey(ctx context.Context, s Store, key Pair) error {
	if err := key.check(); err != nil {
		return err
	}
	doc := &keyDocument{pairText: pairText(key)}
	doc.header = newHeader(kindKey)
	return create(ctx, s, doc)
}

func newHeader(kind string) header {
	return header{Kind: kind, Format: format, Phase: phaseIdle, Since: now()}
}

func create(ctx context.Context, s Store, doc document) error {
	j := newJournal(s, kindOf(doc))
	content, version, err := j.get(ctx)
	if err != nil {
		return err
	}
	if content != nil {
		return fmt.Errorf("%w: create the document: there is a document already; use that document, or name another", ErrConflict)
	}
	return j.save(ctx, nil, version, doc)
}

// Source returns the source of the signing secrets in the document of s, for
// [diffhook.NewVerifier].
func Source(s Store) diffhook.SecretSource {
	return diffhook.SecretSourceFunc(func(ctx context.Context) (diffhook.Secrets, error) {
		doc := new(secretDocument)
		if err := read(ctx, s, doc); err != nil {
			return diffhook.Secrets{}, fmt.Errorf("%w: %w", diffhook.ErrSecretsUnavailable, err)
		}
		return doc.secrets(), nil
	})
}

// Credentials returns the credentials in the document of s, to create a client.
// [Watch] keeps the client up to date.
func Credentials(ctx context.Context, s Store) (diffhook.Credentials, error) {
	doc := new(keyDocument)
	if err := read(ctx, s, doc); err != nil {
		return nil, err
	}
	return Pair(doc.pairText).credentials(), nil
}

// Watch sets the credentials of c to those in the document of s, now and after each
// change. The time between two reads is every; zero means 1 minute. If the first read
// fails, Watch returns the error. If a later read fails, c keeps the last credentials.
// When ctx ends, Watch returns the error of ctx.
func Watch(ctx context.Context, s Store, c *diffhook.Client, every time.Duration) error {
	if every < 0 {
		return fmt.Errorf("%w: watch the API key: every is negative; pass 0 for a minute", diffhook.ErrInvalidOptions)
	}
	if every == 0 {
		every = time.Minute
	}
	var last pairText
	for first := true; ; first = false {
		doc := new(keyDocument)
		err := read(ctx, s, doc)
		switch {
		case err != nil && first:
			return err
		case err == nil && doc.pairText != last:
			last = doc.pairText
			c.SetCredentials(Pair(last).credentials())
		}
		if err := pause(ctx, every); err != nil {
			return err
		}
	}
}

// read reads the document of s, also of a newer format.
func read(ctx context.Context, s Store, doc document) error {
	j := newJournal(s, kindOf(doc))
	content, _, err := j.get(ctx)
	if err != nil {
		return err
	}
	return decode(content, doc)
}
