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

// sealedPrefix begins a sealed successor. The fingerprints of the old and of the new
// secret follow, and in base64 a nonce and the ciphertext, with dots between.
const sealedPrefix = "diffhook-successor-v1"

var (
	errSealZero      = fmt.Errorf("%w: SealSuccessor: a secret is zero, or both are the same", ErrInvalidSecret)
	errNotSealed     = fmt.Errorf("%w: AcceptSuccessor: the text is not one of SealSuccessor, or was changed", ErrInvalidSecret)
	errSealedAnother = fmt.Errorf("%w: AcceptSuccessor: it is not sealed under the current secret; compare Verifier.Status", ErrInvalidSecret)
	errSealedReject  = fmt.Errorf("%w: AcceptSuccessor: the secret, or the one that sealed it, has been rejected", ErrInvalidSecret)
)

// SealSuccessor returns next as a text for [Verifier.AcceptSuccessor] of verifiers
// whose current secret is s. The text shows both fingerprints. Whoever has s can
// read next in it: do not seal under a secret that has leaked.
//
// The key is HKDF-SHA-256 of s and both fingerprints, the cipher AES-256-GCM. The
// error matches [ErrInvalidSecret] if a secret is zero or both are the same.
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

// successorCipher returns the cipher for the one successor of s that head names.
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

// open returns the secret that was sealed under old.
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

// AcceptSuccessor makes the secret that [Secret.SealSuccessor] of the current secret
// sealed the current one, and keeps accepting the one that it replaces for
// RotationWindow. A secret that is current already changes nothing.
//
// Unlike after [Verifier.Rotate], an answer of the source that names the same current
// secret as its last one does not undo it: the source is behind, as
// [VerifierStatus].Source shows. It does once the successor is rejected, which
// corrects a wrong one.
//
// The error matches [ErrInvalidSecret] if the text is sealed under another secret
// than the current one (so an old text cannot be replayed), or if one of the two
// secrets has been rejected, and [ErrSecretsUnavailable] if the Verifier is zero.
// Nothing has changed then.
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

// isBehind reports whether an answer of the source names the current secret that its
// last answer named, and a successor of that has been accepted. v.mu is held.
func (v *verifierState) isBehind(set *secretSet, answer Secrets) bool {
	return v.pushed && set.rejected == 0 && answer.Current.Equal(v.last.Current)
}
