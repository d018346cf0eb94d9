package rotation

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/diffhook/diffhook-go"
)

// Pair is an API key of either generation. Generation 1 uses ID and Key, and generation
// 2 uses ID, the client id, and Secret. A Pair prints, logs and encodes as the ID alone.
// Reflection, as in go-cmp, shows all fields.
type Pair struct {
	// ID is the id by which DiffHook deletes the key. By hand in generation 1, ID is
	// the label of the key, and no other key may have the same label.
	ID string

	Key    string // generation 1: the API key, dh_live_…
	Secret string // generation 2: the client secret
}

// Credentials returns the credentials for a [diffhook.Client]. The error matches
// [diffhook.ErrInvalidCredentials].
func (p Pair) Credentials() (diffhook.Credentials, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	return p.credentials(), nil
}

// credentials is Credentials of a checked pair.
func (p Pair) credentials() diffhook.Credentials {
	if p.Secret != "" {
		return diffhook.ClientCredentials(p.ID, p.Secret)
	}
	key, _ := diffhook.NewAPIKey(p.Key)
	return key
}

func (p Pair) check() error {
	switch {
	case p.ID == "":
		return fmt.Errorf("%w: the id of the pair is empty; pass the id, the label or the client id of the key", diffhook.ErrInvalidCredentials)
	case (p.Key == "") == (p.Secret == ""):
		return fmt.Errorf("%w: the pair must contain a key (generation 1) or a client secret (generation 2), and not both", diffhook.ErrInvalidCredentials)
	case !isWhole(p.ID):
		return fmt.Errorf("%w: the id of the pair is longer than 80 bytes or not printable; pass an id or a label that can be shown", diffhook.ErrInvalidCredentials)
	case p.ID == p.Key || p.ID == p.Secret:
		return fmt.Errorf("%w: the id of the pair is the key itself; pass the id, the label or the client id of the key", diffhook.ErrInvalidCredentials)
	}
	if p.Key != "" {
		_, err := diffhook.NewAPIKey(p.Key)
		return err
	}
	// NewClient checks client credentials, and sends nothing.
	_, err := diffhook.NewClient(p.credentials(), nil)
	return err
}

// same reports whether p and q are the same key, whatever their ids.
func (p Pair) same(q Pair) bool { return p.Key == q.Key && p.Secret == q.Secret }

// String returns the id.
func (p Pair) String() string { return "rotation.Pair(" + shownID(p.ID) + ")" }

// Format writes the text of String under every verb.
func (p Pair) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.String()) }

// LogValue returns the text of String.
func (p Pair) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText returns the text of String.
func (p Pair) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText returns an error: a Pair encodes as the ID alone.
func (p *Pair) UnmarshalText([]byte) error {
	return errors.New("diffhook: decode a Pair: a Pair encodes without its key; set the fields")
}
