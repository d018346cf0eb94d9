package diffhook

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// sealedPrefix begins a sealed successor. Dots separate the other three parts: the
// old fingerprint, the new fingerprint, and the base64 of nonce and ciphertext.
const sealedPrefix = "diffhook-successor-v1"

var (
	errSealZero      = fmt.Errorf("%w: SealSuccessor: a secret is zero, or both are the same", ErrInvalidSecret)
	errNotSealed     = fmt.Errorf("%w: AcceptSuccessor: the text is not a result of SealSuccessor, or was changed; copy it whole", ErrInvalidSecret)
	errSealedAnother = fmt.Errorf("%w: AcceptSuccessor: the text is not sealed under the current secret; compare Verifier.Status", ErrInvalidSecret)
	errSealedReject  = fmt.Errorf("%w: AcceptSuccessor: the old or the new secret has been rejected", ErrInvalidSecret)
)

// SealSuccessor returns next, encrypted under s, for [Verifier.AcceptSuccessor] of
// the verifiers whose current secret is s. The text shows both fingerprints. Anybody
// with s can decrypt next: do not seal under a leaked secret.
//
// HKDF-SHA-256 derives the key from s and both fingerprints; the cipher is
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

// AcceptSuccessor makes the sealed secret current and accepts the replaced secret for
// RotationWindow more. sealed is a result of [Secret.SealSuccessor] of the current
// secret. If the successor is current already, nothing changes.
//
// The successor stays current until the source names a new current secret. Until
// then the source is behind, and [VerifierStatus].Source shows the old fingerprint.
// To undo a wrong successor, [Verifier.Reject] it: the next read of the source
// restores the old secret.
//
// Errors, after which nothing has changed, match:
//
//   - [ErrInvalidSecret]: sealed was changed, or is sealed under a secret other than
//     the current secret. So an old text cannot be replayed.
//   - [ErrInvalidSecret]: the old or the new secret has been rejected.
//   - [ErrSecretsUnavailable]: the Verifier is zero.
func (v *Verifier) AcceptSuccessor(sealed string) error {
	s, err := parseSealed(sealed)
	if err != nil {
		return err
	}
	return v.live().acceptSuccessor(s)
}

func (v *verifierState) acceptSuccessor(s sealedSuccessor) error {
	v.mu.Lock()
	defer v.unlock()
	set := v.set.Load()
	switch {
	case set == nil:
		return errZeroVerifier
	case v.isRejected(s.old), v.isRejected(s.next):
		return errSealedReject
	case s.next == set.current.Fingerprint():
		return nil
	case s.old != set.current.Fingerprint():
		return errSealedAnother
	}
	next, err := s.open(set.current)
	if err != nil {
		return err
	}
	if v.opts.RotationWindow > 0 {
		v.store(next, set.current, openWindow(time.Now().Add(v.opts.RotationWindow)))
	} else {
		v.store(next, Secret{}, nil)
	}
	v.pushed = true
	return nil
}

// isBehind reports whether the source repeats its current secret after
// AcceptSuccessor. The caller holds v.mu.
func (v *verifierState) isBehind(set *secretSet, answer Secrets) bool {
	return v.pushed && set.rejected == 0 && answer.Current.Equal(v.last.Current)
}
