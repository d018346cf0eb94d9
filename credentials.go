package diffhook

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/diffhook/diffhook-go/internal/scrub"
)

// Credentials supply the bearer token of the API's requests: an [APIKey] (generation
// 1 of the platform), [ClientCredentials] (generation 2), or [EnvCredentials], which
// picks either.
//
// Token is called before every attempt at a request, possibly concurrently.
type Credentials interface {
	Token(ctx context.Context) (string, error)
}

// CredentialsFunc is an adapter: a function as [Credentials], for a key that is kept
// elsewhere and may change. It should return a token from memory.
type CredentialsFunc func(ctx context.Context) (string, error)

// Token calls f.
func (f CredentialsFunc) Token(ctx context.Context) (string, error) { return f(ctx) }

// APIKey is a live API key. It is opaque as a [Secret] is: it prints, logs and
// encodes as the prefix and the last four characters (dh_live_…wxyz), or as the
// prefix alone if it is short. Only [APIKey.Reveal] returns the text. To compare
// keys, call [APIKey.Equal]: == does not compile. The zero value is not a key. All
// methods are safe for concurrent use.
type APIKey struct {
	text func() string // behind a function, as the key of a Secret
}

// NewAPIKey returns the API key with the given text: dh_live_ and at least one letter,
// digit, - or _. Keys are made at App → Settings → API Keys, which shows a key once, at
// the creation.
//
// For any other text, the error matches [ErrInvalidCredentials] and does not repeat
// the text.
func NewAPIKey(s string) (APIKey, error) {
	rest, ok := strings.CutPrefix(s, apiKeyPrefix)
	switch {
	case s == "":
		return APIKey{}, fmt.Errorf("%w: it is empty; create one at App → Settings → API Keys", ErrInvalidCredentials)
	case strings.TrimSpace(s) != s:
		return APIKey{}, fmt.Errorf("%w: it begins or ends with white space; trim it", ErrInvalidCredentials)
	case !ok:
		return APIKey{}, fmt.Errorf("%w: it %s", ErrInvalidCredentials, prefixFault(s))
	case rest == "":
		return APIKey{}, fmt.Errorf("%w: nothing follows %s; copy it whole", ErrInvalidCredentials, apiKeyPrefix)
	case strings.ContainsFunc(rest, func(r rune) bool { return !scrub.IsKeyRune(r) }):
		return APIKey{}, fmt.Errorf("%w: it contains characters other than letters, digits, - and _; copy the key again, as shown at the creation", ErrInvalidCredentials)
	}
	s = strings.Clone(s)
	return APIKey{text: func() string { return s }}, nil
}

// prefixFault returns the problem of a text that does not begin with the prefix of API
// keys and client ids, and the remedy, as textFault does.
func prefixFault(s string) string {
	if fault := textFault(s); fault != "" {
		return fault
	}
	if strings.Contains(s, apiKeyPrefix) {
		return "does not begin with " + apiKeyPrefix + "; pass the text from there on alone"
	}
	return "does not begin with " + apiKeyPrefix + "; is it the signing secret?"
}

// Token returns the key: an APIKey is [Credentials].
func (k APIKey) Token(context.Context) (string, error) {
	if k.text == nil {
		return "", fmt.Errorf("%w: the APIKey is a zero value; make one with NewAPIKey", ErrInvalidCredentials)
	}
	return k.text(), nil
}

// Reveal returns the text, to save in a secrets manager. The zero APIKey returns "".
func (k APIKey) Reveal() string {
	if k.text == nil {
		return ""
	}
	return k.text()
}

// Equal reports, in constant time, whether two keys are the same.
func (k APIKey) Equal(other APIKey) bool {
	a, b := sha256.Sum256([]byte(k.Reveal())), sha256.Sum256([]byte(other.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// IsZero reports whether k is the zero APIKey.
func (k APIKey) IsZero() bool { return k.text == nil }

// String returns the prefix and the last four characters of the key, or (none) for
// the zero APIKey.
func (k APIKey) String() string {
	if k.IsZero() {
		return shownZero
	}
	return redactAPIKey(k.Reveal())
}

// Format writes the text of String under every verb.
func (k APIKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// MarshalText returns the text of String.
func (k APIKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// redactAPIKey shows the last four characters of a key only if the key is long.
func redactAPIKey(text string) string {
	const shown, least = 4, 16
	if len(text) < len(apiKeyPrefix)+least {
		return apiKeyPrefix + "…"
	}
	return apiKeyPrefix + "…" + text[len(text)-shown:]
}

// ClientCredentials returns the credentials of generation 2: a client id, which begins
// with dh_live_, and a client secret. Each [Client] exchanges them for a separate
// access token, at api/oauth/token of the base URL. A token lives 24 h, and the client
// gets a new token shortly before the end.
func ClientCredentials(id, secret string) Credentials {
	secret = strings.Clone(secret)
	return clientCredentials{id: id, secret: func() string { return secret }}
}

type clientCredentials struct {
	id     string
	secret func() string
}

// Token fails: only a Client can exchange the credentials.
func (clientCredentials) Token(context.Context) (string, error) {
	return "", fmt.Errorf("%w: ClientCredentials have no token of their own; pass them to NewClient", ErrInvalidOptions)
}

// Format writes a part of the id, under every verb.
func (c clientCredentials) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "diffhook.ClientCredentials(%s)", redactAPIKey(c.id))
}

func (c clientCredentials) check() error {
	switch {
	case !strings.HasPrefix(c.id, apiKeyPrefix):
		return fmt.Errorf("%w: the client id %s", ErrInvalidCredentials, prefixFault(c.id))
	case strings.ContainsFunc(c.id, func(r rune) bool { return !scrub.IsKeyRune(r) }):
		return fmt.Errorf("%w: the client id contains characters other than letters, digits, - and _; copy the id again from App → Settings → API Keys", ErrInvalidCredentials)
	case c.secret() == "":
		return fmt.Errorf("%w: the client secret is empty", ErrInvalidCredentials)
	case strings.HasPrefix(c.secret(), apiKeyPrefix):
		return fmt.Errorf("%w: the client secret begins with %s, as a client id does; pass the secret shown once, at the creation", ErrInvalidCredentials, apiKeyPrefix)
	}
	if fault := textFault(c.secret()); fault != "" {
		return fmt.Errorf("%w: the client secret %s", ErrInvalidCredentials, fault)
	}
	return nil
}

// Environment variables with credentials, under the names of DiffHook's
// documentation.
const (
	envAPIKey       = "DIFFHOOK_API_KEY"
	envClientID     = "DIFFHOOK_CLIENT_ID"
	envClientSecret = "DIFFHOOK_CLIENT_SECRET"
)

// EnvCredentials returns the credentials in the environment: the API key in
// DIFFHOOK_API_KEY (generation 1) or, if that is not set, the client credentials in
// DIFFHOOK_CLIENT_ID and DIFFHOOK_CLIENT_SECRET (generation 2). The variables are
// read when a [Client] gets the credentials. Errors name the variable, never the
// value.
func EnvCredentials() Credentials { return envCredentials{} }

type envCredentials struct{}

func (e envCredentials) Token(ctx context.Context) (string, error) {
	creds, err := e.resolve()
	if err != nil {
		return "", err
	}
	return creds.Token(ctx)
}

func (envCredentials) resolve() (Credentials, error) {
	if text := os.Getenv(envAPIKey); text != "" {
		key, err := NewAPIKey(text)
		if err != nil {
			return nil, fmt.Errorf("%w (read from the environment variable %s)", err, envAPIKey)
		}
		return key, nil
	}
	id, secret := os.Getenv(envClientID), os.Getenv(envClientSecret)
	if id == "" && secret == "" {
		return nil, fmt.Errorf("%w: the environment variable %s is not set, nor are %s and %s", ErrInvalidCredentials, envAPIKey, envClientID, envClientSecret)
	}
	creds := ClientCredentials(id, secret).(clientCredentials)
	if err := creds.check(); err != nil {
		return nil, fmt.Errorf("%w (read from the environment variables %s and %s)", err, envClientID, envClientSecret)
	}
	return creds, nil
}
