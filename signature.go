package diffhook

import (
	"crypto/sha256"
	"net/http"
	"strings"
)

// Headers that carry the signature of a delivery, from DiffHook's page
// "Verifying Signatures". Both generations sign the same way and only name
// the header differently.
const (
	SignatureHeader     = "X-DiffHook-Signature" // generation 1
	SignatureHeaderGen2 = "X-Signature"          // generation 2
)

// signaturePrefix names the algorithm. It is fixed: nothing that a sender
// writes chooses how a signature is checked.
const signaturePrefix = "sha256="

// tag is the 32 bytes of an HMAC-SHA256, decoded.
type tag [sha256.Size]byte

// parse decodes the one form a signature may have: "sha256=" and 64 digits of
// [0-9a-f]. Upper-case digits are refused, so that one tag has one spelling.
// Spaces and tabs around it are no part of a header's value (RFC 9110, section
// 5.5): net/http takes them off over HTTP/1.1 and leaves them over HTTP/2.
// The text is the sender's own, so its parsing need not take constant time.
func (t *tag) parse(s string) error {
	if s = trimBlanks(s); s == "" {
		return ErrNoSignature
	}
	if len(s) != len(signaturePrefix)+2*len(t) || s[:len(signaturePrefix)] != signaturePrefix {
		return ErrMalformedSignature
	}
	digits := s[len(signaturePrefix):]
	var seen byte
	for i := range t {
		high, low := hexValue[digits[2*i]], hexValue[digits[2*i+1]]
		seen |= high | low
		t[i] = high<<4 | low
	}
	if seen > 0x0f {
		return ErrMalformedSignature
	}
	return nil
}

// hexValue maps each lower-case hex digit to its value and all else to 0xff.
var hexValue = func() (values [256]byte) {
	for i := range values {
		values[i] = 0xff
	}
	for value, digit := range []byte("0123456789abcdef") {
		values[digit] = byte(value)
	}
	return values
}()

// trimBlanks returns a header's value without the spaces and tabs around it.
func trimBlanks(s string) string { return strings.Trim(s, " \t") }

// signatureFrom picks the signature out of a request's header: that of
// generation 1 if it is there, else that of generation 2. Blank values count
// as absent. Names match in any case, because a map that net/http did not fill
// (the event of a Lambda function, a test) need not have canonical keys.
// Several values under one name, however it is spelled, are malformed: nobody
// knows which value a proxy in front has read. isGen1 reports that the header is that
// of generation 1.
func signatureFrom(h http.Header) (signature string, isGen1 bool, err error) {
	var gen1, gen2 string
	var n1, n2 int
	for name, values := range h {
		switch {
		case len(name) == len(SignatureHeader) && strings.EqualFold(name, SignatureHeader):
			gen1, n1 = addValues(gen1, n1, values)
		case len(name) == len(SignatureHeaderGen2) && strings.EqualFold(name, SignatureHeaderGen2):
			gen2, n2 = addValues(gen2, n2, values)
		}
	}
	if n1 > 1 || n1 == 0 && n2 > 1 {
		return "", false, ErrMalformedSignature
	}
	if n1 == 0 {
		return gen2, false, nil // empty where there is none: tag.parse says so
	}
	return gen1, true, nil
}

// addValues counts the values that are not blank, and returns the last of them
// and the new count. n values were found before.
func addValues(last string, n int, values []string) (string, int) {
	for _, value := range values {
		if trimBlanks(value) != "" {
			last, n = value, n+1
		}
	}
	return last, n
}
