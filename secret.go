package diffhook

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/diffhook/diffhook-go/internal/scrub"
)

// Secret is a signing secret: the key with which DiffHook signs deliveries.
//
// A Secret is opaque. Printing, logging, encoding or comparing a Secret, or a value
// that holds it, shows a placeholder. Only [Secret.Reveal] returns the text, and
// [Secret.Fingerprint] names the secret. The zero value signs nothing and accepts
// nothing. To compare secrets, call [Secret.Equal]: == does not compile. Copies share
// the key. All methods are safe for concurrent use.
type Secret struct {
	// key returns the key material. fmt calls no methods on unexported fields, and
	// reflection follows pointers, but neither looks into or calls a function.
	key func() *signingKey
}

// minSecretBytes is less than the length of every secret from DiffHook, and more than
// the length of a placeholder or a truncated paste. A shorter HMAC key can be guessed.
const minSecretBytes = 16

// apiKeyPrefix begins every API key, the other credential of the platform.
const apiKeyPrefix = scrub.KeyPrefix

// redactedSecret is the printed text of a Secret, and shownZero the printed text of a
// zero Secret or APIKey.
const (
	redactedSecret = scrub.SecretPlaceholder
	shownZero      = "(none)"
)

// NewSecret returns the signing secret with the given text, byte for byte: the text
// at App → Settings → API Keys → Signing secret.
//
// NewSecret accepts every text that DiffHook can issue. Errors match
// [ErrInvalidSecret] and do not repeat the text. They are for a text that
//   - is shorter than 16 bytes;
//   - begins or ends with white space, such as a file's newline;
//   - has a line break, a control or an invisible character;
//   - is UTF-16, or begins with a byte order mark;
//   - is an API key, a signature, or the text that a Secret prints as;
//   - is in quotes, a line NAME=value or a JSON object;
//   - stands for a secret, and can be guessed: ${NAME}, $(NAME), %NAME%, {{name}},
//     <your-secret>, the name of a variable, arn:…, op://…, a URL, a path, an error
//     message.
func NewSecret(s string) (Secret, error) {
	fault := textFault(s)
	switch {
	case s == "":
		return Secret{}, fmt.Errorf("%w: it is empty; copy it from App → Settings → API Keys → Signing secret", ErrInvalidSecret)
	case strings.Contains(s, redactedSecret):
		return Secret{}, fmt.Errorf("%w: it is the placeholder that a Secret prints as; store a secret with Reveal", ErrInvalidSecret)
	case fault != "":
		return Secret{}, fmt.Errorf("%w: it %s", ErrInvalidSecret, fault)
	case strings.HasPrefix(s, apiKeyPrefix):
		return Secret{}, fmt.Errorf("%w: it is an API key (%s…); copy the signing secret, another credential, from App → Settings → API Keys → Signing secret", ErrInvalidSecret, apiKeyPrefix)
	case len(s) < minSecretBytes:
		return Secret{}, fmt.Errorf("%w: it is %d bytes long, and a secret at least %d; copy the whole secret from App → Settings → API Keys", ErrInvalidSecret, len(s), minSecretBytes)
	}
	key := newSigningKey(s)
	return Secret{key: func() *signingKey { return key }}, nil
}

// Sign returns the signature of body: "sha256=" and the 64 lower-case hex digits of
// the HMAC-SHA256. The zero Secret returns "".
func (s Secret) Sign(body []byte) string {
	if s.key == nil {
		return ""
	}
	m := s.key().mac(body)
	defer m.release()
	return signaturePrefix + hex.EncodeToString(m.sum[:])
}

// Reveal returns the text, to save in a secrets manager. No other method returns it.
// The zero Secret returns "".
func (s Secret) Reveal() string {
	if s.key == nil {
		return ""
	}
	return s.key().text
}

// Fingerprint returns 16 hex digits that name the secret in logs and statuses without
// showing it: the beginning of an HMAC of a fixed label under the secret. Equal
// secrets have equal fingerprints, in every process. A weak secret can be guessed
// offline from its fingerprint. The zero Secret returns "".
func (s Secret) Fingerprint() string {
	if s.key == nil {
		return ""
	}
	return s.key().fingerprint
}

// Equal reports, in constant time, whether two secrets are the same. Two zero
// Secrets are equal.
func (s Secret) Equal(t Secret) bool {
	if s.key == nil || t.key == nil {
		return s.key == nil && t.key == nil
	}
	a, b := s.key(), t.key()
	return subtle.ConstantTimeCompare(a.identity[:], b.identity[:]) == 1
}

// IsZero reports whether s is the zero Secret.
func (s Secret) IsZero() bool { return s.key == nil }

// String returns a placeholder, or (none) for the zero Secret.
func (s Secret) String() string {
	if s.IsZero() {
		return shownZero
	}
	return redactedSecret
}

// Format writes the text of String under every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText returns the text of String, for encoding/json, log/slog and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// checkFingerprint returns an error if s cannot be a result of [Secret.Fingerprint].
// The error does not repeat s, which may be a secret.
func checkFingerprint(s string) error {
	if len(s) != 2*fingerprintBytes || strings.Trim(s, "0123456789abcdef") != "" {
		return fmt.Errorf("%w: a fingerprint is %d digits of 0-9 and a-f, as from Secret.Fingerprint and Verifier.Status", ErrInvalidOptions, 2*fingerprintBytes)
	}
	return nil
}

// signingKey is the key of a Secret. Only the function of a Secret may point to it:
// the pooled states are as good as the key.
type signingKey struct {
	text        string
	identity    tag // an HMAC of a fixed label, to compare keys
	fingerprint string
	macs        sync.Pool // of *macState, keyed and reset
	states      atomic.Uint32
}

// fingerprintLabel is the text that identity signs. It is not JSON, so the signature
// of an event shows no part of identity.
const fingerprintLabel = "diffhook-go signing secret fingerprint v1"

// fingerprintBytes is the length of the HMAC in a fingerprint.
const fingerprintBytes = 8

func newSigningKey(text string) *signingKey {
	k := &signingKey{text: strings.Clone(text)}
	k.macs.New = func() any {
		return &macState{key: k, hmac: hmac.New(sha256.New, []byte(k.text)), lane: k.states.Add(1)}
	}
	m := k.mac([]byte(fingerprintLabel))
	defer m.release()
	k.identity = m.sum
	k.fingerprint = hex.EncodeToString(k.identity[:fingerprintBytes])
	return k
}

// mac returns a state whose sum is the HMAC of body. The caller must release it.
func (k *signingKey) mac(body []byte) *macState {
	m := k.macs.Get().(*macState)
	m.hmac.Write(body)
	m.hmac.Sum(m.sum[:0])
	return m
}

// matches returns 1 if t is the HMAC of body and 0 if not, in a time that depends
// only on the length of body. lane is the lane to count a use in: see counter.
func (k *signingKey) matches(body []byte, t *tag) (match int, lane uint32) {
	m := k.mac(body)
	match, lane = subtle.ConstantTimeCompare(m.sum[:], t[:]), m.lane
	m.release()
	return match, lane
}

// signed reports whether t is the HMAC of body.
func (k *signingKey) signed(body []byte, t *tag) bool {
	match, _ := k.matches(body, t)
	return match == 1
}

// macState is a keyed HMAC with room for the result. To reuse a state saves the two
// compressions of the key, and every allocation.
type macState struct {
	key  *signingKey
	hmac hash.Hash
	sum  tag
	lane uint32 // sync.Pool keeps a state with one processor, mostly
}

func (m *macState) release() {
	m.hmac.Reset()
	m.key.macs.Put(m)
}

// SealSuccessor returns next, encrypted under s, for [Verifier.AcceptSuccessor] of
// the verifiers whose current secret is s. The text shows both fingerprints. Anybody
// with s can decrypt next: do not seal under a leaked secret.
//
// HKDF-SHA-256 derives the key from s and both fingerprints, and the cipher is
// AES-256-GCM. The error matches [ErrInvalidSecret] if a secret is zero or both are
// the same.
func (s Secret) SealSuccessor(next Secret) (string, error) {
	if s.IsZero() || next.IsZero() || s.Equal(next) {
		return "", errSealZero
	}
	head := strings.Join([]string{sealedPrefix, s.Fingerprint(), next.Fingerprint()}, ".")
	aead, err := s.successorCipher(head)
	if err != nil {
		return "", err
	}
	sealed := aead.Seal(nil, nil, []byte(next.Reveal()), nil)
	return head + "." + base64.RawURLEncoding.EncodeToString(sealed), nil
}

// sealedPrefix begins a sealed successor. Dots separate the other three parts: the
// old fingerprint, the new fingerprint, and the base64 of nonce and ciphertext.
const sealedPrefix = "diffhook-successor-v1"

// successorCipher returns the cipher for the pair of secrets in head.
func (s Secret) successorCipher(head string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(s.Reveal()), nil, head, 32)
	if err != nil {
		return nil, fmt.Errorf("diffhook: sealed successor: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("diffhook: sealed successor: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// sealedSuccessor is a text of SealSuccessor, taken apart.
type sealedSuccessor struct {
	head, old, next string // old and next are fingerprints
	ciphertext      []byte
}

func parseSealed(text string) (s sealedSuccessor, err error) {
	parts := strings.Split(text, ".")
	if len(parts) != 4 || parts[0] != sealedPrefix || checkFingerprint(parts[1]) != nil || checkFingerprint(parts[2]) != nil {
		return s, errNotSealed
	}
	s = sealedSuccessor{head: strings.Join(parts[:3], "."), old: parts[1], next: parts[2]}
	if s.ciphertext, err = base64.RawURLEncoding.Strict().DecodeString(parts[3]); err != nil {
		return s, errNotSealed
	}
	return s, nil
}

// open decrypts the successor with the old secret.
func (s sealedSuccessor) open(old Secret) (Secret, error) {
	aead, err := old.successorCipher(s.head)
	if err != nil {
		return Secret{}, err
	}
	text, err := aead.Open(nil, nil, s.ciphertext, nil)
	if err != nil {
		return Secret{}, errNotSealed
	}
	next, err := NewSecret(string(text))
	if err != nil || next.Fingerprint() != s.next {
		return Secret{}, errNotSealed
	}
	return next, nil
}
