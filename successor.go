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

// A sealed successor is sealedPrefix, the fingerprints of the old and of the new
// secret, and the base64 of the nonce and the ciphertext, with dots between them.
const sealedPrefix = "successor-v1"

var (
	errSealZero      = fmt.Errorf("%w: SealSuccessor: a secret is zero; make one with NewSecret", ErrInvalidSecret)
	errSealEqual     = fmt.Errorf("%w: SealSuccessor: the successor is the secret itself", ErrInvalidSecret)
	errSealedText    = fmt.Errorf("%w: AcceptSuccessor: the text is not what SealSuccessor returned", ErrInvalidSecret)
	errSealedReject  = fmt.Errorf("%w: AcceptSuccessor: one of the two secrets has been rejected", ErrInvalidSecret)
	errSealedAnother = fmt.Errorf("%w: AcceptSuccessor: it is sealed under another secret than the current one; compare Verifier.Status", ErrInvalidSecret)
)

// SealSuccessor returns next in a form that only a verifier whose current secret
// is s can read, for [Verifier.AcceptSuccessor]: encrypted by AES-256-GCM under a
// key that HKDF-SHA-256 derives from s and from both fingerprints, which the text
// shows.
//
// Whoever has s can read next: do not seal under a secret that has leaked.
//
// The error matches [ErrInvalidSecret] if a secret is zero or both are the same.
func (s Secret) SealSuccessor(next Secret) (string, error) {
	switch {
	case s.IsZero() || next.IsZero():
		return "", errSealZero
	case s.Equal(next):
		return "", errSealEqual
	}
	head := strings.Join([]string{sealedPrefix, s.Fingerprint(), next.Fingerprint()}, ".")
	aead, err := s.successorCipher(head)
	if err != nil {
		return "", err
	}
	sealed := aead.Seal(nil, nil, []byte(next.Reveal()), []byte(head))
	return head + "." + base64.RawURLEncoding.EncodeToString(sealed), nil
}

// successorCipher returns the cipher for the one successor that head names.
func (s Secret) successorCipher(head string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(s.Reveal()), nil, "diffhook-go "+head, 32)
	if err != nil {
		return nil, fmt.Errorf("diffhook: derive the key of a sealed successor: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("diffhook: make the cipher of a sealed successor: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// sealedSuccessor is a text of SealSuccessor, taken apart.
type sealedSuccessor struct{ old, next, head, ciphertext string }

func parseSealed(text string) (s sealedSuccessor, err error) {
	parts := strings.Split(text, ".")
	if len(parts) != 4 || parts[0] != sealedPrefix || checkFingerprint(parts[1]) != nil || checkFingerprint(parts[2]) != nil {
		return s, errSealedText
	}
	return sealedSuccessor{parts[1], parts[2], strings.Join(parts[:3], "."), parts[3]}, nil
}

// open returns the successor that was sealed under old.
func (s sealedSuccessor) open(old Secret) (Secret, error) {
	ciphertext, err := base64.RawURLEncoding.Strict().DecodeString(s.ciphertext)
	if err != nil {
		return Secret{}, errSealedText
	}
	aead, err := old.successorCipher(s.head)
	if err != nil {
		return Secret{}, err
	}
	text, err := aead.Open(nil, nil, ciphertext, []byte(s.head))
	if err != nil {
		return Secret{}, errSealedText
	}
	next, err := NewSecret(string(text))
	if err == nil && next.Fingerprint() != s.next {
		err = errSealedText
	}
	return next, err
}

// AcceptSuccessor makes the secret in sealed the current one and keeps accepting
// the secret that it replaces for RotationWindow. sealed is the text of
// [Secret.SealSuccessor] of the current secret: an old text cannot be replayed.
// Nothing is accepted that [Verifier.Reject] has rejected, nor what is sealed under
// a rejected secret. The successor that is current already is no error.
//
// Unlike after [Verifier.Rotate], an answer of the source that still names the same
// current secret as before does not undo it: the source is behind. Any other
// current secret is put in force, and so is the old one again if the successor is
// rejected: that corrects a wrong one. [VerifierStatus].Source shows whether the
// source has the successor.
//
// The error matches [ErrInvalidSecret] if sealed is not accepted, and
// [ErrSecretsUnavailable] from a zero Verifier. Nothing has changed then.
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
	previous, window := Secret{}, (*window)(nil)
	if v.opts.RotationWindow > 0 {
		previous, window = set.current, openWindow(time.Now().Add(v.opts.RotationWindow))
	}
	v.store(next, previous, window)
	v.pushed = true
	return nil
}

// isBehind reports whether an answer of the source names the same current secret
// as before the successor was accepted. The caller holds v.mu.
func (v *verifierState) isBehind(set *secretSet, answer Secrets) bool {
	return v.pushed && set.rejected == 0 && answer.Current.Equal(v.last.Current)
}
